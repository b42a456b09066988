"""Rules: how each primitive of a traced program ties the identities of its operands to those of its results.

`RULES` is the table to extend: a function of the identities and a step, that returns the identities of the step's
results, one array an axis. A primitive without a rule freezes all that it touches: refuse or freeze, never be silently
wrong. The removal of a unit zeroes what makes it *and* what reads it, so a rule need not care what an activation makes
of a dead unit.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from synevo.tracing import Operand, Program, Step

Axis = NDArray[np.int64]
Axes = tuple[Axis, ...]

STAYS = 0
"""The identity of everything that never dies: inputs, batches, places in a picture."""


@dataclass(frozen=True)
class Contraction:
    """An array of the network that a step contracts with a signal."""

    array: str
    input_axis: int
    output_axis: int
    positions: int


@dataclass
class Identities:
    """Sets of identities that share a fate (union-find), and the identities of every axis of every value."""

    axes: dict[int, Axes] = field(default_factory=dict)
    _parents: list[int] = field(default_factory=lambda: [STAYS])
    _reasons: dict[int, str] = field(default_factory=lambda: {STAYS: "part of the input, the batch or a window"})

    def fresh(self, size: int) -> Axis:
        """New identities for one axis; an axis of one element never dies."""
        if size == 1:
            return stays(1)
        start = len(self._parents)
        self._parents.extend(range(start, start + size))
        return np.arange(start, start + size)

    def root(self, identity: int) -> int:
        """The representative of the set of an identity."""
        while self._parents[identity] != identity:
            self._parents[identity] = self._parents[self._parents[identity]]
            identity = self._parents[identity]
        return identity

    def roots(self, axis: Axis) -> Axis:
        """The representative of each identity of an axis."""
        return np.array([self.root(int(identity)) for identity in axis], np.int64)

    def unite(self, first: Axis, second: Axis) -> None:
        """Let the identities of two axes share their fates, place by place."""
        for a, b in zip(first, second, strict=True):
            low, high = sorted((self.root(int(a)), self.root(int(b))))
            if low != high:
                self._parents[high] = low
                if high in self._reasons:
                    self._reasons.setdefault(low, self._reasons[high])

    def freeze(self, axis: Axis, reason: str) -> None:
        """Never remove the identities of an axis."""
        for root in np.unique(self.roots(axis)):
            self._reasons.setdefault(int(root), reason)

    def is_frozen(self, identity: int) -> bool:
        """Whether an identity is never removed."""
        return self.root(identity) in self._reasons

    def reason(self, identity: int) -> str:
        """Why an identity is never removed."""
        return self._reasons[self.root(identity)]

    def all_frozen(self, axis: Axis) -> bool:
        """Whether nothing of an axis can be removed, as far as is known."""
        return all(self.is_frozen(int(identity)) for identity in np.unique(axis))


def stays(size: int) -> Axis:
    """The identities of an axis that never dies."""
    return np.full(size, STAYS, np.int64)


def follow(program: Program) -> tuple[Identities, list[Contraction]]:
    """The identities of every value of a program, and the contractions of its arrays in the order of the signal."""
    identities = Identities()
    for value in program.arrays.values():
        identities.axes[value] = tuple(identities.fresh(size) for size in program.shapes[value])
    for value in (*program.inputs, *program.constants):
        identities.axes[value] = tuple(stays(size) for size in program.shapes[value])
    walk = Walk(
        program,
        identities,
        {value: (name, tuple(range(len(program.shapes[value])))) for name, value in program.arrays.items()},
    )
    for step in program.steps:
        results = RULES.get(step.primitive, _freeze_all)(walk, step)
        for value, axes in zip(step.results, results, strict=True):
            identities.axes[value] = axes
    for output in program.outputs:
        for axis in walk.axes(output):
            identities.freeze(axis, "reaches the output of the network")
    return identities, walk.contractions


@dataclass
class Walk:
    """A program being followed; `origins` are the values that are an array of the network, at most transposed."""

    program: Program
    identities: Identities
    origins: dict[int, tuple[str, tuple[int, ...]]]
    contractions: list[Contraction] = field(default_factory=list)

    def axes(self, operand: Operand) -> Axes:
        """The identities of an operand; a scalar constant has no axes."""
        return self.identities.axes[operand] if isinstance(operand, int) else ()

    def shape(self, operand: Operand) -> tuple[int, ...]:
        """The shape of an operand."""
        return self.program.shapes[operand] if isinstance(operand, int) else ()

    def freeze(self, axis: Axis, step: Step, why: str) -> None:
        """Freeze an axis because of a step."""
        self.identities.freeze(axis, f"{why} ({step.primitive}, {step.where})")

    def contract(self, operand: Operand, input_axis: int, output_axes: Sequence[int], positions: int) -> None:
        """Note a contraction along one axis; the operand is a layer if it is an array with one output axis."""
        origin = self.origins.get(operand) if isinstance(operand, int) else None
        if origin is None or len(output_axes) != 1:
            return
        name, places = origin
        found = Contraction(name, places[input_axis], places[output_axes[0]], positions)
        for number, before in enumerate(self.contractions):
            if replace(before, positions=0) == replace(found, positions=0):
                self.contractions[number] = replace(before, positions=before.positions + positions)
                return
        self.contractions.append(found)


Rule = Callable[[Walk, Step], list[Axes]]


def _freeze_all(walk: Walk, step: Step) -> list[Axes]:
    for operand in step.operands:
        for axis in walk.axes(operand):
            walk.freeze(axis, step, "meets a primitive without a rule")
    return [tuple(stays(size) for size in walk.program.shapes[value]) for value in step.results]


def _elementwise(walk: Walk, step: Step) -> list[Axes]:
    """Operands of the result's rank share the fate of each axis along which they are not broadcast."""
    shape = walk.program.shapes[step.results[0]]
    signals = [walk.axes(operand) for operand in step.operands if len(walk.shape(operand)) == len(shape)]
    result = []
    for place, size in enumerate(shape):
        whole = [axes[place] for axes in signals if len(axes[place]) == size]
        for other in whole[1:]:
            walk.identities.unite(whole[0], other)
        result.append(whole[0])
    return [tuple(result) for _ in step.results]


def _convert(walk: Walk, step: Step) -> list[Axes]:
    operand = step.operands[0]
    if isinstance(operand, int) and operand in walk.origins:
        walk.origins[step.results[0]] = walk.origins[operand]
    return [walk.axes(operand)]


def _broadcast(walk: Walk, step: Step) -> list[Axes]:
    shape, places = step.parameters["shape"], step.parameters["broadcast_dimensions"]
    axes = [walk.identities.fresh(size) for size in shape]
    for place, size, axis in zip(places, walk.shape(step.operands[0]), walk.axes(step.operands[0]), strict=True):
        if size == shape[place]:
            axes[place] = axis
    return [tuple(axes)]


def _transpose(walk: Walk, step: Step) -> list[Axes]:
    order, operand = step.parameters["permutation"], step.operands[0]
    if isinstance(operand, int) and operand in walk.origins:
        name, places = walk.origins[operand]
        walk.origins[step.results[0]] = name, tuple(places[axis] for axis in order)
    axes = walk.axes(operand)
    return [tuple(axes[axis] for axis in order)]


def _squeeze(walk: Walk, step: Step) -> list[Axes]:
    gone = step.parameters["dimensions"]
    return [tuple(axis for place, axis in enumerate(walk.axes(step.operands[0])) if place not in gone)]


def _reshape(walk: Walk, step: Step) -> list[Axes]:
    old, new = walk.shape(step.operands[0]), walk.program.shapes[step.results[0]]
    axes, result = walk.axes(step.operands[0]), []
    for before, after in _matching_groups(old, new):
        parts = [axes[place] for place in before]
        if len(after) == 1:
            result.append(_merge(walk, step, parts))
        else:
            result.extend(_split(walk, step, _merge(walk, step, parts), [new[place] for place in after]))
    return [tuple(result)]


def _matching_groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The smallest runs of axes before and after a reshape that hold the same elements."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        before, after = ([i] if i < len(old) else []), ([j] if j < len(new) else [])
        i, j = i + len(before), j + len(after)
        while (left := math.prod(old[k] for k in before)) != (right := math.prod(new[k] for k in after)):
            if left < right:
                before.append(i)
                i += 1
            else:
                after.append(j)
                j += 1
        groups.append((before, after))
    return groups


def _merge(walk: Walk, step: Step, parts: list[Axis]) -> Axis:
    """The identities of axes that become one: those of the one axis among them that can lose units."""
    live = [place for place, part in enumerate(parts) if not walk.identities.all_frozen(part)]
    if len(live) > 1:
        for part in parts:
            walk.freeze(part, step, "merged with another axis that can lose units")
        live = []
    merged = np.full([len(part) for part in parts], STAYS, np.int64)
    for place in live:
        merged = merged + np.expand_dims(parts[place], [k for k in range(len(parts)) if k != place])
    return merged.reshape(-1)


def _split(walk: Walk, step: Step, axis: Axis, sizes: list[int]) -> list[Axis]:
    """The identities of the axes that one becomes, where units lie along one of them; frozen elsewhere."""
    if not walk.identities.all_frozen(axis):
        block = axis.reshape(sizes) if axis.size else None
        for place, size in enumerate(sizes):
            if block is not None:
                along = np.moveaxis(block, place, 0).reshape(size, -1)
                if (along == along[:, :1]).all():
                    return [along[:, 0] if k == place else stays(other) for k, other in enumerate(sizes)]
        walk.freeze(axis, step, "split into several axes")
    return [stays(size) for size in sizes]


def _reduce(walk: Walk, step: Step) -> list[Axes]:
    gone = step.parameters["axes"]
    axes = walk.axes(step.operands[0])
    for place in gone:
        walk.freeze(axes[place], step, "summed over")
    return [tuple(axis for place, axis in enumerate(axes) if place not in gone) for _ in step.results]


def _along(parameter: str) -> Rule:
    """A rule for primitives that mix the elements of one axis."""

    def rule(walk: Walk, step: Step) -> list[Axes]:
        axes = walk.axes(step.operands[0])
        walk.freeze(axes[step.parameters[parameter]], step, "mixed along its axis")
        return [axes for _ in step.results]

    return rule


def _window(walk: Walk, step: Step) -> list[Axes]:
    axes = walk.axes(step.operands[0])
    shape = walk.program.shapes[step.results[0]]
    result = []
    for place, (axis, width) in enumerate(zip(axes, step.parameters["window_dimensions"], strict=True)):
        pooled = width > 1 or len(axis) != shape[place]
        if pooled:
            walk.freeze(axis, step, "pooled over")
        result.append(stays(shape[place]) if pooled else axis)
    return [tuple(result)]


def _slice(walk: Walk, step: Step) -> list[Axes]:
    starts, limits = step.parameters["start_indices"], step.parameters["limit_indices"]
    strides = step.parameters["strides"] or (1,) * len(starts)
    axes = walk.axes(step.operands[0])
    for axis, start, limit, stride in zip(axes, starts, limits, strides, strict=True):
        if (start, limit, stride) != (0, len(axis), 1):
            walk.freeze(axis, step, "sliced by numbers in the code")
    return [tuple(axis[i:j:k] for axis, i, j, k in zip(axes, starts, limits, strides, strict=True))]


def _concatenate(walk: Walk, step: Step) -> list[Axes]:
    joined = step.parameters["dimension"]
    operands = [walk.axes(operand) for operand in step.operands]
    result = list(operands[0])
    for place in range(len(result)):
        if place == joined:
            result[place] = np.concatenate([axes[place] for axes in operands])
        else:
            for axes in operands[1:]:
                walk.identities.unite(result[place], axes[place])
    return [tuple(result)]


def _dot(walk: Walk, step: Step) -> list[Axes]:
    left, right = step.operands
    (left_in, right_in), (left_batch, right_batch) = step.parameters["dimension_numbers"]
    a, b = walk.axes(left), walk.axes(right)
    for i, j in zip((*left_in, *left_batch), (*right_in, *right_batch), strict=True):
        walk.identities.unite(a[i], b[j])
    left_out = [k for k in range(len(a)) if k not in (*left_in, *left_batch)]
    right_out = [k for k in range(len(b)) if k not in (*right_in, *right_batch)]
    if not any(isinstance(side, int) and side in walk.origins for side in (left, right)):
        for i in left_in:
            walk.freeze(a[i], step, "contracted with another signal")
    elif len(left_in) == 1 and not left_batch:
        shapes = walk.shape(left), walk.shape(right)
        walk.contract(left, left_in[0], left_out, math.prod(shapes[1][k] for k in right_out[1:]))
        walk.contract(right, right_in[0], right_out, math.prod(shapes[0][k] for k in left_out[1:]))
    return [(*(a[k] for k in left_batch), *(a[k] for k in left_out), *(b[k] for k in right_out))]


def _convolution(walk: Walk, step: Step) -> list[Axes]:
    signal, kernel = step.operands
    numbers = step.parameters["dimension_numbers"]
    x, w = walk.axes(signal), walk.axes(kernel)
    shape = walk.program.shapes[step.results[0]]
    out_axis, in_axis, *window = numbers.rhs_spec
    for place in numbers.lhs_spec[2:]:
        walk.freeze(x[place], step, "convolved over")
    for place in window:
        walk.freeze(w[place], step, "a place in the window")
    result = [stays(size) for size in shape]
    result[numbers.out_spec[0]] = x[numbers.lhs_spec[0]]
    result[numbers.out_spec[1]] = w[out_axis]
    if step.parameters["feature_group_count"] == step.parameters["batch_group_count"] == 1:
        walk.identities.unite(x[numbers.lhs_spec[1]], w[in_axis])
        walk.contract(kernel, in_axis, [out_axis], math.prod(shape[place] for place in numbers.out_spec[2:]))
    else:
        for axis in (x[numbers.lhs_spec[1]], w[in_axis], w[out_axis]):
            walk.freeze(axis, step, "convolved in groups")
    return [tuple(result)]


_ELEMENTWISE = """
    abs add add_any and atan2 cbrt ceil clamp copy cos cosh div eq erf erf_inv erfc exp exp2 expm1 floor ge gt
    integer_pow is_finite le log log1p logistic lt max min mul ne neg nextafter not or pow rem round rsqrt select_n sign
    sin sinh sqrt square stop_gradient sub tan tanh xor optimization_barrier
"""

RULES: dict[str, Rule] = {
    **dict.fromkeys(_ELEMENTWISE.split(), _elementwise),
    **dict.fromkeys(("reduce_sum", "reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or"), _reduce),
    **dict.fromkeys(("argmax", "argmin"), _reduce),
    **dict.fromkeys(("reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum"), _window),
    **dict.fromkeys(("cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"), _along("axis")),
    "sort": _along("dimension"),
    "convert_element_type": _convert,
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "reshape": _reshape,
    "slice": _slice,
    "concatenate": _concatenate,
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
}
