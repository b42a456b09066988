"""The problem of a plan: that of a built-in task, by what its data set is, or a user's own."""

from collections.abc import Callable, Mapping
from pathlib import Path

from synevo.data.problems import pairs, prepared, recordings, tables, tabular, texts
from synevo.data.problems.described import Described
from synevo.errors import DataError
from synevo.plan.examples import BUILT_IN_TASKS, CLASSIFICATION
from synevo.plan.fields import Plan

Reader = Callable[[Plan, int], Described]

_OF_ARRAYS: Mapping[str, Reader] = {
    CLASSIFICATION: tabular.classes,
    "segmentation": tabular.masks,
    "regression": tabular.numbers,
    "multilabel": tabular.labels,
}
"""What reads arrays of inputs and targets, by the task."""

_WANTED = {
    "segmentation": "a folder with image/ and label/, or arrays of images and masks (inputs, targets)",
    "regression": "arrays inputs and targets in an .npz file, inputs.npy and targets.npy in a folder, or diabetes",
    "multilabel": "arrays inputs and targets [n, labels] in an .npz file, or inputs.npy and targets.npy in a folder",
    "next-token": "a text file (.txt), a folder of them, or tokens in an .npy file",
}
"""The data sets of each task that is not classification, in words."""


def is_built_in(plan: Plan) -> bool:
    """Return whether synevo reads the data of a plan's task itself."""
    return plan.task.name in BUILT_IN_TASKS


def of_images(plan: Plan) -> bool:
    """Return whether a plan classifies images, as `synevo.data.datasets` reads them."""
    return plan.task.name == CLASSIFICATION and _reader(plan) is None


def resolve(plan: Plan) -> Plan:
    """Return the plan of a built-in task with the absolute path of its data set; DataError if there is none."""
    _require(plan)
    if plan.data.dataset == tables.DIABETES:
        return plan
    if prepared.is_name(plan):
        prepared.read(plan)
        return plan.model_copy(update={"data": prepared.located(plan.data)})
    path = str(Path(plan.data.dataset).expanduser().resolve())
    return plan.model_copy(update={"data": plan.data.model_copy(update={"dataset": path})})


def describe(plan: Plan) -> Described:
    """Return the problem of a built-in task that does not classify images.

    Raises:
        DataError: if the data set is none for this task, or cannot be used.
        PlanError: if the plan sets what the task does not use.
    """
    try:
        return _require(plan)(plan, plan.seed)
    except OSError as error:
        raise DataError(f"{plan.data.dataset} cannot be read: {error}", remedy="Check that you may read it.") from None


def _require(plan: Plan) -> Reader:
    found = _reader(plan)
    if found is None:
        name, where = plan.task.name, plan.data.dataset
        there = Path(where).expanduser().exists()
        raise DataError(
            f"The task {name} needs {_WANTED[name]}; {where} is {'none of these' if there else 'not there'}.",
            remedy="Name it with --dataset, a path or a name of TFDS: see synevo guide tasks.",
        )
    return found


def _reader(plan: Plan) -> Reader | None:
    """Return the function that reads a data set for a task; None where it is none for it."""
    name, where = plan.task.name, plan.data.dataset
    path = Path(where).expanduser()
    if where != tables.DIABETES and prepared.is_name(plan):
        return _reader_of_tfds(plan)
    if tables.is_table(where if where == tables.DIABETES else str(path)):
        return None if (name, where) == (CLASSIFICATION, tables.DIABETES) else _OF_ARRAYS.get(name)
    if name == CLASSIFICATION:
        return recordings.classes if recordings.has_recordings(path) else None
    if name == "segmentation":
        return pairs.masks if pairs.has_pairs(path) else None
    return texts.text if name == "next-token" and texts.is_text(path) else None


def _reader_of_tfds(plan: Plan) -> Reader | None:
    """Return the function that reads a data set of TFDS; None for one of images with classes."""
    if plan.task.name != CLASSIFICATION:
        if not prepared.is_known(plan):
            return None
        return {**_OF_ARRAYS, "next-token": texts.text}[plan.task.name]
    if not prepared.has_other_features(plan):
        return None
    return recordings.classes if prepared.is_of(plan, "Audio") else tabular.classes
