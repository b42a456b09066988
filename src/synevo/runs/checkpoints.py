"""Checkpoints: the training in progress, kept with Orbax so that an interruption costs at most an epoch.

One folder an epoch, `g07-1-a0-e003`; Orbax writes it under a temporary name and renames it, then older ones go.
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
    """Keep the state after an epoch, and no older one."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"g{training.generation:02d}-{training.number}-a{training.attempt}-e{training.state.epoch:03d}"
    leaves = {str(number): leaf for number, leaf in enumerate(training.state.leaves())}
    try:
        with _undisturbed():
            try:
                _write((folder / name).resolve(), leaves)
            except TimeoutError:  # by the clock on the wall: the machine slept meanwhile, or its clock was set
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
    """Hold back Ctrl-C until a checkpoint is whole: a tenth of a second, in which Orbax's threads complain loudly."""
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
    """The latest state that was kept of an individual; None where there is none that can be read."""
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
    """Forget the training in progress: it has ended."""
    shutil.rmtree(folder, ignore_errors=True)
