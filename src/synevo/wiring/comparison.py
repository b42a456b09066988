"""Compare the program predicted for a network, after some units are cut out, with the program that it really has.

Only sizes may change: those of reshapes and broadcasts, the limits of slices, the sizes of splits and gathers, and the
number of groups of a convolution. Each must change as the wiring predicts. All else must stay the same, literal numbers
included, so code that divides by a width, or states one, is found here.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from synevo.errors import ProofError
from synevo.wiring.equivalence import alike, same_product
from synevo.wiring.identities import Flags
from synevo.wiring.tracing import Constant, Operand, Program, Step

Survivors = Mapping[int, tuple[Flags, ...]]

IMMATERIAL = {"sharding", "out_sharding", "name"}
"""Parameters of a step that do not change what it computes."""


@dataclass(frozen=True)
class Difference:
    """One difference between two programs, with the line of the user's model.

    `step` is the place of a step in the predicted program, None where it is of no step. Where the difference `hides`
    others, what follows it could not be compared.
    """

    error: ProofError
    where: str
    step: int | None = None
    hides: bool = True


def compare_programs(predicted: Program, survivors: Survivors, found: Program) -> int:
    """Check that the program `found` is the predicted one; return its number of steps.

    `survivors` flags the places that are left along each axis of each value of `predicted`.

    Raises:
        ProofError: where they differ, with the line of the user's model.
    """
    for difference in differences(predicted, survivors, found):
        raise difference.error
    return len(found.steps)


def differences(predicted: Program, survivors: Survivors, found: Program) -> Iterator[Difference]:
    """Yield the differences between two programs, one a step at most; what reads a wrong shape is not compared."""
    names = predicted.arrays.keys() & found.arrays.keys()
    numbers = {predicted.arrays[name]: found.arrays[name] for name in names}
    numbers |= dict(zip(predicted.inputs, found.inputs, strict=True))
    numbers |= dict(zip(predicted.constants, found.constants, strict=False))
    if not all(map(_equal, predicted.constants.values(), found.constants.values())):
        yield _difference("an array that the model computes from its widths has changed", "a constant of the model")
        return
    wrong: set[int] = set()
    place = other = 0
    while place < len(predicted.steps) and other < len(found.steps):
        before, after, first = predicted.steps[place], found.steps[other], place
        place, other, runs = place + 1, other + 1, None
        what = _parting(before, after, numbers)
        if (what or _turned(before, after)) and (runs := same_product(predicted, first, found, other - 1, numbers)):
            before, after, what = runs[0][-1], runs[1][-1], ""
            place, other = first + len(runs[0]), other - 1 + len(runs[1])
        if what:
            yield _difference(what, before.where, first)
            return
        numbers |= zip(before.results, after.results, strict=True)
        if any(operand in wrong for operand in before.operands if isinstance(operand, int)):
            wrong.update(before.results)
            continue
        shapes = [(_sizes(survivors[old]), found.shapes[numbers[old]]) for old in before.results]
        if any(shape != traced for shape, traced in shapes):
            wrong.update(before.results)
        changes = _other_shapes(shapes) if runs else _changes(before, after, survivors, shapes)
        if what := next(changes, ""):
            yield _difference(what, before.where, place - 1, hides=not wrong.isdisjoint(before.results))
    if place < len(predicted.steps) or other < len(found.steps):
        what = f"{len(predicted.steps)} steps were predicted, {len(found.steps)} were traced"
        yield _difference(what, "the whole model")
    elif any(_reads_another(*pair, numbers) for pair in zip(predicted.outputs, found.outputs, strict=True)):
        yield _difference("a step reads another value", "the output")


def _difference(what: str, where: str, step: int | None = None, *, hides: bool = True) -> Difference:
    error = ProofError(
        f"The compacted model would not run as predicted: {what} ({where}).",
        remedy="The model's code depends on its widths there; write sizes as x.shape[...] or -1 so that they follow.",
    )
    return Difference(error, where, step, hides)


def _parting(before: Step, after: Step, numbers: Mapping[int, int]) -> str:
    """Return what keeps a step from being the predicted one with other numbers; nothing where it is."""
    same = before.primitive == after.primitive and len(before.results) == len(after.results)
    if not same or len(before.operands) != len(after.operands):
        return f"{before.primitive} was predicted, {after.primitive} was traced"
    pairs = zip(before.operands, after.operands, strict=True)
    return "a step reads another value" if any(_reads_another(*pair, numbers) for pair in pairs) else ""


def _turned(before: Step, after: Step) -> bool:
    """Return whether a product or a transposition is over other axes than predicted."""
    return any(
        before.parameters.get(name) != after.parameters.get(name) for name in ("dimension_numbers", "permutation")
    )


def _reads_another(old: Operand, new: Operand, numbers: Mapping[int, int]) -> bool:
    if isinstance(old, Constant) or isinstance(new, Constant):
        return type(old) is not type(new)
    return numbers.get(old) != new


def _changes(before: Step, after: Step, survivors: Survivors, shapes: list[tuple[Any, Any]]) -> Iterator[str]:
    """Yield the numbers, the parameters and the `shapes` (predicted and traced) of a step that are not as predicted."""
    for old, new in zip(before.operands, after.operands, strict=True):
        if isinstance(old, Constant) and isinstance(new, Constant) and not _equal(old.value, new.value):
            yield f"the number {old.value} became {new.value}"
    for name, value in before.parameters.items():
        if name in IMMATERIAL:
            continue
        other, expected = after.parameters.get(name), _expected(before, name, value, survivors)
        if name == "callback" and not alike(expected, other):
            yield f"{before.primitive} calls another function, or one that reads other values around it"
        elif not alike(expected, other):
            yield f"{name} = {expected} of {before.primitive} was predicted, {other} was traced"
    yield from _other_shapes(shapes)


def _other_shapes(shapes: list[tuple[Any, Any]]) -> Iterator[str]:
    for shape, traced in shapes:
        if shape != traced:
            yield f"shape {shape} was predicted, {traced} was traced"


def _expected(step: Step, name: str, value: Any, survivors: Survivors) -> Any:
    """Return the predicted parameter of a step: sizes follow from the survivors, all else stays."""
    rule = _SIZES.get((step.primitive, name))
    return value if rule is None or value is None else rule(step, value, survivors)


def _sizes(axes: tuple[Flags, ...]) -> tuple[int, ...]:
    return tuple(int(axis.sum()) for axis in axes)


def _of_operand(step: Step, survivors: Survivors) -> tuple[Flags, ...]:
    operand = step.operands[0]
    return survivors[operand] if isinstance(operand, int) else ()


def _result_shape(step: Step, value: Any, survivors: Survivors) -> Any:
    del value
    return _sizes(survivors[step.results[0]])


def _places(step: Step, value: Any, survivors: Survivors) -> Any:
    """Return places along each axis, counted among the survivors."""
    axes = _of_operand(step, survivors)
    return tuple(int(axis[:place].sum()) for axis, place in zip(axes, value, strict=True))


def _window_sizes(step: Step, value: Any, survivors: Survivors) -> Any:
    axes = _of_operand(step, survivors)
    return tuple(int(a.sum()) if size == len(a) else size for a, size in zip(axes, value, strict=True))


def _pieces(step: Step, value: Any, survivors: Survivors) -> Any:
    ends = np.cumsum(value)
    axis = _of_operand(step, survivors)[step.parameters["axis"]]
    return tuple(int(axis[end - size : end].sum()) for size, end in zip(value, ends, strict=True))


def _group_count(step: Step, value: Any, survivors: Survivors) -> Any:
    numbers = step.parameters["dimension_numbers"]
    signal, kernel = step.operands
    if value == 1 or not isinstance(signal, int) or not isinstance(kernel, int):
        return value
    channels = int(survivors[signal][numbers.lhs_spec[1]].sum())
    return channels // max(1, int(survivors[kernel][numbers.rhs_spec[1]].sum()))


_SIZES: dict[tuple[str, str], Callable[[Step, Any, Survivors], Any]] = {
    ("reshape", "new_sizes"): _result_shape,
    ("broadcast_in_dim", "shape"): _result_shape,
    ("iota", "shape"): _result_shape,
    ("random_bits", "shape"): _result_shape,
    ("slice", "start_indices"): _places,
    ("slice", "limit_indices"): _places,
    ("split", "sizes"): _pieces,
    ("gather", "slice_sizes"): _window_sizes,
    ("dynamic_slice", "slice_sizes"): _window_sizes,
    ("conv_general_dilated", "feature_group_count"): _group_count,
}


def _equal(old: Any, new: Any) -> bool:
    if np.shape(old) != np.shape(new) or str(getattr(old, "dtype", "")) != str(getattr(new, "dtype", "")):
        return False
    try:
        one, other = np.asarray(old), np.asarray(new)
        return bool(np.array_equal(one, other, equal_nan=np.issubdtype(one.dtype, np.inexact)))
    except TypeError:  # random keys are not numbers
        return str(old) == str(new)
