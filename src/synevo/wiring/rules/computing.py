"""Rules of values that are computed from the network's arrays alone: normalised, rounded, scaled, multiplied kernels.

They follow the origins of such values (`synevo.wiring.origins`), beside the identities that the other rules follow.
They also know where a sum need not freeze its axis: without its zeros, a sum over arrays is the same. A mean is not,
because the program divides by the number of places.
"""

import math
from collections.abc import Callable, Sequence

from synevo.wiring.identities import Axis
from synevo.wiring.origins import Origin, joined
from synevo.wiring.tracing import Step
from synevo.wiring.walking import Walk

Value = Callable[[list[float | None]], float | None]
"""The value of an elementwise primitive, from those of its operands; None where it is unknown."""


def note_origin(walk: Walk, step: Step, value: Value | None) -> None:
    """Note of which arrays the result of a step is made; `value` is that of an elementwise primitive."""
    if not walk.computed(*step.operands) or not step.results:
        return
    _note_sign(walk, step)
    _note_number(walk, step, value)
    rule = _MOVES.get(step.primitive)
    operand = walk.origin(step.operands[0]) if step.operands else None
    if rule is not None:
        origin = None if operand is None else rule(walk, step, operand)
    elif value is not None:
        origin = _combined(walk, step, value)
    else:
        origin = _product(walk, step) if step.primitive == "dot_general" else None
    if origin is not None:
        walk.origins[step.results[0]] = origin


def _note_number(walk: Walk, step: Step, value: Value | None) -> None:
    """Note the value of what is computed from literal numbers alone: a scalar, or one that fills an array."""
    known = [walk.number(operand) for operand in step.operands]
    passed = step.primitive in {"convert_element_type", "broadcast_in_dim"}
    number = known[0] if passed else value(known) if value else None
    if number is not None and None not in known:
        walk.numbers[step.results[0]] = number


def _same(walk: Walk, step: Step, origin: Origin) -> Origin:
    del walk, step
    return origin


def _transposed(walk: Walk, step: Step, origin: Origin) -> Origin:
    del walk
    return origin.transposed(step.parameters["permutation"])


def _reshaped(walk: Walk, step: Step, origin: Origin) -> Origin | None:
    return walk.labels.reshaped(origin, walk.program.shapes[step.results[0]])


def _broadcast(walk: Walk, step: Step, origin: Origin) -> Origin | None:
    """Follow a value to which axes of one place are added; drop one that is repeated."""
    shape = walk.program.shapes[step.results[0]]
    if math.prod(shape) != math.prod(walk.shape(step.operands[0])):
        return None
    return walk.labels.reshaped(origin, shape)


def _sliced(walk: Walk, step: Step, origin: Origin) -> Origin | None:
    """Follow one place of some axes, such as a layer of a stack; drop a part of an axis."""
    before, after = walk.shape(step.operands[0]), walk.program.shapes[step.results[0]]
    if any(new not in (1, old) for old, new in zip(before, after, strict=True)):
        return None
    picked = [place for place, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    return walk.labels.picked(origin, picked)


_MOVES: dict[str, Callable[[Walk, Step, Origin], Origin | None]] = {
    "convert_element_type": _same,
    "rev": _same,
    "transpose": _transposed,
    "reshape": _reshaped,
    "squeeze": _reshaped,
    "slice": _sliced,
    "broadcast_in_dim": _broadcast,
}


def _combined(walk: Walk, step: Step, value: Value) -> Origin | None:
    """Return the origin of what an elementwise primitive makes.

    If the result is zero where one operand is, as in a product, it is made of that operand, scaled by the others: of a
    parameter if there is one. Else it is made of all of them.
    """
    shape = walk.program.shapes[step.results[0]]
    found = [walk.origin(o) if walk.shape(o) == shape else None for o in step.operands]
    axes = next((origin.axes for origin in found if origin is not None), None)
    if axes is None:
        return None
    origins = [None if origin is None else walk.labels.aligned(origin, axes) for origin in found]

    def dead(parts: Sequence[Origin]) -> float | None:
        """Return the value where these operands are what they are for zeros, whatever the others are."""
        known = [
            walk.number(operand) if origin is None else origin.dead if origin in parts else None
            for operand, origin in zip(step.operands, origins, strict=True)
        ]
        return 0.0 if step.primitive == "div" and known == [0.0, None] else value(known)

    made = list(dict.fromkeys(origin for origin in origins if origin is not None))
    kinds = list(dict.fromkeys(origin.parts for origin in made))
    kinds.sort(key=lambda parts: all(part.array not in walk.trained for part in parts))
    for parts in kinds:
        alike = [origin for origin in made if origin.parts == parts]
        if dead(alike) == 0.0:
            return joined(alike, 0.0)
    return joined(made, dead(made))


def _product(walk: Walk, step: Step) -> Origin | None:
    """Return the origin of a product of two matrices; None where an array is in both, or axes are merged in them."""
    left, right = (walk.origin(operand) for operand in step.operands)
    (left_in, right_in), (batch, _) = step.parameters["dimension_numbers"]
    if left is None or right is None or batch or left.of(range(len(left.axes))) & right.of(range(len(right.axes))):
        return None
    if {part.array for part in left.parts} & {part.array for part in right.parts}:
        return None
    wanted = [right.axes[axis] for axis in range(len(right.axes))]
    for one, other in zip(left_in, right_in, strict=True):
        wanted[other] = left.axes[one]
    tied = walk.labels.aligned(right, wanted)
    if tied is None:
        return None
    axes = [labels for axis, labels in enumerate(left.axes) if axis not in left_in]
    axes += [labels for axis, labels in enumerate(tied.axes) if axis not in right_in]
    dead = 0.0 if left.dead == right.dead == 0.0 else None
    return Origin((*left.parts, *tied.parts), tuple(axes), dead, plain=False)


def why_frozen(walk: Walk, step: Step, axis: Axis, *, usual: str) -> str | None:
    """Return why a reduction freezes an axis; None where its dead places can go, because they are zeros in a sum.

    So they are in a sum of what is computed from arrays alone, and in the largest of numbers that are not negative.
    Elsewhere, the reason is the `usual` one of this reduction.
    """
    operand = step.operands[0]
    positive = isinstance(operand, int) and operand in walk.positive
    harmless = step.primitive == "reduce_sum" or (step.primitive == "reduce_max" and positive)
    if axis.dead != 0.0 or not harmless or not walk.computed(operand):
        return usual
    count = math.prod(walk.shape(operand)[axis] for axis in step.parameters["axes"])
    return "averaged over: the mean changes with the width" if _is_averaged(walk, step, count) else None


def _is_averaged(walk: Walk, step: Step, count: int) -> bool:
    """Return whether the result of a sum is divided by the number of its places, or by one less."""
    results = set(step.results)
    for reader in walk.program.steps:
        if not results.intersection(operand for operand in reader.operands if isinstance(operand, int)):
            continue
        if reader.primitive in _PASSING:
            results.update(reader.results)
        number = walk.number(reader.operands[-1])
        if number and reader.primitive == "div" and number in {count, count - 1}:
            return True
        if number and reader.primitive == "mul" and round(1 / number, 3) in {count, count - 1}:
            return True
    return False


_PASSING = {"convert_element_type", "reshape", "squeeze", "broadcast_in_dim", "stop_gradient", "copy", "transpose"}
_NEVER_NEGATIVE = {"abs", "square", "sqrt", "exp", "exp2", "logistic"}
_NEVER_OF_THEM = {"add", "add_any", "mul", "div", "min", "reduce_sum", "reduce_max", "reduce_min"} | _PASSING


def _note_sign(walk: Walk, step: Step) -> None:
    """Note that the result of a step is nowhere negative."""
    signs = [
        (isinstance(operand, int) and operand in walk.positive) or (walk.number(operand) or -1.0) > 0.0
        for operand in step.operands
    ]
    if (
        step.primitive in _NEVER_NEGATIVE
        or (step.primitive in _NEVER_OF_THEM and all(signs))
        or (step.primitive == "max" and any(signs))
        or (step.primitive == "mul" and step.operands[0] is step.operands[1])
        or (step.primitive == "integer_pow" and step.parameters["y"] % 2 == 0)
    ):
        walk.positive.update(step.results)
