"""Follow identities through a traced program, with one rule for each primitive.

To add a primitive, extend the table `RULES`. A rule is a function of the walk and a step; it returns the axes of the
step's results. A primitive without a rule freezes all that it touches: refuse or freeze, never be silently wrong. The
removal of a unit zeroes what makes it *and* what reads it, so most activations may give any value for a dead unit. This
value is followed all the same, because attention multiplies signals with each other.
"""

import math
from collections.abc import Collection, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from synevo.wiring.identities import COUNTED, EXAMPLES, INPUT, MET, ONE, PLACE, STATED, Axes, Axis, Identities, stays
from synevo.wiring.rules.computing import note_origin, why_frozen
from synevo.wiring.rules.contracting import convolution, dot
from synevo.wiring.rules.reshaping import (
    broadcast,
    concatenate,
    dynamic_slice,
    dynamic_update_slice,
    freeze_all,
    gather,
    pad,
    reshape,
    reverse,
    slice_,
    split,
    squeeze,
    stack,
    tile,
    transpose,
    unstack,
)
from synevo.wiring.tracing import Program, Step
from synevo.wiring.walking import Contraction, Rule, Walk


def follow(
    program: Program,
    identities: Identities | None = None,
    *,
    arrays: Mapping[str, Axes] | None = None,
    updates: Mapping[int, str] | None = None,
    trained: Collection[str] = (),
) -> tuple[Identities, list[Contraction]]:
    """Follow the identities through a program; return them, and its contractions in the order of the signal.

    The training program of the same network is followed with the `identities` and the axes of the `arrays` of the first
    program. `updates` names the outputs that are arrays for the next step, by position; these share the arrays'
    identities. `trained` are the names of the network's parameters.
    """
    identities = identities or Identities()
    identities.axes = {}
    for name, value in program.arrays.items():
        shape = program.shapes[value]
        identities.axes[value] = arrays[name] if arrays else tuple(identities.fresh(size) for size in shape)
    for value in program.inputs:
        identities.axes[value] = _input(program.shapes[value], program.dtypes[value])
    for value in program.constants:
        identities.axes[value] = tuple(stays(size, ONE if size == 1 else STATED) for size in program.shapes[value])
    walk = Walk(program, identities, trained, training=arrays is not None)
    for step in program.steps:
        identities.begin(step.primitive, step.where)
        rule = RULES.get(step.primitive, freeze_all)
        results = rule(walk, step)
        note_origin(walk, step, partial(_value, step) if rule is _elementwise else None)
        for value, axes in zip(step.results, results, strict=True):
            identities.axes[value] = axes
    for position, output in enumerate(program.outputs):
        own = identities.axes[program.arrays[updates[position]]] if updates and position in updates else None
        for place, axis in enumerate(walk.axes(output)):
            if own is None:
                identities.freeze(axis, identities.because("an output of the network", MET))
            else:
                identities.unite(own[place], axis)
    return identities, walk.contractions


def _input(shape: tuple[int, ...], dtype: Any) -> Axes:
    """Return the axes of an input: examples, places, and last the channels; whole numbers are tokens, one a place."""
    kinds = [EXAMPLES, *(PLACE for _ in shape[1:-1]), INPUT if jnp.issubdtype(dtype, jnp.inexact) else PLACE]
    return tuple(stays(size, kind) for size, kind in zip(shape, kinds, strict=False))


def _elementwise(walk: Walk, step: Step) -> list[Axes]:
    """Tie the operands of the result's rank along each axis where they are not broadcast."""
    shape = walk.program.shapes[step.results[0]]
    result = []
    for place, size in enumerate(shape):
        whole: list[Axis] = []
        dead: list[float | None] = []
        for operand in step.operands:
            axes = walk.axes(operand)
            matches = len(axes) == len(shape) and len(axes[place]) == size
            dead.append(axes[place].dead if matches else walk.number(operand))
            if matches:
                whole.append(axes[place])
            elif len(axes) == len(shape):
                walk.freeze(axes[place], step, "repeated")
        if not whole:
            return freeze_all(walk, step)
        for other in whole[1:]:
            walk.identities.unite(whole[0], other)
        result.append(Axis(whole[0].ids, _share(walk, step, dead)))
    return [tuple(result) for _ in step.results]


def _share(walk: Walk, step: Step, operands: list[float | None]) -> float | None:
    """Return the value at a dead place; zero remains zero if it is divided by anything that arrays alone make."""
    divided = step.primitive == "div" and operands == [0.0, None] and walk.computed(*step.operands)
    return 0.0 if divided else _value(step, operands)


def _value(step: Step, operands: list[float | None]) -> float | None:
    """Return the value that an elementwise primitive computes at a dead place; None where it is unknown.

    It is infinite, or no number, where a zero is divided by.
    """
    known = [operand for operand in operands if operand is not None]
    function = _NUMBERS.get(step.primitive)
    if function is not None and any(map(math.isnan, known)):
        return math.nan
    if step.primitive == "mul" and 0.0 in operands:
        return math.nan if any(map(math.isinf, known)) else 0.0
    if step.primitive == "select_n":
        return operands[1] if len(set(operands[1:])) == 1 else None
    if step.primitive in {"integer_pow", "pow"}:
        return 0.0 if operands[0] == 0.0 and _is_positive(step, operands) else None
    if function is None or len(known) < len(operands):
        return None
    with np.errstate(all="ignore"):
        value = function(*map(np.float64, known))
    return None if value is None else math.nan if np.isnan(value) else float(value)


def _is_positive(step: Step, operands: list[float | None]) -> bool:
    exponent = step.parameters["y"] if step.primitive == "integer_pow" else operands[1]
    return exponent is not None and exponent > 0


def _reduce(walk: Walk, step: Step) -> list[Axes]:
    gone = step.parameters["axes"]
    axes = walk.axes(step.operands[0])
    for place in gone:
        if why := why_frozen(walk, step, axes[place], usual=_reduced(step)):
            walk.freeze(axes[place], step, why)
    passes = step.primitive in {"reduce_sum", "reduce_max", "reduce_min"}
    left = [axis for place, axis in enumerate(axes) if place not in gone]
    return [tuple(Axis(axis.ids, 0.0 if passes and axis.dead == 0.0 else None) for axis in left) for _ in step.results]


def _reduced(step: Step) -> str:
    """Say what a reduction does to an axis, by the layer of the library that it is part of."""
    if step.layer == "RMSNorm":
        return "normalised over: the mean of the squares changes with the width"
    if step.layer.endswith("Norm"):
        return "normalised over: mean and deviation change with the width"
    if step.layer in {"mean", "average", "var", "std"}:
        return "averaged over: the mean changes with the width"
    if "softmax" in step.layer:
        return "under a softmax: every share depends on all others"
    return _REDUCED.get(step.primitive, "reduced to one number")


_REDUCED = {
    "reduce_sum": "summed over",
    "reduce_prod": "multiplied over",
    **dict.fromkeys(("reduce_max", "reduce_min", "argmax", "argmin"), "compared with each other"),
}


def _mixed(walk: Walk, step: Step) -> list[Axes]:
    """Freeze the axis whose elements are mixed (by a cumulative sum, a sort), and tie the operands."""
    place = step.parameters["axis" if "axis" in step.parameters else "dimension"]
    results = []
    for axes in (walk.axes(operand) for operand in step.operands):
        walk.freeze(axes[place], step, "sorted" if step.primitive == "sort" else "accumulated one after the other")
        for one, other in zip(walk.axes(step.operands[0]), axes, strict=True):
            walk.identities.unite(one, other)
        results.append(tuple(Axis(axis.ids, None) for axis in axes))
    return results


def _window(walk: Walk, step: Step) -> list[Axes]:
    axes = walk.axes(step.operands[0])
    if len(step.results) > 1:
        return freeze_all(walk, step)
    shape = walk.program.shapes[step.results[0]]
    result = []
    for place, (axis, width) in enumerate(zip(axes, step.parameters["window_dimensions"], strict=True)):
        pooled = width > 1 or len(axis) != shape[place]
        if pooled:
            walk.freeze(axis, step, "pooled over")
            result.append(stays(shape[place], walk.identities.best(axis.ids.tolist())))
        else:
            result.append(Axis(axis.ids, _pooled(step, axis)))
    return [tuple(result)]


def _pooled(step: Step, axis: Axis) -> float | None:
    return 0.0 if axis.dead == 0.0 and step.primitive == "reduce_window_sum" else None


def _random(walk: Walk, step: Step) -> list[Axes]:
    """Give random numbers new identities in training, where they are exchangeable; freeze them in evaluation."""
    if not walk.training:
        return freeze_all(walk, step)
    return [tuple(walk.identities.fresh(size, None) for size in walk.program.shapes[value]) for value in step.results]


def _iota(walk: Walk, step: Step) -> list[Axes]:
    """Keep the axis along which places are counted; the other axes hold copies, and get new identities."""
    counted, shape = step.parameters["dimension"], walk.program.shapes[step.results[0]]
    return [
        tuple(
            stays(n, COUNTED) if k == counted and n > 1 else walk.identities.fresh(n, None) for k, n in enumerate(shape)
        )
    ]


_WITH_NAMESAKES = "abs sin cos tan tanh sinh cosh sqrt square cbrt exp exp2 expm1 log1p floor ceil sign"

_ITSELF = "copy copy_p convert_element_type stop_gradient reduce_precision sharding_constraint"

_NUMBERS: dict[str, Any] = {
    **dict.fromkeys(_ITSELF.split(), lambda x: x),
    **{name: getattr(np, name) for name in _WITH_NAMESAKES.split()},
    "neg": np.negative,
    **dict.fromkeys(["asin", "asinh", "atan", "atanh", "erf", "erf_inv", "round"], lambda x: 0.0 if x == 0 else None),
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "add": np.add,
    "add_any": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "clamp": lambda low, x, high: np.clip(x, low, high),
}

_ELEMENTWISE = """
    abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp copy copy_p cos cosh digamma div eq erf
    erf_inv erfc exp exp2 expm1 floor ge gt imag integer_pow is_finite le lgamma log log1p logistic lt max min mul ne
    neg nextafter not or pow real reduce_precision rem round rsqrt select_n sharding_constraint shift_left
    shift_right_arithmetic shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh xor
    bitcast_convert_type
"""

RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or"), _reduce),
    **dict.fromkeys(("argmax", "argmin"), _reduce),
    **dict.fromkeys(("reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum"), _window),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp", "sort"), _mixed),
    "optimization_barrier": lambda walk, step: [walk.axes(operand) for operand in step.operands],
    "convert_element_type": lambda walk, step: [walk.axes(step.operands[0])],
    "random_bits": _random,
    "iota": _iota,
    "broadcast_in_dim": broadcast,
    "tile": tile,
    "transpose": transpose,
    "squeeze": squeeze,
    "reshape": reshape,
    "slice": slice_,
    "split": split,
    "stack": stack,
    "unstack": unstack,
    "pad": pad,
    "rev": reverse,
    "concatenate": concatenate,
    "gather": gather,
    "dynamic_slice": dynamic_slice,
    "dynamic_update_slice": dynamic_update_slice,
    "dot_general": dot,
    "conv_general_dilated": convolution,
}
