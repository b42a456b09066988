"""Rules of the primitives that move elements and change none: reshape, transpose, slice, pad, concatenate, gather."""

import math
from collections.abc import Sequence

import numpy as np

from synevo.wiring.identities import STAYS, Axes, Axis, Identities, stays
from synevo.wiring.tracing import Step
from synevo.wiring.walking import Walk


def freeze_all(walk: Walk, step: Step) -> list[Axes]:
    """The rule of primitives that have none."""
    for operand in step.operands:
        for axis in walk.axes(operand):
            walk.freeze(axis, step, "meets a primitive without a rule")
    return [tuple(stays(size) for size in walk.program.shapes[value]) for value in step.results]


def broadcast(walk: Walk, step: Step) -> list[Axes]:
    """New axes get fresh identities, so that shapes flow backwards."""
    shape, places = step.parameters["shape"], step.parameters["broadcast_dimensions"]
    operand = step.operands[0]
    axes = [walk.identities.fresh(size, walk.number(operand)) for size in shape]
    for place, size, axis in zip(places, walk.shape(operand), walk.axes(operand), strict=True):
        if size == shape[place]:
            axes[place] = axis
        else:
            walk.freeze(axis, step, "repeated")
    return [tuple(axes)]


def tile(walk: Walk, step: Step) -> list[Axes]:
    """Axes that are repeated cannot die; the others pass."""
    result = []
    for axis, times in zip(walk.axes(step.operands[0]), step.parameters["reps"], strict=True):
        if times != 1:
            walk.freeze(axis, step, "repeated")
        result.append(axis if times == 1 else stays(len(axis) * times))
    return [tuple(result)]


def transpose(walk: Walk, step: Step) -> list[Axes]:
    """Axes change places."""
    order = step.parameters["permutation"]
    walk.move_origin(step, order)
    axes = walk.axes(step.operands[0])
    return [tuple(axes[axis] for axis in order)]


def squeeze(walk: Walk, step: Step) -> list[Axes]:
    """Axes of one element vanish; an element that could die is kept."""
    gone, axes = step.parameters["dimensions"], walk.axes(step.operands[0])
    for place in gone:
        walk.freeze(axes[place], step, "the only one left of its axis")
    return [tuple(axis for place, axis in enumerate(axes) if place not in gone)]


def reshape(walk: Walk, step: Step) -> list[Axes]:
    """Axes merge into one, or one splits."""
    old, new = walk.shape(step.operands[0]), walk.program.shapes[step.results[0]]
    if 0 in old:
        return freeze_all(walk, step)
    axes, result = walk.axes(step.operands[0]), []
    for before, after in _matching_groups(old, new):
        parts = [axes[place] for place in before]
        if len(after) == 1 and len(parts) == 1:
            result.append(parts[0])
        else:
            result.extend(split_axis(walk, step, merge_axes(walk.identities, parts), [new[place] for place in after]))
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


def merge_axes(identities: Identities, parts: Sequence[Axis]) -> Axis:
    """Axes that become one: each place is dead as soon as its place on any of them is."""
    live = [place for place, part in enumerate(parts) if not identities.all_frozen(part)]
    if len(parts) == 1:
        return parts[0]
    if not live:
        return _frozen_product(parts)
    dead = [parts[place].dead for place in live]
    shape = [len(part) for part in parts]
    grids = [
        np.broadcast_to(parts[place].ids.reshape([-1 if k == place else 1 for k in range(len(parts))]), shape)
        for place in live
    ]
    if len(live) == 1:
        return Axis(grids[0].reshape(-1).copy(), dead[0])
    cells = zip(*(grid.reshape(-1) for grid in grids), strict=True)
    ids = np.array([identities.derive(cell) for cell in cells], np.int64)
    return Axis(ids, dead[0] if len(set(dead)) == 1 else None)


def _frozen_product(parts: Sequence[Axis]) -> Axis:
    """Axes that never die, as one; it keeps the identities that say why."""
    total = math.prod(len(part) for part in parts)
    for place, part in enumerate(parts):
        if (part.ids != STAYS).any():
            shape = [len(other) for other in parts]
            grid = part.ids.reshape([-1 if k == place else 1 for k in range(len(parts))])
            return Axis(np.broadcast_to(grid, shape).reshape(-1).copy(), part.dead)
    return stays(total)


def split_axis(walk: Walk, step: Step, axis: Axis, sizes: Sequence[int]) -> list[Axis]:
    """The axes that one becomes: itself along one of them where it repeats along the others, else fresh ones.

    The identities of the old axis are then derived from those of the new ones.
    """
    identities = walk.identities
    if len(sizes) == 1:
        return [axis]
    if not sizes:
        walk.freeze(axis, step, "the only one left of its axis")
        return []
    if identities.all_frozen(axis):
        return [stays(size) for size in sizes]
    block = axis.ids.reshape(sizes)
    for place, size in enumerate(sizes):
        along = np.moveaxis(block, place, 0).reshape(size, -1)
        if (along == along[:, :1]).all():
            return [Axis(along[:, 0], axis.dead) if k == place else stays(other) for k, other in enumerate(sizes)]
    fresh = [identities.fresh(size, axis.dead) for size in sizes]
    for cell, identity in zip(np.ndindex(*sizes), axis.ids, strict=True):
        identities.tie(int(identity), identities.derive(part.ids[k] for part, k in zip(fresh, cell, strict=True)))
    return fresh


def slice_(walk: Walk, step: Step) -> list[Axes]:
    """Some places of an axis; in steps only where none of them can die."""
    starts, limits = step.parameters["start_indices"], step.parameters["limit_indices"]
    strides = step.parameters["strides"] or (1,) * len(starts)
    result = []
    for axis, start, limit, stride in zip(walk.axes(step.operands[0]), starts, limits, strides, strict=True):
        if stride != 1:
            walk.freeze(axis, step, "taken in steps")
        result.append(axis.take(slice(start, limit, stride)))
    return [tuple(result)]


def split(walk: Walk, step: Step) -> list[Axes]:
    """Pieces of an axis; equal ones stay equal, since that is how a model asks for them."""
    place, sizes = step.parameters["axis"], step.parameters["sizes"]
    axes = walk.axes(step.operands[0])
    ends = np.cumsum(sizes)
    pieces = [axes[place].take(slice(int(end - size), int(end))) for size, end in zip(sizes, ends, strict=True)]
    if len(set(sizes)) == 1:
        for piece in pieces[1:]:
            walk.identities.unite(pieces[0], piece)
    return [tuple(piece if k == place else axis for k, axis in enumerate(axes)) for piece in pieces]


def unstack(walk: Walk, step: Step) -> list[Axes]:
    """An axis is taken apart, an element a result: all of them are asked for, so none can die."""
    gone, axes = step.parameters["axis"], walk.axes(step.operands[0])
    walk.freeze(axes[gone], step, "taken apart one by one")
    left = tuple(axis for place, axis in enumerate(axes) if place != gone)
    return [left for _ in step.results]


def concatenate(walk: Walk, step: Step) -> list[Axes]:
    """Axes one behind the other; the other axes share their fates."""
    joined = step.parameters["dimension"]
    operands = [walk.axes(operand) for operand in step.operands]
    result = list(operands[0])
    for place in range(len(result)):
        parts = [axes[place] for axes in operands]
        dead = parts[0].dead if len({part.dead for part in parts}) == 1 else None
        if place == joined:
            result[place] = Axis(np.concatenate([part.ids for part in parts]), _common(walk, parts))
        else:
            for part in parts[1:]:
                walk.identities.unite(parts[0], part)
            result[place] = Axis(parts[0].ids, dead)
    return [tuple(result)]


def _common(walk: Walk, parts: list[Axis]) -> float | None:
    """The number at the dead places of several axes, if it is one."""
    found = {part.dead for part in parts if not walk.identities.all_frozen(part)} or {0.0}
    return found.pop() if len(found) == 1 else None


def pad(walk: Walk, step: Step) -> list[Axes]:
    """Padding never dies."""
    result = []
    for axis, (low, high, inner) in zip(walk.axes(step.operands[0]), step.parameters["padding_config"], strict=True):
        if inner or low < 0 or high < 0:
            walk.freeze(axis, step, "padded within or cropped")
            size = max(0, low + high + len(axis) + inner * max(0, len(axis) - 1))
            result.append(stays(size))
        else:
            result.append(Axis(np.concatenate([stays(low).ids, axis.ids, stays(high).ids]), axis.dead))
    return [tuple(result)]


def reverse(walk: Walk, step: Step) -> list[Axes]:
    """Axes run backwards."""
    axes, turned = walk.axes(step.operands[0]), step.parameters["dimensions"]
    walk.move_origin(step, range(len(axes)))
    return [tuple(axis.take(slice(None, None, -1)) if k in turned else axis for k, axis in enumerate(axes))]


def dynamic_slice(walk: Walk, step: Step) -> list[Axes]:
    """Whole axes pass; of the others none can die."""
    result = []
    for axis, size in zip(walk.axes(step.operands[0]), step.parameters["slice_sizes"], strict=True):
        if size != len(axis):
            walk.freeze(axis, step, "sliced at places known only when it runs")
        result.append(axis if size == len(axis) else stays(size))
    return [tuple(result)]


def dynamic_update_slice(walk: Walk, step: Step) -> list[Axes]:
    """Axes that are overwritten whole share their fates; of the others none can die."""
    result = []
    for axis, new in zip(walk.axes(step.operands[0]), walk.axes(step.operands[1]), strict=True):
        if len(axis) == len(new):
            walk.identities.unite(axis, new)
        else:
            for one in (axis, new):
                walk.freeze(one, step, "overwritten at places known only when it runs")
        result.append(Axis(axis.ids, axis.dead if axis.dead == new.dead else None))
    return [tuple(result)]


def gather(walk: Walk, step: Step) -> list[Axes]:
    """Axes that are taken whole pass; of those that are looked up in, and of the places to look, none can die."""
    numbers, sizes = step.parameters["dimension_numbers"], step.parameters["slice_sizes"]
    axes = walk.axes(step.operands[0])
    for axis in walk.axes(step.operands[1]):
        walk.freeze(axis, step, "places to look up")
    hidden = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    for place, axis in enumerate(axes):
        if place in hidden or sizes[place] != len(axis):
            walk.freeze(axis, step, "looked up in")
    result = [stays(size) for size in walk.program.shapes[step.results[0]]]
    passing = [place for place in range(len(axes)) if place not in hidden]
    for place, source in zip(numbers.offset_dims, passing, strict=True):
        if sizes[source] == len(axes[source]):
            result[place] = Axis(axes[source].ids, axes[source].dead if _stays_within(step) else None)
    return [tuple(result)]


def _stays_within(step: Step) -> bool:
    """Whether a gather never fills in numbers of its own."""
    return "FILL" not in str(step.parameters.get("mode", "")).upper()
