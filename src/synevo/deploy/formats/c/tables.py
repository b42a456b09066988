"""Tables of synapses: a contraction as lists of places and weights, and the loop that walks through them.

A list belongs to one output, with its living synapses alone, or to a block of outputs, with the places of all of them;
then a dead synapse is a zero that is paid for. A loop is chosen a layer, by the time that its multiply-adds take, and
by the size of its tables where others are about as fast: lists of one output cost more a multiply-add, lists of blocks
have more of them. Where all kernels are equally dense,
blocks win above a share of 0.056 / 0.065 = 86 % living synapses in a convolution, and above 0.07 / 0.29 = 24 % in a
dense layer.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.deploy.formats.c.contractions import Contraction
from synevo.deploy.formats.c.kernels import KERNELS, Kernel, Variant
from synevo.deploy.formats.c.values import BYTE, FLOAT, Buffer, Operation, View, affine, contiguous, number
from synevo.deploy.formats.c.writer import BYTES, Writer, place_type

Lists = list[tuple[NDArray[np.int64], NDArray[np.float64]]]
"""For each output or block of outputs: its places, and its weights [places, outputs of a block]."""

MOST_PLACES = int(np.iinfo(np.uint16).max)
"""The most places that a list may have."""

SLACK = 1.15
"""A loop that takes up to so many times as long as the fastest is chosen if its tables are smaller."""

LOWEST, LARGEST = -128, 127
"""The smallest and the largest whole number; weights are from -127."""


@dataclass(frozen=True)
class Chosen:
    """A loop for a contraction, the contraction as it walks through it, its lists, and its estimated time."""

    kernel: Kernel
    contraction: Contraction
    lists: Lists
    ns: float

    @property
    def bytes(self) -> int:
        """The size of its tables: two bytes a place, and its weights."""
        each = BYTES[self.contraction.buffer.kind] * self.kernel.outputs + 2
        return each * sum(len(places) for places, _ in self.lists)


def write_contraction(writer: Writer, contraction: Contraction) -> None:
    """Add the operation that computes a contraction, its tables, and the buffer of its result."""
    chosen = choose(contraction, framed=writer.framed(contraction.after.result))
    target, back = _target(writer, chosen)
    source = chosen.contraction.buffer
    variant = Variant(
        chosen.kernel,
        place_type(max((int(places.max(initial=0)) for places, _ in chosen.lists), default=0)),
        source.kind,
        target.buffer.kind,
    )
    out = _out(chosen, target.places)
    layer = _layer(writer, variant, chosen, target.buffer, out)
    one = chosen.contraction
    start, out_item = int(target.places.flat[0]), out[0]

    def lines() -> list[str]:
        if one.items == 1:
            return [f"{variant.name}({source.pointer()}, {target.buffer.pointer(start)}, &{layer});"]
        given, to = f"{source.pointer()} + {one.in_item} * n", f"{target.buffer.pointer(start)} + {out_item} * n"
        return [f"for (int n = 0; n < {one.items}; n++) {variant.name}({given}, {to}, &{layer});"]

    pixels = one.items * one.rows * one.columns
    living = pixels * int(np.count_nonzero(one.weights))
    title = f"{one.title}: {np.count_nonzero(one.weights)} of {one.weights.size} synapses, {chosen.kernel.name}"
    writer.operations.append(
        Operation(
            title, (source,), target.buffer, lines, living, pixels * one.weights.size, ((source, _reach(chosen)),)
        )
    )
    if back is not None:
        writer.copy(target, back)


def choose(contraction: Contraction, *, framed: bool) -> Chosen:
    """Return the loop for a contraction with the smallest tables of those that are about as fast as the fastest.

    Times are those measured for each loop (`Kernel.ns`). A result that is `framed` by margins is written row by row.
    """
    flat = contraction if framed else _in_one_row(contraction)
    found = []
    for kernel in KERNELS[contraction.buffer.kind]:
        one = flat if kernel.columns > 1 else contraction
        if kernel.columns > 1 and one.columns > 1 and one.in_column != 1:
            continue
        lists = _lists(contraction, kernel)
        lanes = -(-one.rows // kernel.rows) * -(-one.columns // kernel.columns)
        terms = sum(len(places) for places, _ in lists)
        blocks = len(lists) * lanes * one.items
        each = kernel.rows * kernel.columns * kernel.outputs
        if all(len(places) <= MOST_PLACES for places, _ in lists):
            found.append(
                Chosen(kernel, one, lists, one.items * lanes * terms * each * kernel.ns + blocks * kernel.ns_block)
            )
    fastest = min(one.ns for one in found)
    return min((one for one in found if one.ns <= SLACK * fastest), key=lambda one: (one.bytes, one.ns))


def _in_one_row(one: Contraction) -> Contraction:
    """Return a contraction whose rows follow each other without a gap as one of a single row."""
    if one.rows > 1 and (one.in_row == one.columns * one.in_column or one.columns == 1):
        step = one.in_column if one.columns > 1 else one.in_row
        return replace(one, rows=1, columns=one.rows * one.columns, in_row=0, in_column=step)
    return one


def _lists(one: Contraction, kernel: Kernel) -> Lists:
    """Return the places of the outputs that share a list, and their weights; zeros for those that an output lacks."""
    groups, each, _ = one.weights.shape
    together = kernel.outputs
    alive = []
    for output in range(groups * each):
        weights, places = one.weights[output // each, output % each], one.places[output // each]
        living = np.flatnonzero(weights)
        alive.append((places[living], weights[living]))
    lists = []
    for first in range(0, len(alive), together):
        own = alive[first : first + together]
        union = np.unique(np.concatenate([places for places, _ in own]))
        table = np.zeros((len(union), together))
        for column, (places, weights) in enumerate(own):
            np.add.at(table[:, column], np.searchsorted(union, places), weights)
        if kernel.pairs and len(union) % 2:
            union, table = np.append(union, union[-1]), np.append(table, np.zeros((1, together)), axis=0)
        lists.append((union, table))
    return lists


def _target(writer: Writer, chosen: Chosen) -> tuple[View, View | None]:
    """Return where a result is written, its axes as outputs and pixels, and where it must then be copied to, if at all.

    Its elements stand output by output, or, for a loop across outputs, pixel by pixel.
    """
    one = chosen.contraction
    shape = writer.shape(one.after.result)
    others = tuple(axis for axis in range(len(shape)) if axis not in one.axes)
    items = others[:1] if one.items > 1 else ()
    rest = tuple(axis for axis in others if axis not in items)
    order = (
        (*items, *rest, *one.axes) if chosen.kernel.columns == 1 < chosen.kernel.outputs else (*items, *one.axes, *rest)
    )
    view = writer.make(one.after.result, contiguous(shape, order))
    arranged = View(view.buffer, _arranged(view.places, one))
    if _out(chosen, arranged.places, optional=True) is not None:
        return arranged, None
    buffer = Buffer(view.buffer.kind, int(np.prod(shape)), view.buffer.quantum)
    return View(buffer, _arranged(contiguous(shape, order), one)), arranged


def _arranged(places: Any, one: Contraction) -> Any:
    """Return the places of a result as [items, outputs, *grid]."""
    others = [axis for axis in range(places.ndim) if axis not in one.axes]
    shape = [places.shape[axis] for axis in others]
    if one.items > 1:
        moved = places.transpose(others[0], *one.axes, *others[1:])
        return moved.reshape(shape[0], one.outputs, *shape[1:])
    return places.transpose(*one.axes, *others).reshape(1, one.outputs, *shape)


def _out(chosen: Chosen, places: Any, *, optional: bool = False) -> Any:
    """Return the steps of a result in its buffer: between items, outputs, rows and columns; None if they do not fit."""
    one = chosen.contraction
    found = affine(places.reshape(*places.shape[:2], one.rows, one.columns))
    wide = chosen.kernel.columns > 1 and one.columns > 1
    if found is None or (wide and found.strides[3] != 1):
        assert optional
        return None
    return found.strides


def _reach(chosen: Chosen) -> int:
    """Return how many elements of its buffer a loop may read, with those that its last blocks read and do not use."""
    one, kernel = chosen.contraction, chosen.kernel
    tall, wide = (-(-size // side) * side for size, side in ((one.rows, kernel.rows), (one.columns, kernel.columns)))
    last = max((int(places.max(initial=0)) for places, _ in chosen.lists), default=0)
    step = one.in_column if kernel.columns == 1 else 1
    return last + (one.items - 1) * one.in_item + (tall - 1) * one.in_row + (wide - 1) * step + 1


def _layer(writer: Writer, variant: Variant, chosen: Chosen, target: Buffer, out: Any) -> str:
    """Store the tables of a layer, and the constant that describes it; return its name."""
    one, after = chosen.contraction, chosen.contraction.after
    together = chosen.kernel.outputs
    padded = -(-one.outputs // together) * together
    factor, shift = (np.pad(values, (0, padded - one.outputs)) for values in (after.factor, after.shift))
    weights = [
        table * factor[first * together : (first + 1) * together] for first, (_, table) in enumerate(chosen.lists)
    ]
    places = np.concatenate([places for places, _ in chosen.lists])
    counts = np.array([len(places) for places, _ in chosen.lists])
    fields = [writer.table(places, variant.place, "places")]
    low, high = np.float32(after.low), np.float32(after.high)
    if variant.source == FLOAT:
        flat = np.concatenate([table.reshape(-1) for table in weights])
        fields += [writer.table(flat, FLOAT, "weights"), writer.table(counts, "uint16_t", "counts")]
        fields.append(writer.table(shift, FLOAT, "bias"))
    else:
        source = one.buffer.quantum
        assert source is not None
        scales = _scales(weights)
        whole = [
            np.rint(table / scales[first * together : (first + 1) * together]) for first, table in enumerate(weights)
        ]
        sums = np.concatenate([table.sum(axis=0) for table in whole])
        bias = np.rint(shift / (scales * source.scale)) - source.zero * sums
        factors, zero = scales * source.scale, 0.0
        if variant.target == BYTE:
            assert target.quantum is not None
            factors, zero = factors / target.quantum.scale, float(target.quantum.zero)
            bounds = np.array([after.low, after.high]) / target.quantum.scale + zero
            low, high = (np.float32(bound) for bound in np.clip(bounds, LOWEST, LARGEST))
        fields += [writer.table(np.concatenate([table.reshape(-1) for table in whole]), BYTE, "weights")]
        fields += [writer.table(counts, "uint16_t", "counts"), writer.table(bias, "int32_t", "bias")]
        fields += [writer.table(factors, FLOAT, "factors"), number(np.float32(zero))]
    numbers = (one.outputs, one.rows, one.columns, one.in_row, one.in_column, *out[1:])
    return writer.layer(variant, [*fields, *map(str, map(int, numbers)), number(low), number(high)])


def _scales(weights: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return the scale of each output's weights, so that the largest is 127."""
    largest = np.concatenate([np.abs(table).max(axis=0, initial=0.0) for table in weights])
    return np.where(largest > 0, largest, 1.0) / LARGEST
