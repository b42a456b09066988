"""Images from class folders: one folder of image files for each class.

What would be left out without a word is refused with counts: pictures of kinds that are not read, in folders below a
class folder, or beside the class folders. Hidden files and folders are passed over.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from synevo.data.images import Images
from synevo.data.memory import check_room
from synevo.data.pictures import as_png, declared_area, decode, is_picture, stretched
from synevo.data.sources import FEWEST, Source, Splits, shuffled, stamp, with_test
from synevo.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"})

VALIDATION = ("val", "validation", "valid")
"""The names that a folder of validation images may have, beside train/ and test/."""

_FILES = (3,)  # the entropy of the order of reading: files are sorted by class, and are mixed when they are read

_UNREAD = frozenset({".heic", ".heif", ".avif", ".jxl", ".svg", ".exr", ".dcm", ".raw", ".dng", ".cr2", ".nef", ".arw"})
"""Pictures that Pillow alone does not know."""

_TEXTS = frozenset({".txt", ".md", ".csv", ".json", ".jsonl", ".xml", ".html", ".yaml", ".yml", ".log", ".py", ".db"})

Listing = Mapping[str, Sequence[Path]]


def open_folder(path: Path, *, resized: bool = False) -> Source:
    """Return the source of a folder of class folders, or of `train/`, `test/` and perhaps `val/` of the same classes.

    Where the images are `resized` on reading, those in their own size need not fit into the memory.

    Raises:
        DataError: if the layout, a class or an image cannot be used.
    """
    listings = [_list_classes(root) for root in _roots(path)]
    _check_alike(path, listings)
    classes = tuple(listings[0])
    files = [file for listing in listings for members in listing.values() for file in members]
    if not resized:
        _check_total(files[0], len(files))
    height, width, channels = decode(files[0]).shape

    def read(side: int | None = None) -> Splits:
        parts = [_read_folder(listing, example=files[0], side=side) for listing in listings]
        return Splits(*parts) if len(parts) > 1 else with_test(parts[0], classes)

    def at(side: int) -> Source:
        return replace(
            source, shape=(side, side, channels), read=lambda: read(side), stamp=f"{seal}\nresized to {side}"
        )

    seal = stamp("folder", path, files)
    source = Source(path.name, (height, width, channels), classes, read, seal, at)
    return source


def _roots(path: Path) -> list[Path]:
    """Return the folders of classes: `path`, or those of train, test and validation; DataError for others beside."""
    train, test = path / "train", path / "test"
    if not (train.is_dir() and test.is_dir()):
        _check_halves(path)
        _check_beside(path, [item for item in path.iterdir() if item.is_dir()])
        return [path]
    held = [path / name for name in VALIDATION if (path / name).is_dir()][:1]
    _check_beside(path, [train, test, *held])
    for root in (train, test, *held):
        _check_beside(root, [item for item in root.iterdir() if item.is_dir()])
    return [train, test, *held]


def _check_halves(path: Path) -> None:
    """Raise DataError for a `train/` of class folders without its `test/`, which would be taken for a class."""
    train = path / "train"
    if train.is_dir() and not _pictures(train) and any(_pictures(item) for item in train.iterdir() if item.is_dir()):
        raise DataError(
            f"{path} holds train/ with class folders, and no test/.",
            remedy="A folder split in two needs both train/ and test/: rename one (such as val/) to test, or name "
            "train/ itself as the data set, and a fifth of it becomes the test.",
        )


def _check_alike(path: Path, listings: Sequence[Listing]) -> None:
    odd = sorted({name for listing in listings for name in set(listing) ^ set(listings[0])})
    if odd:
        raise DataError(
            f"{path}: train and test must have the same class folders; only one of them has {', '.join(odd)}.",
            remedy="Add the missing folders, or remove these; val/ needs the same ones, too.",
        )


def _check_total(example: Path, count: int) -> None:
    """Raise DataError if `count` images as large as the header of the first one says do not fit into the memory."""
    area = declared_area(example)
    check_room(
        count * area,
        f"{example} declares {area:,} pixels, and {count} images of this size need",
        remedy="Make it as small as the others, or all of them: --set data.fit=resize --set data.image_size=N.",
    )


def _list_classes(root: Path) -> dict[str, list[Path]]:
    """Return the image files of every class folder, both sorted by name; hidden ones are left out."""
    folders = sorted(item for item in root.iterdir() if item.is_dir() and not item.name.startswith("."))
    if len(folders) < FEWEST:
        raise DataError(
            f"{root} must hold one folder of images for each of at least two classes; found {len(folders)}.",
            remedy="Lay it out as FOLDER/CLASS/IMAGE.png, or FOLDER/train/CLASS/… and FOLDER/test/CLASS/… "
            "(a TFDS name must not be that of a folder here).",
        )
    for folder in folders:
        _check_name(folder)
    seen = {folder: _visible(folder) for folder in folders}
    listing = {folder.name: [item for item in files if _is_read(item)] for folder, files in seen.items()}
    odd = [item for files in seen.values() for item in files if not _is_read(item) and _is_kind_of_picture(item)]
    _check_left_out(root, folders, odd)
    for folder in folders:
        if not listing[folder.name]:
            raise DataError(
                f"The class folder {folder} holds no image; looked for {', '.join(sorted(SUFFIXES))}.",
                remedy="Add images to it or remove it; a folder split in two needs both train/ and test/.",
            )
    return listing


def _check_name(folder: Path) -> None:
    """Raise DataError if a class cannot be written down: its folder's name is not UTF-8."""
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(folder).decode("utf-8", "backslashreplace")
        raise DataError(
            f"The name of the class folder {shown} is not UTF-8.",
            remedy="Rename it; the program convmv does so for all names of an old archive.",
        ) from None


def _visible(folder: Path) -> list[Path]:
    """Return the files of a folder that are not hidden, sorted by name; one system call for many of them."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.name[0] != "." and entry.is_file())


def _pictures(folder: Path) -> list[Path]:
    return [item for item in _visible(folder) if _is_read(item)]


def _is_read(item: Path) -> bool:
    return item.suffix.lower() in SUFFIXES


def _check_left_out(root: Path, folders: Sequence[Path], odd: Sequence[Path]) -> None:
    """Raise DataError if class folders hold `odd` pictures, of kinds that are not read, or folders of pictures."""
    if odd:
        endings = Counter(item.suffix.lower() or "without an ending" for item in odd)
        found = ", ".join(f"{count} {kind}" for kind, count in sorted(endings.items()))
        raise DataError(
            f"{len(odd)} pictures in the class folders of {root} would be left out: {found}.",
            remedy=f"Write them as one of {', '.join(sorted(SUFFIXES))}, and move the old ones out of the folder. "
            f"For {odd[0].name}: {as_png(odd[0])}",
        )
    below = {folder: count for folder in folders if (count := _count_below(folder))}
    if below:
        found = ", ".join(f"{count} below {folder.name}/" for folder, count in below.items())
        raise DataError(
            f"{sum(below.values())} pictures of {root} would be left out, in folders inside of class folders: {found}.",
            remedy="Move them up into their class folder, or out of the data set; if the folders here are splits, and "
            "not classes, name them train/, test/ and val/.",
        )


def _check_beside(root: Path, used: Sequence[Path]) -> None:
    """Raise DataError if pictures lie in `root` itself, or in folders of it other than those that are `used`."""
    found = {root: len([item for item in _visible(root) if _is_kind_of_picture(item)])}
    others = [item for item in root.iterdir() if item.is_dir() and not item.name.startswith(".") and item not in used]
    found |= {folder: len(_pictures(folder)) + _count_below(folder) for folder in sorted(others)}
    found = {folder: count for folder, count in found.items() if count}
    if found:
        told = ", ".join(f"{count} in {folder}" for folder, count in found.items())
        raise DataError(
            f"{sum(found.values())} pictures would be left out: {told}.",
            remedy="Move them into class folders, or out of the data set; splits are named train/, test/ and val/.",
        )


def _is_kind_of_picture(item: Path) -> bool:
    ending = item.suffix.lower()
    return ending in SUFFIXES or ending in _UNREAD or (ending not in _TEXTS and is_picture(item))


def _count_below(folder: Path) -> int:
    """Return the number of pictures in the visible folders inside of a folder."""
    with os.scandir(folder) as entries:
        inner = [Path(entry.path) for entry in entries if entry.name[0] != "." and entry.is_dir(follow_symlinks=False)]
    return sum(sum(_is_kind_of_picture(item) for item in _visible(one)) + _count_below(one) for one in inner)


def _read_folder(listing: Listing, *, example: Path, side: int | None) -> Images:
    """Return the images of class folders, mixed, and with a `side` resized; DataError if they differ from `example`."""
    files = [(label, file) for label, members in enumerate(listing.values()) for file in members]
    files = [files[place] for place in shuffled(len(files), _FILES)]
    own = decode(example).shape
    shape = (side or own[0], side or own[1], own[2])
    remedy = "Choose a smaller --set data.image_size=N with --set data.fit=resize, or leave images out."
    check_room(len(files) * int(np.prod(shape)), f"{len(files)} images of {_words(shape)} need", remedy=remedy)
    pixels = np.empty((len(files), *shape), np.uint8)
    for place, (_, file) in enumerate(files):
        image = decode(file)
        if (image.shape if side is None else image.shape[2:]) != (own if side is None else own[2:]):
            raise _differ(example, own, file, image.shape)
        pixels[place] = image if side is None else stretched(image, side, side)
    return Images(pixels, np.array([label for label, _ in files], np.int32))


def _differ(example: Path, own: Sequence[int], file: Path, other: Sequence[int]) -> DataError:
    """Return the error for two images of one set that differ in size or in mode."""
    remedy = "Bring all to one size, with a side of your choice: --set data.fit=resize --set data.image_size=N."
    if own[2] != other[2]:
        line = "ImageOps.exif_transpose(Image.open(file)).convert('RGB').save(file.with_suffix('.png'))"
        remedy = f"Make all of them RGB: {line}; and remove old files with other endings."
    return DataError(
        f"All images must have one size and mode: {example} has {_words(own)}, {file} has {_words(other)}.",
        remedy=remedy,
    )


def _words(shape: Sequence[int]) -> str:
    height, width, channels = shape
    return f"{height}x{width} pixels in {'greyscale' if channels == 1 else 'RGB'}"
