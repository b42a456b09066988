"""Splits of examples by their places: a fixed test split, and a validation split that depends on the seed."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synevo.data.sources import FEWEST, TEST_SHARE, shuffled
from synevo.errors import DataError, PlanError
from synevo.plan.examples import DataPlan

_TEST, _VALIDATION = (1,), 2  # the streams of images: every kind of data is split by the same draws

Places = NDArray[np.intp]


class Parts(NamedTuple):
    """The places of the examples of each split, in ascending order."""

    train: Places
    validation: Places
    test: Places


def split(
    plan: DataPlan,
    seed: int,
    count: int,
    *,
    labels: NDArray[Any] | None = None,
    tested: NDArray[np.bool_] | None = None,
) -> Parts:
    """Split `count` examples: a fifth, or those that are `tested` [count], for the test, and the plan's share held out.

    With `labels` [count], each class is split so, and every split has each class.

    Raises:
        DataError: if there are too few examples, or too few of a class.
    """
    if tested is None:
        tested = _drawn(np.arange(count), TEST_SHARE, _TEST, labels)
    places = np.arange(count)
    rest, test = places[~tested], places[tested]
    origin = test if plan.held_out == "test" else rest
    held = _drawn(origin, plan.validation, (_VALIDATION, seed), labels)
    kept, validation = origin[~held], origin[held]
    return Parts(rest, validation, kept) if plan.held_out == "test" else Parts(kept, validation, test)


def validation_of(plan: DataPlan, seed: int, places: Places, labels: NDArray[Any] | None = None) -> NDArray[np.bool_]:
    """Return which of the `places` are held out for validation, by the plan's share; errors as in `split`."""
    return _drawn(places, plan.validation, (_VALIDATION, seed), labels)


def named_for_test(plan: DataPlan, files: Sequence[Path]) -> NDArray[np.bool_] | None:
    """Return which files the plan names for the test split; None if it names none.

    Raises:
        PlanError: if its regular expression is none, or is found in no name, or in every one.
    """
    if plan.test_files is None:
        return None
    try:
        pattern = re.compile(plan.test_files)
    except re.error as error:
        raise PlanError(
            f"data.test_files = {plan.test_files!r} is no regular expression: {error}.",
            remedy=r"Write one that is found in the names of the test files, such as '_[0-4]\.wav$'.",
        ) from None
    found = np.array([bool(pattern.search(file.name)) for file in files])
    if found.all() or not found.any():
        raise PlanError(
            f"data.test_files = {plan.test_files!r} is found in {'all' if found.all() else 'none'} of {len(files)} "
            f"names, such as {files[0].name}.",
            remedy="Change it so that it is found in the names of the test files alone.",
        )
    return found


def _drawn(places: Places, share: float, entropy: Sequence[int], labels: NDArray[Any] | None) -> NDArray[np.bool_]:
    """Return which of the `places` are drawn: a `share` of them, or of each class of the `labels`, and never all."""
    order = shuffled(len(places), entropy)
    chosen = np.zeros(len(places), bool)
    own = np.zeros(len(places), np.int64) if labels is None else labels[places]
    for label in np.unique(own):
        group = order[own[order] == label]
        if len(group) < FEWEST:
            what = "There is a single example left" if labels is None else f"Class {label} has a single example left"
            raise DataError(
                f"{what}, and both parts of a split need one.",
                remedy="Add examples (train, validation and test each need one), or leave the class out.",
            )
        chosen[group[: min(max(round(share * len(group)), 1), len(group) - 1)]] = True
    return chosen
