"""Class folders of image files: what is read, and what is refused with the file that is at fault."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import written
from written import assert_says, load_error, plan_for, write_folder, write_image

from synevo.data import datasets, folders


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return written.empty_cache(tmp_path, monkeypatch)


def test_classes_are_the_sorted_names_of_the_folders(tmp_path: Path) -> None:
    data = datasets.load(plan_for(write_folder(tmp_path / "pets")), seed=0)
    assert (data.name, data.classes, data.shape) == ("pets", ("ant", "cat"), (4, 4, 1))
    for part in (data.train, data.validation, data.test):
        assert np.array_equal(part.pixels[:, 0, 0, 0] >= 100, part.labels == 0)


def test_folders_for_train_and_test_are_kept_apart(tmp_path: Path) -> None:
    write_folder(tmp_path / "pets" / "train", count=6)
    write_folder(tmp_path / "pets" / "test", count=3)
    data = datasets.load(plan_for(tmp_path / "pets"), seed=0)
    assert len(data.test) == 6
    assert len(data.train) + len(data.validation) == 12


@pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "gif", "webp", "PNG"])
def test_the_usual_formats_are_read(tmp_path: Path, suffix: str) -> None:
    for name in ("a", "b"):
        for item in range(4):
            write_image(tmp_path / "set" / name / f"{item}.{suffix}", mode="RGB", level=200)
    data = datasets.load(plan_for(tmp_path / "set"), seed=0)
    assert np.all(np.abs(data.train.pixels.astype(int) - 200) <= 3)


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("RGB", 3), ("P", 3)])
def test_greyscale_has_one_channel_and_colour_three(tmp_path: Path, mode: str, channels: int) -> None:
    data = datasets.load(plan_for(write_folder(tmp_path / "set", mode=mode)), seed=0)
    assert data.shape == (4, 4, channels)


def test_hidden_and_other_files_are_passed_over(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set")
    (root / ".git").mkdir()
    (root / "README.md").write_text("about")
    (root / "ant" / ".hidden.png").write_text("about")
    (root / "ant" / "notes.txt").write_text("about")
    data = datasets.load(plan_for(root), seed=0)
    assert len(data.train) + len(data.validation) + len(data.test) == 10


@pytest.mark.parametrize("image", [{"size": (4, 5)}, {"mode": "RGB"}])
def test_two_images_that_differ_are_both_named(tmp_path: Path, image: dict[str, Any]) -> None:
    root = write_folder(tmp_path / "set")
    odd = write_image(root / "cat" / "odd.png", **image)
    error = load_error(root)
    assert str(odd) in str(error)
    assert str(root / "ant" / "0.png") in str(error)
    assert "4x4 pixels in greyscale" in str(error)


def test_an_image_with_transparency_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", mode="RGBA")
    assert_says(load_error(root), "its mode is RGBA")


@pytest.mark.parametrize("keep", [0, 10, 45])
def test_an_unreadable_image_is_named(tmp_path: Path, keep: int) -> None:
    root = write_folder(tmp_path / "set")
    odd = root / "cat" / "1.png"
    odd.write_bytes(odd.read_bytes()[:keep])
    assert_says(load_error(root), r"1\.png cannot be read as an image")


def test_an_empty_class_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set")
    (root / "dog").mkdir()
    assert_says(load_error(root), r"dog holds no image")


def test_train_without_test_is_not_mistaken_for_a_class(tmp_path: Path) -> None:
    write_folder(tmp_path / "set" / "train")
    write_folder(tmp_path / "set" / "val")
    assert "needs both train/ and test/" in load_error(tmp_path / "set").remedy


def test_fewer_than_two_classes_are_refused(tmp_path: Path) -> None:
    assert_says(load_error(write_folder(tmp_path / "set", classes=["cat"])), "at least two classes; found 1")


def test_classes_that_only_train_or_test_has_are_named(tmp_path: Path) -> None:
    write_folder(tmp_path / "set" / "train", classes=["ant", "bee", "cat"])
    write_folder(tmp_path / "set" / "test", classes=["ant", "bee"])
    assert_says(load_error(tmp_path / "set"), "only one of them has cat")


def test_a_class_with_too_few_images_to_be_split_is_named(tmp_path: Path) -> None:
    assert_says(load_error(write_folder(tmp_path / "set", count=2)), "'ant' has a single image left")


def test_a_folder_that_may_not_be_read_is_no_bug_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folders, "_list_classes", refuse)
    assert_says(load_error(tmp_path), "Permission denied")
