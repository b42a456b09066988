"""Rules of the primitives that move elements unchanged: reshape, transpose, slice, pad, concatenate, gather."""

import math
from collections.abc import Sequence

import numpy as np

from synevo.wiring.identities import EXAMPLES, INPUT, ONE, PLACE, PLAIN, STAYS, TOLD, Axes, Axis, Identities, stays
from synevo.wiring.loops import ROUND
from synevo.wiring.tracing import Step
from synevo.wiring.walking import Walk

_LOOPS = {
    "scan": "inside a loop",
    "while": "inside a loop",
    "cond": "inside a choice between programs",
}


def freeze_all(walk: Walk, step: Step) -> list[Axes]:
    """Freeze all operands: the rule of primitives without a rule of their own."""
    why = _LOOPS.get(step.primitive, "meets a step without a rule")
    for operand in step.operands:
        for axis in walk.axes(operand):
            walk.freeze(axis, step, why)
    made = walk.identities.fixed(walk.because(step, why))
    return [
        tuple(stays(size, ONE if size == 1 else made) for size in walk.program.shapes[value]) for value in step.results
    ]


def broadcast(walk: Walk, step: Step) -> list[Axes]:
    """Give new axes fresh identities, which later steps can tie; freeze axes that are repeated."""
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
    """Freeze the axes that are repeated; pass the others on."""
    result = []
    for axis, times in zip(walk.axes(step.operands[0]), step.parameters["reps"], strict=True):
        if times != 1:
            walk.freeze(axis, step, "repeated")
        result.append(axis if times == 1 else _frozen_axis(walk, axis, len(axis) * times))
    return [tuple(result)]


def transpose(walk: Walk, step: Step) -> list[Axes]:
    """Permute the axes."""
    order = step.parameters["permutation"]
    axes = walk.axes(step.operands[0])
    return [tuple(axes[axis] for axis in order)]


def squeeze(walk: Walk, step: Step) -> list[Axes]:
    """Drop axes of one element, and freeze this element."""
    gone, axes = step.parameters["dimensions"], walk.axes(step.operands[0])
    for place in gone:
        if step.layer == ROUND:
            walk.freeze(axes[place], step, "one round of a loop", PLAIN)
        else:
            walk.freeze(axes[place], step, "picked by its number")
    return [tuple(axis for place, axis in enumerate(axes) if place not in gone)]


def reshape(walk: Walk, step: Step) -> list[Axes]:
    """Merge axes into one, or split one."""
    old, new = walk.shape(step.operands[0]), walk.program.shapes[step.results[0]]
    if 0 in old:
        return freeze_all(walk, step)
    axes, result = walk.axes(step.operands[0]), []
    for before, after in _matching_groups(old, new):
        parts = [axes[place] for place in before]
        if len(after) == 1 and len(parts) == 1:
            result.append(parts[0])
        else:
            merged = merge_axes(walk.identities, parts)
            if after == [len(new) - 1] and (merged.ids == PLACE).all():  # a flat input
                merged = stays(len(merged), INPUT)
            result.extend(split_axis(walk, step, merged, [new[place] for place in after]))
    return [tuple(result)]


def _matching_groups(old: Sequence[int], new: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """Pair the shortest runs of axes before and after a reshape that hold the same elements."""
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
    """Merge axes into one: each place is removed as soon as its place on one of them is."""
    live = [place for place, part in enumerate(parts) if not identities.all_frozen(part)]
    if len(parts) == 1:
        return parts[0]
    if not live:
        return _frozen_product(identities, parts)
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


def _frozen_product(identities: Identities, parts: Sequence[Axis]) -> Axis:
    """Merge axes that are never removed; keep the identities of the one whose reason is the greatest."""
    if not all(map(len, parts)) or not parts:
        return stays(math.prod(map(len, parts)), STAYS if parts else ONE)
    reasons = [max(identities.reason(int(one)) for one in np.unique(part.ids)) for part in parts]
    place = reasons.index(max(reasons))
    shape = [len(other) for other in parts]
    grid = parts[place].ids.reshape([-1 if k == place else 1 for k in range(len(parts))])
    return Axis(np.broadcast_to(grid, shape).reshape(-1).copy(), parts[place].dead)


def _frozen_axis(walk: Walk, axis: Axis, size: int) -> Axis:
    """Return an axis of another size that is never removed for the same reason as a frozen one."""
    if size == 1:
        return stays(1, ONE)
    return stays(size, walk.identities.best(np.unique(axis.ids).tolist()) if len(axis) else STAYS)


def split_axis(walk: Walk, step: Step, axis: Axis, sizes: Sequence[int]) -> list[Axis]:
    """Split an axis into axes of these `sizes`.

    If the old identities repeat along all new axes but one, that one gets them. Otherwise each new axis gets fresh
    identities, and the old ones are derived from them.
    """
    identities = walk.identities
    if len(sizes) == 1:
        return [axis]
    if not sizes:
        walk.freeze(axis, step, "picked by its number")
        return []
    if identities.all_frozen(axis):
        return [_frozen_axis(walk, axis, size) for size in sizes]
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
    """Take some places of each axis; freeze an axis that is taken in steps."""
    starts, limits = step.parameters["start_indices"], step.parameters["limit_indices"]
    strides = step.parameters["strides"] or (1,) * len(starts)
    result = []
    for axis, start, limit, stride in zip(walk.axes(step.operands[0]), starts, limits, strides, strict=True):
        if stride != 1:
            walk.freeze(axis, step, "taken in steps")
        result.append(axis.take(slice(start, limit, stride)))
    return [tuple(result)]


def split(walk: Walk, step: Step) -> list[Axes]:
    """Split an axis into pieces; tie equal pieces, because the model asks for equal ones."""
    place, sizes = step.parameters["axis"], step.parameters["sizes"]
    axes = walk.axes(step.operands[0])
    ends = np.cumsum(sizes)
    pieces = [axes[place].take(slice(int(end - size), int(end))) for size, end in zip(sizes, ends, strict=True)]
    if len(set(sizes)) == 1:
        for piece in pieces[1:]:
            walk.identities.unite(pieces[0], piece)
    return [tuple(piece if k == place else axis for k, axis in enumerate(axes)) for piece in pieces]


def unstack(walk: Walk, step: Step) -> list[Axes]:
    """Take an axis apart, one result for each element; freeze it, because the model asks for all of them."""
    gone, axes = step.parameters["axis"], walk.axes(step.operands[0])
    walk.freeze(axes[gone], step, "taken apart one by one")
    left = tuple(axis for place, axis in enumerate(axes) if place != gone)
    return [left for _ in step.results]


def stack(walk: Walk, step: Step) -> list[Axes]:
    """Join the operands along a new axis; tie their axes."""
    operands, place = [walk.axes(operand) for operand in step.operands], step.parameters["axis"]
    result = []
    for parts in zip(*operands, strict=True):
        for part in parts[1:]:
            walk.identities.unite(parts[0], part)
        result.append(Axis(parts[0].ids, parts[0].dead if len({part.dead for part in parts}) == 1 else None))
    return [(*result[:place], stays(len(operands)), *result[place:])]


def concatenate(walk: Walk, step: Step) -> list[Axes]:
    """Join the operands along one axis; tie their other axes."""
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
    """Return the value at the dead places of several axes; None where they differ."""
    found = {part.dead for part in parts if not walk.identities.all_frozen(part)} or {0.0}
    return found.pop() if len(found) == 1 else None


def pad(walk: Walk, step: Step) -> list[Axes]:
    """Pad axes with places that are never removed; freeze axes that are padded within or cropped."""
    result = []
    for axis, (low, high, inner) in zip(walk.axes(step.operands[0]), step.parameters["padding_config"], strict=True):
        if inner or low < 0 or high < 0:
            walk.freeze(axis, step, "padded within or cropped")
            size = max(0, low + high + len(axis) + inner * max(0, len(axis) - 1))
            result.append(_frozen_axis(walk, axis, size))
        else:
            result.append(Axis(np.concatenate([stays(low).ids, axis.ids, stays(high).ids]), axis.dead))
    return [tuple(result)]


def reverse(walk: Walk, step: Step) -> list[Axes]:
    """Reverse the order of the places of some axes."""
    axes, turned = walk.axes(step.operands[0]), step.parameters["dimensions"]
    return [tuple(axis.take(slice(None, None, -1)) if k in turned else axis for k, axis in enumerate(axes))]


def dynamic_slice(walk: Walk, step: Step) -> list[Axes]:
    """Pass whole axes on; freeze the others."""
    result = []
    for axis, size in zip(walk.axes(step.operands[0]), step.parameters["slice_sizes"], strict=True):
        if size != len(axis):
            walk.freeze(axis, step, "sliced at places known only when it runs")
        result.append(axis if size == len(axis) else _frozen_axis(walk, axis, size))
    return [tuple(result)]


def dynamic_update_slice(walk: Walk, step: Step) -> list[Axes]:
    """Tie axes that are overwritten whole; freeze the others."""
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
    """Pass axes on that are taken whole; freeze the axes to look up in, and the places to look up."""
    numbers, sizes = step.parameters["dimension_numbers"], step.parameters["slice_sizes"]
    axes = walk.axes(step.operands[0])
    for axis in walk.axes(step.operands[1]):
        walk.freeze(axis, step, "places to look up")
    hidden = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    for place, axis in enumerate(axes):
        if place in hidden or sizes[place] != len(axis):
            walk.freeze(axis, step, *_looked_up(walk, step))
    result = [stays(size) for size in walk.program.shapes[step.results[0]]]
    passing = [place for place in range(len(axes)) if place not in hidden]
    for place, source in zip(numbers.offset_dims, passing, strict=True):
        if sizes[source] == len(axes[source]):
            result[place] = Axis(axes[source].ids, axes[source].dead if _stays_within(step) else None)
    return [tuple(result)]


def _looked_up(walk: Walk, step: Step) -> tuple[str, int]:
    """Say why an axis is frozen that is looked up in, and how much that explains: positions are never removed."""
    said = {int(one) for axis in walk.axes(step.operands[1]) for one in np.unique(axis.ids)}
    if step.operands[0] not in walk.origins:
        return "picked by number", TOLD
    if said & {EXAMPLES, INPUT, PLACE}:
        return "the rows of an embedding: one for each token", TOLD
    return "one for each position", PLAIN


def _stays_within(step: Step) -> bool:
    """Return whether a gather never fills in numbers of its own."""
    return "FILL" not in str(step.parameters.get("mode", "")).upper()
