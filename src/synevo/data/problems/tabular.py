"""The tasks on arrays of inputs and targets: regression, several labels, classes, and masks (see `tables`)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.data.problems import prepared
from synevo.data.problems.described import Described, chosen, refuse, resident, weights_of
from synevo.data.problems.tables import Rows, Table, check_finite, read
from synevo.data.sources import FEWEST
from synevo.errors import DataError
from synevo.plan.fields import Plan
from synevo.tasks import multilabel, regression, segmentation
from synevo.tasks.classification import AS_THEY_ARE
from synevo.tasks.regression import Standard
from synevo.tasks.sounds import series
from synevo.tasks.task import Problem

SMALLEST_DEVIATION = 1e-6
"""A feature with a smaller deviation is left as it is, minus its mean."""


def numbers(plan: Plan, seed: int) -> Described:
    """Return the problem of a regression.

    Raises:
        DataError: if the arrays are missing, do not match, or hold what is no finite number.
        PlanError: if the plan sets what a regression does not use.
    """
    refuse(plan, "class_weights", "label_smoothing", "ignore")
    score = chosen(plan, regression.SCORES)
    table = read(plan, seed, _finite_targets)
    inputs, targets = _standard(table, "input", plan), _standard(table, "target", plan) or Standard()
    answer = table.train.arrays["target"].shape[1:] or (1,)
    facts = {"inputs": _said(inputs), "targets": _said(targets)}
    problem = table.of(regression.regression(inputs, targets, score=score))
    return Described(problem, _shape(table), answer[-1], answer, facts)


def labels(plan: Plan, seed: int) -> Described:
    """Return the problem of several labels; errors as in `numbers`, and for targets that are not 0 and 1 [n, k]."""
    refuse(plan, "ignore")
    score = chosen(plan, multilabel.SCORES)
    table = read(plan, seed, _binary_targets)
    inputs = _standard(table, "input", plan)
    count = table.train.arrays["target"].shape[1]
    weights = weights_of(plan, table.sample("target").astype(np.int64).sum(axis=0))
    task = multilabel.multilabel(inputs, score=score, weights=weights, smoothing=plan.task.label_smoothing)
    return Described(table.of(task), _shape(table), count, (count,), {"inputs": _said(inputs)})


def classes(plan: Plan, seed: int) -> Described:
    """Return the problem of classifying arrays, such as series; errors as in `numbers`, and for targets no classes."""
    refuse(plan, "ignore", "score")
    table = read(plan, seed, _class_targets, by_class=True)
    inputs, counts = _standard(table, "input", plan), _counts(table)
    task = series(inputs, weights=weights_of(plan, counts), smoothing=plan.task.label_smoothing)
    named = Table(*(_renamed(rows) for rows in (table.train, table.validation, table.test)))
    right = np.asarray(named.validation.arrays["label"][named.validation.places])
    names = (prepared.classes(plan) if prepared.is_name(plan) else None) or tuple(map(str, range(len(counts))))
    facts = {"inputs": _said(inputs), "classes": list(names)}
    chance = float(np.bincount(right).max() / len(right))
    return Described(named.of(task), _shape(table), len(counts), (len(counts),), facts, chance)


def masks(plan: Plan, seed: int) -> Described:
    """Return the problem of segmenting images in arrays: uint8 `inputs` [n, h, w, c] and integer `targets` [n, h, w].

    Errors are those of `numbers`, and for arrays of other shapes.
    """
    score = chosen(plan, segmentation.SCORES)
    table = read(plan, seed, _mask_targets)
    pixels = table.train.arrays["input"]
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] not in (1, 3):  # noqa: PLR2004 (n, h, w, c)
        raise DataError(
            f"{plan.data.dataset}: inputs must be images, uint8 [n, height, width, 1 or 3]; found {pixels.dtype} "
            f"{list(pixels.shape)}.",
            remedy="Scale pixels to 0 … 255 (np.rint(inputs * 255).astype(np.uint8)), and put channels last; for other "
            "inputs write a task of your own (synevo guide own-task).",
        )
    count = 1 + max(_largest(rows, plan.task.ignore) for rows in (table.train, table.validation, table.test))
    shape = _shape(table)
    counts = np.bincount(table.sample("target").astype(np.int64).reshape(-1), minlength=256)[:count]
    if plan.task.ignore is not None and plan.task.ignore < count:
        counts[plan.task.ignore] = 0
    task = segmentation.segmentation(
        *(_pixels(plan, table, shape[-1])),
        score=score,
        weights=weights_of(plan, counts),
        smoothing=plan.task.label_smoothing,
        ignore=plan.task.ignore,
    )
    parts = (Rows({"image": rows.arrays["input"], "mask": rows.arrays["target"]}, rows.places) for rows in table.splits)
    problem = Problem(task, *(resident(rows) for rows in parts))
    return Described(problem, shape, count, (*shape[:-1], count), {"classes": [str(one) for one in range(count)]})


def _finite_targets(where: str, targets: NDArray[Any]) -> None:
    if targets.dtype.kind not in "iufb":
        raise DataError(
            f"{where} must be numbers [n] or [n, …]; found {targets.dtype}.",
            remedy="Write what is to be told as numbers; names of classes are --task classification, numbered from 0.",
        )
    check_finite(where, targets)


def _binary_targets(where: str, targets: NDArray[Any]) -> None:
    if targets.ndim != 2 or targets.dtype.kind not in "iufb" or not np.isin(targets, (0, 1)).all():  # noqa: PLR2004
        raise DataError(
            f"{where} must be 0 and 1 of shape [n, labels]; found {targets.dtype} {list(targets.shape)}.",
            remedy="Write a column for each label. One class for each example is --task classification.",
        )


def _class_targets(where: str, targets: NDArray[Any]) -> None:
    """Raise DataError unless targets are classes: integers [n], 0 … k-1 without gaps, two at least."""
    if targets.ndim == 2 and targets.dtype.kind in "iufb" and (np.sum(targets, axis=1) == 1).all():  # noqa: PLR2004
        remedy = "One-hot labels become integers with targets.argmax(1)."
    elif targets.ndim == 1 and targets.dtype.kind == "f":
        remedy = "Convert classes with targets.astype(np.int32); measures are --task regression."
    else:
        remedy = "Number the classes with np.unique(targets, return_inverse=True)[1]."
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        raise DataError(f"{where} must be integers [n]; found {targets.dtype} {list(targets.shape)}.", remedy=remedy)
    present = np.unique(targets)
    if len(present) < FEWEST or not np.array_equal(present, np.arange(len(present))):
        raise DataError(
            f"{where} must be 0 … k-1 without gaps, and two classes at least; found {len(present)} different ones, "
            f"{present[0]} … {present[-1]}.",
            remedy="Number the classes of all splits alike: np.unique(targets, return_inverse=True)[1].",
        )


def _mask_targets(where: str, targets: NDArray[Any]) -> None:
    if targets.ndim != 3 or targets.dtype.kind not in "iub" or targets.min() < 0 or targets.max() > 255:  # noqa: PLR2004
        raise DataError(
            f"{where} must be classes 0 … 255 of shape [n, height, width]; found {targets.dtype} "
            f"{list(targets.shape)}.",
            remedy="Write one class for each pixel: a single channel, targets[..., 0], or targets.argmax(-1) of "
            "one-hot ones.",
        )


def _counts(table: Table) -> NDArray[np.int64]:
    """Return how often each class occurs in training; DataError if another split has one that training lacks."""
    each = [np.bincount(np.asarray(rows.arrays["target"][rows.places])) for rows in table.splits]
    if max(map(len, each)) > len(each[0]) or (each[0] == 0).any():
        raise DataError(
            f"The training examples have {len(each[0])} classes, and other splits up to {max(map(len, each))}.",
            remedy="Number the classes of all splits alike, and give each to the training.",
        )
    return each[0]


def _renamed(rows: Rows) -> Rows:
    arrays = {"input": rows.arrays["input"], "label": rows.arrays["target"].astype(np.int32)}
    return Rows(arrays, rows.places)


def _largest(rows: Rows, ignore: int | None) -> int:
    targets = np.asarray(rows.arrays["target"])
    return int((targets if ignore is None else np.where(targets == ignore, 0, targets)).max())


def _shape(table: Table) -> tuple[int, ...]:
    return tuple(table.train.arrays["input"].shape[1:])


def _standard(table: Table, name: str, plan: Plan) -> Standard | None:
    """Return mean and deviation of the training examples, for each place of the last axis; None where not wanted."""
    if plan.data.normalise == "none":
        return None
    sample = table.sample(name).astype(np.float64)
    axes = tuple(range(max(1, sample.ndim - 1)))
    mean, deviation = np.atleast_1d(sample.mean(axis=axes)), np.atleast_1d(sample.std(axis=axes))
    deviation = np.where(deviation < SMALLEST_DEVIATION, 1.0, deviation)
    return Standard(tuple(map(float, mean)), tuple(map(float, deviation)))


def _pixels(plan: Plan, table: Table, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of scaled pixels, a channel each."""
    if plan.data.normalise == "none":
        return (0.0,) * channels, (AS_THEY_ARE,) * channels
    if plan.data.normalise == "scale":
        return (0.0,) * channels, (1.0,) * channels
    standard = _standard(table, "input", plan) or Standard()
    return tuple(one / 255 for one in standard.mean), tuple(one / 255 for one in standard.deviation)


def _said(standard: Standard | None) -> dict[str, Any] | None:
    return None if standard is None else {"mean": list(standard.mean), "deviation": list(standard.deviation)}
