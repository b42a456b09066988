"""Reductions over axes and over windows, and products of two values, as loops around a sum, a product or an extreme."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from synevo.deploy.formats.c.elementwise import write_reads
from synevo.deploy.formats.c.expressions import type_of
from synevo.deploy.formats.c.loops import Places, Walk, walk
from synevo.deploy.formats.c.values import FLOAT, Buffer, Operation, View, affine, contiguous, number, storage_order
from synevo.deploy.formats.c.writer import Writer, load, standing, store
from synevo.wiring.tracing import Step

_STARTS = {"sum": 0.0, "prod": 1.0, "max": -np.inf, "min": np.inf}
_LEAST = -(2**31) + 1
"""An integer that is smaller than all that networks count to."""

_JOINED = {
    "sum": "{0} += v;",
    "prod": "{0} *= v;",
    "max": "{0} = v > {0} ? v : {0};",
    "min": "{0} = v < {0} ? v : {0};",
}

MOST_WRITTEN_OUT = 9
"""The most elements whose reduction is written out without a loop: a window of 3 × 3."""


@dataclass(frozen=True)
class Reduced:
    """Elements of a buffer that are reduced: those `within` a window from each place of the view on.

    `kind` is sum, prod, max or min, `held` C's type of the result, `near` the places of a small window.
    """

    view: View
    kind: str
    held: str
    within: Walk
    near: tuple[int, ...]

    def lines(self, name: str, index: str, start: int, *, raw: bool = False) -> list[str]:
        """Return the lines that declare `name` as the reduced number; whole numbers stay such if it is `raw`."""
        quantum = self.view.buffer.quantum
        if quantum is not None and not raw and self.kind in ("max", "min"):
            meant = standing(f"{name}q", quantum)
            return [*self.lines(f"{name}q", index, start, raw=True), f"const float {name} = {meant};"]
        buffer, held = self.view.buffer, "int" if raw and self.view.buffer.quantum else self.held
        join = _JOINED[self.kind].format(name)
        if self.near:
            first, *others = (load(buffer, index, start + place, raw=raw) for place in self.near)
            return [f"{held} {name} = {first};", *(f"{{ const {held} v = {other}; {join} }}" for other in others)]
        begin = _STARTS[self.kind]
        text = number(np.float32(begin)) if held == "float" else str(int(np.clip(begin, _LEAST, -_LEAST)))
        place = " + ".join(text for text in (index, self.within.index(0)) if text != "0") or "0"
        value = load(buffer, place, start, raw=raw)
        return [f"{held} {name} = {text};", *self.within.around([f"const {held} v = {value};", join])]


def write_reduction(writer: Writer, step: Step, kind: str) -> None:
    """Add the operation that reduces axes to their sum, product, largest or smallest element."""
    view = regular(writer, writer.view(step.operands[0]))
    axes = tuple(step.parameters["axes"])
    others = tuple(axis for axis in range(view.places.ndim) if axis not in axes)
    arranged = view.places.transpose(*others, *axes)
    _write(writer, step, kind, view.moved(arranged[_first(len(axes))]), arranged[(0,) * len(others)])


def write_windows(writer: Writer, step: Step, kind: str) -> None:
    """Add the operation that pools: every window gives its sum, or its largest or smallest element.

    Margins of the signal are filled first, with what does not count.
    """
    of = step.parameters
    view = regular(writer, writer.view(step.operands[0]))
    if any(map(any, of["padding"])) or any(stretch != 1 for stretch in of["base_dilation"]):
        view = _padded(writer, step, view, kind)
    places, shape = view.places, writer.shape(step.results[0])
    moves = zip(shape, of["window_strides"], strict=True)
    outer = places[tuple(slice(0, (size - 1) * stride + 1, stride) for size, stride in moves)]
    reach = zip(of["window_dimensions"], of["window_dilation"], strict=True)
    inner = places[tuple(slice(0, (size - 1) * stretch + 1, stretch) for size, stretch in reach)]
    if kind != "sum" and view.buffer.quantum is not None:
        writer.quanta[step.results[0]] = view.buffer.quantum  # an extreme is one of its window's numbers
    _write(writer, step, kind, view.moved(outer), inner)


def _padded(writer: Writer, step: Step, view: View, kind: str) -> View:
    """Return a copy of a signal with its margins, and between stretched places, filled with what does not count."""
    of, quantum = step.parameters, view.buffer.quantum
    sizes = [(size - 1) * gap + 1 for size, gap in zip(view.places.shape, of["base_dilation"], strict=True)]
    whole = tuple(low + size + high for (low, high), size in zip(of["padding"], sizes, strict=True))
    buffer = Buffer(view.buffer.kind, int(np.prod(whole)), quantum)
    target = View(buffer, contiguous(whole, storage_order(view.places)))
    least, most = (-np.inf, np.inf) if buffer.kind == FLOAT else (_LEAST, -_LEAST) if quantum is None else (-128, 127)
    nothing = {"sum": 0 if quantum is None else quantum.zero, "max": least, "min": most}[kind]
    writer.fill(target, number(np.float32(nothing) if buffer.kind == FLOAT else np.int32(nothing)), raw=True)
    writer.insert(view, target, [low for low, _ in of["padding"]], of["base_dilation"])
    return target


def _write(writer: Writer, step: Step, kind: str, view: View, inner: Places) -> None:
    """Reduce the `inner` places from each place of a view on: in the loop that reads the results, or in its own."""
    (result,) = step.results
    places = inner - inner.flat[0]
    within = walk([places], storage_order(inner), writer.places_table, "k")
    near = tuple(map(int, np.sort(places, axis=None))) if places.size <= MOST_WRITTEN_OUT else ()
    reduced = Reduced(view, kind, type_of(writer.dtype(result)), within, near)
    if writer.fused.loops[result] != result:
        writer.reads[result] = reduced
        return
    raw = kind in ("max", "min") and view.buffer.quantum == writer.quanta.get(result)
    write_reads(writer, result, [reduced], [], "x0", f"{step.name} ({step.where})", raw=raw)


def write_product(writer: Writer, step: Step) -> None:
    """Add the operation that multiplies two values that both depend on the input, as attention does."""
    (left_axes, right_axes), (left_batch, right_batch) = step.parameters["dimension_numbers"]
    left, right = (regular(writer, writer.view(operand)) for operand in step.operands)
    first, second = _arranged(left.places, left_batch, left_axes), _arranged(right.places, right_batch, right_axes)
    shape, target = writer.shape(step.results[0]), writer.make(step.results[0])
    shared, summed = len(left_batch), len(left_axes)
    rows, columns = (one.ndim - shared - summed for one in (first, second))
    starts = [first[_first(summed)][(..., *(None,) * columns)], second[_first(summed)]]
    starts[1] = starts[1].reshape(*starts[1].shape[:shared], *(1,) * rows, *starts[1].shape[shared:])
    outer = [np.broadcast_to(one, shape) for one in starts]
    inner = [first[(0,) * (shared + rows)], second[(0,) * (shared + columns)]]
    around = walk([target.places, *outer], storage_order(target.places), writer.places_table)
    within = walk([one - one.flat[0] for one in inner], tuple(range(summed)), writer.places_table, "k")

    def lines() -> list[str]:
        factors = [
            load(view.buffer, f"{around.index(side + 1)} + {within.index(side)}", around.starts[side + 1])
            for side, view in enumerate((left, right))
        ]
        body = within.around([f"s += ({factors[0]}) * ({factors[1]});"])
        return around.around(["float s = 0.0f;", *body, store(target.buffer, around.index(0), around.starts[0], "s")])

    count = int(np.prod(shape)) * inner[0].size
    buffers = (left.buffer, right.buffer)
    writer.operations.append(Operation(f"{step.name} ({step.where})", buffers, target.buffer, lines, count, count))


def _arranged(places: Places, batch: Any, summed: Any) -> Places:
    """Return the places of a factor: its shared axes first, its summed ones last."""
    free = [axis for axis in range(places.ndim) if axis not in (*batch, *summed)]
    return places.transpose(*batch, *free, *summed)


def _first(axes: int) -> tuple[Any, ...]:
    """Return the index of the first element of so many last axes."""
    return (..., *(0,) * axes)


def regular(writer: Writer, view: View) -> View:
    """Return a view whose places are affine: itself, or a copy."""
    return view if affine(view.places) is not None else writer.whole(view)
