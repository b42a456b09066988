"""Images and labels from .npz files, and from folders of .npy files.

An archive is measured before it is read: what its members declare must be what they hold, and fit into the memory.
Images that are larger than the room for them, and not compressed, are mapped: they are read when they are needed.
"""

import contextlib
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synevo.data import arrays as checks
from synevo.data.images import Images
from synevo.data.memory import check_room
from synevo.data.sources import Source, Splits, in_memory, numbered, with_test
from synevo.errors import DataError

_WHOLE = ("images", "labels")

_SPLIT = ("train_images", "train_labels", "test_images", "test_labels")

_VALIDATION = (("val_images", "val_labels"), ("validation_images", "validation_labels"))

_LENGTHS = 26  # the place of two lengths in the header of a member of a zip archive

_LONGEST_HEADER = 1 << 16

_REMEDY = "Write it with np.savez(file, images=…, labels=…), or train_images, train_labels, test_images, test_labels."

Arrays = Mapping[str, NDArray[Any]]


def open_npz(path: Path, *, room: int | None = None) -> Source:
    """Return the source of an .npz file, or of a folder of .npy files of the same names.

    Its arrays are `images` and `labels`, or `train_images`, `train_labels`, `test_images` and `test_labels`, and in
    both cases perhaps `val_images` and `val_labels`. Images are uint8 [n, h, w] or [n, h, w, c] with c in 1, 3; labels
    are integers [n] in 0 … k-1 without gaps. Images of more than `room` bytes are mapped and not read, if they are
    written without compression.

    Raises:
        DataError: for anything else; nothing is converted silently, and no pickle is loaded.
    """
    arrays = _arrays_of_folder(path, room) if path.is_dir() else _arrays(path, room)
    names = [name for name in arrays if name.endswith("images")]
    parts = [_labelled(path, arrays, name, name.removesuffix("images") + "labels") for name in names]
    train, *others = parts
    labels = names[0].removesuffix("images") + "labels"
    classes = numbered(checks.count_classes(arrays, labels, where=f"{path}: {labels}"))
    for name, part in zip(names[1:], others, strict=True):
        _check_other(path, (names[0], train), (name, part), len(classes))
    if names[0] == _WHOLE[0]:
        whole = with_test(train, classes)
        return in_memory(path.stem, Splits(whole.train, whole.test, *others), classes)
    return in_memory(path.stem, Splits(*parts), classes)


def _check_other(path: Path, first: tuple[str, Images], second: tuple[str, Images], classes: int) -> None:
    """Raise DataError if another split has images of another shape than the first, or labels of none of its classes."""
    (name, train), (other, held) = first, second
    if train.pixels.shape[1:] != held.pixels.shape[1:]:
        raise DataError(
            f"{path}: images of train and {other.partition('_')[0]} must have one shape; "
            f"found {train.pixels.shape[1:]} and {held.pixels.shape[1:]}.",
            remedy="Bring both to the same height, width and channels.",
        )
    labels, theirs = (one.removesuffix("images") + "labels" for one in (name, other))
    low, high = int(held.labels.min()), int(held.labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"{path}: {theirs} must be in 0 … {classes - 1}; found {low if low < 0 else high}.",
            remedy=f"Leave out images of classes that {labels} does not have: keep = np.isin({theirs}, {labels}); "
            f"{other}, {theirs} = {other}[keep], {theirs}[keep].",
        )


def is_folder_of_arrays(path: Path) -> bool:
    """Return True for a folder with the .npy files of images."""
    return any((path / f"{names[0]}.npy").is_file() for names in (_WHOLE, _SPLIT))


def _arrays_of_folder(path: Path, room: int | None) -> dict[str, NDArray[Any]]:
    """Return the arrays of the .npy files in a folder by name, as `_arrays` does; large images are mapped."""
    found = {file.stem: file for file in sorted(path.glob("*.npy"))}
    names, arrays = _choose(path, list(found)), {}
    for name in names:
        with _readable(found[name]):
            with found[name].open("rb") as file:
                shape, dtype, _ = _header(path, file, name)
            if dtype.hasobject:
                raise checks.objects(f"{found[name]}", name)
            mapped = name.endswith("images") and _exceeds(shape, dtype, room)
            mode: Literal["r"] | None = "r" if mapped else None
            arrays[name] = np.load(found[name], mmap_mode=mode, max_header_size=_LONGEST_HEADER)
    return arrays


def _exceeds(shape: tuple[int, ...], dtype: np.dtype[Any], room: int | None) -> bool:
    return room is not None and prod(shape) * dtype.itemsize > room


def _arrays(path: Path, room: int | None) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file by name, those of training first; DataError if one is missing."""
    if not path.is_file():
        raise DataError(f"There is no file {path}.", remedy="Check the path of --dataset.")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is not an .npz file (a zip archive of arrays), or is truncated.", remedy=_REMEDY)
    with _readable(path), zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        names = _choose(path, list(members))
        mapped = {name for name in names if room is not None and _is_mappable(members[name], name, room)}
        _check_size(path, [members[name] for name in names if name not in mapped])
        for name in names:
            _check_member(path, archive, members[name], name)
        return {
            name: _mapped(path, members[name]) if name in mapped else _read(archive, members[name]) for name in names
        }


def _is_mappable(member: zipfile.ZipInfo, name: str, room: int) -> bool:
    """Return True for images of more than `room` bytes that lie in the archive as they are."""
    stored = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
    return stored and name.endswith("images") and member.file_size > room


def _mapped(path: Path, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Return a member that is not compressed as an array that is read from the archive when it is needed."""
    with path.open("rb") as file:
        file.seek(member.header_offset + _LENGTHS)
        lengths = struct.unpack("<HH", file.read(4))  # of a name and of extra fields, which stand before the content
        file.seek(sum(lengths), os.SEEK_CUR)
        shape, dtype, order = _header(path, file, member.filename)
        return np.memmap(path, dtype, "r", file.tell(), shape, order)


def _choose(path: Path, found: list[str]) -> list[str]:
    """Return the names of the arrays to read; DataError if there are too few, or if images would be left out."""
    names = next((names for names in (_SPLIT, _WHOLE) if set(names) <= set(found)), ())
    if not names:
        raise DataError(f"{path} must hold images and labels; found {', '.join(found) or 'nothing'}.", remedy=_REMEDY)
    held = next((pair for pair in _VALIDATION if set(pair) <= set(found)), ())
    chosen = [*names, *held]
    odd = [name for name in found if name.lower().endswith("images") and name not in chosen]
    if odd:
        raise DataError(
            f"{path}: {len(odd)} arrays of images would be left out: {', '.join(odd)}.",
            remedy=f"Read are {', '.join(chosen)}; name the others val_images and val_labels, or write the file "
            "without them.",
        )
    return chosen


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Raise DataError in place of the many errors of zip files, their compressions and NumPy."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001 (damaged files raise nearly anything; none is a bug of ours)
        said = str(error) or type(error).__name__
        raise DataError(
            f"{path} cannot be read: {said}", remedy=f"It may be damaged: make or copy it again. {_REMEDY}"
        ) from None


def _check_size(path: Path, members: list[zipfile.ZipInfo]) -> None:
    locked = [info.filename for info in members if info.flag_bits & 1]
    if locked:
        raise DataError(
            f"{path} is encrypted ({', '.join(locked)}).",
            remedy="Unpack it with its password (7z x FILE), and write the arrays without one: np.savez(file, "
            "images=…, labels=…).",
        )
    total = sum(info.file_size for info in members)
    remedy = (
        "Write them without compression (np.savez), or as a folder of image files: then they are read when they are "
        "needed. Or write fewer or smaller ones."
    )
    check_room(total, f"{path} declares arrays of", remedy=remedy)


def _check_member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> None:
    """Raise DataError unless the header of a member declares an array without Python objects, as large as it is."""
    with archive.open(member) as file:
        shape, dtype, _ = _header(path, file, name)
        begun = file.tell()
    if dtype.hasobject:
        raise checks.objects(f"{path}: {name}", name)
    declared = int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize
    if declared != member.file_size - begun:
        raise DataError(
            f"{path}: {name} declares {declared:,} bytes {list(shape)}, and holds {member.file_size - begun:,}.",
            remedy=f"It is damaged: make or copy it again. {_REMEDY}",
        )


def _header(path: Path, file: Any, name: str) -> tuple[tuple[int, ...], np.dtype[Any], Literal["C", "F"]]:
    """Return the shape, the dtype and the order that the header of a member declares."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(file, max_header_size=_LONGEST_HEADER)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise DataError(f"{path}: {name} is no array of NumPy: {error}", remedy=_REMEDY) from None
    return shape, dtype, "F" if by_columns else "C"


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    with archive.open(member) as file:
        found: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False, max_header_size=_LONGEST_HEADER)
        file.read(1)  # the end: now the checksum has been compared
    return found


def _labelled(path: Path, arrays: Arrays, images: str, labels: str) -> Images:
    """Return the images and labels under two names; raise DataError if one is wrong, or they do not match."""
    pixels, marks = arrays[images], arrays[labels]
    checks.check_pixels(arrays, images, where=f"{path}: {images}")
    checks.check_marks(arrays, labels, where=f"{path}: {labels}")
    if len(pixels) != len(marks):
        raise DataError(
            f"{path}: {images} and {labels} must have one length; found {len(pixels)} and {len(marks)}.",
            remedy="Write one label for every image.",
        )
    pixels = pixels.reshape(*pixels.shape[:3], -1)
    return Images(pixels, marks.astype(np.int32))
