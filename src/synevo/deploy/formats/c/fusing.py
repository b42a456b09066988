"""Steps that become part of others, before anything is written.

    convolution → -mean → ·factor → +shift → max(0, ·)     one convolution: other weights, a bias, bounds
    x·σ(x), x + y, softmax's exp(x - max)                  one loop over the elements, without buffers in between

A step is taken up by the contraction before it if nothing else reads what stands between them, and if its other operand
is known and differs between output channels alone.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synevo.deploy.formats.c.expressions import EXPRESSIONS
from synevo.deploy.formats.graph import Graph
from synevo.wiring.tracing import Operand, Step

KEPT = ("stop_gradient", "copy", "copy_p", "optimization_barrier", "sharding_constraint")
"""Steps whose result is their operand."""

CONTRACTIONS = ("conv_general_dilated", "dot_general")


@dataclass(frozen=True)
class After:
    """What follows a contraction: its results become min(max(result · factor + shift, low), high), one an output."""

    factor: NDArray[np.float64]
    shift: NDArray[np.float64]
    low: float
    high: float
    result: int


@dataclass(frozen=True)
class Fused:
    """The steps that remain, in order; what follows each contraction, by its own result; the loops of the others.

    `loops` names the last value of the loop that a value is computed in. `outputs` are what the network gives.
    """

    graph: Graph
    steps: tuple[Step, ...]
    after: Mapping[int, After]
    loops: Mapping[int, int]
    outputs: tuple[Operand, ...]
    readers: Mapping[int, tuple[Step, ...]]

    @property
    def final(self) -> tuple[int, ...]:
        """The outputs that depend on the input."""
        return tuple(one for one in self.outputs if isinstance(one, int))


def fuse(graph: Graph) -> Fused:
    """Return the steps of a graph with those taken up that need no operation of their own."""
    steps, names = _without_kept(graph.steps)
    outputs = tuple(names.get(one, one) if isinstance(one, int) else one for one in graph.outputs)
    final = tuple(one for one in outputs if isinstance(one, int))
    readers = _readers(steps)
    after = {}
    gone: set[int] = set()
    for step in steps:
        if step.primitive in CONTRACTIONS and step.results[0] not in gone:
            found, taken = _follow(graph, step, readers, final)
            after[step.results[0]] = found
            gone |= taken
    steps = [step for step in steps if step.results[0] not in gone]
    readers = _readers(steps)
    return Fused(graph, tuple(steps), after, _loops(graph, steps, readers, final), outputs, readers)


def _without_kept(steps: Iterable[Step]) -> tuple[list[Step], dict[int, int]]:
    """Return the steps without those that keep their operand, and the value that stands for each of their results."""
    names: dict[int, int] = {}
    left = []
    for step in steps:
        operands = tuple(names.get(o, o) if isinstance(o, int) else o for o in step.operands)
        if step.primitive in KEPT and all(isinstance(operand, int) for operand in operands):
            names |= {result: o for result, o in zip(step.results, operands, strict=True) if isinstance(o, int)}
        else:
            left.append(replace(step, operands=operands))
    return left, names


def _readers(steps: Iterable[Step]) -> dict[int, tuple[Step, ...]]:
    """Return the steps that read each value."""
    readers: dict[int, tuple[Step, ...]] = {}
    for step in steps:
        for operand in {o for o in step.operands if isinstance(o, int)}:
            readers[operand] = (*readers.get(operand, ()), step)
    return readers


def channel_axes(graph: Graph, step: Step) -> tuple[int, ...]:
    """Return the axes of a contraction's result that its output channels lie on; () if its factors are both unknown."""
    if step.primitive == "conv_general_dilated":
        return (int(step.parameters["dimension_numbers"].out_spec[1]),)
    (left_axes, right_axes), (left_batch, _) = step.parameters["dimension_numbers"]
    left, right = (len(graph.shape(operand)) for operand in step.operands)
    shared = len(left_batch)
    free = (left - shared - len(left_axes), right - shared - len(right_axes))
    if graph.known(step.operands[1]) is not None:
        own = range(shared + free[0], shared + sum(free))
    elif graph.known(step.operands[0]) is not None:
        own = range(shared, shared + free[0])
    else:
        return ()
    return (*range(shared), *own)


def _follow(
    graph: Graph, step: Step, readers: Mapping[int, tuple[Step, ...]], final: tuple[int, ...]
) -> tuple[After, set[int]]:
    """Return what follows a contraction, and the results of the steps that become part of it."""
    axes, result, taken = channel_axes(graph, step), step.results[0], set()
    outputs = int(np.prod([graph.shapes[result][axis] for axis in axes]))
    after = After(np.ones(outputs), np.zeros(outputs), -np.inf, np.inf, result)
    while axes and result not in final and len(readers.get(result, ())) == 1:
        (reader,) = readers[result]
        follow = _AFTER.get(reader.primitive)
        others = [_by_channel(graph, operand, axes, outputs) for operand in reader.operands if operand != result]
        if follow is None or any(other is None for other in others) or reader.operands.count(result) != 1:
            break
        found = follow(after, reader.operands.index(result), [other for other in others if other is not None])
        if found is None:
            break
        result = reader.results[0]
        taken.add(result)
        after = replace(found, result=result)
    return after, taken


def _by_channel(graph: Graph, operand: Operand, axes: tuple[int, ...], outputs: int) -> NDArray[np.float64] | None:
    """Return a known operand as one number an output channel; None if it is not known, or differs elsewhere."""
    known = graph.known(operand)
    if known is None or not np.issubdtype(known.dtype, np.floating):
        return None
    if not known.ndim:
        return np.full(outputs, known, np.float64)
    others = tuple(axis for axis in range(known.ndim) if axis not in axes)
    first = known[tuple(slice(0, 1) if axis in others else slice(None) for axis in range(known.ndim))]
    if not (known == first).all():
        return None
    return np.asarray(first.transpose(*axes, *others).reshape(-1), np.float64)


_Follow = Callable[[After, int, list[NDArray[np.float64]]], After | None]


def _affine(
    change: Callable[[After, int, NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> _Follow:
    """Return the rule of a step that multiplies or adds; there is none once a result has bounds."""

    def follow(after: After, place: int, others: list[NDArray[np.float64]]) -> After | None:
        if (after.low, after.high) != (-np.inf, np.inf):
            return None
        with np.errstate(divide="ignore", invalid="ignore"):
            factor, shift = change(after, place, others[0] if others else np.zeros(0))
        return replace(after, factor=factor, shift=shift) if np.isfinite([factor, shift]).all() else None

    return follow


def _bounded(low: float, high: float, after: After) -> After:
    return replace(after, low=min(max(after.low, low), high), high=max(min(after.high, high), low))


def _maximum(after: After, place: int, others: list[NDArray[np.float64]]) -> After | None:
    del place
    bound = _one_number(others)
    return None if bound is None else _bounded(bound, np.inf, after)


def _minimum(after: After, place: int, others: list[NDArray[np.float64]]) -> After | None:
    del place
    bound = _one_number(others)
    return None if bound is None else _bounded(-np.inf, bound, after)


def _clamp(after: After, place: int, others: list[NDArray[np.float64]]) -> After | None:
    low, high = (_one_number([other]) for other in others)
    if place != 1 or low is None or high is None:
        return None
    return _bounded(low, high, after)


def _one_number(others: list[NDArray[np.float64]]) -> float | None:
    (other,) = others
    return float(other[0]) if (other == other[0]).all() else None


_AFTER: dict[str, _Follow] = {
    **dict.fromkeys(("add", "add_any"), _affine(lambda after, _, other: (after.factor, after.shift + other))),
    "sub": _affine(
        lambda after, place, other: (
            (after.factor, after.shift - other) if place == 0 else (-after.factor, other - after.shift)
        )
    ),
    "mul": _affine(lambda after, _, other: (after.factor * other, after.shift * other)),
    "div": _affine(
        lambda after, place, other: (
            (after.factor / other, after.shift / other) if place == 0 else (after.factor * np.nan, after.shift)
        )
    ),
    "neg": _affine(lambda after, _, __: (-after.factor, -after.shift)),
    "max": _maximum,
    "min": _minimum,
    "clamp": _clamp,
}


def _loops(
    graph: Graph, steps: list[Step], readers: Mapping[int, tuple[Step, ...]], final: tuple[int, ...]
) -> dict[int, int]:
    """Return the last value of the loop that each elementwise step, or reduction, belongs to, by its result.

    A value needs no buffer if all that read it are in one loop over as many elements.
    """
    last: dict[int, int] = {}
    for step in reversed(steps):
        if step.primitive not in EXPRESSIONS and not step.primitive.startswith("reduce_"):
            continue
        (result,) = step.results
        own = readers.get(result, ())
        ends = {last.get(reader.results[0]) if reader.primitive in EXPRESSIONS else None for reader in own}
        same = all(graph.shapes[reader.results[0]] == graph.shapes[result] for reader in own)
        joined = len(ends) == 1 and same and result not in final
        end = ends.pop() if joined else None
        last[result] = result if end is None else end
    return last
