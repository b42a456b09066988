"""Rules of the primitives that contract: matrix products, attention among them, and convolutions of all kinds.

Contracted places are removed together. A dead unit must contribute exactly zero. So one side of the contraction is zero
there, as every array of a masked network is, or the axis is frozen.
"""

import math
from fractions import Fraction

from synevo.wiring.identities import WINDOW, Axes, Axis, stays
from synevo.wiring.rules.reshaping import freeze_all, split_axis
from synevo.wiring.tracing import EXAMPLES, Step
from synevo.wiring.walking import Walk


def dot(walk: Walk, step: Step) -> list[Axes]:
    """Tie contracted axes and batch axes, place by place; pass the others on."""
    left, right = step.operands
    (left_in, right_in), (left_batch, right_batch) = step.parameters["dimension_numbers"]
    a, b = walk.axes(left), walk.axes(right)
    for i, j in zip(left_in, right_in, strict=True):
        _contract(walk, step, a[i], b[j])
    for i, j in zip(left_batch, right_batch, strict=True):
        walk.identities.unite(a[i], b[j])
    left_out = [k for k in range(len(a)) if k not in (*left_in, *left_batch)]
    right_out = [k for k in range(len(b)) if k not in (*right_in, *right_batch)]
    if not left_batch:
        sizes = [math.prod(walk.shape(side)[k] for k in out) for side, out in ((left, left_out), (right, right_out))]
        walk.contract(step, left, left_in, left_out, _for_one(sizes[1]))
        walk.contract(step, right, right_in, right_out, _for_one(sizes[0]))
    batch = [
        Axis(a[i].ids, 0.0 if 0.0 in (a[i].dead, b[j].dead) else None)
        for i, j in zip(left_batch, right_batch, strict=True)
    ]
    return [(*batch, *(_passed(a[k]) for k in left_out), *(_passed(b[k]) for k in right_out))]


def _for_one(uses: int) -> Fraction:
    """Return how often something is used for one example, when a trace uses it `uses` times.

    It is less than once in a round of a loop over examples.
    """
    return Fraction(uses, EXAMPLES) if uses < EXAMPLES else Fraction(uses // EXAMPLES)


def _contract(walk: Walk, step: Step, one: Axis, other: Axis) -> None:
    walk.identities.unite(one, other)
    if not all(axis.dead is None or math.isfinite(axis.dead) for axis in (one, other)):
        walk.freeze(one, step, "divided by zero, where all of a unit is zero, and contracted")
    elif 0.0 not in (one.dead, other.dead):
        walk.freeze(one, step, "contracted with another signal")


def _passed(axis: Axis) -> Axis:
    """Pass an axis on behind a contraction along others: a sum of zeros is zero, and what is no number remains none."""
    return Axis(axis.ids, axis.dead if axis.dead == 0.0 or (axis.dead is not None and math.isnan(axis.dead)) else None)


def convolution(walk: Walk, step: Step) -> list[Axes]:
    """Tie the channels of signal and kernel; freeze windows and places in the picture."""
    signal, kernel = step.operands
    if step.parameters["batch_group_count"] != 1:
        return freeze_all(walk, step)
    numbers, shape = step.parameters["dimension_numbers"], walk.program.shapes[step.results[0]]
    x, w = walk.axes(signal), walk.axes(kernel)
    out_axis, in_axis, *window = numbers.rhs_spec
    for place in numbers.lhs_spec[2:]:
        walk.freeze(x[place], step, "convolved over")
    for place in window:
        walk.freeze(w[place], step, "a place in the window of a convolution", WINDOW)
    count, groups = step.parameters["feature_group_count"], None
    if count == 1:
        _contract(walk, step, x[numbers.lhs_spec[1]], w[in_axis])
    else:
        groups = _group(walk, step, count, x[numbers.lhs_spec[1]], w[in_axis], w[out_axis])
    dilated = any(factor != 1 for factor in step.parameters["lhs_dilation"])
    places = (
        [walk.shape(signal)[k] for k in numbers.lhs_spec[2:]] if dilated else [shape[k] for k in numbers.out_spec[2:]]
    )
    examples = min(EXAMPLES, walk.shape(signal)[numbers.lhs_spec[0]])
    walk.contract(step, kernel, [in_axis], [out_axis], Fraction(math.prod(places) * examples, EXAMPLES), groups)
    result = [stays(size) for size in shape]
    result[numbers.out_spec[0]] = _passed(x[numbers.lhs_spec[0]])
    result[numbers.out_spec[1]] = _passed(w[out_axis])
    return [tuple(result)]


def _group(walk: Walk, step: Step, count: int, channels: Axis, within: Axis, filters: Axis) -> Axis:
    """Tie signal and kernel of a grouped convolution; return the groups.

    A channel is derived from its group and its place within the group, a filter from its group and its place among the
    filters of that group.
    """
    group, place = split_axis(walk, step, channels, [count, len(channels) // count])
    _contract(walk, step, place, within)
    own, _ = split_axis(walk, step, filters, [count, len(filters) // count])
    walk.identities.unite(group, own)
    return group
