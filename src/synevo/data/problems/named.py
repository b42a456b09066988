"""The problem of a plan: that of a built-in task, by what its data set is, or a user's own."""

from collections.abc import Callable
from pathlib import Path

from synevo.data.problems import pairs, recordings, tables, tabular, texts
from synevo.data.problems.described import Described
from synevo.errors import DataError
from synevo.plan.examples import BUILT_IN_TASKS, CLASSIFICATION
from synevo.plan.fields import Plan

Reader = Callable[[Plan, int], Described]

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
            remedy="Name it with --dataset PATH. `synevo guide tasks` shows what each kind must look like.",
        )
    return found


def _reader(plan: Plan) -> Reader | None:
    """Return the function that reads a data set for a task; None where it is none for it."""
    where = plan.data.dataset
    path = Path(where).expanduser()
    table = tables.is_table(where if where == tables.DIABETES else str(path))
    match plan.task.name:
        case "classification" if where != tables.DIABETES:
            return recordings.classes if recordings.has_recordings(path) else tabular.classes if table else None
        case "segmentation":
            return pairs.masks if pairs.has_pairs(path) else tabular.masks if table else None
        case "regression" if table:
            return tabular.numbers
        case "multilabel" if table:
            return tabular.labels
        case "next-token" if texts.is_text(path):
            return texts.text
    return None
