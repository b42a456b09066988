"""Caches: what synevo keeps to be faster the next time, where, how large it is, and how it is cleared.

All of it is made again when it is missing. Decoded images are in `$SYNEVO_CACHE/datasets`, programs that JAX compiled
in `xla`, both of `~/.cache/synevo` where nothing else is said ($XDG_CACHE_HOME in place of `~/.cache`).
"""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_OF_IMAGES = re.compile(r".+-[0-9a-f]{20}\.(arrays|train|test|validation)")
"""The names of the files of decoded images; others in a folder that a user chose are the user's own."""


@dataclass(frozen=True)
class Cache:
    """A cache: what it holds in words, its folder, and the files in it with the sum of their bytes."""

    what: str
    folder: Path
    files: tuple[Path, ...]
    size: int


def of_images() -> Path:
    """Return the folder of decoded images, which may not exist; RuntimeError for a user without a home directory."""
    return Path(os.environ.get("SYNEVO_CACHE") or _own()).expanduser() / "datasets"


def of_programs() -> Path:
    """Return the folder of compiled programs, which may not exist; RuntimeError for a user without a home directory."""
    return _own().expanduser() / "xla"


def caches() -> list[Cache]:
    """Return every cache with its place and its size; none for a user without a home directory."""
    found = []
    for what, place, files in (
        ("decoded images", of_images, _images_in),
        ("compiled programs", of_programs, _all_in),
    ):
        with contextlib.suppress(RuntimeError):
            held = tuple(files(place()))
            found.append(Cache(what, place(), held, sum(map(_size, held))))
    return found


def clear() -> list[Cache]:
    """Remove the files of every cache, and return what the caches were; OSError names a file that cannot be removed.

    A file that another process removes meanwhile is no error, and folders that are not empty stay.
    """
    before = caches()
    for cache in before:
        for file in cache.files:
            file.unlink(missing_ok=True)
        for folder in sorted({file.parent for file in cache.files}, reverse=True):
            with contextlib.suppress(OSError):
                folder.rmdir()
    return before


def _own() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "synevo"


def _images_in(folder: Path) -> Iterator[Path]:
    """Yield the files of decoded images in a folder, which may hold a user's own as well."""
    return (file for file in _all_in(folder) if file.parent == folder and _OF_IMAGES.fullmatch(file.name))


def _all_in(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder and in those inside of it; a link is a file."""
    for path, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(path) / name).is_symlink()]
        yield from (Path(path) / name for name in [*names, *links])


def _size(file: Path) -> int:
    with contextlib.suppress(OSError):
        return file.lstat().st_size
    return 0
