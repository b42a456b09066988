"""Rules for steps that move, repeat, cut or look up elements, in operations of ONNX, opset 18."""

from typing import TypeAlias

import numpy as np
from jax.lax import GatherScatterMode
from onnx import TensorProto

from synevo.deploy.formats.graph import axis_taken, fill_of, is_symbolic, taken, unsupported
from synevo.deploy.formats.onnx_writer import Tensor, Writer, identity
from synevo.wiring.tracing import Step

Made: TypeAlias = Tensor | list[Tensor]


def keep(writer: Writer, step: Step) -> Tensor:
    """Write nothing: the result is the operand."""
    return writer.tensor(step.operands[0])


def reshape(writer: Writer, step: Step) -> Tensor:
    """Write another arrangement of the same elements."""
    sizes = writer.graph.shapes[step.results[0]]
    return Tensor(writer.reshaped(writer.plain(step.operands[0]), sizes), identity(len(sizes)))


def broadcast(writer: Writer, step: Step) -> Tensor:
    """Write a tensor that is spread along new axes, or axes of one place."""
    sizes, axes = writer.graph.shapes[step.results[0]], step.parameters["broadcast_dimensions"]
    own, known = writer.graph.shape(step.operands[0]), writer.graph.known(step.operands[0])
    spread = tuple(own[axes.index(axis)] if axis in axes else 1 for axis in range(len(sizes)))
    if known is not None:
        name = writer.constant(known.reshape(spread))
    else:
        name = writer.reshaped(writer.plain(step.operands[0]), spread)
    if spread != tuple(sizes):
        name = writer.node("Expand", name, writer.sizes(sizes))
    return Tensor(name, identity(len(sizes)))


def transpose(writer: Writer, step: Step) -> Tensor:
    """Write nothing: the order of the axes is noted."""
    permutation, tensor = tuple(step.parameters["permutation"]), keep(writer, step)
    return Tensor(tensor.name, tuple(permutation.index(axis) for axis in tensor.order))


def concatenate(writer: Writer, step: Step) -> Tensor:
    """Write tensors one after the other along an axis."""
    order = writer.order_of(step)
    names = [writer.ordered(operand, order) for operand in step.operands]
    return Tensor(writer.node("Concat", *names, axis=order.index(step.parameters["dimension"])), order)


def cut(writer: Writer, step: Step) -> Tensor:
    """Write the places from start to limit, in strides."""
    tensor, shape = keep(writer, step), writer.graph.shape(step.operands[0])
    starts, limits = step.parameters["start_indices"], step.parameters["limit_indices"]
    strides = step.parameters["strides"] or (1,) * len(starts)
    axes = [axis for axis, size in enumerate(shape) if (starts[axis], strides[axis]) != (0, 1) or limits[axis] != size]
    places = writer.integers([tensor.order.index(axis) for axis in axes])
    chosen = (writer.sizes([values[axis] for axis in axes]) for values in (starts, limits))
    steps = writer.integers([strides[axis] for axis in axes])
    return Tensor(writer.node("Slice", tensor.name, *chosen, places, steps), tensor.order)


def gather(writer: Writer, step: Step) -> Tensor:
    """Write a look-up: of slices along one axis, or of points; places outside give what they give in JAX."""
    graph = writer.graph
    signal, order = writer.plain(step.operands[0]), identity(len(graph.shapes[step.results[0]]))
    if (found := taken(graph, step)) is not None:
        axis, places = found
        return Tensor(writer.node("Gather", signal, writer.constant(places.astype(np.int64)), axis=axis), order)
    if (one := axis_taken(graph, step)) is not None:
        index = writer.node("Cast", writer.plain(step.operands[1]), to=TensorProto.INT64)
        index, inside = _limited(writer, step, index, (one,))
        index = writer.node("Squeeze", index, writer.integers(-1))
        return Tensor(_filled(writer, step, writer.node("Gather", signal, index, axis=one), inside), order)
    if len(graph.shape(step.operands[1])) == 1:
        return Tensor(_one_window(writer, step, signal), order)
    return Tensor(_points(writer, step, signal), order)


def _one_window(writer: Writer, step: Step, signal: str) -> str:
    """Write a look-up of one window, which starts at the same place in every example."""
    of, graph = step.parameters["dimension_numbers"], writer.graph
    shape, sizes = graph.shape(step.operands[0]), step.parameters["slice_sizes"]
    axes = tuple(of.start_index_map)
    start = writer.node("Cast", writer.plain(step.operands[1]), to=TensorProto.INT64)
    length = writer.sizes([sizes[axis] for axis in axes])
    last = writer.node("Sub", writer.sizes([shape[axis] for axis in axes]), length)
    limited = writer.node("Min", writer.node("Max", start, writer.integers(0)), last)
    mode, known = GatherScatterMode.from_any(step.parameters["mode"]), graph.known(step.operands[1])
    if mode == GatherScatterMode.FILL_OR_DROP and known is None:
        same = writer.cast(writer.node("Equal", limited, start), np.int32)
        inside = writer.cast(writer.node("ReduceMin", same, keepdims=0), np.bool_)
    else:
        inside = ""
    end = writer.node("Add", limited, length)
    name = writer.node("Slice", signal, limited, end, writer.integers(axes))
    if of.collapsed_slice_dims:
        name = writer.node("Squeeze", name, writer.integers(of.collapsed_slice_dims))
    dtype = graph.dtype(step.operands[0])
    return writer.choice(inside, name, writer.constant(fill_of(step, dtype)), dtype) if inside else name


def _points(writer: Writer, step: Step, signal: str) -> str:
    """Write a look-up of points, or of slices at points, perhaps one an example."""
    of, graph = step.parameters["dimension_numbers"], writer.graph
    shared, axes = len(of.operand_batching_dims), tuple(of.start_index_map)
    shape, rank = graph.shape(step.operands[0]), len(graph.shape(step.operands[1])) - 1
    leading = tuple(range(shared))
    whole = all(size == shape[a] for a, size in enumerate(step.parameters["slice_sizes"]) if a >= shared + len(axes))
    behind = tuple(of.offset_dims) == tuple(range(rank, rank + len(shape) - shared - len(axes)))
    in_place = leading == tuple(of.operand_batching_dims) == tuple(of.start_indices_batching_dims)
    if not (whole and behind and in_place and axes == tuple(of.collapsed_slice_dims) == _after(shared, len(axes))):
        raise unsupported(step, "ONNX", "it takes more than slices along one axis, or points")
    index, inside = _limited(
        writer, step, writer.node("Cast", writer.plain(step.operands[1]), to=TensorProto.INT64), axes
    )
    return _filled(writer, step, writer.node("GatherND", signal, index, batch_dims=shared), inside)


def _after(first: int, count: int) -> tuple[int, ...]:
    return tuple(range(first, first + count))


def _limited(writer: Writer, step: Step, index: str, axes: tuple[int, ...]) -> tuple[str, str]:
    """Return places [..., axes] brought into their axes, and whether they were there; "" where that does not matter."""
    shape = writer.graph.shape(step.operands[0])
    last = writer.node("Sub", writer.sizes([shape[axis] for axis in axes]), writer.integers(1))
    limited = writer.node("Min", writer.node("Max", index, writer.integers(0)), last)
    if GatherScatterMode.from_any(step.parameters["mode"]) != GatherScatterMode.FILL_OR_DROP:
        return limited, ""  # places that are promised to be inside are limited, too, as XLA does
    there = writer.node("Cast", writer.node("Equal", limited, index), to=TensorProto.INT32)
    there = writer.node("ReduceMin", there, writer.integers(-1), keepdims=0)
    return limited, writer.node("Cast", there, to=TensorProto.BOOL)


def _filled(writer: Writer, step: Step, found: str, inside: str) -> str:
    """Return what was looked up, with JAX's value where the places are not `inside`."""
    if not inside:
        return found
    offset = step.parameters["dimension_numbers"].offset_dims
    made = [axis for axis in range(len(writer.graph.shapes[step.results[0]])) if axis not in offset]
    behind = [axis for axis in offset if not made or axis > made[0]]
    if behind:
        inside = writer.node("Unsqueeze", inside, writer.integers([axis - (made[0] if made else 0) for axis in behind]))
    dtype = writer.graph.dtype(step.operands[0])
    return writer.choice(inside, found, writer.constant(fill_of(step, dtype)), dtype)


def dynamic_slice(writer: Writer, step: Step) -> Tensor:
    """Write a slice whose start is computed: it is moved so that the slice is within the tensor, as in JAX."""
    signal, *starts = step.operands
    shape, sizes = writer.graph.shape(signal), step.parameters["slice_sizes"]
    cast = [writer.node("Cast", writer.plain(start), to=TensorProto.INT64) for start in starts]
    start = writer.node("Concat", *(writer.node("Reshape", one, writer.integers(1)) for one in cast), axis=0)
    length = writer.sizes(sizes)
    last = writer.node("Sub", writer.sizes(shape), length)
    start = writer.node("Min", writer.node("Max", start, writer.integers(0)), last)
    end, axes = writer.node("Add", start, length), writer.integers(range(len(shape)))
    return Tensor(writer.node("Slice", writer.plain(signal), start, end, axes), identity(len(shape)))


def iota(writer: Writer, step: Step) -> Tensor:
    """Write 0, 1, 2, … along an axis."""
    sizes, axis = writer.graph.shapes[step.results[0]], step.parameters["dimension"]
    size = writer.node("Squeeze", writer.sizes([sizes[axis]]))
    name = writer.node("Range", writer.constant(np.int64(0)), size, writer.constant(np.int64(1)))
    name = writer.cast(name, step.parameters["dtype"])
    if len(sizes) > 1:
        name = writer.node("Reshape", name, writer.integers([-1 if a == axis else 1 for a in range(len(sizes))]))
        name = writer.node("Expand", name, writer.sizes(sizes))
    return Tensor(name, identity(len(sizes)))


def size(writer: Writer, step: Step) -> Tensor:
    """Write a symbolic size as a number."""
    name = writer.node("Squeeze", writer.sizes([step.parameters["dim"]]))
    return Tensor(writer.cast(name, writer.graph.dtypes[step.results[0]]), ())


def tile(writer: Writer, step: Step) -> Tensor:
    """Write repetitions."""
    order = identity(len(writer.graph.shapes[step.results[0]]))
    return Tensor(writer.node("Tile", writer.plain(step.operands[0]), writer.sizes(step.parameters["reps"])), order)


def reverse(writer: Writer, step: Step) -> Tensor:
    """Write axes turned around."""
    tensor, axes = keep(writer, step), step.parameters["dimensions"]
    ends = writer.integers([-1] * len(axes)), writer.integers([np.iinfo(np.int64).min] * len(axes))
    places = writer.integers([tensor.order.index(axis) for axis in axes])
    return Tensor(writer.node("Slice", tensor.name, *ends, places, ends[0]), tensor.order)


def split(writer: Writer, step: Step) -> Made:
    """Write the parts of a tensor along an axis."""
    tensor = keep(writer, step)
    names = [f"t{len(writer.nodes)}_{number}" for number in range(len(step.results))]
    sizes, axis = writer.integers(step.parameters["sizes"]), tensor.order.index(step.parameters["axis"])
    return [Tensor(name, tensor.order) for name in writer.split("Split", tensor.name, sizes, results=names, axis=axis)]


def unstack(writer: Writer, step: Step) -> Made:
    """Write the slices of a tensor along an axis."""
    axis, name = step.parameters["axis"], writer.plain(step.operands[0])
    names = [f"t{len(writer.nodes)}_{number}" for number in range(len(step.results))]
    parts = writer.split("Split", name, writer.integers([1] * len(names)), results=names, axis=axis)
    order = identity(len(writer.graph.shapes[step.results[0]]))
    return [Tensor(writer.node("Squeeze", part, writer.integers(axis)), order) for part in parts]


def stack(writer: Writer, step: Step) -> Tensor:
    """Write tensors as the slices of one along a new axis."""
    axis = step.parameters["axis"]
    parts = [writer.node("Unsqueeze", writer.plain(one), writer.integers([axis])) for one in step.operands]
    return Tensor(writer.node("Concat", *parts, axis=axis), identity(len(writer.graph.shapes[step.results[0]])))


def pad(writer: Writer, step: Step) -> Tensor:
    """Write a tensor with edges added or cut off."""
    tensor, edges = keep(writer, step), step.parameters["padding_config"]
    if any(inside for _, _, inside in edges):
        raise unsupported(step, "ONNX", "it pads between places")
    if any(is_symbolic(edge) for low, high, _ in edges for edge in (low, high)):
        raise unsupported(step, "ONNX", "its edges depend on a size that is free")
    margins = [edges[axis][side] for side in (0, 1) for axis in tensor.order]
    return Tensor(
        writer.node("Pad", tensor.name, writer.integers(margins), writer.plain(step.operands[1])), tensor.order
    )
