"""Features of any kind from prepared data sets of TFDS, as the arrays, texts and sounds of the built-in tasks.

What is given to a network and what is wanted of it are the two that TFDS names for supervision, unless the plan names
others (`data.inputs`, `data.targets`); a feature within another one is named as `outer/inner`. Several numbers become
columns of one array, and a class among the inputs becomes a column for each of its names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.data.datasets import kind_of
from synevo.data.memory import check_room
from synevo.data.tfds import TEST, TRAIN, VALIDATION, choose_validation, find_prepared, home, open_builder, quiet
from synevo.data.tfds import is_known as data_set_is_known
from synevo.data.tfds import readable as readable_in
from synevo.errors import DataError, PlanError, did_you_mean
from synevo.plan.examples import CLASSIFICATION, DataPlan
from synevo.plan.fields import Plan

_AT_ONCE = 256  # records that are read together

_PARTS = ("train", "val", "test")

NUMBERS = "biuf"
"""The kinds of dtypes that are numbers."""


@dataclass(frozen=True)
class Features:
    """The features of a data set by their names, the splits to use by ours, and those that the plan or TFDS chose."""

    name: str
    builder: Any
    all: Mapping[str, Any]
    splits: Mapping[str, str]
    inputs: tuple[str, ...]
    targets: tuple[str, ...]

    def kind(self, name: str) -> str:
        """Return the name of the class of a feature: Tensor, Scalar, ClassLabel, Image, Text, Audio, …."""
        return type(self.all[name]).__name__

    def records(self, split: str, *, only: tuple[str, ...]) -> Iterator[dict[str, Any]]:
        """Yield the chosen features of each record of a split; DataError if a file is damaged."""
        with quiet() as tfds, readable_in(self.builder.data_path):
            skipped = {name: tfds.decode.SkipDecoding() for name in self.all if name not in only and "/" not in name}
            source = self.builder.as_data_source(split, decoders=skipped or None)
            for begin in range(0, len(source), _AT_ONCE):
                for record in source.__getitems__(list(range(begin, min(begin + _AT_ONCE, len(source))))):
                    yield {name: _inner(record, name) for name in only}

    def count(self, split: str) -> int:
        """Return the number of records of a split."""
        return int(self.builder.info.splits[split].num_examples)


def is_name(plan: Plan) -> bool:
    """Return whether a data set is named as one of TFDS."""
    return kind_of(plan.data.dataset) == "tfds"


def is_known(plan: Plan) -> bool:
    """Return whether TFDS has a data set of this name."""
    return data_set_is_known(plan.data.dataset, Path(home(plan.data.data_dir)))


def has_other_features(plan: Plan) -> bool:
    """Return whether a data set is one of TFDS, prepared, that is no set of images with classes, or not used as one."""
    if not is_name(plan) or find_prepared(plan.data.dataset, Path(home(plan.data.data_dir))) is None:
        return False
    if plan.task.name != CLASSIFICATION or plan.data.inputs or plan.data.targets:
        return True
    features = _open(plan.data)[1]
    return not any(type(feature).__name__ == "Image" for feature in features.values())


def is_of(plan: Plan, kind: str) -> bool:
    """Return whether the first input of a data set of TFDS is a feature of this class, such as Audio."""
    found = read(plan)
    return found.kind(found.inputs[0]) == kind


def located(data: DataPlan) -> DataPlan:
    """Return the plan with the absolute path of the folder of prepared data sets."""
    return data.model_copy(update={"data_dir": home(data.data_dir)})


def read(plan: Plan) -> Features:
    """Return the features of a data set of TFDS, with what is given to the network and what is wanted of it.

    Raises:
        DataError: if it is unknown, or not prepared and cannot be; or nothing says which features to take.
        PlanError: if the plan names a feature or a split that is not there.
    """
    data = plan.data
    builder, features = _open(data)
    info = builder.info
    for field, names in (("inputs", data.inputs), ("targets", data.targets)):
        odd = next((name for name in names or () if name not in features), None)
        if odd is not None:
            raise PlanError(
                f"data.{field}: {data.dataset} has no feature {odd!r}.{did_you_mean(odd, features)}",
                remedy=f"Its features are {', '.join(features)}; one within another is named as outer/inner.",
            )
    given, wanted = _supervised(info)
    text = plan.task.name == "next-token"
    targets = data.targets or (() if text else wanted or _only(features, plan.task.name))
    inputs = data.inputs or (given or tuple(name for name in features if name not in targets))
    if text and not data.inputs:
        inputs = tuple(name for name in features if type(features[name]).__name__ == "Text")[:1]
    if not inputs or not (targets or text):
        raise DataError(
            f"Nothing says which features of {data.dataset} the task {plan.task.name} is about; it has "
            f"{', '.join(_described(features))}.",
            remedy=f"Name them: --set data.inputs=NAME[,NAME…]{'' if text else ' --set data.targets=NAME'}.",
        )
    return Features(data.dataset, builder, features, _splits(data, info), inputs, targets)


def arrays(plan: Plan) -> dict[str, NDArray[Any]]:
    """Return `inputs` and `targets` [n, …], or those of each split with its name before theirs; errors as in `read`."""
    found = read(plan)
    for name in (*found.inputs, *found.targets):
        _check_numbers(found, name)
    flat = plan.task.name != "segmentation"
    joined: dict[str, NDArray[Any]] = {}
    for part, split in found.splits.items():
        columns = _columns(found, split)
        joined[f"{part}_inputs"] = _joined(found, found.inputs, columns, inputs=True)
        joined[f"{part}_targets"] = _joined(found, found.targets, columns, inputs=False)
        if not flat and joined[f"{part}_targets"].ndim == 4:  # noqa: PLR2004 (masks [n, h, w, 1])
            joined[f"{part}_targets"] = joined[f"{part}_targets"][..., 0]
    if list(found.splits) == ["train"]:
        return {name.removeprefix("train_"): array for name, array in joined.items()}
    return joined


def classes(plan: Plan) -> tuple[str, ...] | None:
    """Return the names of the classes of the target of a data set of TFDS; None where it is no class."""
    found = read(plan)
    target = found.all[found.targets[0]]
    return tuple(target.names) if hasattr(target, "names") and target.names else None


def texts(plan: Plan) -> dict[str, str]:
    """Return the text of each split, its records one a line; errors as in `read`, and for what is no text."""
    found = read(plan)
    (name, *_), kind = found.inputs, found.kind(found.inputs[0])
    if kind != "Text":
        raise DataError(
            f"{found.name}: the feature {name} is of the kind {kind}, and a text is expected.",
            remedy="Name a feature of text: --set data.inputs=NAME. It has " + ", ".join(_described(found.all)) + ".",
        )
    return {
        part: "\n".join(_decoded(record[name]) for record in found.records(split, only=(name,)))
        for part, split in found.splits.items()
    }


def sounds(plan: Plan) -> dict[str, tuple[list[NDArray[Any]], NDArray[np.int64], int]]:
    """Return the recordings [samples] of each split, the number of the class of each, and their rate in Hz."""
    found = read(plan)
    (sound, *_), (label, *_) = found.inputs, found.targets
    rate = found.all[sound].sample_rate
    if rate is None:
        raise DataError(
            f"{found.name} does not say at which rate {sound} was recorded.",
            remedy="Write the recordings as WAV files in class folders (synevo guide tasks).",
        )
    parts = {}
    for part, split in found.splits.items():
        heard: list[NDArray[Any]] = []
        labels = []
        for record in found.records(split, only=(sound, label)):
            if not heard:
                _check_room(found, record[sound].nbytes, split)
            heard.append(record[sound])
            labels.append(record[label])
        parts[part] = heard, np.array(labels, np.int64), int(rate)
    return parts


def _open(data: DataPlan) -> tuple[Any, dict[str, Any]]:
    builder, _ = open_builder(data.dataset, Path(home(data.data_dir)))
    with quiet() as tfds:
        return builder, dict(sorted(_flat(builder.info.features, tfds.features.FeaturesDict)))


def _flat(features: Any, nested: type, before: str = "") -> Iterator[tuple[str, Any]]:
    for name, feature in features.items():
        if isinstance(feature, nested):
            yield from _flat(feature, nested, f"{before}{name}/")
        else:
            yield f"{before}{name}", feature


def _inner(record: Any, name: str) -> Any:
    for part in name.split("/"):
        record = record[part]
    return record


def _supervised(info: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of the features that TFDS gives for supervision: those given, and those wanted."""
    keys = info.supervised_keys
    if not isinstance(keys, tuple) or len(keys) < 2:  # noqa: PLR2004 (what is given and what is wanted)
        return (), ()
    return _names(keys[0]), _names(keys[1])


def _names(keys: Any) -> tuple[str, ...]:
    if isinstance(keys, str):
        return (keys,)
    if isinstance(keys, dict):
        return tuple(sorted(name for one in keys.values() for name in _names(one)))
    return tuple(name for one in keys for name in _names(one))


def _only(features: Mapping[str, Any], task: str) -> tuple[str, ...]:
    """Return the only feature that can be the target of a task; none where there are several, or none is."""
    wanted = {CLASSIFICATION: ("ClassLabel",), "multilabel": ("Sequence",), "segmentation": ("LabeledImage",)}
    found = [name for name, feature in features.items() if type(feature).__name__ in wanted.get(task, ())]
    return tuple(found) if len(found) == 1 else ()


def _splits(data: DataPlan, info: Any) -> dict[str, str]:
    """Return the splits by our names, `train` at least; PlanError or DataError if the wanted one is not there."""
    if TRAIN not in info.splits:
        raise DataError(
            f"{data.dataset} must have a train split; found {', '.join(info.splits)}.",
            remedy="Choose another data set, or write its arrays to an .npz file (synevo guide tasks).",
        )
    test = next((split for split in (TEST, VALIDATION) if split in info.splits), None)
    if test is None:
        return {"train": TRAIN}
    usual = VALIDATION if VALIDATION in info.splits and test != VALIDATION else None
    held = choose_validation(data.dataset, info, test, data.validation_split or usual)
    return {"train": TRAIN, **({"val": held} if held else {}), "test": test}


def _described(features: Mapping[str, Any]) -> list[str]:
    return [f"{name} ({type(feature).__name__})" for name, feature in features.items()]


def _check_numbers(found: Features, name: str) -> None:
    feature = found.all[name]
    inner = feature.feature if found.kind(name) == "Sequence" else feature
    if np.dtype(inner.np_dtype).kind in NUMBERS:
        return
    others = [one for one in found.all if np.dtype(getattr(found.all[one], "np_dtype", object)).kind in NUMBERS]
    named = ",".join(one for one in others if one not in found.targets)
    raise DataError(
        f"{found.name}: the feature {name} is {found.kind(name)} of {inner.np_dtype}, and numbers are expected.",
        remedy=f"Name those that are numbers: --set data.inputs={named} --set data.targets=NAME.",
    )


def _columns(found: Features, split: str) -> dict[str, NDArray[Any]]:
    """Return the arrays [n, …] of all chosen features of a split."""
    only = (*found.inputs, *found.targets)
    rows: dict[str, list[NDArray[Any]]] = {name: [] for name in only}
    for record in found.records(split, only=only):
        for name in only:
            rows[name].append(_row(found, name, record[name]))
        if len(rows[only[0]]) == 1:
            _check_room(found, sum(rows[name][0].nbytes for name in only), split)
    for name, values in rows.items():
        shapes = {value.shape for value in values}
        if len(shapes) > 1:
            one, other = sorted(shapes, key=str)[:2]
            raise DataError(
                f"{found.name}: {name} has several shapes, such as {list(one)} and {list(other)}.",
                remedy="Bring all to one shape in a task of your own (synevo guide own-task), or write them as arrays "
                "inputs and targets to an .npz file.",
            )
    return {name: np.stack(values) for name, values in rows.items()}


def _row(found: Features, name: str, value: Any) -> NDArray[Any]:
    """Return one example of a feature: a list of classes becomes a number for each class, 1 where it is there."""
    feature = found.all[name]
    if found.kind(name) == "Sequence" and hasattr(feature.feature, "num_classes"):
        marks = np.zeros(feature.feature.num_classes, np.float32)
        marks[np.asarray(value, np.int64)] = 1
        return marks
    return np.asarray(value)


def _joined(
    found: Features, names: tuple[str, ...], columns: Mapping[str, NDArray[Any]], *, inputs: bool
) -> NDArray[Any]:
    """Return the array of one feature, or those of several side by side as float32 [n, columns]."""
    parts = [columns[name] for name in names]
    if inputs:
        parts = [
            np.eye(found.all[name].num_classes, dtype=np.float32)[part] if found.kind(name) == "ClassLabel" else part
            for name, part in zip(names, parts, strict=True)
        ]
    if len(parts) == 1:
        return parts[0][:, None] if inputs and parts[0].ndim == 1 else parts[0]
    return np.concatenate([part.reshape(len(part), -1).astype(np.float32) for part in parts], axis=1)


def _check_room(found: Features, bytes_each: int, split: str) -> None:
    check_room(
        bytes_each * found.count(split),
        f"The split {split} of {found.name} takes",
        remedy="Write it as inputs.npy and targets.npy to a folder, which are read as they are needed.",
    )


def _decoded(text: Any) -> str:
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
