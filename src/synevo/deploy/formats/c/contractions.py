"""Convolutions and dense layers as one thing: outputs that are sums of inputs at places, the same for every pixel.

    result[output, pixel] = Σ_k weights[output, k] · buffer[places[k] + start(pixel)]

The pixels are rows and columns of a grid. A strided convolution reads a signal whose rows and columns were sorted by
their remainder, so that neighbouring results read neighbouring places here too.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.deploy.formats.c.fusing import After, channel_axes
from synevo.deploy.formats.c.loops import Places
from synevo.deploy.formats.c.values import BYTE, Buffer, View, affine, contiguous
from synevo.deploy.formats.c.writer import CHANNEL_AXES, Writer
from synevo.wiring.tracing import Step

PLANE = 2
"""The number of axes of a grid of pixels."""


@dataclass(frozen=True)
class Contraction:
    """Outputs as weighted sums of inputs: weights [groups, outputs a group, inputs], places [groups, inputs].

    The grid has `rows` and `columns`; its steps in the buffer are `in_row` and `in_column`, and that between whole
    examples, of which there are `items`, is `in_item`. `axes` are those of the result that the outputs lie on; the
    others are the grid's, items first.
    """

    title: str
    buffer: Buffer
    weights: NDArray[np.float64]
    places: Places
    items: int
    rows: int
    columns: int
    in_item: int
    in_row: int
    in_column: int
    axes: tuple[int, ...]
    after: After

    @property
    def outputs(self) -> int:
        """The number of outputs."""
        return self.weights.shape[0] * self.weights.shape[1]


def convolution(writer: Writer, step: Step) -> Contraction:
    """Return a convolution; raise ExportError if its kernel depends on the input, or it has three axes of places."""
    of, numbers = step.parameters, step.parameters["dimension_numbers"]
    kernel = writer.fused.graph.known(step.operands[1])
    if kernel is None:
        raise writer.refuse(step, "its kernel depends on the input")
    if of["batch_group_count"] != 1 or kernel.ndim - CHANNEL_AXES not in (1, PLANE):
        raise writer.refuse(step, "it groups the batch, or is not of one or two axes of places")
    kernel = np.asarray(kernel.transpose(numbers.rhs_spec), np.float64)
    signal = _signal(writer, step)
    flat = kernel.ndim - CHANNEL_AXES < PLANE
    if flat:
        kernel = kernel[:, :, None]
    strides, stretches = ((1, *of[name]) if flat else tuple(of[name]) for name in ("window_strides", "rhs_dilation"))
    shape = writer.shape(step.results[0])
    items, outputs, *grid = (shape[axis] for axis in numbers.out_spec)
    rows, columns = (1, *grid) if flat else grid
    groups = of["feature_group_count"]
    tall, wide = ((np.arange(size) * stretch) for size, stretch in zip(kernel.shape[2:], stretches, strict=True))
    places = signal.places[0][:, tall[:, None], wide[None]].reshape(groups, -1)
    weights = kernel.reshape(groups, outputs // groups, -1)
    own = numbers.out_spec[1]
    step_of = signal.places[0, 0]
    return Contraction(
        f"{step.name} ({step.where})",
        signal.buffer,
        weights,
        places,
        items,
        rows,
        columns,
        int(signal.places[1, 0, 0, 0] - signal.places[0, 0, 0, 0]) if items > 1 else 0,
        int(step_of[strides[0], 0] - step_of[0, 0]) if rows > 1 else 0,
        int(step_of[0, strides[1]] - step_of[0, 0]) if columns > 1 else 0,
        (own,),
        writer.fused.after[step.results[0]],
    )


def dense(writer: Writer, step: Step) -> Contraction:
    """Return a product with a known matrix, of which there may be several, one for each index of shared axes."""
    (left_axes, right_axes), (left_batch, right_batch) = step.parameters["dimension_numbers"]
    turned = writer.fused.graph.known(step.operands[0]) is not None
    own, other = (1, 0) if turned else (0, 1)
    signal_axes, matrix_axes = (right_axes, left_axes) if turned else (left_axes, right_axes)
    signal_batch, matrix_batch = (right_batch, left_batch) if turned else (left_batch, right_batch)
    view = quantised(writer, step.operands[own])
    matrix = writer.fused.graph.known(step.operands[other])
    assert matrix is not None
    signal = _parts(view.places, signal_batch, signal_axes)
    weights = _parts(matrix, matrix_batch, matrix_axes)
    groups = int(np.prod([matrix.shape[axis] for axis in matrix_batch], dtype=int))
    inputs = int(np.prod([matrix.shape[axis] for axis in matrix_axes], dtype=int))
    weights = np.asarray(weights.reshape(groups, inputs, -1).transpose(0, 2, 1), np.float64)
    free = signal.shape[len(signal_batch) + len(signal_axes) :]
    signal = signal.reshape(groups * inputs, *free)
    grid = _grid(signal)
    if grid is None or view.buffer.name:
        view = writer.whole(View(view.buffer, signal))
        grid = _grid(view.places)
        signal = view.places
    assert grid is not None
    rows, columns, in_row, in_column = grid
    starts = signal.reshape(groups, inputs, -1)[..., 0]
    return Contraction(
        f"{step.name} ({step.where})",
        view.buffer,
        weights,
        starts,
        1,
        rows,
        columns,
        0,
        in_row,
        in_column,
        channel_axes(writer.fused.graph, step),
        writer.fused.after[step.results[0]],
    )


def _parts(array: NDArray[Any], batch: Any, contracted: Any) -> NDArray[Any]:
    """Return an array with its shared axes first, then the contracted ones, then the others."""
    others = [axis for axis in range(array.ndim) if axis not in (*batch, *contracted)]
    return array.transpose([*batch, *contracted, *others])


def _grid(signal: Places) -> tuple[int, int, int, int] | None:
    """Return rows, columns and their steps for places [inputs, *pixels]; None if the inputs move between pixels."""
    pixels = signal.reshape(len(signal), -1)
    if not (pixels - pixels[:, :1] == pixels[:1] - pixels[0, 0]).all():
        return None
    found = affine(signal[0])
    if found is None:
        return None
    sizes = [size for size in signal.shape[1:] if size > 1]
    strides = [stride for size, stride in zip(signal.shape[1:], found.strides, strict=True) if size > 1]
    while len(sizes) > 1 and strides[-2] == strides[-1] * sizes[-1]:
        sizes[-2:], strides[-2:] = [sizes[-2] * sizes[-1]], [strides[-1]]
    if len(sizes) > PLANE:
        return None
    sizes, strides = [1] * (PLANE - len(sizes)) + sizes, [0] * (PLANE - len(strides)) + strides
    return sizes[0], sizes[1], strides[0], strides[1]


def quantised(writer: Writer, operand: Any) -> View:
    """Return where an operand of a contraction stands; in a network of whole numbers it is made one of them."""
    view = writer.view(operand)
    quantum = writer.quanta.get(operand)
    if quantum is None or view.buffer.quantum is not None:
        return view
    shape = view.places.shape
    buffer = Buffer(BYTE, int(np.prod(shape)), quantum)
    target = View(buffer, contiguous(shape, tuple(range(len(shape)))))
    writer.copy(view, target)
    return target


def _signal(writer: Writer, step: Step) -> View:
    """Return the signal of a convolution, its axes as batch, channels, rows, columns, with all that its kernel reads.

    It is read where it stands if rows follow each other and its margins are there; or else it is copied.
    """
    of, numbers, value = step.parameters, step.parameters["dimension_numbers"], step.operands[0]
    view = quantised(writer, value)
    spatial = numbers.lhs_spec[CHANNEL_AXES:]
    padding = [(int(low), int(high)) for low, high in of["padding"]]
    plain = {*of["window_strides"], *of["lhs_dilation"]} == {1}
    places = view.places
    frame = writer.frames.get(value) if isinstance(value, int) else None
    if plain and frame is not None and frame.buffer is view.buffer:
        cuts = [slice(low, low + size) for low, size in zip(frame.low, places.shape, strict=True)]
        for axis, (low, high) in zip(spatial, padding, strict=True):
            cuts[axis] = slice(cuts[axis].start - low, cuts[axis].stop + high)
        places, padding = frame.places[tuple(cuts)], [(0, 0)] * len(padding)
    places = places.transpose(numbers.lhs_spec)
    strides, stretches = of["window_strides"], of["lhs_dilation"]
    if places.ndim - CHANNEL_AXES < PLANE:
        places, padding = places[:, :, None], [(0, 0), *padding]
        strides, stretches = (1, *strides), (1, *stretches)
    found = affine(places)
    beside = found is not None and (found.strides[3] == 1 or places.shape[3] == 1)
    if plain and beside and not view.buffer.name and not any(map(any, padding)):
        return View(view.buffer, places)
    return _spread(writer, View(view.buffer, places), padding, strides, stretches)


def _spread(writer: Writer, view: View, padding: list[tuple[int, int]], strides: Any, stretches: Any) -> View:
    """Return a copy with margins of zero, zeros between stretched places, and places sorted by their remainder."""
    items, channels, *sizes = view.places.shape
    stretched = [(size - 1) * stretch + 1 for size, stretch in zip(sizes, stretches, strict=True)]
    whole = [low + size + high for (low, high), size in zip(padding, stretched, strict=True)]
    tall, wide = (-(-size // stride) for size, stride in zip(whole, strides, strict=True))
    stored = (items, channels, *strides, tall, wide)
    buffer = Buffer(view.buffer.kind, int(np.prod(stored)), view.buffer.quantum)
    places = np.arange(buffer.size, dtype=np.int64).reshape(stored).transpose(0, 1, 4, 2, 5, 3)
    places = places.reshape(items, channels, tall * strides[0], wide * strides[1])[:, :, : whole[0], : whole[1]]
    if int(np.prod(stretched)) * items * channels < buffer.size or stretched != sizes:
        writer.clear(buffer)
    pieces = [
        (slice(None), slice(None), slice(row, None, strides[0]), slice(column, None, strides[1]))
        for row in range(strides[0])
        for column in range(strides[1])
    ]
    target, low = View(buffer, places), (0, 0, *(before for before, _ in padding))
    writer.insert(view, target, low, (1, 1, *stretches), pieces=pieces)
    return target
