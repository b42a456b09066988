"""Images from class folders: one folder of image files for each class.

Files are decoded when their pixels are asked for, all at once or a batch at a time; the labels are those of their
folders. What would be left out without a word is refused with counts: pictures of kinds that are not read, in folders
below a class folder, or beside the class folders. Hidden files and folders are passed over.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synevo.data.images import Images, Streamed
from synevo.data.memory import check_room
from synevo.data.pictures import as_png, declared, decode, is_picture, stretched, with_channels
from synevo.data.sources import FEWEST, Source, Splits, Survey, shuffled, stamp, with_test
from synevo.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"})

VALIDATION = ("val", "validation", "valid")
"""The names that a folder of validation images may have, beside train/ and test/."""

_FILES = (3,)  # the entropy of the order of reading: files are sorted by class, and are mixed when they are read

_UNREAD = frozenset({".heic", ".heif", ".avif", ".jxl", ".svg", ".exr", ".dcm", ".raw", ".dng", ".cr2", ".nef", ".arw"})
"""Pictures that Pillow alone does not know."""

_TEXTS = frozenset({".txt", ".md", ".csv", ".json", ".jsonl", ".xml", ".html", ".yaml", ".yml", ".log", ".py", ".db"})

_LEAVE_OUT = "A new run leaves out every file that cannot be read, and lists them, with --set data.damaged=leave-out."

Listing = Mapping[str, Sequence[Path]]


@dataclass(frozen=True)
class Pictures:
    """Picture files [n] that are decoded when they are asked for: in their own size or a `side`, with `channels`.

    With neither, each must have the size and the channels of the `example`.
    """

    files: Sequence[Path]
    example: Path
    side: int | None = None
    channels: int | None = None

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels; those of the example, where nothing else was asked for."""
        height, width, channels = self._own
        return self.side or height, self.side or width, self.channels or channels

    @cached_property
    def _own(self) -> tuple[int, int, int]:
        height, width, channels = _decoded(self.example).shape
        return height, width, channels

    def read(self, places: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Decode the files at `places` [n]; DataError names a file that cannot be read, or differs."""
        pixels = np.empty((len(places), *self.shape), np.uint8)
        for row, place in zip(pixels, places, strict=True):
            row[...] = self._fitted(self.files[place])
        return pixels

    def _fitted(self, file: Path) -> NDArray[np.uint8]:
        image = _decoded(file)
        found, own = image.shape, self._own
        if self.channels is not None:
            image = with_channels(image, self.channels)
        if (self.side is None and found[:2] != own[:2]) or (self.channels is None and found[2] != own[2]):
            raise _differ(self.example, own, file, found)
        return image if self.side is None else stretched(image, self.side, self.side)


@dataclass(frozen=True)
class Wanted:
    """What a plan says about the files of a folder: channels, those that are left out, whether to look for more.

    `left_out` are names from the folder on, such as `train/cat/7.jpg`; where it is None and damaged files are
    to be left out, all are decoded once to find them.
    """

    channels: int | None = None
    leave_out: bool = False
    left_out: tuple[str, ...] | None = None


def open_folder(path: Path, wanted: Wanted = Wanted()) -> Source:
    """Return the source of a folder of class folders, or of `train/`, `test/` and perhaps `val/` of the same classes.

    Raises:
        DataError: if the layout, a class or an image cannot be used.
    """
    listings = [_list_classes(root) for root in _roots(path)]
    out = _left_out(path, listings, wanted)
    listings = [_without(path, listing, frozenset(out)) for listing in listings]
    _check_alike(path, listings)
    classes = tuple(listings[0])
    files = [file for listing in listings for members in listing.values() for file in members]
    mixed = [_mixed(listing) for listing in listings]

    def at(side: int | None) -> Source:
        parts = [(Pictures(members, files[0], side, wanted.channels), labels) for members, labels in mixed]

        def read() -> Splits:
            return _splits([Images(_read_all(part), labels) for part, labels in parts], classes)

        def stream() -> Splits:
            streams = [Streamed(part.read, np.arange(len(part.files)), part.shape) for part, _ in parts]
            return _splits([Images(one, labels) for one, (_, labels) in zip(streams, parts, strict=True)], classes)

        def seal() -> str:
            lines = [stamp("folder", path, files)]
            lines += [f"resized to {side}"] if side else []
            return "\n".join([*lines, *([f"with {wanted.channels} channels"] if wanted.channels else [])])

        shape = parts[0][0].shape
        return Source(path.name, shape, classes, len(files), read, stream, seal, at, lambda: _survey(files), out)

    return at(None)


def _splits(parts: Sequence[Images], classes: Sequence[str]) -> Splits:
    return Splits(*parts) if len(parts) > 1 else with_test(parts[0], classes)


def _left_out(path: Path, listings: Sequence[Listing], wanted: Wanted) -> tuple[str, ...]:
    """Return the names of the files that are left out: those of the plan, or all that cannot be decoded."""
    if wanted.left_out is not None or not wanted.leave_out:
        return wanted.left_out or ()
    files = (file for listing in listings for members in listing.values() for file in members)
    return tuple(file.relative_to(path).as_posix() for file in files if not _is_whole(file))


def _is_whole(file: Path) -> bool:
    try:
        decode(file)
    except DataError:
        return False
    return True


def _without(path: Path, listing: Listing, out: frozenset[str]) -> dict[str, list[Path]]:
    """Return the files of a listing without those that are left `out`; DataError if a class has no other."""
    if not out:
        return {name: list(members) for name, members in listing.items()}
    kept = {}
    for name, members in listing.items():
        kept[name] = [file for file in members if file.relative_to(path).as_posix() not in out]
        if not kept[name]:
            raise DataError(
                f"All {len(members)} files of the class {name!r} are left out: {members[0]} is one of them.",
                remedy="Replace them by files that can be read, or remove the class.",
            )
    return kept


def _survey(files: Sequence[Path]) -> Survey:
    """Return what the headers of files declare; one that cannot be read is found when it is decoded."""
    found = np.array([size for file in files if (size := declared(file))]).reshape(-1, 3)
    if not len(found):
        return Survey((0, 0), (0, 0), square=True, channels=frozenset())
    (low, narrow, _), (high, wide, _) = found.min(axis=0).tolist(), found.max(axis=0).tolist()
    square = bool((found[:, 0] == found[:, 1]).all())
    return Survey((low, narrow), (high, wide), square, frozenset(found[:, 2].tolist()))


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


def _mixed(listing: Listing) -> tuple[list[Path], NDArray[np.int32]]:
    """Return the files of class folders in the order of reading, mixed, and the label of each."""
    files = [(label, file) for label, members in enumerate(listing.values()) for file in members]
    files = [files[place] for place in shuffled(len(files), _FILES)]
    return [file for _, file in files], np.array([label for label, _ in files], np.int32)


def _read_all(pictures: Pictures) -> NDArray[np.uint8]:
    """Return the pixels of all files; raise DataError if they need more than the memory."""
    count = len(pictures.files)
    remedy = "Lower --set data.memory=GIB, and they are read when they are needed; or leave images out."
    check_room(count * prod(pictures.shape), f"{count} images of {_words(pictures.shape)} need", remedy=remedy)
    return pictures.read(np.arange(count))


def _decoded(file: Path) -> NDArray[np.uint8]:
    """Return the pixels of a file; the error also says how to go on without it."""
    try:
        return decode(file)
    except DataError as error:
        raise DataError(error.problem, remedy=f"{error.remedy} {_LEAVE_OUT}") from None


def _differ(example: Path, own: Sequence[int], file: Path, other: Sequence[int]) -> DataError:
    """Return the error for two images of one set that differ in size or in mode."""
    remedy = "Bring all to one size, with a side of your choice: --set data.fit=resize --set data.image_size=N."
    if own[2] != other[2]:
        line = "ImageOps.exif_transpose(Image.open(file)).convert('RGB').save(file.with_suffix('.png'))"
        remedy = (
            "Let all be read in colours (--set data.channels=3) or in grey (--set data.channels=1); or make all of "
            f"them RGB: {line}; and remove old files with other endings."
        )
    return DataError(
        f"All images must have one size and mode: {example} has {_words(own)}, {file} has {_words(other)}.",
        remedy=remedy,
    )


def _words(shape: Sequence[int]) -> str:
    height, width, channels = shape
    return f"{height}x{width} pixels in {'greyscale' if channels == 1 else 'RGB'}"
