"""Ranges of values, measured on training examples, so that whole numbers of eight bits can stand for them.

    value ≈ (q - zero) · scale,  q = -128 … 127,  from the smallest value that was seen to the largest, with 0 exact

Whole numbers are what contractions and poolings read, and what they make, except the network's outputs. All else is
computed in floats: a loop over elements reads whole numbers, and rounds its result once.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from numpy.typing import NDArray

from synevo.deploy.formats.c.fusing import CONTRACTIONS, Fused
from synevo.deploy.formats.c.values import Quantum
from synevo.deploy.formats.graph import Graph
from synevo.wiring.tracing import Constant, Operand, Step

LEVELS, LOWEST = 255, -128
"""Steps from the smallest whole number to the largest, and the smallest."""

TOGETHER = 30
"""The number of examples that are measured at once."""

_MOVES = {
    *("reshape", "squeeze", "expand_dims", "broadcast_in_dim", "transpose", "slice", "gather", "tile", "rev"),
    *("split", "unstack", "concatenate", "stack", "pad"),
}
"""Steps whose results are elements of their operands."""

_WINDOWS = {
    "reduce_window_max": (lax.max, -jnp.inf),
    "reduce_window_sum": (lax.add, 0.0),
    "reduce_window_min": (lax.min, jnp.inf),
}


def quanta(fused: Fused, examples: Sequence[NDArray[Any]]) -> dict[int, Quantum]:
    """Return what whole numbers stand for in each value made of them, by the arrays of examples that a file takes."""
    values = _whole(fused)
    low, high = measured(fused.graph, values, examples)
    return {value: quantum(low[value], high[value]) for value in values}


def quantum(low: float, high: float) -> Quantum:
    """Return the scale and the zero of values from `low` to `high`; the range is widened to hold 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / LEVELS or 1.0
    return Quantum(scale, round(LOWEST - low / scale))


def _whole(fused: Fused) -> set[int]:
    """Return the values that are whole numbers."""
    graph, found = fused.graph, set[int]()
    for step in fused.steps:
        if step.primitive in CONTRACTIONS and any(graph.known(operand) is not None for operand in step.operands):
            found |= _floats(graph, step.operands) | {fused.after[step.results[0]].result}
        elif step.primitive in _WINDOWS:
            found |= _floats(graph, (*step.operands[:1], *step.results))
    for step in reversed(fused.steps):
        if step.primitive in _MOVES and found.intersection(step.results):
            found |= _floats(graph, step.operands)
    return found - _final(fused)


def _final(fused: Fused) -> set[int]:
    """Return the outputs, and the values that they are the elements of."""
    found = set(fused.final)
    for step in reversed(fused.steps):
        if step.primitive in _MOVES and found.intersection(step.results):
            found |= {operand for operand in step.operands if isinstance(operand, int)}
    return found


def _floats(graph: Graph, operands: Iterable[Operand]) -> set[int]:
    return {
        one
        for one in operands
        if isinstance(one, int) and graph.known(one) is None and graph.dtypes[one] == jnp.float32
    }


def measured(
    graph: Graph, values: Iterable[int], examples: Sequence[NDArray[Any]]
) -> tuple[dict[int, float], dict[int, float]]:
    """Return the smallest and the largest element of each value on all examples."""
    wanted = sorted(values)

    def extremes(example: list[Array]) -> tuple[dict[int, Array], dict[int, Array]]:
        found = _evaluate(graph, [leaf[None] for leaf in example])
        return {one: found[one].min() for one in wanted}, {one: found[one].max() for one in wanted}

    low, high = jax.jit(lambda all_: lax.map(extremes, all_, batch_size=TOGETHER))(list(map(jnp.asarray, examples)))
    return ({one: float(low[one].min()) for one in wanted}, {one: float(high[one].max()) for one in wanted})


def _evaluate(graph: Graph, leaves: Sequence[Array]) -> Mapping[int, Any]:
    """Return all values of a graph for one example."""
    values: dict[int, Any] = {**dict(zip(graph.inputs, leaves, strict=True)), **graph.constants}
    for step in graph.steps:
        operands = [operand.value if isinstance(operand, Constant) else values[operand] for operand in step.operands]
        made = _made(step, operands)
        values |= zip(step.results, made, strict=True)
    return values


def _made(step: Step, operands: list[Any]) -> list[Any]:
    """Run a step; a pooling that was a reduction of cut windows has that reduction's operation."""
    if step.primitive in _WINDOWS:
        of, (join, start) = step.parameters, _WINDOWS[step.primitive]
        names = ("window_dimensions", "window_strides", "padding", "base_dilation", "window_dilation")
        return [lax.reduce_window(operands[0], np.float32(start), join, *(of[name] for name in names))]
    made = step.operation.bind(*map(jnp.asarray, operands), **step.parameters)
    return list(made) if step.operation.multiple_results else [made]
