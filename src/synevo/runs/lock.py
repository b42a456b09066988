"""The lock of a run: a file that names the writing process, in words for people; a killed process does not count.

What killed writers left unfinished in a run is cleared by the next process that holds its lock. An individual is
announced by a note before it is written, and the note goes when the lineage names it. So what a killed writer left is
told from an individual whose line of the lineage was lost: that one is never replaced.
"""

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from synevo.errors import RunError
from synevo.files.writing import read, recover, remove, write

_FILE = ".holder.json"
_LOCK = ".lock"
_WORDS = re.compile(r"process (\d{1,9}) on (\S+) ")

_NAME = re.compile(r"g\d+(?:-\d+)?")
_NOTE = re.compile(r"\.(g\d+(?:-\d+)?)\.unlisted")

_DAY = 24 * 60 * 60.0
"""Seconds after which what is written without the lock, such as an export, is no longer being written."""

_OF_RUN = re.compile(r"plan\.toml|machine\.json|lineage\.jsonl|\.holder\.json")
_OF_INDIVIDUALS = re.compile(rf"{_NAME.pattern}|{_NOTE.pattern}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock a folder, which is made if it is missing, for writing.

    Raises:
        RunError: with the name of the other process if it is locked, or if it can be no folder.
    """
    require_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(_lock_file(folder))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = _line(folder) or "another process"
        raise RunError(f"{folder} is being written by {who}.", remedy="Wait for it to end, or stop it.") from None
    try:
        write(folder / _FILE, _describe_owner())
        yield
    finally:
        (folder / _FILE).unlink(missing_ok=True)
        lock.release()


def require_folder(folder: Path) -> None:
    """Raise RunError if a path, or one on the way to it, is a file where a folder must be."""
    for part in (folder, *folder.parents):
        if os.path.lexists(part) and not os.path.isdir(part):  # noqa: PTH112  (never an error, whatever the path)
            raise RunError(f"{part} is not a folder, and {folder} must be one.", remedy="Name another folder.")


def owner_of(folder: Path) -> str | None:
    """Return the line about the writer of a run; None if there is none, or it was killed on this machine."""
    text = _line(folder)
    match = _WORDS.match(text or "")
    return None if match and match[2] == socket.gethostname() and not is_alive(int(match[1])) else text


def _lock_file(folder: Path) -> Path:
    """Return the path of the lock; raise RunError if a link or something else stands there, which would be emptied."""
    path = folder / _LOCK
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        raise RunError(f"{path} is no regular file.", remedy="Remove it, then give the same command again.")
    return path


def _describe_owner() -> bytes:
    """Return a line about this process: its number, its host, the time, and its command."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = f"process {os.getpid()} on {socket.gethostname()} since {now} ({command})\n"
    return line.encode("utf-8", "replace")


def _line(folder: Path) -> str | None:
    """Return the line in the file that names the writer, or None if there is none that can be read."""
    try:
        return read(folder / _FILE).decode("utf-8", "replace").strip()
    except (RunError, OSError):
        return None


def is_alive(process: int) -> bool:
    """Return whether a process of this machine lives."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # it is alive, and belongs to another user
    return True


def announce(folder: Path, name: str) -> Path:
    """Note in a folder of individuals that one is written and not yet in the lineage; return the path of the note."""
    note = folder / f".{name}.unlisted"
    write(note, b"")
    return note


def names_in(folder: Path) -> set[str]:
    """Return the names of the individuals in a folder, without those that a killed writer announced."""
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    announced = {match[1] for name in found if (match := _NOTE.fullmatch(name))}
    return {name for name in found if _NAME.fullmatch(name)} - announced


def clear_unfinished(path: Path, listed: set[str] | None) -> None:
    """Clear what killed writers left in the run at a path; `listed` are the names in its lineage, if it can be read."""
    individuals = path / "individuals"
    if listed is not None:
        _clear_unlisted(individuals, listed)
    recover(path.resolve(), _OF_RUN)
    recover(individuals, _OF_INDIVIDUALS)
    recover(path / "compact", _NAME)
    for folder in (path / "exports", path / "report"):
        recover(folder, re.compile(r".+"), older=_DAY)


def _clear_unlisted(folder: Path, listed: set[str]) -> None:
    """Remove the individuals that were announced and are not `listed`, and the notes."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for note in sorted(folder.iterdir()):
        if match := _NOTE.fullmatch(note.name):
            if match[1] not in listed:
                remove(folder / match[1])
            remove(note)
