"""Arrays from .npz files: what is read, and what is refused with what was found."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written import assert_says, damage, load_error, noise, plan_for, same, whole_npz, write_npz

from synevo.data import datasets
from synevo.data.images import Images


def test_one_set_of_arrays_gives_up_a_fixed_stratified_fifth(tmp_path: Path) -> None:
    data = datasets.load(plan_for(whole_npz(tmp_path, 60, 4, 4, 3, classes=3)), seed=1)
    assert data.name == "own"
    assert data.classes == ("0", "1", "2")
    assert data.shape == (4, 4, 3)
    assert np.bincount(data.test.labels).tolist() == [4, 4, 4]
    assert len(data.train) + len(data.validation) == 48


def test_a_test_split_of_its_own_is_kept_as_it_is(tmp_path: Path) -> None:
    images, labels = noise(20, 5, 5, 1), np.arange(20) % 2
    path = write_npz(
        tmp_path / "own.npz",
        train_images=images[:12],
        train_labels=labels[:12],
        test_images=images[12:],
        test_labels=labels[12:],
    )
    data = datasets.load(plan_for(path), seed=0)
    assert same(data.test, Images(images[12:], labels[12:].astype(np.int32)))
    assert len(data.train) + len(data.validation) == 12


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"pictures": noise(4, 4, 4)}, "must hold images and labels; found pictures"),
        ({"images": noise(4, 4, 4) / 255, "labels": [0, 1, 0, 1]}, "must be uint8 .* found float64"),
        ({"images": noise(4, 4), "labels": [0, 1, 0, 1]}, r"found \[4, 4\]"),
        ({"images": noise(4, 3, 8, 8), "labels": [0, 1, 0, 1]}, r"found \[4, 3, 8, 8\]"),
        ({"images": noise(4, 8, 8, 4), "labels": [0, 1, 0, 1]}, r"found \[4, 8, 8, 4\]"),
        ({"images": noise(0, 4, 4), "labels": np.zeros(0, int)}, "is empty"),
        ({"images": noise(4, 4, 4), "labels": [0.0, 1, 0, 1]}, "must be integers .* found float64"),
        ({"images": noise(4, 4, 4), "labels": np.eye(4, dtype=int)}, r"found int64 \[4, 4\]"),
        ({"images": noise(4, 4, 4), "labels": [0, 1, 0]}, "found 4 and 3"),
        ({"images": noise(4, 4, 4), "labels": [0, -1, 0, 1]}, "found -1"),
        ({"images": noise(4, 4, 4), "labels": [0, 2, 0, 3]}, "none is 1, and the largest is 3"),
        ({"images": noise(4, 4, 4), "labels": [1, 2, 1, 2]}, "none is 0"),
        ({"images": noise(4, 4, 4), "labels": [0, 0, 0, 0]}, "at least two classes"),
        ({"images": noise(3, 4, 4), "labels": [0, 0, 1]}, "'1' has a single image"),
        ({"images": np.array([None] * 4), "labels": [0, 1, 0, 1]}, "cannot be read: Object arrays"),
    ],
)
def test_anything_else_is_refused_with_what_was_found(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    assert_says(load_error(write_npz(tmp_path / "own.npz", **arrays)), words)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"test_labels": np.array([0, 5])}, "test_labels must be in 0 … 1; found 5"),
        ({"test_images": noise(2, 5, 5)}, r"one shape; found \(4, 4, 1\) and \(5, 5, 1\)"),
    ],
)
def test_a_test_split_that_does_not_match_its_train_split_is_refused(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    arrays = {"train_images": noise(8, 4, 4), "train_labels": np.arange(8) % 2}
    arrays |= {"test_images": noise(2, 4, 4), "test_labels": np.array([0, 1])}
    assert_says(load_error(write_npz(tmp_path / "own.npz", **(arrays | changed))), words)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert_says(load_error(tmp_path / "gone.npz"), r"no file .*gone\.npz")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", noise(4, 4, 4))
    path = (tmp_path / "plain.npy").rename(tmp_path / "plain.npz")
    assert_says(load_error(path), "not an .npz file")


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = whole_npz(tmp_path, 40, 8, 8)
    damage(path, at=1000)
    assert_says(load_error(path), "cannot be read: Bad CRC")


def test_floats_are_refused_with_the_line_that_converts_them(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "own.npz", images=noise(4, 4, 4) / 255, labels=[0, 1, 0, 1])
    assert "np.rint(images * 255).astype(np.uint8)" in load_error(path).remedy
