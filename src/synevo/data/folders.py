"""Images from class folders: one folder of image files for each class."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synevo.data.images import Images
from synevo.data.sources import FEWEST, Source, Splits, shuffled, stamp, with_test
from synevo.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"})

_FILES = (3,)  # the entropy of the order of reading: files are sorted by class, and are mixed when they are read

_CONVERSIONS = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}  # lossless


def open_folder(path: Path) -> Source:
    """Return the source of a folder of class folders, or of `train/` and `test/` folders of the same class folders.

    Raises:
        DataError: if the layout, a class or an image cannot be used.
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
        return Splits(*parts) if len(parts) > 1 else with_test(parts[0], classes)

    return Source(path.name, (height, width, channels), classes, read, stamp("folder", path, files))


def _list_classes(root: Path) -> dict[str, list[Path]]:
    """Return the image files of every class folder, both sorted by name; hidden ones are left out."""
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
    """Return the images of class folders, mixed; raise DataError if one has another shape than `example`."""
    files = [(label, file) for label, members in enumerate(listing.values()) for file in members]
    files = [files[place] for place in shuffled(len(files), _FILES)]
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
    """Return the pixels [height, width, 1 or 3] of an image file; raise DataError if it cannot be read or used."""
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
