"""Arrays of inputs and targets, from .npz files, .npy files, TFDS, or scikit-learn's `diabetes`, checked and split.

Arrays are `inputs` and `targets` [n, …], in an .npz file or as `inputs.npy` and `targets.npy` in a folder, or
`train_inputs`, `train_targets`, `test_inputs` and `test_targets`, and in both cases perhaps `val_inputs` and
`val_targets`. Files .npy are mapped: what does not fit into the memory is read as it is needed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.data.memory import check_room
from synevo.data.problems import prepared
from synevo.data.problems.described import resident
from synevo.data.problems.splits import Places, split, validation_of
from synevo.errors import DataError
from synevo.plan.fields import Plan
from synevo.tasks.task import Batch, Problem, Task

SAMPLED = 10_000
"""The most training examples, evenly apart, that tell mean and deviation."""

DIABETES = "diabetes"
"""The name of scikit-learn's embedded table: 442 people, 10 features, and how their diabetes went on."""

_PARTS = ("train", "val", "test")

_REMEDY = (
    "Write it with np.savez(file, inputs=…, targets=…), or as inputs.npy and targets.npy in a folder; or with train_, "
    "test_ and perhaps val_ before both names."
)

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Rows:
    """The examples at some `places` of arrays that may lie on a disk."""

    arrays: Arrays
    places: Places

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.places)

    def __getitem__(self, places: Places, /) -> Batch:
        """Return the batch of the examples at `places` [n] of these."""
        return {name: np.asarray(array[self.places[places]]) for name, array in self.arrays.items()}


@dataclass(frozen=True)
class Table:
    """The arrays `input` and `target` of each split."""

    train: Rows
    validation: Rows
    test: Rows

    @property
    def splits(self) -> tuple[Rows, Rows, Rows]:
        """The examples to train on, to decide by, and to test with."""
        return self.train, self.validation, self.test

    def of(self, task: Task) -> Problem:
        """Return the problem of a task on these examples, in memory where they are small."""
        return Problem(task, *(resident(rows) for rows in self.splits))

    def sample(self, name: str) -> NDArray[Any]:
        """Return an array of at most `SAMPLED` training examples, evenly apart."""
        places = np.linspace(0, len(self.train) - 1, min(len(self.train), SAMPLED)).astype(np.intp)
        return np.asarray(self.train[places][name])


def is_table(name: str) -> bool:
    """Return whether a data set is arrays of inputs and targets, by its name or by what it holds."""
    path = Path(name)
    if name == DIABETES:
        return not path.exists()
    if path.is_dir():
        return any((path / f"{stem}inputs.npy").is_file() for stem in ("", "train_"))
    if path.suffix.lower() == ".npz" and path.is_file():
        try:
            with np.load(path, allow_pickle=False) as archive:
                return any(one.endswith("inputs") for one in archive.files)
        except (OSError, ValueError, EOFError):
            return False
    return False


def read(plan: Plan, seed: int, check: Callable[[str, NDArray[Any]], None], *, by_class: bool = False) -> Table:
    """Return the checked arrays of a plan, split; with `by_class`, each class of the targets is.

    `check` is given the name of an array of targets, and the array.

    Raises:
        DataError: if arrays are missing, do not match, or hold what is no finite number.
    """
    data, where = plan.data, plan.data.dataset
    found = _arrays(plan)
    parts = {part: _pair(where, found, part) for part in ("", *_PARTS) if f"{part}_inputs".strip("_") in found}
    for part, pair in parts.items():
        _check_inputs(f"{where}: {part}_inputs".replace(": _", ": "), pair["input"])
        check(f"{where}: {part}_targets".replace(": _", ": "), pair["target"])
    _check_alike(where, parts)
    if "train" in parts and "test" in parts:
        train, test = parts["train"], Rows(parts["test"], np.arange(len(parts["test"]["input"])))
        places = np.arange(len(train["input"]))
        if "val" not in parts:
            held = validation_of(data, seed, places, train["target"] if by_class else None)
            return Table(Rows(train, places[~held]), Rows(train, places[held]), test)
        return Table(Rows(train, places), Rows(parts["val"], np.arange(len(parts["val"]["input"]))), test)
    if "" not in parts:
        raise DataError(f"{where} holds {', '.join(found) or 'nothing'}.", remedy=_REMEDY)
    whole = parts[""]
    found_places = split(data, seed, len(whole["input"]), labels=np.asarray(whole["target"]) if by_class else None)
    if "val" in parts:
        kept = np.sort(np.concatenate([found_places.train, found_places.validation]))
        return Table(
            Rows(whole, kept), Rows(parts["val"], np.arange(len(parts["val"]["input"]))), Rows(whole, found_places.test)
        )
    return Table(*(Rows(whole, places) for places in found_places))


def _arrays(plan: Plan) -> Arrays:
    if prepared.is_name(plan):
        return _diabetes() if plan.data.dataset == DIABETES else prepared.arrays(plan)
    return _load(Path(plan.data.dataset))


def _load(path: Path) -> Arrays:
    """Return the arrays of an .npz file, or of a folder of .npy files, by name; DataError if they cannot be read."""
    try:
        if path.is_dir():
            files = sorted(path.glob("*.npy"))
            return {file.stem: np.load(file, mmap_mode="r", allow_pickle=False) for file in files}
        check_room(path.stat().st_size, f"{path} holds", remedy="Write inputs.npy and targets.npy to a folder.")
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 (damaged files raise nearly anything; none is a bug of ours)
        raise DataError(f"{path} cannot be read: {error}", remedy=f"It may be damaged. {_REMEDY}") from None


def _diabetes() -> Arrays:
    from sklearn.datasets import load_diabetes  # noqa: PLC0415 (a second to import, for this source only)

    inputs, targets = load_diabetes(return_X_y=True)
    return {"inputs": inputs.astype(np.float32), "targets": targets.astype(np.float32)}


def _pair(where: str, arrays: Arrays, part: str) -> Arrays:
    """Return the inputs and targets of a part; DataError if one is missing, or they differ in length."""
    names = [f"{part}_{name}".strip("_") for name in ("inputs", "targets")]
    if not set(names) <= set(arrays):
        raise DataError(f"{where} holds {names[0]}, and no {names[1]}.", remedy=_REMEDY)
    inputs, targets = (arrays[name] for name in names)
    if min(inputs.ndim, targets.ndim) < 1 or len(inputs) != len(targets) or not len(inputs):
        raise DataError(
            f"{where}: {names[0]} {list(inputs.shape)} and {names[1]} {list(targets.shape)} must have one row for each "
            "example, and the same number of them.",
            remedy="Write one target for every input, in the same order.",
        )
    return {"input": inputs, "target": targets}


def _check_alike(where: str, parts: Mapping[str, Arrays]) -> None:
    """Raise DataError if the parts have inputs or targets of different shapes or kinds."""
    for name in ("input", "target"):
        forms = {(pair[name].shape[1:], pair[name].dtype) for pair in parts.values()}
        if len(forms) > 1:
            said = " and ".join(f"{dtype} {list(shape)}" for shape, dtype in sorted(forms, key=str))
            raise DataError(
                f"{where}: the {name}s of all splits must be alike; found {said} an example.",
                remedy="Bring them to one shape and one kind of numbers.",
            )


def _check_inputs(where: str, inputs: NDArray[Any]) -> None:
    if inputs.dtype.kind not in "iufb" or inputs.ndim < 2:  # noqa: PLR2004 (examples, and what each holds)
        raise DataError(
            f"{where} must be numbers [n, …]; found {inputs.dtype} {list(inputs.shape)}.",
            remedy="Write one row of numbers for each example: inputs.reshape(len(inputs), -1).astype(np.float32).",
        )
    check_finite(where, inputs)


def check_finite(where: str, values: NDArray[Any]) -> None:
    """Raise DataError for a number that is not finite, naming its row; what is mapped is read in parts."""
    if values.dtype.kind != "f":
        return
    step = max(1, (1 << 22) // max(1, int(np.prod(values.shape[1:]))))
    for begin in range(0, len(values), step):
        part = values[begin : begin + step].reshape(len(values[begin : begin + step]), -1)
        odd = np.flatnonzero(~np.isfinite(part).all(axis=1))
        if len(odd):
            row = begin + int(odd[0])
            value = next(one for one in part[odd[0]] if not np.isfinite(one))
            name = where.rpartition(": ")[2]
            raise DataError(
                f"{where}: row {row} holds {value}, and {len(odd)} of the {len(part)} rows from {begin} on do so.",
                remedy=f"Leave such rows out of inputs and targets alike: keep = np.isfinite({name}.reshape(len({name})"
                ", -1)).all(1); or choose a number for what is missing.",
            )
