"""Files are written whole or not at all, and checked when read."""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from synevo.errors import RunError, damaged

_AT_ONCE = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
"""Flags of a file that is opened: a named pipe must not wait for its writer."""

_NOT_THERE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG, errno.ENODEV}

_TOO_LARGE = "it is larger than the memory"

_BEFORE = ".before"
_UNFINISHED = re.compile(r"\.(.+?)(-[a-z0-9_]{8}|\.before)")
"""Names of unfinished files and folders: a dot, the name to be, and an ending of `tempfile`, or of what is aside."""


def hash_of(content: bytes) -> str:
    """Return the SHA-256 of a content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def canonical(value: Any) -> bytes:
    """Return a JSON value as bytes: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def pretty(value: Any) -> bytes:
    """Return a JSON value as indented UTF-8 text for people; what no UTF-8 can hold in a name is written in ASCII."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")


def read(path: Path) -> bytes:
    """Return the content of a regular file; a named pipe or a device, which could be endless, is not opened to its end.

    Raises:
        RunError: if it is missing, no regular file, without access, or larger than memory.
    """
    try:
        handle = os.open(path, os.O_RDONLY | _AT_ONCE)
        with os.fdopen(handle, "rb") as file:
            _require_regular(path, os.fstat(handle))
            return file.read()
    except (OSError, MemoryError) as error:
        raise _unread(path, error) from None


def _require_regular(path: Path, about: os.stat_result) -> None:
    if not stat.S_ISREG(about.st_mode):
        raise damaged(path, "it is no regular file")
    if about.st_size > memory():
        raise damaged(path, _TOO_LARGE)


def memory() -> int:
    """Return the bytes of this machine's memory; a large number if they are unknown."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return sys.maxsize


def _unread(path: Path, error: OSError | MemoryError) -> Exception:
    """Return the error for a file that could not be read; one of the machine, such as too many open files, as it is."""
    if isinstance(error, MemoryError):
        return damaged(path, _TOO_LARGE)
    if error.errno in _NOT_THERE:
        return damaged(path, "it is missing" if error.errno == errno.ENOENT else str(error.strerror))
    if isinstance(error, PermissionError):
        return RunError(f"{path} cannot be read: {error.strerror}.", remedy="Give access to it.")
    return error


def read_checked(path: Path, sha: str) -> bytes:
    """Return the content of a file; raise RunError if it is missing or its SHA-256 is not `sha`."""
    content = read(path)
    if hash_of(content) != sha:
        raise damaged(path, "it is not the file that was written (its hash differs)")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file; raise RunError if there is none."""
    return parse_json(path, read(path))


def parse_json(path: Path, content: bytes) -> dict[str, Any]:
    """Return the JSON object in a `content`; raise RunError, which names `path`, if there is none."""
    try:
        table: dict[str, Any] = json.loads(content)
    except RecursionError:
        raise damaged(path, "it is nested too deeply") from None
    except ValueError as error:
        raise damaged(path, str(error)) from None
    if not isinstance(table, dict):
        raise damaged(path, "it is no JSON object")
    return table


def write_json(path: Path, value: Any) -> None:
    """Write a JSON value to a file, whole or not at all."""
    write(path, pretty(value))


def require_replaceable(path: Path) -> None:
    """Raise RunError if a device, a pipe or a socket stands where a file is to be written: it would be replaced."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise RunError(f"{path} is a device or a pipe, not a file.", remedy="Name another file.")


def write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; raise RunError if it would take the place of a device or a pipe."""
    require_replaceable(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def write_folder(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write a folder of files (name → content), whole or not at all.

    It replaces a folder of the same name, which is set aside until the new one is in its place: at every moment one of
    them is whole, and `standing` finds it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        for name, content in contents.items():
            write(temporary / name, content)
        temporary.chmod(0o755)
        if os.path.lexists(folder):
            remove(_aside(folder))
            folder.rename(_aside(folder))
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if not os.path.lexists(folder) and os.path.lexists(_aside(folder)):
            _aside(folder).rename(folder)
        raise
    remove(_aside(folder))


def standing(folder: Path) -> Path:
    """Return the path of a folder from `write_folder`, also where its writer was killed while it replaced it."""
    aside = _aside(folder)
    return aside if aside.is_dir() and not os.path.lexists(folder) else folder


def recover(folder: Path, own: re.Pattern[str], *, older: float = 0.0) -> None:
    """Clear what killed writers of the names `own` left in a folder, where it is `older` than so many seconds.

    Temporaries go; what was set aside comes back where it is missing. A folder behind a link is left alone. The caller
    makes sure that nobody else writes there.
    """
    if folder.is_symlink() or not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        match = _UNFINISHED.fullmatch(path.name)
        if match is None or not own.fullmatch(match[1]) or time.time() - path.lstat().st_mtime < older:
            continue
        if match[2] == _BEFORE and not os.path.lexists(folder / match[1]):
            path.rename(folder / match[1])
        else:
            remove(path)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there; what a link points to stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _aside(folder: Path) -> Path:
    """Return where a folder stands while another takes its place."""
    return folder.with_name(f".{folder.name}{_BEFORE}")
