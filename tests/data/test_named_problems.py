"""Data of the built-in tasks: what is read is what was written, and what cannot be used says why and how to mend it."""

import re
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from synevo.data.problems import described, named, texts
from synevo.data.problems.described import Described
from synevo.data.problems.pairs import Tiles
from synevo.data.problems.recordings import decode
from synevo.data.problems.texts import Stretches
from synevo.errors import DataError, PlanError, SynevoError
from synevo.plan.compose import compose
from synevo.plan.fields import Plan

RANDOM = np.random.default_rng(0)


def plan_of(task: str, dataset: Path | str, *sets: str) -> Plan:
    return compose(options={"task.name": task, "data.dataset": str(dataset)}, sets=sets)


def read(task: str, dataset: Path | str, *sets: str) -> Described:
    return named.describe(plan_of(task, dataset, *sets))


def all_of(examples: Any) -> dict[str, NDArray[Any]]:
    return {name: np.asarray(array) for name, array in examples[np.arange(len(examples))].items()}


# Tables.


def table(folder: Path, count: int = 40, **arrays: Any) -> Path:
    inputs = np.arange(3 * count, dtype=np.float32).reshape(count, 3)
    given = {"inputs": inputs, "targets": inputs.sum(1), **arrays}
    np.savez(folder / "table.npz", **{name: array for name, array in given.items() if array is not None})
    return folder / "table.npz"


def test_every_row_of_a_table_is_in_one_split_and_the_test_is_the_same_for_every_seed(tmp_path: Path) -> None:
    path = table(tmp_path)
    one, two = read("regression", path), read("regression", path, "seed=1")
    parts = [all_of(split)["input"][:, 0] for split in one.problem[1:]]
    assert [len(part) for part in parts] == [29, 3, 8]
    assert sorted(np.concatenate(parts)) == sorted(np.arange(40) * 3)
    np.testing.assert_array_equal(all_of(two.problem.test)["input"], all_of(one.problem.test)["input"])
    assert not np.array_equal(all_of(two.problem.validation)["input"], all_of(one.problem.validation)["input"])
    assert (one.shape, one.outputs, one.answer) == ((3,), 1, (1,))


def test_inputs_and_targets_are_standardised_by_the_training_rows_or_left_as_they_are(tmp_path: Path) -> None:
    path = table(tmp_path)
    found = read("regression", path)
    train = all_of(found.problem.train)
    (inputs,) = found.problem.task.inputs(train)
    np.testing.assert_allclose(np.asarray(inputs).mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.asarray(inputs).std(0), 1, atol=1e-5)
    assert found.facts["targets"] == {
        "mean": [pytest.approx(train["target"].mean())],
        "deviation": [pytest.approx(train["target"].std())],
    }
    (plain,) = read("regression", path, "data.normalise=none").problem.task.inputs(train)
    np.testing.assert_array_equal(plain, train["input"])


def test_arrays_in_a_folder_are_mapped_and_read_as_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(described, "MOST_RESIDENT", 100)
    inputs, targets = RANDOM.normal(size=(30, 4, 5)), RANDOM.integers(0, 3, 30)
    np.save(tmp_path / "inputs.npy", inputs)
    np.save(tmp_path / "targets.npy", targets)
    found = read("classification", tmp_path)
    train: Any = found.problem.train
    assert isinstance(train.arrays["input"], np.memmap)
    batch = train[np.array([5, 0, 5])]
    assert not isinstance(batch["input"], np.memmap)
    places = train.places[[5, 0, 5]]
    np.testing.assert_array_equal(batch["input"], inputs[places])
    np.testing.assert_array_equal(batch["label"], targets[places])
    assert (found.shape, found.outputs, found.facts["classes"]) == ((4, 5), 3, ["0", "1", "2"])
    held = all_of(found.problem.validation)["label"]
    assert found.chance == np.bincount(held).max() / len(held)
    assert set(held) == {0, 1, 2}


def test_splits_of_its_own_are_those_of_a_table(tmp_path: Path) -> None:
    parts = {name: RANDOM.normal(size=(count, 2)) for name, count in (("train", 9), ("val", 4), ("test", 5))}
    targets = {f"{name}_targets": array[:, :1] for name, array in parts.items()}
    np.savez(tmp_path / "t.npz", **{f"{name}_inputs": array for name, array in parts.items()}, **targets)
    problem = read("regression", tmp_path / "t.npz").problem
    for split, name in ((problem.train, "train"), (problem.validation, "val"), (problem.test, "test")):
        np.testing.assert_array_equal(all_of(split)["input"], parts[name])


def test_diabetes_is_embedded() -> None:
    found = read("regression", "diabetes")
    assert [len(split) for split in found.problem[1:]] == [319, 35, 88]
    assert found.shape == (10,)


def test_balanced_weights_are_those_of_scikit_learn(tmp_path: Path) -> None:
    from sklearn.utils.class_weight import compute_class_weight

    targets = np.repeat([0, 1, 2], (20, 15, 5))
    path = table(tmp_path, targets=targets)
    found = read("classification", path, "task.class_weights=balanced")
    label = all_of(found.problem.train)["label"]
    (loss,) = np.unique(np.asarray(found.problem.task.loss(np.zeros((1, 3), np.float32), {"label": np.array([2])})))
    expected = compute_class_weight("balanced", classes=np.arange(3), y=label)[2] * np.log(3)
    assert loss == pytest.approx(expected, rel=1e-5)


ROWS = np.arange(120, dtype=np.float32).reshape(40, 3)


@pytest.mark.parametrize(
    ("task", "arrays", "words"),
    [
        ("regression", {"targets": np.where(np.arange(40) == 7, np.nan, 1.0)}, "targets: row 7 holds nan"),
        ("regression", {"inputs": np.where(ROWS == 30, np.inf, ROWS)}, "inputs: row 10 holds inf"),
        ("regression", {"targets": np.zeros(39)}, r"inputs \[40, 3\] and targets \[39\] must have one row for each"),
        ("regression", {"targets": None}, "holds inputs, and no targets"),
        ("regression", {"targets": np.array(["a"] * 40)}, "targets must be numbers"),
        ("regression", {"val_inputs": ROWS[:3, :2], "val_targets": np.zeros(3, np.float32)}, "must be alike; found"),
        ("classification", {"targets": np.eye(2)[np.arange(40) % 2]}, "targets must be integers"),
        ("classification", {"targets": 1 + np.arange(40) % 2}, "0 … k-1 without gaps.*found 2 different ones, 1 … 2"),
        ("classification", {"targets": (np.arange(40) % 2).astype(float)}, "must be integers"),
        ("classification", {"targets": np.r_[np.zeros(39, int), 1]}, "Class 1 has a single example left"),
        ("multilabel", {"targets": np.arange(40) % 2}, r"targets must be 0 and 1 of shape \[n, labels\]"),
        (
            "segmentation",
            {"targets": np.zeros((40, 2, 2), np.uint8)},
            r"inputs must be images, uint8 \[n, height, width, 1 or 3\]",
        ),
        ("next-token", {}, "needs a text file"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path: Path, task: str, arrays: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read(task, table(tmp_path, **arrays))
    assert len(caught.value.remedy) > 20


@pytest.mark.parametrize(
    ("task", "sets", "words"),
    [
        ("regression", ["task.label_smoothing=0.1"], "task.label_smoothing is set, and the task regression"),
        ("regression", ["task.class_weights=balanced"], "task.class_weights is set"),
        ("regression", ["task.score=accuracy"], "task.score = 'accuracy': the task regression has no such score"),
        ("classification", ["task.class_weights=1,2"], "task.class_weights has 2 numbers, and there are 4 classes"),
    ],
)
def test_a_field_that_does_not_suit_a_task_is_refused(tmp_path: Path, task: str, sets: list[str], words: str) -> None:
    with pytest.raises(PlanError, match=re.escape(words)):
        read(task, table(tmp_path, targets=np.arange(40) % 4), *sets)


def test_masks_and_images_in_arrays(tmp_path: Path) -> None:
    images, masks = RANDOM.integers(0, 256, (10, 6, 8, 3), np.uint8), RANDOM.integers(0, 4, (10, 6, 8), np.uint8)
    np.savez(tmp_path / "s.npz", inputs=images, targets=masks)
    found = read("segmentation", tmp_path / "s.npz")
    assert (found.shape, found.outputs, found.answer) == ((6, 8, 3), 4, (6, 8, 4))
    assert set(all_of(found.problem.test)) == {"image", "mask"}


# Pairs of images and masks.


def pairs(root: Path, count: int = 5, *, size: tuple[int, int] = (20, 30), white: int = 255) -> list[NDArray[np.uint8]]:
    images = [RANDOM.integers(0, 256, size, np.uint8) for _ in range(count)]
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(root / "images" / f"{number}.png")
        Image.fromarray(np.where(image > 99, white, 0).astype(np.uint8)).save(root / "masks" / f"{number}.png")
    return images


def test_tiles_are_cut_from_whole_images_that_are_split_and_cover_every_pixel(tmp_path: Path) -> None:
    images = pairs(tmp_path)
    found = read("segmentation", tmp_path, "data.tile=8", "data.test_files=^[34]", "data.stride=4")
    test, train = all_of(found.problem.test), all_of(found.problem.train)
    # 20 rows: 0, 8, 12; 30 columns: 0, 8, 16, 22
    assert len(test["image"]) == 2 * 3 * 4
    np.testing.assert_array_equal(test["image"][5, :, :, 0], images[3][8:16, 8:16])
    np.testing.assert_array_equal(test["image"][23, :, :, 0], images[4][12:20, 22:30])
    np.testing.assert_array_equal(train["mask"], train["image"][..., 0] > 99)
    assert len(train["image"]) == 2 * 4 * 7
    assert (found.outputs, found.facts["levels"]) == (2, [0, 255])


def test_tiles_are_decoded_as_they_are_needed_where_they_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs(tmp_path)
    whole = all_of(read("segmentation", tmp_path, "data.tile=10").problem.train)
    monkeypatch.setattr(described, "MOST_RESIDENT", 100)
    train = read("segmentation", tmp_path, "data.tile=10").problem.train
    assert isinstance(train, Tiles)
    places = np.array([7, 2, 7, 0])
    for name, array in train[places].items():
        np.testing.assert_array_equal(array, whole[name][places])


def test_levels_of_a_palette_are_classes_and_one_may_not_count(tmp_path: Path) -> None:
    pairs(tmp_path, size=(8, 8))
    for file in (tmp_path / "masks").iterdir():
        mask = RANDOM.integers(0, 3, (8, 8)).astype(np.uint8)
        mask[0] = 255
        image = Image.frombytes("P", (8, 8), mask.tobytes())
        image.putpalette([level // 2 for level in range(256) for _ in range(3)])
        image.save(file)
    found = read("segmentation", tmp_path, "task.ignore=255")
    assert found.outputs == 3
    assert set(np.unique(all_of(found.problem.train)["mask"])) == {0, 1, 2, 255}


def remove(root: Path) -> None:
    (root / "masks/3.png").unlink()


def grow(root: Path) -> None:
    Image.new("L", (31, 20)).save(root / "masks/2.png")


def colour(root: Path) -> None:
    Image.new("RGB", (30, 20)).save(root / "masks/0.png")


def blur(root: Path) -> None:
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)).save(root / "masks/0.png")


def cut(root: Path) -> None:
    file = root / "images/1.png"
    file.write_bytes(file.read_bytes()[:200])


def one_class(root: Path) -> None:
    for file in (root / "masks").iterdir():
        Image.new("L", (30, 20)).save(file)


def uneven(root: Path) -> None:
    for folder in ("images", "masks"):
        Image.new("L", (40, 40)).save(root / folder / "9.png")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (remove, "holds 5 images and .*masks 4 masks; without a partner are 1: 3"),
        (grow, r"2\.png has 20x30 pixels, and its mask 2\.png 20x31"),
        (colour, "one number a pixel .*; its mode is RGB"),
        (blur, "masks .* have 256 levels, up to 255: that is a picture"),
        (cut, r"1\.png cannot be read as an image"),
        (one_class, "have 1 level: nothing is to be told apart"),
        (uneven, r"0\.png has 20x30 pixels, and 9\.png 40x40"),
    ],
)
def test_pairs_that_do_not_match_are_named(tmp_path: Path, harm: Callable[[Path], None], words: str) -> None:
    pairs(tmp_path)
    harm(tmp_path)
    with pytest.raises(DataError, match=words):
        read("segmentation", tmp_path)


def test_a_tile_that_is_larger_than_an_image_names_one_that_is_not(tmp_path: Path) -> None:
    pairs(tmp_path)
    with pytest.raises(DataError, match="less than a tile of 24") as caught:
        read("segmentation", tmp_path, "data.tile=24")
    assert "--set data.tile=20" in caught.value.remedy


# Text.


def test_the_end_of_a_text_is_held_out_and_each_example_is_a_stretch_of_it(tmp_path: Path) -> None:
    text = "".join(RANDOM.choice(list("abcdé\n"), 1000))
    (tmp_path / "a.txt").write_text(text, "utf-8")
    found = read("next-token", tmp_path / "a.txt", "data.context=9", "data.stride=3", "data.validation=0.2")
    vocabulary = found.facts["vocabulary"]
    assert vocabulary == "\nabcdé"
    said = lambda split, place: "".join(vocabulary[one] for one in split[np.array([place])]["tokens"][0])  # noqa: E731
    train, validation, test = found.problem[1:]
    assert [len(part) for part in (train, validation, test)] == [264, 11, 11]
    assert said(train, 0) == text[:10]
    assert said(train, 263) == text[789:799]
    assert said(validation, 1) == text[809:819]
    assert said(test, 0) == text[900:910]
    assert (found.shape, found.outputs, found.answer) == ((9,), 6, (9, 6))


def test_tokens_of_a_file_are_mapped_and_a_folder_of_texts_has_one_vocabulary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("train", "abab" * 9), ("val", "abc" * 9), ("test", "ad" * 9)):
        (tmp_path / f"{name}.txt").write_text(text)
    found = read("next-token", tmp_path, "data.context=4")
    assert found.facts["vocabulary"] == "abcd"
    assert all_of(found.problem.test)["tokens"][0].tolist() == [0, 3, 0, 3, 0]
    monkeypatch.setattr(described, "MOST_RESIDENT", 100)
    np.save(tmp_path / "tokens.npy", np.arange(1000, dtype=np.uint16) % 50)
    other = read("next-token", tmp_path / "tokens.npy", "data.context=16")
    assert isinstance(other.problem.train, Stretches)
    assert isinstance(other.problem.train.tokens, np.memmap)
    assert other.outputs == 50
    assert other.problem.train[np.array([2])]["tokens"][0, :3].tolist() == [32, 33, 34]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"short text", "The train part of .* has 9 tokens, and the context 64"),
        (b"caf\xe9 " * 999, "is not UTF-8: byte 3 is 0xe9"),
        (b"a" * 999, "has 1 different characters"),
    ],
)
def test_a_text_that_cannot_be_used_says_why(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read("next-token", tmp_path / "a.txt")


def test_a_character_that_the_vocabulary_lacks_is_named() -> None:
    with pytest.raises(DataError, match="The vocabulary has no 'z'"):
        texts.encode("az", "ab")


# Recordings.


def write_wav(file: Path, samples: NDArray[Any], *, rate: int = 8000, width: int = 2) -> None:
    """Samples [n] or [n, channels] as whole numbers of so many bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    if width == 1:
        content = (samples + 128).astype(np.uint8).tobytes()
    else:
        content = samples.astype("<i4").reshape(-1, 1).view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    with wave.open(str(file), "wb") as sound:
        sound.setparams((channels, width, rate, 0, "NONE", ""))
        sound.writeframes(content)


def test_samples_of_every_width_are_read_as_sixteen_bits(tmp_path: Path) -> None:
    levels = np.array([-128, -5, 0, 7, 127])
    for width in (1, 2, 3, 4):
        write_wav(tmp_path / "a.wav", levels << (8 * (width - 1)), width=width)
        np.testing.assert_array_equal(decode(tmp_path / "a.wav"), levels << 8)
    write_wav(tmp_path / "a.wav", np.array([[100, 300], [-7, -9]]))
    assert decode(tmp_path / "a.wav").tolist() == [200, -8]


def sounds_in(root: Path) -> None:
    for label in ("no", "yes"):
        for take in range(12):
            write_wav(root / f"{label}_{take}.wav", RANDOM.integers(-999, 999, 400 + take))


@pytest.mark.parametrize("foldered", [False, True])
def test_recordings_are_filled_up_or_cut_and_classes_come_from_names_or_folders(
    tmp_path: Path, *, foldered: bool
) -> None:
    sounds_in(tmp_path)
    if foldered:
        for file in list(tmp_path.iterdir()):
            (tmp_path / file.stem.partition("_")[0]).mkdir(exist_ok=True)
            file.rename(tmp_path / file.stem.partition("_")[0] / file.name)
    found = read("classification", tmp_path, "data.test_files=_[01].wav", "data.seconds=0.051", "data.bands=10")
    test = all_of(found.problem.test)
    assert (test["sound"].shape, test["sound"].dtype) == ((4, 408), np.int16)
    assert test["label"].tolist() == [0, 0, 1, 1]
    assert (test["sound"][0, 400:] == 0).all()
    assert found.facts["classes"] == ["no", "yes"]
    whole = read("classification", tmp_path, "data.bands=10")
    assert whole.facts["samples"] == 411
    (inputs,) = whole.problem.task.inputs(all_of(whole.problem.train))
    assert inputs.shape[1:] == whole.shape == (2, 10, 1)
    np.testing.assert_allclose(np.asarray(inputs).mean(axis=(0, 1, 3)), 0, atol=1e-3)
    np.testing.assert_allclose(np.asarray(inputs).std(axis=(0, 1, 3)), 1, atol=1e-3)


@pytest.mark.parametrize(
    ("harm", "sets", "words"),
    [
        (lambda root: write_wav(root / "yes_99.wav", np.ones(300), rate=16000), [], r"8000 Hz \(no_0.wav\), 16000 Hz"),
        (lambda root: (root / "yes_0.wav").write_bytes(b"RIFF"), [], "yes_0.wav cannot be read as a WAV file"),
        (lambda root: write_wav(root / "yes_0.wav", np.ones(0)), [], "yes_0.wav holds no samples"),
        (lambda root: write_wav(root / "hum.wav", np.ones(9)), [], "hum.wav does not begin with its class"),
        (lambda root: write_wav(root / "maybe_0.wav", np.ones(9)), [], "single example left"),
        (lambda root: write_wav(root / "no/a.wav", np.ones(9)), [], "24 WAV files beside class folders"),
        (lambda _: None, ["data.window_ms=90"], "data.window_ms = 90 .* are 720 and 128 samples at 8000 Hz"),
        (lambda _: None, ["data.bands=90"], "of data.bands = 90 lie between two frequencies"),
        (lambda _: None, ["data.test_files=xyz"], "is found in none of 24 names"),
        (lambda _: None, ["data.test_files=["], "is no regular expression"),
    ],
)
def test_recordings_that_cannot_be_used_say_why(
    tmp_path: Path, harm: Callable[[Path], Any], sets: list[str], words: str
) -> None:
    sounds_in(tmp_path)
    harm(tmp_path)
    with pytest.raises(SynevoError, match=words):
        read("classification", tmp_path, *sets)


# Which data set is for which task.


@pytest.mark.parametrize(
    ("task", "dataset", "words"),
    [
        (
            "segmentation",
            "digits",
            "The task segmentation needs a folder with image/ and label/.*; digits is not there",
        ),
        ("regression", "no-such-table", "needs arrays inputs and targets.*; no-such-table is not there"),
        ("regression", "mnist", "mnist is not prepared"),
        ("next-token", "diabetes", "needs a text file"),
    ],
)
def test_a_data_set_of_another_task_says_what_this_one_needs(
    task: str, dataset: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    with pytest.raises(DataError, match=words):
        named.describe(plan_of(task, dataset))
    with pytest.raises(DataError, match=words):
        named.resolve(plan_of(task, dataset))


def test_images_of_classes_are_read_as_before() -> None:
    assert named.of_images(Plan())
    assert not named.is_built_in(plan_of("mine:problem", "digits"))
