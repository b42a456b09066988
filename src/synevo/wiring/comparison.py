"""Compare the program predicted for a network, after some units are cut out, with the program that it really has.

Only sizes may change: those of reshapes and broadcasts, the limits of slices, the sizes of splits and gathers, and the
number of groups of a convolution. Each must change as the wiring predicts. All else must stay the same, literal numbers
included, so code that divides by a width, or states one, is found here.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from synevo.errors import ProofError
from synevo.wiring.identities import Flags
from synevo.wiring.tracing import Constant, Operand, Program, Step

Survivors = Mapping[int, tuple[Flags, ...]]

IMMATERIAL = {"sharding", "out_sharding", "name"}
"""Parameters of a step that do not change what it computes."""


def compare_programs(predicted: Program, survivors: Survivors, found: Program) -> int:
    """Check that the program `found` is the predicted one; return its number of steps.

    `survivors` flags the places that are left along each axis of each value of `predicted`.

    Raises:
        ProofError: where they differ, with the line of the user's model.
    """
    if len(predicted.steps) != len(found.steps):
        _compare_until_they_part(predicted, survivors, found)
        raise _mismatch(
            f"{len(predicted.steps)} steps were predicted, {len(found.steps)} were traced", "the whole model"
        )
    _compare_until_they_part(predicted, survivors, found)
    return len(found.steps)


def _compare_until_they_part(predicted: Program, survivors: Survivors, found: Program) -> None:
    names = predicted.arrays.keys() & found.arrays.keys()
    numbers = {predicted.arrays[name]: found.arrays[name] for name in names}
    numbers |= dict(zip(predicted.inputs, found.inputs, strict=True))
    numbers |= _match_constants(predicted, found)
    for before, after in zip(predicted.steps, found.steps, strict=False):
        _compare_step(before, after, numbers, survivors)
        for old, new in zip(before.results, after.results, strict=True):
            numbers[old] = new
            shape = _sizes(survivors[old])
            if shape != found.shapes[new]:
                raise _mismatch(f"shape {shape} was predicted, {found.shapes[new]} was traced", before.where)
    for output, other in zip(predicted.outputs, found.outputs, strict=True):
        _compare_operand(output, other, numbers, "the output")


def _match_constants(predicted: Program, found: Program) -> dict[int, int]:
    """Match the arrays that the model's code makes; they must not change with its widths."""
    for old, new in zip(predicted.constants, found.constants, strict=False):
        if not _equal(predicted.constants[old], found.constants[new]):
            raise _mismatch("an array that the model computes from its widths has changed", "a constant of the model")
    return dict(zip(predicted.constants, found.constants, strict=False))


def _compare_step(before: Step, after: Step, numbers: Mapping[int, int], survivors: Survivors) -> None:
    if before.primitive != after.primitive or len(before.operands) != len(after.operands):
        raise _mismatch(f"{before.primitive} was predicted, {after.primitive} was traced", before.where)
    for old, new in zip(before.operands, after.operands, strict=True):
        _compare_operand(old, new, numbers, before.where)
    for name, value in before.parameters.items():
        if name in IMMATERIAL:
            continue
        other, expected = after.parameters.get(name), _expected(before, name, value, survivors)
        if expected != other and str(expected) != str(other):
            raise _mismatch(
                f"{name} = {expected} of {before.primitive} was predicted, {other} was traced", before.where
            )


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


def _compare_operand(old: Operand, new: Operand, numbers: Mapping[int, int], where: str) -> None:
    if isinstance(old, Constant) and isinstance(new, Constant):
        if not _equal(old.value, new.value):
            raise _mismatch(f"the number {old.value} became {new.value}", where)
    elif isinstance(old, Constant) or isinstance(new, Constant) or numbers.get(old) != new:
        raise _mismatch("a step reads another value", where)


def _equal(old: Any, new: Any) -> bool:
    if np.shape(old) != np.shape(new) or str(getattr(old, "dtype", "")) != str(getattr(new, "dtype", "")):
        return False
    try:
        one, other = np.asarray(old), np.asarray(new)
        return bool(np.array_equal(one, other, equal_nan=np.issubdtype(one.dtype, np.inexact)))
    except TypeError:  # random keys are not numbers
        return str(old) == str(new)


def _mismatch(what: str, where: str) -> ProofError:
    return ProofError(
        f"The compacted model would not run as predicted: {what} ({where}).",
        remedy="The model's code depends on its widths there; write sizes as x.shape[...] or -1 so that they follow.",
    )
