"""Checkpoints of the training in progress, written with Orbax so that little is lost when it is interrupted.

Each checkpoint is a folder such as `g07-1-a0-e003` (generation 7, first offspring, attempt 0, epoch 3). Orbax writes it
under a temporary name and renames it; then the older ones are removed.
"""

import errno
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orbax.checkpoint as ocp
from jax import Array

from synevo.evolution import Training
from synevo.genetics.archive import Resumption

_NAME = re.compile(r"g(\d+)-(\d+)-a(\d+)-e(\d+)")


def save(folder: Path, training: Training) -> None:
    """Write the state after an epoch, and remove the older ones; raise OSError if the disk is full."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"g{training.generation:02d}-{training.number}-a{training.attempt}-e{training.state.epoch:03d}"
    leaves = {str(number): leaf for number, leaf in enumerate(training.state.leaves())}
    try:
        with _undisturbed():
            try:
                _write((folder / name).resolve(), leaves)
            except TimeoutError:  # Orbax measures by the system clock: it was changed, or the machine was suspended
                _write((folder / name).resolve(), leaves)
    except ValueError as error:
        if "No space left" in str(error) or "RESOURCE_EXHAUSTED" in str(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from None
        raise
    for other in folder.iterdir():
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)


def _write(path: Path, leaves: dict[str, Array]) -> None:
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, leaves, force=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back Ctrl-C until a checkpoint is whole, about 0.1 s: Orbax's threads print errors when interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught:
        raise KeyboardInterrupt


def load(folder: Path, *, generation: int, number: int = 1) -> Resumption | None:
    """Return the latest readable checkpoint of an individual, or None if there is none."""
    found = [match for path in folder.glob("g*") if (match := _NAME.fullmatch(path.name))]
    for match in sorted(found, key=lambda match: match[0], reverse=True):
        if (int(match[1]), int(match[2])) == (generation, number):
            try:
                with ocp.StandardCheckpointer() as checkpointer:
                    leaves = checkpointer.restore((folder / match[0]).resolve())
            except (ValueError, OSError, KeyError):
                continue
            return Resumption(int(match[3]), int(match[4]), [leaves[str(number)] for number in range(len(leaves))])
    return None


def clear(folder: Path) -> None:
    """Remove all checkpoints, after the training has ended."""
    shutil.rmtree(folder, ignore_errors=True)
