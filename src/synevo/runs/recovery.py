"""Recovery: what killed writers left unfinished in a run is cleared by the next process that holds its lock.

An individual is announced by a note before it is written, and the note goes when the lineage names it. So what a killed
writer left is told from an individual whose line of the lineage was lost: that one is never replaced.
"""

import re
from pathlib import Path

from synevo.files.writing import recover, remove, write

_NAME = re.compile(r"g\d+(?:-\d+)?")
_NOTE = re.compile(r"\.(g\d+(?:-\d+)?)\.unlisted")

_DAY = 24 * 60 * 60.0
"""Seconds after which what is written without the lock, such as an export, is no longer being written."""

_OF_RUN = re.compile(r"plan\.toml|machine\.json|lineage\.jsonl|\.holder\.json")
_OF_INDIVIDUALS = re.compile(rf"{_NAME.pattern}|{_NOTE.pattern}")


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
