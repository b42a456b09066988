"""Data sets of TFDS: read where they are prepared, prepared where that is possible, and else said at once."""

import contextlib
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import written
from written import assert_says, features, load_error, plan_for, prepare, same

from synevo.data import datasets
from synevo.data import tfds as prepared
from synevo.data.datasets import Dataset
from synevo.errors import DataError, PlanError
from synevo.plan.fields import Plan
from synevo.runs import stages
from synevo.runs.rundir import RunDir

REAL = Path(os.environ.get("TFDS_DATA_DIR", "nowhere"))

real_mnist = pytest.mark.skipif(not (REAL / "mnist").is_dir(), reason="TFDS_DATA_DIR names no folder that holds mnist")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return written.empty_cache(tmp_path, monkeypatch)


# What is prepared


def test_images_and_labels_are_read_in_their_order_with_the_names_of_their_classes(tmp_path: Path) -> None:
    prepare(tmp_path)
    data = datasets.load(plan_for("tiny", data_dir=str(tmp_path)), seed=0)
    assert (data.name, data.classes, data.shape) == ("tiny", ("off", "on"), (4, 4, 1))
    assert data.test.pixels[:, 0, 0, 0].tolist() == [0, 10]
    assert data.test.labels.tolist() == [1, 0]
    levels = np.concatenate([data.train.pixels, data.validation.pixels])[:, 0, 0, 0]
    assert sorted(levels.tolist()) == [0, 10, 20, 30, 40, 50, 60, 70]


def test_validation_tests_where_there_is_no_test_split(tmp_path: Path) -> None:
    prepare(tmp_path, labels={"train": [0, 1] * 4, "validation": [1, 1, 0]})
    data = datasets.load(plan_for("tiny", data_dir=str(tmp_path)), seed=0)
    assert data.test.labels.tolist() == [1, 1, 0]


THREE = {"train": [0, 1] * 4, "validation": [1, 1, 0], "test": [0, 1], "extra": [0, 1, 1, 1]}


def loaded(folder: Path, **fields: Any) -> Dataset:
    """The images of a new run."""
    return datasets.load(datasets.resolve(plan_for("tiny", data_dir=str(folder), **fields), native_size=None), seed=0)


def test_a_run_decides_on_the_validation_split_that_there_is_or_on_the_named_one(tmp_path: Path) -> None:
    prepare(tmp_path, labels=THREE)
    for wanted in (None, "extra", "validation", "train") * 2:  # the second time from the cache
        data = loaded(tmp_path, validation_split=wanted)
        assert data.test.labels.tolist() == THREE["test"]
        if wanted == "train":
            assert (len(data.train), len(data.validation)) == (6, 2)
        else:
            assert data.validation.labels.tolist() == THREE[wanted or "validation"]
            assert data.train.labels.tolist() == THREE["train"]


def test_the_split_that_decides_is_in_the_plan_of_a_new_run_and_a_plan_without_one_holds_out_a_share(
    tmp_path: Path,
) -> None:
    prepare(tmp_path, labels=THREE)
    plan = plan_for("tiny", data_dir=str(tmp_path))
    resolved = datasets.resolve(plan, native_size=None)
    assert resolved.validation_split == "validation"
    assert datasets.resolve(resolved, native_size=None) == resolved
    older = datasets.load(plan, seed=0)
    assert (len(older.train), len(older.validation)) == (6, 2)
    prepare(tmp_path / "two", labels={"train": [0, 1] * 4, "validation": [1, 0]})
    assert datasets.resolve(plan_for("tiny", data_dir=str(tmp_path / "two")), native_size=None).validation_split is None


def test_a_run_that_held_out_a_share_when_it_began_goes_on_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path, labels=THREE)
    seen: list[str | None] = []

    def look(plan: Plan) -> None:
        seen.append(plan.data.validation_split)
        raise DataError("enough", remedy="seen")

    monkeypatch.setattr(stages, "prepare", look)
    plan = Plan(data=plan_for("tiny", data_dir=str(tmp_path)))
    begun = RunDir(tmp_path / "begun")
    begun.save_plan(plan)
    for run in (RunDir(tmp_path / "new"), begun):
        with pytest.raises(DataError, match="enough"):
            list(stages.train_ancestor(run, plan))
    assert seen == ["validation", None]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("test", "validation_split = 'test' is the one that tests tiny; there are "),
        ("validaton", r"is none of tiny; there are .*Did you mean 'validation'\?"),
    ],
)
def test_a_split_that_cannot_decide_is_refused(tmp_path: Path, wanted: str, words: str) -> None:
    prepare(tmp_path, labels=THREE)
    with pytest.raises(PlanError, match=words) as caught:
        loaded(tmp_path, validation_split=wanted)
    assert "--set data.validation_split=train" in caught.value.remedy


def test_the_newest_version_is_taken_unless_one_is_named(tmp_path: Path) -> None:
    for version, count in (("1.0.0", 2), ("9.0.0", 3), ("10.0.0", 4)):
        prepare(tmp_path, version=version, labels={"train": [0, 1] * count, "test": [0, 1]})
    (tmp_path / "tiny" / "11.0.0").mkdir()  # begun, not finished
    for name, count in (("tiny", 8), ("tiny:9.0.0", 6)):
        data = datasets.load(plan_for(name, data_dir=str(tmp_path)), seed=0)
        assert len(data.train) + len(data.validation) == count


def test_the_default_config_is_the_one_that_tfds_noted(tmp_path: Path) -> None:
    prepare(tmp_path, home="tiny/large", labels={"train": [0, 1] * 5, "test": [0, 1]})
    prepare(tmp_path, home="tiny/small", labels={"train": [0, 1] * 2, "test": [0, 1]})
    assert prepared.find_prepared("tiny", tmp_path) is None
    (tmp_path / "tiny" / ".config").mkdir()
    (tmp_path / "tiny" / ".config" / "metadata.json").write_text('{"default_config_name": "small"}')
    for name, count in (("tiny", 4), ("tiny/large", 10), ("tiny/small:1.0.0", 4)):
        data = datasets.load(plan_for(name, data_dir=str(tmp_path)), seed=0)
        assert len(data.train) + len(data.validation) == count


def test_a_second_load_decodes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path)
    plan = plan_for("tiny", data_dir=str(tmp_path))
    first = datasets.load(plan, seed=0)
    monkeypatch.setattr(prepared.Records, "read", lambda *_: pytest.fail("decoded again"))
    assert same(datasets.load(plan, seed=0).train, first.train)


def test_a_load_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path)
    capfd.readouterr()
    datasets.load(plan_for("tiny", data_dir=str(tmp_path)), seed=0)
    assert capfd.readouterr() == ("", "")


def test_warnings_of_tfds_are_silenced_and_its_prints_leave_stdout_to_results(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    log = logging.getLogger("absl")
    with prepared.quiet():
        log.warning("OpenCV is not installed.")
        print("Downloading and preparing …")  # noqa: T201
    assert capsys.readouterr() == ("", "Downloading and preparing …\n")
    assert caplog.records == []
    log.warning("others may go on")
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"labels": {"train": [0, 1] * 4}}, "a test or validation split; found train"),
        ({"labels": {"test": [0, 1] * 4}}, "a train split .* found test"),
        ({"labels": {"train": [0, 1] * 4, "test": [0, -1]}}, r"labels of test must be in 0 … 1; found -1"),
        ({"labels": THREE | {"validation": [0, 7]}}, r"labels of validation must be in 0 … 1; found 7"),
        ({"file_format": "tfrecord"}, "must be prepared as array_record; it is tfrecord"),
        ({"noted": features(label=None)}, "not an image classification set.*found image"),
        ({"noted": features(image=None)}, "not an image classification set.*found label"),
        ({"noted": features() | {"featuresDict": {}}}, "not an image classification set"),
        ({"noted": {"nonsense": 1}}, "cannot be read"),
    ],
)
def test_what_a_classifier_cannot_be_trained_on_is_refused(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    prepare(tmp_path, **fields)
    named = "validation" if "validation" in fields.get("labels", ()) else None
    assert_says(load_error("tiny", data_dir=str(tmp_path), validation_split=named), words)


@pytest.mark.parametrize(("shape", "dtype"), [(["-1", "4", "3"], "uint8"), (["4", "4", "1"], "uint16")])
def test_images_of_half_a_size_or_of_another_depth_are_refused(tmp_path: Path, shape: list[str], dtype: str) -> None:
    image = features()["featuresDict"]["features"]["image"]
    image["image"] |= {"shape": {"dimensions": shape}, "dtype": dtype}
    prepare(tmp_path, noted=features(image=image))
    assert_says(load_error("tiny", data_dir=str(tmp_path)), "uint8 images with 1 or 3 channels")


def test_images_of_varying_size_are_resized_on_reading_and_else_refused(tmp_path: Path) -> None:
    image = features()["featuresDict"]["features"]["image"]
    image["image"] |= {"shape": {"dimensions": ["-1", "-1", "1"]}}
    prepare(tmp_path, noted=features(image=image), sizes=[4, 6, 9])
    error = load_error("tiny", data_dir=str(tmp_path))
    assert_says(error, r"have several sizes, such as \(4, 4, 1\) and \(6, 6, 1\)")
    assert "--set data.fit=resize --set data.image_size=N" in error.remedy
    plan = datasets.resolve(plan_for("tiny", data_dir=str(tmp_path), fit="resize", image_size=5), native_size=None)
    data, streamed = (datasets.load(plan.model_copy(update={"memory": room}), seed=0) for room in (None, 1e-9))
    assert data.shape == (5, 5, 1)
    for part in ("train", "validation", "test"):
        assert np.array_equal(getattr(data, part).pixels, getattr(streamed, part).pixels[:])
        assert np.array_equal(getattr(data, part).labels, getattr(streamed, part).labels)


@pytest.mark.parametrize("keep", [0, 50, 200_000])
def test_damaged_records_are_no_bug_of_ours(tmp_path: Path, keep: int) -> None:
    folder = prepare(tmp_path, labels={"train": [0, 1] * 40, "test": [0, 1]})
    records = folder / "tiny-train.array_record-00000-of-00001"
    data = records.read_bytes()
    records.write_bytes(data[: min(keep, len(data) // 2)])
    assert_says(load_error("tiny", data_dir=str(tmp_path)), "cannot be read")


# What is not


@pytest.fixture(autouse=True)
def no_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow_datasets as tfds

    monkeypatch.setattr(tfds, "builder", lambda *_, **__: pytest.fail("TFDS was left to itself"))


@pytest.fixture
def tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared.importlib.util, "find_spec", lambda _: SimpleNamespace())


def test_without_tensorflow_the_error_names_the_folder_the_extra_and_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared.importlib.util, "find_spec", lambda _: None)
    prepare(tmp_path, home="held")
    error = load_error("mnist", data_dir=str(tmp_path))
    assert_says(error, r"mnist is not prepared in .*\(it holds held\), and TensorFlow")
    assert str(tmp_path) in error.problem
    for word in ("pip install '.[prepare]'", "--data-dir DIR", "TFDS_DATA_DIR"):
        assert word in error.remedy


@pytest.mark.usefixtures("tensorflow")
def test_without_a_network_the_error_says_so_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(prepared.socket, "getaddrinfo", fail)
    assert_says(load_error("mnist", data_dir=str(tmp_path / "gone")), "cannot be downloaded")


@pytest.mark.usefixtures("tensorflow")
def test_a_look_up_that_never_answers_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(prepared.socket, "getaddrinfo", lambda *_: answer.wait(60))
    monkeypatch.setattr(prepared, "PATIENCE", 0.01)
    assert_says(load_error("mnist", data_dir=str(tmp_path)), "cannot be downloaded")
    assert not answer.is_set()
    answer.set()


def test_the_patience_for_a_look_up_leaves_room_within_five_seconds() -> None:
    assert prepared.PATIENCE <= 2


@pytest.mark.parametrize("name", ["fashion_mnsit", "Mnist", "no/such/folder", "images.zip", "a:b:c"])
def test_an_unknown_name_gets_near_ones_and_the_other_kinds_of_source(tmp_path: Path, name: str) -> None:
    error = load_error(name, data_dir=str(tmp_path))
    assert "There is no data set" in error.problem
    assert ("mnist" in error.problem.partition("Did you mean")[2]) == ("mn" in name.lower())
    for kind in ("digits", ".npz", "folder", "TFDS"):
        assert kind in error.remedy


@pytest.mark.usefixtures("tensorflow")
def test_with_both_it_is_prepared_as_array_record_with_downloads_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    with stand_in(monkeypatch, lambda given: calls.append(given) or prepare(tmp_path, home="mnist")):
        for name in ("mnist", "mnist"):
            data = datasets.load(plan_for(name, data_dir=str(tmp_path)), seed=0)
    assert len(data.test) == 2
    assert len(calls) == 1
    assert calls[0]["file_format"] == "array_record"
    assert calls[0]["download_dir"] == str(tmp_path / "downloads" / "mnist")


@pytest.mark.usefixtures("tensorflow")
def test_a_failed_preparation_is_no_bug_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: dict[str, Any]) -> None:
        raise AssertionError("Manual download required.\nMore lines.")

    with stand_in(monkeypatch, fail):
        error = load_error("mnist", data_dir=str(tmp_path))
    assert_says(error, r"could not prepare mnist in .*: Manual download required\.\n")
    assert "catalog/mnist" in error.remedy


@contextlib.contextmanager
def stand_in(monkeypatch: pytest.MonkeyPatch, act: Callable[[dict[str, Any]], Any]) -> Any:
    """A network and a TFDS whose builder does `act` instead of downloading."""
    import tensorflow_datasets as tfds

    def builder(name: str, *, data_dir: str) -> Any:
        path = Path(data_dir) / name / "1.0.0"
        return SimpleNamespace(data_path=path, download_and_prepare=lambda **given: act(given))

    monkeypatch.setattr(prepared, "_network", lambda: True)
    monkeypatch.setattr(tfds, "builder", builder)
    yield


# The real one


@real_mnist
def test_mnist_has_28_pixels_a_side_and_is_padded_for_a_network_of_32() -> None:
    plan = datasets.resolve(plan_for("mnist", data_dir=str(REAL)), native_size=32)
    assert (plan.image_size, plan.fit) == (32, "pad")
    assert datasets.resolve(plan_for("mnist", data_dir=str(REAL)), native_size=None).image_size == 28


@real_mnist
def test_the_first_images_of_mnist_are_the_ones_that_the_tutorials_of_tfds_show() -> None:
    import tensorflow_datasets as tfds

    folder = prepared.find_prepared("mnist:3.0.1", REAL)
    assert folder is not None
    builder = tfds.builder_from_directory(folder)
    images = prepared.Records(builder, "image", "label", (28, 28, 1)).read("train[:10]")
    assert images.labels.tolist() == [4, 1, 0, 7, 8, 1, 2, 7, 1, 6]
    assert images.pixels.max() == 255


@pytest.mark.parametrize(
    ("name", "meant"),
    [("fashion_mnsit", "fashion_mnist"), ("Mnist", "mnist"), ("digit", "digits"), ("cifar_10", "cifar10")],
)
def test_a_misspelled_name_is_answered_with_the_data_set_that_was_meant(tmp_path: Path, name: str, meant: str) -> None:
    assert f"Did you mean '{meant}'?" in load_error(name, data_dir=str(tmp_path)).problem
