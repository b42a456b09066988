"""The graph of an exported network: a program without branches from the arrays that a file takes to those it gives.

    uint8 pixels [n, height, width, channels] → (pixel / 255 - mean) / deviation → the network → logits [n, classes]

The model is traced with a symbolic batch, so that the formats can tell which sizes depend on the number of examples;
lengths, heights and widths may be symbolic, too. Values that depend on the weights alone are computed here, once. Where
the model cuts windows by reshaping, the steps become pooling.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from synevo.deploy.interface import Leaf, given, traced, wanted
from synevo.deploy.reload import Reloaded
from synevo.errors import ExportError
from synevo.model.network import Network
from synevo.wiring.tracing import Constant, Operand, Program, Step

Sizes = tuple[Any, ...]


@dataclass(frozen=True)
class Graph:
    """The steps from the values `inputs` to the values `outputs`, which a file calls as `given` and `wanted` say.

    `shapes` may hold symbolic sizes; `dtypes` are those of the values, by number.
    """

    inputs: tuple[int, ...]
    outputs: tuple[Operand, ...]
    steps: tuple[Step, ...]
    constants: Mapping[int, NDArray[Any]]
    shapes: Mapping[int, Sizes]
    dtypes: Mapping[int, Any]
    given: tuple[Leaf, ...] = ()
    wanted: tuple[Leaf, ...] = ()

    def shape(self, operand: Operand) -> Sizes:
        """Return the sizes of an operand."""
        return np.shape(operand.value) if isinstance(operand, Constant) else self.shapes[operand]

    def dtype(self, operand: Operand) -> Any:
        """Return the dtype of an operand: that of its value in JAX."""
        known = self.known(operand)
        return self.dtypes[operand] if known is None and isinstance(operand, int) else np.asarray(known).dtype

    def known(self, operand: Operand) -> NDArray[Any] | None:
        """Return the value of an operand, or None if it depends on the input."""
        if isinstance(operand, Constant):
            return _narrow(np.asarray(operand.value))
        return self.constants.get(operand)


def graph_of(reloaded: Reloaded, count: int | None = None) -> Graph:
    """Return the graph of a compacted network for any number of examples, or for this number.

    Raises:
        ExportError: if its code depends on a size that is free, or its arguments have no form that a file describes.
    """
    program = traced(reloaded, count)
    steps, constants = _fold(program, reloaded.network)
    return Graph(
        program.inputs,
        program.outputs,
        tuple(_pool(steps, program.shapes)),
        constants,
        program.shapes,
        program.dtypes,
        given(reloaded),
        wanted(reloaded, program.outlined if count is None else None),
    )


def is_symbolic(size: Any) -> bool:
    """Return True if a size depends on the number of examples, or on another size that is free."""
    return not isinstance(size, int | np.integer)


def taken(graph: Graph, step: Step) -> tuple[int, NDArray[Any]] | None:
    """Return the axis and the places of a gather along one axis; None if it is another gather.

    The places must be the same for all examples.
    """
    axis, places = axis_taken(graph, step), graph.known(step.operands[1])
    if axis is None or places is None:
        return None
    size, places = graph.shape(step.operands[0])[axis], places[..., 0]
    inside = ((places >= 0) & (places < size)).all() if not is_symbolic(size) else False
    return (axis, places) if inside else None


def axis_taken(graph: Graph, step: Step) -> int | None:
    """Return the axis of a gather of whole slices along one axis; None if it is another gather."""
    of = step.parameters["dimension_numbers"]
    if len(of.start_index_map) != 1 or of.operand_batching_dims:
        return None
    (axis,) = of.start_index_map
    shape, places = graph.shape(step.operands[0]), graph.shape(step.operands[1])[:-1]
    whole = all(a == axis or size == shape[a] for a, size in enumerate(step.parameters["slice_sizes"]))
    rank = len(graph.shapes[step.results[0]])
    made = tuple(place for place in range(rank) if place not in of.offset_dims)
    in_place = made == tuple(range(axis, axis + len(places)))
    return axis if whole and in_place and tuple(of.collapsed_slice_dims) == (axis,) else None


def fill_of(step: Step, dtype: Any) -> NDArray[Any]:
    """Return the value that a gather gives in JAX for places outside."""
    value = step.parameters["fill_value"]
    if value is None and jnp.issubdtype(dtype, jnp.inexact):
        value = np.nan
    elif value is None and dtype == np.bool_:
        value = True
    elif value is None:
        value = np.iinfo(dtype).min if np.issubdtype(dtype, np.signedinteger) else np.iinfo(dtype).max
    return np.asarray(value, dtype)


def unsupported(step: Step, target: str, why: str = "") -> ExportError:
    """Return the error for a step without a counterpart in the format `target`."""
    return ExportError(
        f"{step.primitive} ({step.where}) cannot be written as {target}{': ' if why else ''}{why}.",
        remedy="Write the model without it, or export to stablehlo, which holds whatever JAX can run.",
    )


def _fold(program: Program, network: Network) -> tuple[list[Step], dict[int, NDArray[Any]]]:
    """Compute all steps that do not depend on the input; return the others, and the values that are read at last."""
    known = {number: np.asarray(value) for number, value in program.constants.items()}
    known |= {number: np.asarray(network.arrays[name]) for name, number in program.arrays.items()}
    steps = []
    for step in program.steps:
        sizes = [size for result in step.results for size in program.shapes[result]]
        if (
            step.primitive in _OF_SIZES
            or any(map(is_symbolic, sizes))
            or any(isinstance(o, int) and o not in known for o in step.operands)
        ):
            steps.append(step)
            continue
        operands = [o.value if isinstance(o, Constant) else known[o] for o in step.operands]
        made = step.operation.bind(*map(jnp.asarray, operands), **step.parameters)
        values = made if step.operation.multiple_results else [made]
        known |= {result: np.asarray(value) for result, value in zip(step.results, values, strict=True)}
    read = {operand for step in steps for operand in step.operands if isinstance(operand, int)} | {*program.outputs}
    return steps, {number: _narrow(value) for number, value in known.items() if number in read}


def _narrow(value: NDArray[Any]) -> NDArray[Any]:
    """Convert 64-bit numbers, which are Python's, to 32 bits as in the network."""
    narrow = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}
    return value.astype(narrow.get(value.dtype, value.dtype))


_OF_SIZES = ("dim_as_value",)
"""Steps that read a symbolic size, and no value."""

_PLACES, _WINDOWED = 4, 6
_REDUCTIONS = {"reduce_max": "reduce_window_max", "reduce_sum": "reduce_window_sum"}


def _pool(steps: list[Step], shapes: Mapping[int, Sizes]) -> Iterator[Step]:
    """Yield the steps; [n, h, w, c] → [n, h/k, k, w/k, k, c] → maximum or sum along both k becomes one pooling."""
    makers = {result: step for step in steps for result in step.results}
    readers: dict[Operand, int] = {}
    for step in steps:
        for operand in {o for o in step.operands if isinstance(o, int)}:
            readers[operand] = readers.get(operand, 0) + 1
    replaced: dict[int, Step | None] = {}
    for step in steps:
        cut = makers.get(step.operands[0]) if step.operands and isinstance(step.operands[0], int) else None
        if cut is not None and readers[cut.results[0]] == 1 and _is_pooling(cut, step, shapes):
            _, _, tall, _, wide, _ = shapes[cut.results[0]]
            window = (1, tall, wide, 1)
            parameters = {"window_dimensions": window, "window_strides": window, "padding": ((0, 0),) * _PLACES}
            parameters |= {"base_dilation": (1,) * _PLACES, "window_dilation": (1,) * _PLACES}
            replaced[cut.results[0]] = None
            replaced[step.results[0]] = replace(
                step, primitive=_REDUCTIONS[step.primitive], operands=cut.operands, parameters=parameters
            )
    for step in steps:
        found = replaced.get(step.results[0], step)
        if found is not None:
            yield found


def _is_pooling(cut: Step, reduction: Step, shapes: Mapping[int, Sizes]) -> bool:
    if cut.primitive != "reshape" or reduction.primitive not in _REDUCTIONS or not isinstance(cut.operands[0], int):
        return False
    before, after = shapes[cut.operands[0]], shapes[cut.results[0]]
    if len(before) != _PLACES or len(after) != _WINDOWED or tuple(reduction.parameters["axes"]) != (2, 4):
        return False
    n, rows, tall, columns, wide, channels = after
    return bool(before == (n, rows * tall, columns * wide, channels))
