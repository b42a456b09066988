"""Arrays that are not what an .npz file must hold: each advised line is applied to the letter, and leads on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written import assert_says, load_error, noise, plan_for, write_npz

from synevo.data import datasets
from synevo.data.datasets import Dataset
from synevo.errors import DataError

TWENTY = np.arange(20) % 2
WORDS = np.array(["cat", "dog"])[TWENTY]
LEVELS = noise(20, 8, 8)
COLOURS = noise(20, 8, 8, 3)


def follow(folder: Path, arrays: dict[str, Any], *lines: str) -> Dataset:
    """Apply each line where it is advised, and return what is loaded at last."""
    names = {**arrays, "np": np}
    for line in lines:
        error = load_error(write_npz(folder / "own.npz", **{name: names[name] for name in arrays}))
        assert line in error.remedy, error
        if " = " in line:
            exec(line, names)  # noqa: S102
        else:
            names[next(name for name in arrays if name in line)] = eval(line, names)  # noqa: S307
    path = write_npz(folder / "own.npz", **{name: names[name] for name in arrays})
    return datasets.load(plan_for(path), seed=0)


def pixels_of(data: Dataset) -> list[bytes]:
    """All images of a data set, in an order that does not depend on how they are divided."""
    return sorted(image.tobytes() for part in (data.train, data.validation, data.test) for image in part.pixels)


@pytest.mark.parametrize(
    ("images", "lines", "expected"),
    [
        (LEVELS.astype(np.uint16) * 257, ["np.rint(images / 257).astype(np.uint8)"], LEVELS),
        (LEVELS.astype(np.uint16), ["images.astype(np.uint8)"], LEVELS),
        (LEVELS.astype(np.int64), ["images.astype(np.uint8)"], LEVELS),
        (LEVELS / 255, ["np.rint(images * 255).astype(np.uint8)"], LEVELS),
        ((LEVELS / 255).astype(np.float16), ["np.rint(images * 255).astype(np.uint8)"], LEVELS),
        (LEVELS.astype(np.float32), ["np.rint(images).astype(np.uint8)"], LEVELS),
        (LEVELS > 99, ["images.astype(np.uint8) * 255"], np.where(LEVELS > 99, 255, 0)),
        (
            LEVELS / 127.5 - 1,
            [
                "np.rint(np.clip((images.astype(float) - (-1.0)) / (1.0 - (-1.0)), 0, 1) * 255).astype(np.uint8)",
            ],
            LEVELS,
        ),
        (
            LEVELS.astype(np.int32) * 1000 - 5000,
            ["np.rint(np.clip((images.astype(float) - (-5000)) / (250000 - (-5000)), 0, 1) * 255).astype(np.uint8)"],
            LEVELS,
        ),
        (COLOURS.transpose(0, 3, 1, 2), ["images.transpose(0, 2, 3, 1)"], COLOURS),
        (COLOURS.transpose(0, 3, 1, 2) / 255,
         ["np.rint(images * 255).astype(np.uint8)", "images.transpose(0, 2, 3, 1)"], COLOURS),
        (LEVELS.reshape(20, 64), ["images.reshape(-1, 8, 8)"], LEVELS),
        (COLOURS.reshape(20, 192), ["images.reshape(-1, 8, 8, 3)"], COLOURS),
        (
            COLOURS.transpose(0, 3, 1, 2).reshape(20, 192),
            ["images.reshape(-1, 3, 8, 8).transpose(0, 2, 3, 1)"],
            COLOURS,
        ),
        (noise(20, 35), ["images.reshape(-1, 5, 7)"], noise(20, 35)),
        (noise(20, 8, 8, 2), ["images[..., :1]"], noise(20, 8, 8, 2)[..., :1]),
        (noise(20, 8, 8, 4), ["images[..., :3]"], noise(20, 8, 8, 4)[..., :3]),
        (noise(20, 8, 8, 6), ["images[..., :3]"], noise(20, 8, 8, 6)[..., :3]),
        (noise(20, 5, 8, 8, 3), ["images[:, 2]"], noise(20, 5, 8, 8, 3)[:, 2]),
        (noise(20, 4, 8, 8), ["images.transpose(0, 2, 3, 1)", "images[..., :3]"],
         noise(20, 4, 8, 8)[:, :3].transpose(0, 2, 3, 1)),
    ],
)  # fmt: skip
def test_other_images_become_the_ones_that_are_meant(
    tmp_path: Path, images: Any, lines: list[str], expected: Any
) -> None:
    data = follow(tmp_path, {"images": images, "labels": TWENTY}, *lines)
    assert pixels_of(data) == sorted(image.astype(np.uint8).tobytes() for image in expected)


@pytest.mark.parametrize("colours", [1, 3])
def test_images_with_opacity_are_put_on_white(tmp_path: Path, colours: int) -> None:
    images = np.concatenate([np.full((20, 8, 8, colours), 40), np.full((20, 8, 8, 1), 255)], -1).astype(np.uint8)
    images[:, :4, :, -1] = 0
    opaque = f"images[..., {colours}:] / 255"
    line = f"np.rint(255 - (255 - images[..., :{colours}].astype(float)) * ({opaque})).astype(np.uint8)"
    data = follow(tmp_path, {"images": images, "labels": TWENTY}, line)
    assert (data.train.pixels[:, :4] == 255).all()
    assert (data.train.pixels[:, 4:] == 40).all()


def test_images_with_pixels_that_are_no_numbers_are_left_out_and_counted(tmp_path: Path) -> None:
    images = (LEVELS / 255).copy()
    images[3, 0, 0], images[4, 1, 1] = np.nan, np.inf
    keep = (
        "keep = np.isfinite(images).reshape(len(images), -1).all(axis=1); images, labels = images[keep], labels[keep]"
    )
    data = follow(tmp_path, {"images": images, "labels": TWENTY}, keep, "np.rint(images * 255).astype(np.uint8)")
    assert len(data.train) + len(data.validation) + len(data.test) == 18


def test_a_pixel_that_is_missing_everywhere_gets_a_level(tmp_path: Path) -> None:
    images = (LEVELS / 255).copy()
    images[:, 0, 0] = np.nan
    fill = "images = np.where(np.isfinite(images), images, 0)"
    data = follow(tmp_path, {"images": images, "labels": TWENTY}, fill, "np.rint(images * 255).astype(np.uint8)")
    assert (data.train.pixels[:, 0, 0] == 0).all()


@pytest.mark.parametrize(
    ("labels", "lines"),
    [
        (WORDS, ["labels = np.unique(labels, return_inverse=True)[1]"]),
        (WORDS.astype("S"), ["labels = np.unique(labels, return_inverse=True)[1]"]),
        (WORDS[:, None], ["labels.reshape(-1)", "labels = np.unique(labels, return_inverse=True)[1]"]),
        (WORDS.astype(object), ["labels = np.unique(labels.astype(str).reshape(-1), return_inverse=True)[1]"]),
        (TWENTY + 1, ["labels = np.unique(labels, return_inverse=True)[1]"]),
        (TWENTY * 2 - 1, ["labels = np.unique(labels, return_inverse=True)[1]"]),
        (TWENTY.astype(np.uint64) * 2**40, ["labels = np.unique(labels, return_inverse=True)[1]"]),
        (TWENTY + 0.5, ["labels = np.unique(labels, return_inverse=True)[1]"]),
        (TWENTY.astype(float), ["labels.astype(np.int32)"]),
        (TWENTY.astype(bool), ["labels.astype(np.int32)"]),
        (TWENTY[:, None], ["labels.reshape(-1)"]),
        (TWENTY[:, None, None] + 1.0, ["labels.reshape(-1)", "labels.astype(np.int32)",
                                       "labels = np.unique(labels, return_inverse=True)[1]"]),
        (np.eye(2)[TWENTY], ["labels.argmax(1)"]),
        (np.eye(2, dtype=bool)[TWENTY], ["labels.argmax(1)"]),
        (np.eye(2, dtype=np.uint8)[TWENTY][:, None], ["labels.reshape(len(labels), -1)", "labels.argmax(1)"]),
        ((np.eye(2)[TWENTY] * 0.8 + 0.1).astype(np.float32), ["labels.argmax(1)"]),
    ],
)  # fmt: skip
def test_other_labels_become_the_ones_that_are_meant(tmp_path: Path, labels: Any, lines: list[str]) -> None:
    images = np.broadcast_to((TWENTY * 200).astype(np.uint8)[:, None, None], (20, 4, 4))
    data = follow(tmp_path, {"images": images, "labels": labels}, *lines)
    for part in (data.train, data.validation, data.test):
        np.testing.assert_array_equal(part.labels, part.pixels[:, 0, 0, 0] // 200)


@pytest.mark.parametrize(
    ("labels", "lines"),
    [
        (np.where(np.arange(20) > 15, np.nan, TWENTY), ["np.isfinite(labels)", "labels.astype(np.int32)"]),
        (np.where(np.arange(20) > 15, -1, TWENTY), ["labels >= 0"]),
        (np.where(np.arange(20)[:, None] > 15, np.nan, np.eye(2)[TWENTY]),
         ["np.isfinite(labels).all(1)", "labels.argmax(1)"]),
    ],
)  # fmt: skip
def test_images_without_a_class_are_left_out(tmp_path: Path, labels: Any, lines: list[str]) -> None:
    keep = f"keep = {lines[0]}; images, labels = images[keep], labels[keep]"
    data = follow(tmp_path, {"images": LEVELS, "labels": labels}, keep, *lines[1:])
    assert len(data.train) + len(data.validation) + len(data.test) == 16


def test_classes_of_several_splits_are_numbered_alike_and_those_without_training_left_out(tmp_path: Path) -> None:
    words = np.array(["ant", "bee", "cat", "yak"])
    arrays = {"train_images": LEVELS, "train_labels": words[np.arange(20) % 2 * 2]}
    arrays |= {"test_images": LEVELS[:8], "test_labels": words[np.arange(8) % 4]}
    line = (
        "names, train_labels = np.unique(train_labels, return_inverse=True); keep = np.isin(test_labels, names); "
        "test_images, test_labels = test_images[keep], np.searchsorted(names, test_labels[keep])"
    )
    data = follow(tmp_path, arrays, line)
    assert data.test.labels.tolist() == [0, 1, 0, 1]
    assert np.bincount(data.train.labels).tolist() == [9, 9]


def test_a_class_that_only_the_test_has_is_left_out(tmp_path: Path) -> None:
    arrays = {"train_images": LEVELS, "train_labels": TWENTY}
    arrays |= {"test_images": LEVELS[:8], "test_labels": np.arange(8) % 4}
    line = "keep = np.isin(test_labels, train_labels); test_images, test_labels = test_images[keep], test_labels[keep]"
    assert follow(tmp_path, arrays, line).test.labels.tolist() == [0, 1, 0, 1]


def test_images_that_are_objects_are_stacked(tmp_path: Path) -> None:
    images = np.empty(20, object)
    images[:] = list(LEVELS)
    line = "images = np.stack([np.asarray(image) for image in images])"
    assert follow(tmp_path, {"images": images, "labels": TWENTY}, line).shape == (8, 8, 1)


@pytest.mark.parametrize(
    "labels",
    [np.ones((20, 3), int), np.zeros((20, 8, 8), np.uint8), np.array(3), np.zeros((0, 2)), WORDS.reshape(10, 2)],
)
def test_what_is_no_class_of_an_image_is_sent_to_tasks(tmp_path: Path, labels: Any) -> None:
    error = load_error(write_npz(tmp_path / "own.npz", images=LEVELS, labels=labels))
    assert_says(error, "must be integers of shape")
    assert "synevo guide own-task" in error.remedy


@pytest.mark.parametrize("dtype", ["U3", "S3", "c8", "M8[s]", "V4", "f2", "f4", "f8", "i1", "i8", "u2", "u8", "?", "O"])
@pytest.mark.parametrize("shape", [(), (0,), (20,), (20, 7), (20, 8, 8), (20, 8, 8, 3), (20, 3, 8, 8), (2,) * 6])
def test_no_array_ends_in_a_traceback(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    odd = np.zeros(shape, dtype)
    for arrays in ({"images": odd, "labels": TWENTY}, {"images": LEVELS, "labels": odd}):
        try:
            datasets.load(plan_for(write_npz(tmp_path / "own.npz", **arrays)), seed=0)
        except DataError as error:
            assert error.remedy  # noqa: PT017 (either is right)
