"""Look-ups: elements at places that depend on the input, and steps that walk along an axis.

    result[i, k] = table[limited(place[i]) · stride + k]     an embedding, a slice, a point
    result[i] = the first k with the largest signal[i, k]

A place outside is limited to its axis, so that no memory beside the table is read; where JAX gives a value of its own
for it, so does C.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.lax import GatherScatterMode

from synevo.deploy.formats.c.expressions import type_of
from synevo.deploy.formats.c.loops import Places, walk
from synevo.deploy.formats.c.reductions import regular
from synevo.deploy.formats.c.values import Operation, View, affine, number, storage_order
from synevo.deploy.formats.c.writer import Writer, load, store
from synevo.deploy.formats.graph import fill_of
from synevo.wiring.tracing import Step


def write_gather(writer: Writer, step: Step) -> None:
    """Add the operation that looks up windows of an array, which start at places that another array holds."""
    of, sizes = step.parameters["dimension_numbers"], tuple(step.parameters["slice_sizes"])
    view, index = regular(writer, writer.view(step.operands[0])), writer.view(step.operands[1])
    shape = writer.shape(step.results[0])
    batch = [axis for axis in range(len(shape)) if axis not in of.offset_dims]
    window = view.places[tuple(slice(0, size) for size in sizes)]
    window = window.squeeze((*of.collapsed_slice_dims, *of.operand_batching_dims))
    base = window.reshape([size if axis in of.offset_dims else 1 for axis, size in enumerate(shape)])
    strides = _strides(view.places)
    for own, shared in zip(of.operand_batching_dims, of.start_indices_batching_dims, strict=True):
        axis = batch[shared]
        line = np.arange(shape[axis]) * strides[own]
        base = base + line.reshape([-1 if one == axis else 1 for one in range(len(shape))])
    starts = []
    for which, axis in enumerate(of.start_index_map):
        places = index.places[..., which].reshape(
            [1 if one in of.offset_dims else shape[one] for one in range(len(shape))]
        )
        starts.append(
            (index.moved(np.broadcast_to(places, shape)), strides[axis], view.places.shape[axis] - sizes[axis])
        )
    fills = GatherScatterMode.from_any(step.parameters["mode"]) == GatherScatterMode.FILL_OR_DROP
    fill = number(fill_of(step, writer.dtype(step.results[0]))) if fills else ""
    _look_up(writer, step, view.moved(np.broadcast_to(base, shape)), starts, of.offset_dims, fill)


def write_dynamic_slice(writer: Writer, step: Step) -> None:
    """Add the operation that cuts a slice whose start depends on the input; it is moved to be within, as in JAX."""
    view, sizes = regular(writer, writer.view(step.operands[0])), tuple(step.parameters["slice_sizes"])
    strides, starts = _strides(view.places), []
    for axis, operand in enumerate(step.operands[1:]):
        if view.places.shape[axis] > sizes[axis]:
            start = writer.view(operand)
            places = np.broadcast_to(start.places.reshape((1,) * len(sizes)), sizes)
            starts.append((start.moved(places), strides[axis], view.places.shape[axis] - sizes[axis]))
    window = view.moved(view.places[tuple(slice(0, size) for size in sizes)])
    _look_up(writer, step, window, starts, range(len(sizes)), "")


def _look_up(
    writer: Writer, step: Step, base: View, starts: Sequence[tuple[View, int, int]], offset: Sequence[int], fill: str
) -> None:
    """Read the places of `base`, moved by each start, limited to 0 … last, times its stride.

    Along the axes of the result named by `offset`, starts are the same. Where one is outside, the result is `fill`.
    """
    target = writer.make(step.results[0])
    rank = base.places.ndim
    first = tuple(slice(0, 1) if axis in offset else slice(None) for axis in range(rank))
    window = tuple(slice(None) if axis in offset else slice(0, 1) for axis in range(rank))
    arrays = [target.places, base.places, *(view.places for view, _, _ in starts)]
    around = walk([places[first] for places in arrays], tuple(range(rank)), writer.places_table)
    inner = [places[window] for places in (target.places, base.places)]
    within = walk([places - places.flat[0] for places in inner], storage_order(inner[0]), writer.places_table, "k")

    def lines() -> list[str]:
        head, moves, inside = [], [], []
        for place, (view, stride, last) in enumerate(starts):
            element = load(view.buffer, around.index(place + 2), around.starts[place + 2])
            head.append(f"const int p{place}q = {element};")
            head.append(f"const int p{place} = p{place}q < 0 ? 0 : p{place}q > {last} ? {last} : p{place}q;")
            moves.append(f"{stride} * p{place}" if stride != 1 else f"p{place}")
            inside.append(f"p{place} == p{place}q")
        source = _sum(around.index(1), *moves, within.index(1))
        raw = base.buffer.quantum == target.buffer.quantum
        value = load(base.buffer, source, around.starts[1], raw=raw)
        if fill and inside:
            value = f"{' && '.join(inside)} ? {value} : {fill}"
        to = _sum(around.index(0), within.index(0))
        return around.around([*head, *within.around([store(target.buffer, to, around.starts[0], value, raw=raw)])])

    buffers = (base.buffer, *(view.buffer for view, _, _ in starts))
    writer.operations.append(Operation(f"{step.name} ({step.where})", buffers, target.buffer, lines))


def write_place(writer: Writer, step: Step, sign: str) -> None:
    """Add the operation that finds the place of the largest or smallest element along an axis, the first of equals."""
    view = regular(writer, writer.view(step.operands[0]))
    (axis,) = step.parameters["axes"]
    target = writer.make(step.results[0])
    arranged = np.moveaxis(view.places, axis, -1)
    around = walk([target.places, arranged[..., 0]], storage_order(target.places), writer.places_table)
    stride, size = _strides(arranged)[-1], arranged.shape[-1]
    held = type_of(writer.dtype(step.operands[0]))

    def lines() -> list[str]:
        begin, index = around.starts[1], around.index(1)
        step_ = "k" if stride == 1 else f"{stride} * k"
        body = [
            f"{held} best = {load(view.buffer, index, begin)};",
            "int at = 0;",
            f"for (int k = 1; k < {size}; k++) {{",
            f"  const {held} v = {load(view.buffer, _sum(index, step_), begin)};",
            f"  if (v {sign} best || (v != v && best == best)) {{ best = v; at = k; }}",
            "}",
            store(target.buffer, around.index(0), around.starts[0], "at"),
        ]
        return around.around(body)

    writer.operations.append(Operation(f"{step.name} ({step.where})", (view.buffer,), target.buffer, lines))


def write_running_sum(writer: Writer, step: Step) -> None:
    """Add the operation that sums all elements up to each along an axis."""
    view = regular(writer, writer.view(step.operands[0]))
    target = writer.make(step.results[0], view.places)
    turn = -1 if step.parameters["reverse"] else 1
    to, source = (
        np.moveaxis(places, step.parameters["axis"], -1)[..., ::turn] for places in (target.places, view.places)
    )
    around = walk([to[..., 0], source[..., 0]], tuple(range(to.ndim - 1)), writer.places_table)
    strides, held = (_strides(to)[-1], _strides(source)[-1]), type_of(writer.dtype(step.results[0]))

    def lines() -> list[str]:
        places = [_sum(around.index(side), f"{stride} * k") for side, stride in enumerate(strides)]
        return around.around(
            [
                f"{held} s = 0;",
                f"for (int k = 0; k < {to.shape[-1]}; k++) {{",
                f"  s += {load(view.buffer, places[1], around.starts[1])};",
                f"  {store(target.buffer, places[0], around.starts[0], 's')}",
                "}",
            ]
        )

    writer.operations.append(Operation(f"{step.name} ({step.where})", (view.buffer,), target.buffer, lines))


def _strides(places: Places) -> tuple[int, ...]:
    """Return the strides of affine places, one an axis."""
    found = affine(places)
    assert found is not None
    return found.strides


def _sum(*terms: Any) -> str:
    return " + ".join(term for term in terms if term != "0") or "0"
