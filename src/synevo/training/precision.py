"""Precision: run a traced function in bfloat16, whatever it says, with float32 where sums and what is kept need it.

    contractions      their operands and results are bfloat16 (the hardware adds in float32)
    reductions        add in float32, and give it: means, variances, losses, running statistics
    all other steps   compute in float32; what they make of an activation is rounded to bfloat16
    loops             keep their dtypes

The function itself is traced as it is, in float32, so no model needs a dtype argument, and none can object to one.
bfloat16 has the range of float32, so gradients need no scale.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal

HALF = jnp.bfloat16

_CONTRACTIONS = {"dot_general", "conv_general_dilated"}
_LOOPS = {"scan", "while", "cond"}
_CALLS = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr"}
_REMEMBERED = {"remat", "remat2", "checkpoint"}
_REDUCING = ("reduce_sum", "reduce_prod", "reduce_max", "reduce_min", "cum")
_MOVING = {
    *("reshape", "transpose", "squeeze", "slice", "dynamic_slice", "concatenate", "pad", "rev", "gather", "split"),
    *("broadcast_in_dim", "copy", "max", "min", "neg", "select_n", "reduce_window_max", "stop_gradient"),
}
"""Primitives that give one of the numbers that they are given, so that nothing is to be rounded."""


def in_bfloat16(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that computes in bfloat16 what `function` computes in float32; its outputs have their dtypes.

    Derivatives of it pass through bfloat16 as well, and are float32 for arguments that are.
    """

    def halved(*arguments: Any) -> Any:
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        found = _run(closed.jaxpr, closed.consts, jax.tree.leaves(arguments))
        leaves, tree = jax.tree.flatten(shapes)
        return jax.tree.unflatten(tree, [_as(value, like.dtype) for value, like in zip(found, leaves, strict=True)])

    return halved


def _run(jaxpr: Jaxpr, constants: Sequence[Any], arguments: Iterable[Any]) -> list[Any]:
    """Return the outputs of a jaxpr, some of them in bfloat16."""
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    values |= dict(zip(jaxpr.invars, arguments, strict=True))
    summed, spread = _only_reduced(jaxpr), set[Any]()

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        operands, name = [read(atom) for atom in equation.invars], equation.primitive.name
        if name in _CALLS or name in _REMEMBERED:
            made = _call(equation, operands)
        elif name in _CONTRACTIONS and _is_float32(equation.outvars[0].aval):
            made = [_contract(equation, operands)]
        elif name in _MOVING and _all_half(equation, values):
            made = _bind(equation, [_as(value, HALF) for value in operands])
        else:
            made = _bind(equation, [_as(value, atom.aval.dtype) for value, atom in _pairs(operands, equation.invars)])
            if name not in _LOOPS and not name.startswith(_REDUCING) and _is_of_activations(equation, values, spread):
                kept = [_is_float32(out.aval) and out not in summed for out in equation.outvars]
                made = [_as(value, HALF) if half else value for value, half in zip(made, kept, strict=True)]
        if name == "broadcast_in_dim":
            spread.update(equation.outvars)
        values |= zip(equation.outvars, made, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _pairs(operands: Sequence[Any], atoms: Sequence[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(operands, atoms, strict=True)


def _call(equation: Any, operands: Sequence[Any]) -> list[Any]:
    """Return what a call makes; what it recomputes in a backward pass, it still does."""
    body = equation.params[_CALLS.get(equation.primitive.name, "jaxpr")]
    run: Callable[..., Any] = partial(_run, getattr(body, "jaxpr", body), getattr(body, "consts", ()))
    if equation.primitive.name in _REMEMBERED:
        policy, prevent = equation.params.get("policy"), equation.params.get("prevent_cse", True)
        run = jax.checkpoint(run, policy=policy, prevent_cse=prevent)
    return list(run(operands))


def _contract(equation: Any, operands: Sequence[Any]) -> Any:
    """Return a contraction of operands in bfloat16."""
    parameters = {**equation.params, "preferred_element_type": jnp.dtype(HALF)}
    return equation.primitive.bind(*(_as(operand, HALF) for operand in operands), **parameters)


def _bind(equation: Any, operands: Sequence[Any]) -> list[Any]:
    """Return what a step makes of operands in the dtypes that it was traced with."""
    made = equation.primitive.bind(*operands, **equation.primitive.get_bind_params(equation.params))
    return list(made) if equation.primitive.multiple_results else [made]


def _all_half(equation: Any, values: dict[Any, Any]) -> bool:
    """Return whether all operands of a step that were traced in float32 are bfloat16, and there are some."""
    floats = [atom for atom in equation.invars if _is_float32(atom.aval) and not isinstance(atom, Literal)]
    return bool(floats) and all(values[atom].dtype == HALF for atom in floats)


def _is_of_activations(equation: Any, values: dict[Any, Any], spread: set[Any]) -> bool:
    """Return whether a step makes an activation: of operands in bfloat16, and of what is broadcast to them.

    What it makes of another float32 array of the same shape, such as a moving average, stays float32.
    """
    floats = [atom for atom in equation.invars if _is_float32(atom.aval) and not isinstance(atom, Literal)]
    halves = [atom for atom in floats if values[atom].dtype == HALF]
    others = [atom for atom in floats if values[atom].dtype != HALF and atom not in spread]
    shapes = {atom.aval.shape for atom in halves}
    return bool(halves) and not any(atom.aval.shape in shapes for atom in others)


def _only_reduced(jaxpr: Jaxpr) -> set[Any]:
    """Return the values that are read by reductions alone, as squares for a variance: those are not rounded before."""
    readers: dict[Any, set[bool]] = {}
    for equation in jaxpr.eqns:
        for atom in equation.invars:
            if not isinstance(atom, Literal):
                readers.setdefault(atom, set()).add(equation.primitive.name.startswith(_REDUCING))
    for atom in jaxpr.outvars:
        if not isinstance(atom, Literal):
            readers.setdefault(atom, set()).add(False)
    return {value for value, kinds in readers.items() if kinds == {True}}


def _is_float32(like: Any) -> bool:
    return like.dtype == jnp.float32


def _as(value: Any, dtype: Any) -> Any:
    """Return a value in this dtype, if it is one of the two between which this module casts."""
    own = getattr(value, "dtype", None)
    if own == dtype or own not in (jnp.float32, HALF) or dtype not in (jnp.float32, HALF):
        return value
    return jax.lax.convert_element_type(value, dtype)
