"""Class folders of image files: what is read, and what is refused with the file that is at fault."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import written
from PIL import Image, ImageOps
from written import assert_says, load_error, plan_for, write_folder, write_image

from synevo.data import datasets, folders
from synevo.errors import DataError


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


def test_a_folder_for_validation_is_the_validation_split(tmp_path: Path) -> None:
    for name in ("val", "validation", "valid"):
        root = tmp_path / name / "pets"
        write_folder(root / "train", count=6)
        write_folder(root / "test", count=3)
        write_folder(root / name, count=4)
        plan = plan_for(root)
        for _ in range(2):  # decoded, and from the cache
            data = datasets.load(plan, seed=0)
            assert [len(part) for part in (data.train, data.validation, data.test)] == [12, 8, 6]
            assert sorted(data.validation.pixels[:, 0, 0, 0].tolist()) == [0, 1, 2, 3, 100, 101, 102, 103]


def test_classes_that_validation_lacks_are_named(tmp_path: Path) -> None:
    for name in ("train", "test"):
        write_folder(tmp_path / "set" / name, classes=["ant", "bee", "cat"])
    write_folder(tmp_path / "set" / "val", classes=["ant", "cat"])
    assert_says(load_error(tmp_path / "set"), "only one of them has bee")


@pytest.mark.parametrize(
    ("suffix", "count"), [(".tif", 1), (".ppm", 2), (".TIFF", 3), ("", 1), (".heic", 2), (".001", 1)]
)
def test_pictures_of_kinds_that_are_not_read_are_counted_and_refused(tmp_path: Path, suffix: str, count: int) -> None:
    root = write_folder(tmp_path / "set")
    for place in range(count):
        Image.new("L", (4, 4)).save(root / "cat" / f"more{place}{suffix}", "PPM" if suffix == ".ppm" else "TIFF")
    error = load_error(root)
    assert_says(error, f"{count} pictures .* would be left out: {count} {suffix.lower() or 'without an ending'}")
    assert ".png" in error.remedy


def test_the_advice_for_pictures_of_another_kind_leads_to_a_data_set(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set")
    file = root / "cat" / "more.tif"
    Image.new("L", (4, 4)).save(file)
    line = "ImageOps.exif_transpose(Image.open(file)).save(file.with_suffix('.png'))"
    assert line in load_error(root).remedy
    eval(line, {"Image": Image, "ImageOps": ImageOps, "file": file})  # noqa: S307
    file.unlink()
    data = datasets.load(plan_for(root), seed=0)
    assert len(data.train) + len(data.validation) + len(data.test) == 11


@pytest.mark.parametrize(
    ("places", "words"),
    [
        (["cat/new/1.png", "cat/new/old/2.jpg", "ant/x/3.png"], r"3 pictures .* 1 below ant/, 2 below cat/"),
        (["loose.png", "loose2.tif"], r"2 pictures would be left out: 2 in .*set\."),
    ],
)
def test_pictures_in_further_folders_or_in_none_are_counted_and_refused(
    tmp_path: Path, places: list[str], words: str
) -> None:
    root = write_folder(tmp_path / "set")
    for place in places:
        write_image(root / place)
    assert_says(load_error(root), words)
    for place in places:
        (root / place).unlink()
    assert len(datasets.load(plan_for(root), seed=0).test) == 2


@pytest.mark.parametrize("place", ["extra/1.png", "extra/ant/1.png", "loose.png", "train/loose.png", "test/loose.jpg"])
def test_pictures_beside_the_splits_are_counted_and_refused(tmp_path: Path, place: str) -> None:
    root = tmp_path / "set"
    write_folder(root / "train")
    write_folder(root / "test")
    odd = write_image(root / place)
    assert_says(load_error(root), "1 pictures would be left out: 1 in ")
    odd.rename(odd.with_name(".hidden.png"))
    assert len(datasets.load(plan_for(root), seed=0).test) == 10


def test_splits_of_other_names_are_not_taken_for_classes(tmp_path: Path) -> None:
    write_folder(tmp_path / "set" / "Training")
    write_folder(tmp_path / "set" / "Testing")
    error = load_error(tmp_path / "set")
    assert_says(error, "10 below Testing/, 10 below Training/")
    assert "name them train/, test/ and val/" in error.remedy


def uneven(root: Path) -> Path:
    """Two classes of pictures in three sizes, the first 6x4 pixels."""
    for label, level in (("ant", 0), ("cat", 200)):
        for place, size in enumerate([(6, 4), (4, 6), (9, 9), (6, 4), (30, 10)]):
            write_image(root / label / f"{place}.png", size=size, level=level)
    return root


def test_images_that_differ_in_size_are_resized_on_reading_where_that_is_asked_for(tmp_path: Path) -> None:
    root = uneven(tmp_path / "set")
    remedy = load_error(root).remedy
    assert "--set data.fit=resize --set data.image_size=N" in remedy
    for side in (8, 5):
        plan = datasets.resolve(plan_for(root, fit="resize", image_size=side), native_size=None)
        for _ in range(2):  # decoded, and from the cache
            data = datasets.load(plan, seed=0)
            assert data.shape == (side, side, 1)
            assert np.array_equal(data.train.pixels.reshape(len(data.train), -1)[:, 0], data.train.labels * 200)


def test_resizing_on_reading_gives_the_pixels_of_resizing_afterwards(tmp_path: Path) -> None:
    pixels = written.noise(12, 9, 9, 3)
    for place, image in enumerate(pixels):
        file = tmp_path / "set" / "ab"[place % 2] / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(file)
    data = datasets.load(plan_for(tmp_path / "set", fit="resize", image_size=5), seed=0)
    expected = {np.asarray(Image.fromarray(one).resize((5, 5), Image.Resampling.BILINEAR)).tobytes() for one in pixels}
    assert {one.tobytes() for part in (data.train, data.validation, data.test) for one in part.pixels} == expected


def test_colours_and_greys_are_not_mixed_even_where_images_are_resized(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set")
    odd = write_image(root / "cat" / "odd.png", mode="RGB", size=(5, 5))
    error = load_error(root, fit="resize", image_size=8)
    assert str(odd) in error.problem
    assert "convert('RGB')" in error.remedy


def test_a_huge_image_before_small_ones_takes_no_memory_for_all_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many of its size are more than the memory: they would be read as they are needed, and the others differ."""
    root = write_folder(tmp_path / "set")
    write_image(root / "ant" / "0.png", mode="1", size=(1300, 1300))
    monkeypatch.setattr("synevo.data.memory.memory", lambda: 16_000_000)
    data = datasets.load(plan_for(root), seed=0)
    with pytest.raises(DataError, match="All images must have one size and mode"):
        data.train.pixels[:]
    assert datasets.load(plan_for(root, fit="resize", image_size=8), seed=0).shape == (8, 8, 1)
    with pytest.raises(DataError, match="10 images of 1300x1300 pixels in greyscale need"):
        datasets.load(plan_for(root, memory=1), seed=0)


def test_a_file_whose_name_is_no_utf8_is_read_and_a_class_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set")
    folder = os.fsencode(root / "cat")
    os.rename(os.path.join(folder, b"0.png"), os.path.join(folder, b"caf\xe9.png"))  # noqa: PTH104, PTH118 (bytes)
    for _ in range(2):
        assert len(datasets.load(plan_for(root), seed=0).test) == 2
    os.rename(folder, os.path.join(os.fsencode(root), b"caf\xe9"))  # noqa: PTH104, PTH118 (bytes)
    error = load_error(root)
    assert_says(error, r"caf\\xe9 is not UTF-8")
    str(error).encode()
