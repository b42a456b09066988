"""Arrays in .npz files: an archive is measured before it is read, and Python objects in it are refused."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.adoption.reading import Contents, executes, require_room
from synevo.errors import AdoptionError

_LONGEST_HEADER = 1 << 16

_REMEDY = "Write it with np.savez(FILE, **arrays), or make or copy it again."


def is_zip(content: bytes) -> bool:
    """Return whether a content begins as a zip archive does; it may be truncated."""
    return content[:4] == b"PK\x03\x04"


def members(content: bytes) -> list[str]:
    """Return the names of the members of a zip archive; none where it is none, or is truncated."""
    if not is_zip(content):
        return []
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return []


def holds(content: bytes, member: str) -> bool:
    """Return whether a content is a zip archive with a member of this name."""
    return member in members(content)


def unpack(path: Path, content: bytes, member: str) -> bytes:
    """Return the content of one member of a zip archive that fits into the memory."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        require_room(path, archive.getinfo(member).file_size)
        return archive.read(member)


def read_npz(path: Path, content: bytes) -> Contents:
    """Return the arrays of an .npz file by name.

    Raises:
        AdoptionError: where it is truncated or encrypted, or holds Python objects or anything but arrays.
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise AdoptionError(f"{path} is a truncated zip archive.", remedy=_REMEDY)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found = archive.infolist()
        require_room(path, sum(one.file_size for one in found))
        for one in found:
            if not one.filename.endswith(".npy"):
                raise AdoptionError(f"{path} holds {one.filename!r}, which is no array of NumPy.", remedy=_REMEDY)
            if one.flag_bits & 1:
                raise AdoptionError(f"{path} is encrypted.", remedy="Unpack it with its password. " + _REMEDY)
        return {one.filename.removesuffix(".npy"): _array(path, archive, one) for one in found}, {}


def _array(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Return the array in a member, whose header must declare what it holds."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file, max_header_size=_LONGEST_HEADER)
        begun = file.tell()
    if dtype.hasobject:
        raise executes(path, f"holds Python objects under {member.filename.removesuffix('.npy')!r}")
    declared = int(np.prod([int(side) for side in shape], dtype=object)) * dtype.itemsize
    if declared != member.file_size - begun:
        held = member.file_size - begun
        raise AdoptionError(
            f"{path}: {member.filename} declares {declared:,} bytes, and holds {held:,}.", remedy=_REMEDY
        )
    with archive.open(member) as file:
        found: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False, max_header_size=_LONGEST_HEADER)
        file.read(1)  # the end: now the checksum has been compared
    return found
