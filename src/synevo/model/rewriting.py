"""Rewriting: a traced function with its convolutions as products, on a CPU (`synevo.model.products`).

    outputs = as_products(network)(*inputs)

Every function that JAX traces can be rewritten, so no model needs to know of it. What it calls, loops over or computes
again in a backward pass is rewritten, too. What has a derivative of its own stays as it is, and so does everything on
other devices, whose libraries have code for each kind of convolution. Where nothing is rewritten, it is the same
program, with the same bits.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from synevo.model.products import Convolution, Product, products

_ENTERED = {"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "scan", "while", "cond"}
"""The primitives whose bodies are rewritten."""

Products = Mapping[Convolution, Product]


def as_products(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that computes what `function` does, within rounding; on a CPU with convolutions as products."""

    def rewritten(*arguments: Any) -> Any:
        if jax.default_backend() != "cpu":
            return function(*arguments)
        closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
        forms = products(_convolutions(closed.jaxpr))
        found = _run(closed.jaxpr, closed.consts, jax.tree.leaves(arguments), forms)
        return jax.tree.unflatten(jax.tree.structure(shapes), found)

    return rewritten


def kinds(traced: ClosedJaxpr) -> frozenset[str]:
    """Return the kinds (`Convolution.kind`) of the convolutions that `as_products` rewrites in a traced function."""
    if jax.default_backend() != "cpu":
        return frozenset()
    return frozenset(one.kind for one in products(_convolutions(traced.jaxpr)) if one.kind is not None)


def _convolutions(jaxpr: Jaxpr) -> Iterator[Convolution]:
    """Yield the convolutions of a jaxpr, also of the bodies in it."""
    for equation in jaxpr.eqns:
        one = Convolution.of(equation)
        if one is not None:
            yield one
        for body in _bodies(equation):
            yield from _convolutions(_open(body))


def _bodies(equation: Any) -> list[Any]:
    """Return the jaxprs in the parameters of a step that is entered."""
    if equation.primitive.name not in _ENTERED:
        return []
    parts = [part for value in equation.params.values() for part in (value if isinstance(value, tuple) else (value,))]
    return [part for part in parts if isinstance(part, Jaxpr | ClosedJaxpr)]


def _run(jaxpr: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any], forms: Products) -> list[Any]:
    """Return the outputs of a jaxpr, with the convolutions that have one as their products."""
    values: dict[Any, Any] = dict(zip(jaxpr.constvars, constants, strict=True))
    values |= dict(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        operands, one = [read(atom) for atom in equation.invars], Convolution.of(equation)
        if one is not None and one in forms:
            made = [forms[one](*operands)]
        else:
            parameters = {name: _rewritten(value, forms) for name, value in equation.params.items()}
            parameters = parameters if equation.primitive.name in _ENTERED else equation.params
            found = equation.primitive.bind(*operands, **equation.primitive.get_bind_params(parameters))
            made = list(found) if equation.primitive.multiple_results else [found]
        values |= zip(equation.outvars, made, strict=True)
    return [read(atom) for atom in jaxpr.outvars]


def _rewritten(value: Any, forms: Products) -> Any:
    """Return the parameter of a step with the jaxprs in it rewritten."""
    if isinstance(value, tuple) and any(isinstance(part, ClosedJaxpr) for part in value):
        return tuple(_rewritten(part, forms) for part in value)
    if not isinstance(value, Jaxpr | ClosedJaxpr) or not any(one in forms for one in _convolutions(_open(value))):
        return value
    jaxpr, constants = _open(value), value.consts if isinstance(value, ClosedJaxpr) else ()
    like: list[Any] = [variable.aval for variable in jaxpr.invars]
    shapes = [jax.ShapeDtypeStruct(kind.shape, kind.dtype, weak_type=kind.weak_type) for kind in like]
    closed = jax.make_jaxpr(lambda *arguments: _run(jaxpr, constants, arguments, forms))(*shapes)
    if isinstance(value, ClosedJaxpr):
        return closed
    return value if closed.consts else closed.jaxpr


def _open(body: Any) -> Jaxpr:
    """Return a jaxpr without its constants."""
    return body.jaxpr if isinstance(body, ClosedJaxpr) else body
