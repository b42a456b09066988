"""Data sets of TFDS with features of any kind: tables, masks, text and sound are read as TFDS holds them."""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import written
from numpy.typing import NDArray

from synevo.data.problems import named, prepared, recordings
from synevo.data.problems.described import Described
from synevo.errors import SynevoError
from synevo.plan.compose import compose
from synevo.plan.fields import Plan

KIND = "tensorflow_datasets.core.features."
RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return written.empty_cache(tmp_path, monkeypatch)


def tensor(dtype: str, *shape: int | None, kind: str = "tensor_feature.Tensor") -> dict[str, Any]:
    sizes = {"dimensions": [str(-1 if size is None else size) for size in shape]} if shape else {}
    return {"pythonClassName": KIND + kind, "tensor": {"shape": sizes, "dtype": dtype, "encoding": "none"}}


def classes(count: int) -> dict[str, Any]:
    return {"pythonClassName": f"{KIND}class_label_feature.ClassLabel", "classLabel": {"numClasses": str(count)}}


def picture(height: int, width: int, channels: int) -> dict[str, Any]:
    shape = {"dimensions": [str(height), str(width), str(channels)]}
    image = {"shape": shape, "dtype": "uint8", "encodingFormat": "png"}
    return {"pythonClassName": f"{KIND}image_feature.Image", "image": image}


TEXT = {"pythonClassName": f"{KIND}text_feature.Text", "text": {}}


def lay_out(
    folder: Path,
    members: Mapping[str, Any],
    splits: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    supervised: tuple[str, str] | None = None,
    names: Mapping[str, str] | None = None,
) -> Path:
    """Write the data set `own` as TFDS lays it out."""
    home = folder / "own" / "1.0.0"
    home.mkdir(parents=True)
    noted = {"pythonClassName": f"{KIND}features_dict.FeaturesDict", "featuresDict": {"features": dict(members)}}
    (home / "features.json").write_text(json.dumps(noted))
    for feature, text in (names or {}).items():
        (home / f"{feature}.labels.txt").write_text(text)
    listed = [
        {"name": name, "numBytes": "1", "shardLengths": [str(len(rows))], "filepathTemplate": written.TEMPLATE}
        for name, rows in splits.items()
    ]
    info: dict[str, Any] = {"name": "own", "version": "1.0.0", "fileFormat": "array_record", "splits": listed}
    if supervised:
        info["supervisedKeys"] = {"tuple": {"items": [{"featureKey": key} for key in supervised]}}
    (home / "dataset_info.json").write_text(json.dumps(info))
    for name, rows in splits.items():
        written.write_examples(home / f"own-{name}.array_record-00000-of-00001", rows)
    return folder


def plan_of(folder: Path, task: str, *sets: str) -> Plan:
    options = {"task.name": task, "data.dataset": "own", "data.data_dir": str(folder)}
    return compose(options=options, sets=sets)


def read(folder: Path, task: str, *sets: str) -> Described:
    plan = plan_of(folder, task, *sets)
    assert not named.of_images(plan)
    return named.describe(named.resolve(plan))


def all_of(examples: Any) -> dict[str, NDArray[Any]]:
    return {name: np.asarray(array) for name, array in examples[np.arange(len(examples))].items()}


def measures(count: int) -> list[dict[str, Any]]:
    return [
        {"size": [float(n), 2.0 * n], "kind": [n % 3], "price": [3.0 * n], "name": f"no. {n}".encode(), "left": [n % 2]}
        for n in range(count)
    ]


TABLE = {
    "size": tensor("float32", 2),
    "kind": classes(3),
    "price": tensor("float32", kind="scalar.Scalar"),
    "name": TEXT,
    "left": tensor("int64", kind="scalar.Scalar"),
}


def test_numbers_are_columns_and_a_class_among_them_is_a_column_for_each_name(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, TABLE, {"train": measures(20), "test": measures(5)})
    sets = ("data.inputs=size,kind,left", "data.targets=price", "data.normalise=none")
    found = read(folder, "regression", *sets)
    test = all_of(found.problem.test)
    np.testing.assert_array_equal(test["input"][4], [4, 8, 0, 1, 0, 0])
    np.testing.assert_array_equal(test["target"].reshape(-1), [0, 3, 6, 9, 12])
    assert (found.shape, found.outputs, len(found.problem.train), len(found.problem.validation)) == ((6,), 1, 18, 2)
    several = read(folder, "regression", "data.inputs=kind", "data.targets=price,left", "data.normalise=none")
    np.testing.assert_array_equal(all_of(several.problem.test)["target"][3], [9, 1])


def test_what_tfds_names_for_supervision_is_taken_and_classes_have_their_names(tmp_path: Path) -> None:
    names = {"kind": "ash\noak\nelm\n"}
    splits = {"train": measures(30), "validation": measures(6), "test": measures(9)}
    folder = lay_out(tmp_path, TABLE, splits, supervised=("size", "kind"), names=names)
    found = read(folder, "classification")
    assert found.facts["classes"] == ["ash", "oak", "elm"]
    assert [len(split) for split in found.problem[1:]] == [30, 6, 9]
    np.testing.assert_array_equal(all_of(found.problem.test)["label"], np.arange(9) % 3)


def test_a_set_with_one_split_is_divided(tmp_path: Path) -> None:
    folder = lay_out(tmp_path, TABLE, {"train": measures(30)}, supervised=("size", "price"))
    assert [len(split) for split in read(folder, "regression").problem[1:]] == [22, 2, 6]


def test_a_list_of_classes_is_several_labels(tmp_path: Path) -> None:
    several = {
        "pythonClassName": f"{KIND}sequence_feature.Sequence",
        "sequence": {"feature": classes(4), "length": "-1"},
    }
    rows = [{"x": [float(n), 1.0], "tags": [n % 4, (n + 1) % 4][: 1 + n % 2]} for n in range(20)]
    folder = lay_out(tmp_path, {"x": tensor("float32", 2), "tags": several}, {"train": rows, "test": rows[:4]})
    found = read(folder, "multilabel")
    np.testing.assert_array_equal(all_of(found.problem.test)["target"][:2], [[1, 0, 0, 0], [0, 1, 1, 0]])


def test_images_and_their_masks_are_segmented(tmp_path: Path) -> None:
    pixels, masks = RANDOM.integers(0, 256, (12, 4, 6, 3), np.uint8), RANDOM.integers(0, 2, (12, 4, 6), np.uint8)
    rows = [{"image": written.png(one), "mask": written.png(mask)} for one, mask in zip(pixels, masks, strict=True)]
    members = {"image": picture(4, 6, 3), "mask": picture(4, 6, 1)}
    folder = lay_out(tmp_path, members, {"train": rows[:8], "test": rows[8:]}, supervised=("image", "mask"))
    found = read(folder, "segmentation")
    test = all_of(found.problem.test)
    np.testing.assert_array_equal(test["image"], pixels[8:])
    np.testing.assert_array_equal(test["mask"], masks[8:])
    assert (found.shape, found.outputs) == ((4, 6, 3), 2)


def test_text_is_a_row_of_characters(tmp_path: Path) -> None:
    def rows(text: str) -> list[dict[str, Any]]:
        return [{"text": line.encode()} for line in text.split()]

    folder = lay_out(tmp_path, {"text": TEXT}, {"train": rows("abcabcabcabcabc bacbac"), "test": rows("cabcab ab")})
    found = read(folder, "next-token", "data.context=3", "data.validation=0.3")
    assert found.facts["vocabulary"] == "\nabc"
    test = all_of(found.problem.test)["tokens"]
    np.testing.assert_array_equal(test, [[3, 1, 2, 3], [3, 1, 2, 0]])
    np.testing.assert_array_equal(all_of(found.problem.validation)["tokens"], [[0, 2, 1, 3], [3, 2, 1, 3]])


@pytest.mark.skipif(find_spec("tensorflow") is None, reason="needs synevo[tflite]")
def test_sounds_are_spectrograms(tmp_path: Path) -> None:
    audio = tensor("int64", None, kind="audio_feature.Audio")
    audio["audio"] = {**audio.pop("tensor"), "sampleRate": 1000}
    waves = [[int(level) for level in RANDOM.integers(-3000, 3000, 300 + n)] for n in range(16)]
    rows = [{"audio": wave, "label": [n % 2]} for n, wave in enumerate(waves)]
    members = {"audio": audio, "label": classes(2)}
    splits = {"train": rows[:12], "test": rows[12:]}
    folder = lay_out(tmp_path, members, splits, supervised=("audio", "label"), names={"label": "no\nyes\n"})
    found = read(folder, "classification", "data.bands=4")
    assert (found.facts["rate"], found.facts["samples"], found.facts["classes"]) == (1000, 315, ["no", "yes"])
    np.testing.assert_array_equal(all_of(found.problem.test)["sound"][0][:312], waves[12])


def test_floats_of_sound_and_several_channels_become_levels() -> None:
    found = recordings._levels(np.array([[1.0, 0.0], [-2.0, -2.0]]))
    assert (found.dtype, found.tolist()) == (np.int16, [16384, -32768])


def test_images_with_classes_stay_images(tmp_path: Path) -> None:
    written.prepare(tmp_path)
    plan = compose(options={"data.dataset": "tiny", "data.data_dir": str(tmp_path)})
    assert named.of_images(plan)
    assert not prepared.has_other_features(plan)


@pytest.mark.parametrize(
    ("task", "sets", "words", "remedy"),
    [
        ("regression", (), "Nothing says which features of own", "--set data.targets=NAME"),
        (
            "regression",
            ("data.targets=prize",),
            "no feature 'prize'. Did you mean 'price'",
            "Its features are kind, left, name, price, size",
        ),
        ("regression", ("data.targets=price",), "the feature name is Text", "data.inputs=kind,left,size"),
        ("next-token", ("data.inputs=size",), "the feature size is of the kind Tensor", "name (Text)"),
        ("segmentation", ("data.inputs=size", "data.targets=left"), "targets must be classes", "one class for each"),
        (
            "regression",
            ("data.targets=price", "data.validation_split=other"),
            "is none of own",
            "data.validation_split",
        ),
    ],
)
def test_what_cannot_be_used_says_why(
    tmp_path: Path, task: str, sets: tuple[str, ...], words: str, remedy: str
) -> None:
    folder = lay_out(tmp_path, TABLE, {"train": measures(20), "test": measures(5)})
    with pytest.raises(SynevoError) as caught:
        read(folder, task, *sets)
    assert words in str(caught.value)
    assert remedy in caught.value.remedy


def test_shapes_that_differ_are_named(tmp_path: Path) -> None:
    rows = [{"x": [1.0] * (2 + n % 2), "y": [1.0 * n]} for n in range(9)]
    members = {"x": tensor("float32", None), "y": tensor("float32", kind="scalar.Scalar")}
    folder = lay_out(tmp_path, members, {"train": rows, "test": rows}, supervised=("x", "y"))
    with pytest.raises(SynevoError, match=r"x has several shapes, such as \[2\] and \[3\]"):
        read(folder, "regression")
