"""Checkpoints of the training in progress, so that little is lost when it is interrupted.

Each checkpoint is a folder such as `g07-1-a0-e003` (generation 7, first offspring, attempt 0, epoch 3), or within the
epoch after that `g07-1-a0-e003-s000000400` (400 steps further). It is written whole or not at all; then the older ones
of the individual are removed. Offspring that are trained side by side have one each. So have candidates for one
offspring in each rung, as `g07-1-c03of08-r1-a0-e003`; those go when the offspring is kept. Older versions of synevo
wrote checkpoints with Orbax; those are read, too.
"""

import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from synevo.errors import RunError
from synevo.files.tensors import Tensors, pack_tensors, unpack_tensors
from synevo.files.writing import read, write_folder
from synevo.genetics.archive import Resumption
from synevo.growing import Training
from synevo.lineage.course import Candidate

_NAME = re.compile(r"g(\d+)-(\d+)(-c\d+of\d+-r\d+)?-a(\d+)-e(\d+)(?:-s(\d+))?")

_STATE = "state.safetensors"

_LOSS = "loss"
"""The name of the array beside those of a state, within an epoch: the sum of the losses of its steps."""


def save(folder: Path, training: Training) -> None:
    """Write the state after an epoch or within it, and remove the older ones; raise OSError if the disk is full."""
    _require_own(folder)
    state = training.state
    whose = f"g{training.generation:02d}-{training.number}{_among(training.candidate)}"
    name = f"{whose}-a{training.attempt}-e{state.epoch:03d}"
    leaves: Tensors = {str(number): np.asarray(leaf) for number, leaf in enumerate(state.leaves())}
    if state.step:
        name, leaves[_LOSS] = f"{name}-s{state.step:09d}", np.array(state.loss, np.float64)
    write_folder(folder / name, {_STATE: pack_tensors(leaves)})
    for other in folder.iterdir():
        rival = training.candidate is not None and _is_of_rival(other.name, training)
        if other.name != name and not rival and not _is_of_sibling(other.name, training.generation, training.number):
            shutil.rmtree(other, ignore_errors=True)


def _among(candidate: Candidate | None) -> str:
    """Return the part of a name that tells a candidate and its rung from others; nothing for an offspring alone."""
    return f"-c{candidate.number:02d}of{candidate.of:02d}-r{candidate.rung}" if candidate else ""


def _is_of_rival(name: str, training: Training) -> bool:
    """Return whether a checkpoint is that of another candidate for the same offspring, or of another rung."""
    match = _NAME.fullmatch(name)
    own = (training.generation, training.number)
    return bool(match and match[3] and (int(match[1]), int(match[2])) == own and match[3] != _among(training.candidate))


def _is_of_sibling(name: str, generation: int, number: int) -> bool:
    """Return whether a checkpoint is that of another individual of the generation."""
    match = _NAME.fullmatch(name)
    return match is not None and int(match[1]) == generation and int(match[2]) != number


def _require_own(folder: Path) -> None:
    """Raise RunError if the folder is a link: what is in it is deleted, and that may be anything."""
    if folder.is_symlink():
        raise RunError(
            f"{folder} is a link to {folder.readlink()}; checkpoints replace all that is in their folder.",
            remedy="Nothing was changed. Remove the link, then give the same command again.",
        )


def load(folder: Path, *, generation: int, number: int = 1, candidate: Candidate | None = None) -> Resumption | None:
    """Return the latest readable checkpoint of an individual, or of a candidate; None if there is none."""
    _require_own(folder)
    found = [match for path in folder.glob("g*") if (match := _NAME.fullmatch(path.name))]
    for match in sorted(found, key=lambda match: match[0], reverse=True):
        if (int(match[1]), int(match[2]), match[3] or "") == (generation, number, _among(candidate)):
            try:
                leaves = _read(folder / match[0])
                loss = float(leaves.pop(_LOSS, np.nan))
                arrays = [leaves[str(number)] for number in range(len(leaves))]
            except (RunError, ValueError, OSError, KeyError):
                continue
            return Resumption(int(match[4]), int(match[5]), arrays, int(match[6] or 0), loss)
    return None


def _read(path: Path) -> dict[str, Any]:
    """Return the arrays of a checkpoint by name."""
    if (path / _STATE).exists():
        return unpack_tensors(path / _STATE, read(path / _STATE))
    import orbax.checkpoint as ocp  # noqa: PLC0415  (slow, and for checkpoints of older versions alone)

    with ocp.StandardCheckpointer() as checkpointer:
        found: dict[str, Any] = checkpointer.restore(path.resolve())
    return found


def clear(folder: Path, *, generation: int, number: int) -> None:
    """Remove the checkpoints of an individual whose training has ended, and all but those of its siblings."""
    if folder.is_symlink() or not folder.is_dir():
        return
    for other in folder.iterdir():
        if not _is_of_sibling(other.name, generation, number):
            shutil.rmtree(other, ignore_errors=True)
    with suppress(OSError):  # siblings are still trained
        folder.rmdir()
