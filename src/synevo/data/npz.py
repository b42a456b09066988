"""Images and labels from .npz files."""

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.data.images import Images
from synevo.data.sources import FEWEST, Source, Splits, check_labels, in_memory, numbered, with_test
from synevo.errors import DataError

_WHOLE = ("images", "labels")

_SPLIT = ("train_images", "train_labels", "test_images", "test_labels")


def open_npz(path: Path) -> Source:
    """Return the source of an .npz file.

    Its arrays are `images` and `labels`, or `train_images`, `train_labels`, `test_images` and `test_labels`. Images are
    uint8 [n, h, w] or [n, h, w, c] with c in 1, 3; labels are integers [n] in 0 … k-1 without gaps.

    Raises:
        DataError: for anything else; nothing is converted silently, and no pickle is loaded.
    """
    arrays = _arrays(path)
    if _WHOLE[0] in arrays:
        whole = _labelled(path, arrays, *_WHOLE)
        classes = numbered(_count_classes(path, whole.labels))
        return in_memory(path.stem, with_test(whole, classes), classes)
    train, test = _labelled(path, arrays, *_SPLIT[:2]), _labelled(path, arrays, *_SPLIT[2:])
    classes = numbered(_count_classes(path, train.labels))
    if train.pixels.shape[1:] != test.pixels.shape[1:]:
        raise DataError(
            f"{path}: images of train and test must have one shape; "
            f"found {train.pixels.shape[1:]} and {test.pixels.shape[1:]}.",
            remedy="Bring both to the same height, width and channels.",
        )
    check_labels(test.labels, len(classes), where=f"{path}: test_labels")
    return in_memory(path.stem, Splits(train, test), classes)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Return the four or two arrays of an .npz file by name; raise DataError if they are not there."""
    remedy = (
        "Write it with np.savez(file, images=…, labels=…), or train_images, train_labels, test_images, test_labels."
    )
    if not path.is_file():
        raise DataError(f"There is no file {path}.", remedy="Check the path of --dataset.")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is not an .npz file (a zip archive of arrays), or is truncated.", remedy=remedy)
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = next((names for names in (_SPLIT, _WHOLE) if set(names) <= set(archive.files)), ())
            arrays = {name: np.asarray(archive[name]) for name in names}
            found = ", ".join(archive.files) or "nothing"
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        raise DataError(f"{path} cannot be read: {error}", remedy=remedy) from None
    if not arrays:
        raise DataError(f"{path} must hold images and labels; found {found}.", remedy=remedy)
    return arrays


def _labelled(path: Path, arrays: Mapping[str, NDArray[Any]], images: str, labels: str) -> Images:
    """Return the images and labels under two names; raise DataError if one is wrong, or they do not match."""
    pixels, marks = arrays[images], arrays[labels]
    _check_pixels(pixels, where=f"{path}: {images}")
    if marks.ndim != 1 or marks.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {labels} must be integers of shape [n]; found {marks.dtype} {list(marks.shape)}.",
            remedy=f"Convert them with {labels}.reshape(-1).astype(np.int32); one-hot labels with {labels}.argmax(1).",
        )
    if len(pixels) != len(marks):
        raise DataError(
            f"{path}: {images} and {labels} must have one length; found {len(pixels)} and {len(marks)}.",
            remedy="Write one label for every image.",
        )
    pixels = pixels.reshape(*pixels.shape[:3], -1)
    check_labels(marks, np.iinfo(np.int32).max, where=f"{path}: {labels}")
    return Images(pixels, marks.astype(np.int32))


def _check_pixels(pixels: NDArray[Any], *, where: str) -> None:
    if pixels.dtype != np.uint8:
        raise DataError(
            f"{where} must be uint8 in 0 … 255; found {pixels.dtype}.",
            remedy="Convert floats in [0, 1] with np.rint(images * 255).astype(np.uint8); "
            "integers in 0 … 255 with images.astype(np.uint8).",
        )
    match pixels.shape:
        case (_, _, _) | (_, _, _, 1 | 3):
            pass
        case shape:
            raise DataError(
                f"{where} must have shape [n, h, w], [n, h, w, 1] or [n, h, w, 3]; found {list(shape)}.",
                remedy="Channels come last: images.transpose(0, 2, 3, 1) moves them there.",
            )
    if pixels.size == 0:
        raise DataError(f"{where} is empty: shape {list(pixels.shape)}.", remedy="Write at least a few images a class.")


def _count_classes(path: Path, labels: NDArray[np.int32]) -> int:
    present = np.unique(labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise DataError(
            f"{path}: labels must be 0 … k-1 without gaps; none is {gaps[0]}, and the largest is {present[-1]}.",
            remedy="Number the classes with np.unique(labels, return_inverse=True)[1].",
        )
    if len(present) < FEWEST:
        raise DataError(f"{path}: at least two classes are expected; every label is 0.", remedy="Add another class.")
    return len(present)
