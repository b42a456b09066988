"""Checkpoints of Orbax: one tree in a folder, several items beside each other, or a folder of steps."""

import hashlib
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from synevo.adoption.reading import REMEDY, Contents, content_of, require_room
from synevo.adoption.trees import flatten
from synevo.errors import AdoptionError
from synevo.files import writing

_TREE = "_METADATA"
_ARRAYS = ("manifest.ocdbt", "checkpoint")
_STEP = re.compile(r"(?:\w*?_)?(\d+)")
_UNFINISHED = ".orbax-checkpoint-tmp"


def choose(path: Path, step: int | None) -> tuple[Path | None, int | None]:
    """Return the checkpoint in a folder and its step: the folder itself, its latest step, or the `step` that is named.

    It is the folder of a tree, or of several items that are trees, or one file of an older Flax; None where there is
    no checkpoint.

    Raises:
        AdoptionError: where there is no such step.
    """
    if _is_checkpoint(path):
        own = _STEP.fullmatch(path.name)
        number = int(own[1]) if own else None
        if step not in {None, number}:
            raise AdoptionError(f"{path} is one checkpoint, without a step {step}.", remedy="Leave the step out.")
        return path, number
    steps = {int(match[1]): one for one in sorted(path.iterdir()) if (match := _step_of(one))}
    if not steps:
        return None, None
    if step is None:
        step = max(steps)
    if step not in steps:
        known = ", ".join(map(str, sorted(steps)))
        raise AdoptionError(f"{path} has no step {step}.", remedy=f"Its steps are {known}.")
    return steps[step], step


def _step_of(path: Path) -> re.Match[str] | None:
    match = _STEP.fullmatch(path.name)
    whole = _is_checkpoint(path) if path.is_dir() else path.is_file() and "checkpoint" in path.name
    return match if whole else None


def _is_tree(path: Path) -> bool:
    return (path / _TREE).is_file() or any((path / name).is_file() for name in _ARRAYS)


def _items(path: Path) -> list[Path]:
    """Return the items of a checkpoint that are trees; other items, such as JSON, hold no arrays."""
    return [one for one in sorted(path.iterdir()) if one.is_dir() and _UNFINISHED not in one.name and _is_tree(one)]


def _is_checkpoint(path: Path) -> bool:
    if _UNFINISHED in path.name or not path.is_dir():
        return False
    return _is_tree(path) or bool(_items(path) and not any(_STEP.fullmatch(one.name) for one in _items(path)))


def read_orbax(path: Path) -> Contents:
    """Return the arrays of a checkpoint by path; those of several items begin with the item's name."""
    metadata = _about(path)
    if _is_tree(path):
        return flatten(_restore(path)), metadata
    items = {one.name: _restore(one) for one in _items(path)}
    return flatten(next(iter(items.values())) if len(items) == 1 else items), metadata


def _about(path: Path) -> dict[str, Any]:
    """Return what the user wrote about a checkpoint."""
    file = path / "_CHECKPOINT_METADATA"
    if not file.is_file():
        return {}
    found = json.loads(content_of(file))
    return dict(found.get("custom_metadata") or found.get("custom") or {})


def _restore(path: Path) -> Any:
    """Return the tree of a checkpoint with its arrays in NumPy, wherever and on whatever devices it was written."""
    with _quiet(), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        about = reader.metadata(path.resolve()).item_metadata
        if about is None:
            raise AdoptionError(f"{path} has lost its {_TREE}.", remedy="Copy it again, with all its files. " + REMEDY)
        tree = about.tree
        leaves = [one for one in jax.tree.leaves(tree) if getattr(one, "shape", None) is not None]
        require_room(path, sum(_bytes(one) for one in leaves))
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        return reader.restore(path.resolve(), restore_args=as_numpy)


def _bytes(leaf: Any) -> int:
    size = int(np.prod([int(side) for side in leaf.shape], dtype=object))
    return size * np.dtype(leaf.dtype or np.float32).itemsize


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Orbax from writing warnings, such as of a checkpoint that was written on other devices."""
    log = logging.getLogger("absl")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a folder: of the names and the hashes of its files, in order."""
    digest = hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        digest.update(f"{file.relative_to(path).as_posix()}\0{writing.hash_of(content_of(file))}\n".encode())
    return digest.hexdigest()
