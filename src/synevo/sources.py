"""Where images come from: a source is opened quickly, says what it holds, and decodes it only when asked.

Each `open_…` checks everything that a run relies on: uint8 pixels of one shape with one or three channels, labels
0 … k-1 for at least two classes. A source without a test split of its own gives up a stratified fifth of every class,
always the same one.
"""

import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synevo.errors import DataError
from synevo.images import Images

TEST_SHARE = 0.2
"""Share of every class that becomes the test split where a source has none."""

FEWEST = 2
"""Classes that can be told apart, and images of a class that can be divided."""

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"})

_TEST = (1,)  # the entropy of the fixed test split
_FILES = (3,)  # and of the order in which images of folders, which are sorted by class, are read
_CONVERSIONS = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}  # lossless to what networks see
_WHOLE = ("images", "labels")
_SPLIT = ("train_images", "train_labels", "test_images", "test_labels")


@dataclass(frozen=True)
class Splits:
    """All images of a source in their own size: those that may be trained on, and those that only test."""

    train: Images
    test: Images


@dataclass(frozen=True)
class Source:
    """A source that was opened: its images' `shape` (height, width, channels), its `classes`, and how to `read` it.

    `stamp` changes whenever the result of `read` could; it is None where reading is too fast to be worth a cache.
    """

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    read: Callable[[], Splits]
    stamp: str | None = None


def divide(images: Images, share: float, *, classes: Sequence[str], entropy: Sequence[int]) -> tuple[Images, Images]:
    """The images in two parts, `share` of each class in the second, at least one of each class in both.

    The order is drawn from raw bits, whose stream no release of NumPy may change (NEP 19).

    Raises:
        DataError: for a class with a single image.
    """
    order = _order(len(images), entropy)
    second = np.zeros(len(images), bool)
    for label, count in zip(*np.unique(images.labels, return_counts=True), strict=True):
        if count < FEWEST:
            raise DataError(
                f"Class {classes[label]!r} has a single image left, and both parts of a split need one.",
                remedy="Add images of this class (train, validation and test each need one), or leave the class out.",
            )
        wanted = min(max(round(share * count), 1), count - 1)
        second[order[images.labels[order] == label][:wanted]] = True
    kept, held = order[~second[order]], order[second[order]]
    return _take(images, kept), _take(images, held)


def open_digits() -> Source:
    """The 1,797 8x8 digits that ship with scikit-learn (UCI, E. Alpaydin and C. Kaynak), 16 grey levels."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 (a second to import, for this source only)

    table = load_digits()
    pixels = np.rint(table.images[..., None] * (255 / 16)).astype(np.uint8)
    return _in_memory("digits", _with_test(Images(pixels, table.target.astype(np.int32)), _numbered(10)), _numbered(10))


def open_npz(path: Path) -> Source:
    """Arrays `images`, `labels`, or `train_images`, `train_labels`, `test_images`, `test_labels`.

    Images are uint8 [n, h, w] or [n, h, w, c] with c in 1, 3; labels are integers 0 … k-1 without gaps.

    Raises:
        DataError: for anything else; nothing is converted silently, and no pickle is loaded.
    """
    arrays = _arrays(path)
    if _WHOLE[0] in arrays:
        whole = _labelled(path, arrays, *_WHOLE)
        classes = _numbered(_count_classes(path, whole.labels))
        return _in_memory(path.stem, _with_test(whole, classes), classes)
    train, test = _labelled(path, arrays, *_SPLIT[:2]), _labelled(path, arrays, *_SPLIT[2:])
    classes = _numbered(_count_classes(path, train.labels))
    if train.pixels.shape[1:] != test.pixels.shape[1:]:
        raise DataError(
            f"{path}: images of train and test must have one shape; "
            f"found {train.pixels.shape[1:]} and {test.pixels.shape[1:]}.",
            remedy="Bring both to the same height, width and channels.",
        )
    check_labels(test.labels, len(classes), where=f"{path}: test_labels")
    return _in_memory(path.stem, Splits(train, test), classes)


def open_folder(path: Path) -> Source:
    """A folder of class folders of image files, or `train/` and `test/` folders of the same class folders.

    Raises:
        DataError: for a layout, a class or an image that cannot be used.
    """
    roots = [path / "train", path / "test"]
    roots = roots if all(root.is_dir() for root in roots) else [path]
    listings = [_list_classes(root) for root in roots]
    if set(listings[0]) != set(listings[-1]):
        odd = sorted(set(listings[0]) ^ set(listings[-1]))
        raise DataError(
            f"{path}: train and test must have the same class folders; only one of them has {', '.join(odd)}.",
            remedy="Add the missing folders, or remove these.",
        )
    classes = tuple(listings[0])
    files = [file for listing in listings for members in listing.values() for file in members]
    height, width, channels = decode(files[0]).shape

    def read() -> Splits:
        parts = [_read_folder(listing, example=files[0]) for listing in listings]
        return Splits(*parts) if len(parts) > 1 else _with_test(parts[0], classes)

    return Source(path.name, (height, width, channels), classes, read, stamp("folder", path, files))


def check_labels(labels: NDArray[Any], classes: int, *, where: str) -> None:
    """Raise DataError unless there are labels, and every one is in 0 … classes-1."""
    if len(labels) == 0:
        raise DataError(f"{where}: there are none.", remedy="Every split needs images.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"{where} must be in 0 … {classes - 1}; found {low if low < 0 else high}.",
            remedy="Leave out images without a class, and number the classes alike in every split.",
        )


def stamp(kind: str, root: Path, files: Iterable[Path]) -> str:
    """A text that changes when files are added, removed or written: names, sizes and times of modification."""
    lines = [f"{kind} {root}"]
    for file in files:
        facts = file.stat()
        lines.append(f"{file.relative_to(root).as_posix()} {facts.st_size} {facts.st_mtime_ns}")
    return "\n".join(lines)


def _order(count: int, entropy: Sequence[int]) -> NDArray[np.intp]:
    return np.argsort(np.random.PCG64(list(entropy)).random_raw(count), kind="stable")


def _take(images: Images, places: NDArray[np.intp]) -> Images:
    return Images(images.pixels[places], images.labels[places])


def _with_test(images: Images, classes: Sequence[str]) -> Splits:
    return Splits(*divide(images, TEST_SHARE, classes=classes, entropy=_TEST))


def _in_memory(name: str, splits: Splits, classes: tuple[str, ...]) -> Source:
    height, width, channels = splits.train.pixels.shape[1:]
    return Source(name, (height, width, channels), classes, lambda: splits)


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(label) for label in range(count))


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The four or two arrays of an .npz file."""
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
    """The images and labels under two names, checked by themselves and against each other."""
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


def _list_classes(root: Path) -> dict[str, list[Path]]:
    """The image files of every class folder, both sorted by name; hidden files and folders are passed over."""
    folders = sorted(item for item in root.iterdir() if item.is_dir() and not item.name.startswith("."))
    if len(folders) < FEWEST:
        raise DataError(
            f"{root} must hold one folder of images for each of at least two classes; found {len(folders)}.",
            remedy="Lay it out as FOLDER/CLASS/IMAGE.png, or FOLDER/train/CLASS/… and FOLDER/test/CLASS/… "
            "(a TFDS name must not be that of a folder here).",
        )
    listing = {folder.name: _list_images(folder) for folder in folders}
    for folder in folders:
        if not listing[folder.name]:
            raise DataError(
                f"The class folder {folder} holds no image; looked for {', '.join(sorted(SUFFIXES))}.",
                remedy="Add images to it or remove it; a folder split in two needs both train/ and test/.",
            )
    return listing


def _list_images(folder: Path) -> list[Path]:
    return sorted(
        item
        for item in folder.iterdir()
        if item.suffix.lower() in SUFFIXES and not item.name.startswith(".") and item.is_file()
    )


def _read_folder(listing: Mapping[str, Sequence[Path]], *, example: Path) -> Images:
    """The images of class folders, mixed; DataError where one is not of the shape of `example`."""
    files = [(label, file) for label, members in enumerate(listing.values()) for file in members]
    files = [files[place] for place in _order(len(files), _FILES)]
    shape = decode(example).shape
    pixels = np.empty((len(files), *shape), np.uint8)
    for place, (_, file) in enumerate(files):
        image = decode(file)
        if image.shape != shape:
            raise DataError(
                f"All images must have one size and mode: {example} has {_words(shape)}, "
                f"{file} has {_words(image.shape)}.",
                remedy="Convert them first, for example with Pillow's Image.convert and Image.resize.",
            )
        pixels[place] = image
    return Images(pixels, np.array([label for label, _ in files], np.int32))


def _words(shape: Sequence[int]) -> str:
    height, width, channels = shape
    return f"{height}x{width} pixels in {'greyscale' if channels == 1 else 'RGB'}"


def decode(file: Path) -> NDArray[np.uint8]:
    """The pixels [height, width, 1 or 3] of an image file."""
    try:
        with Image.open(file) as image:
            mode = image.mode
            pixels = np.asarray(image.convert(_CONVERSIONS.get(mode, mode)), np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{file} cannot be read as an image: {error}", remedy="Replace this file or remove it."
        ) from None
    if mode not in _CONVERSIONS:
        raise DataError(
            f"{file} must be greyscale (L) or RGB; its mode is {mode}.",
            remedy="Convert it first, for example: Image.open(file).convert('RGB').save(file).",
        )
    return pixels.reshape(*pixels.shape[:2], -1)
