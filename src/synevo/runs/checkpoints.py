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

from synevo.errors import RunError
from synevo.evolution import Training
from synevo.genetics.archive import Resumption

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""The signals that end a process: Ctrl-C, and those of schedulers and closed terminals."""

_NAME = re.compile(r"g(\d+)-(\d+)-a(\d+)-e(\d+)")


def save(folder: Path, training: Training) -> None:
    """Write the state after an epoch, and remove the older ones; raise OSError if the disk is full."""
    _require_own(folder)
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
        _raise_machine_s(error, folder)
        raise
    for other in folder.iterdir():
        if other.name != name:
            shutil.rmtree(other, ignore_errors=True)


def _require_own(folder: Path) -> None:
    """Raise RunError if the folder is a link: what is in it is deleted, and that may be anything."""
    if folder.is_symlink():
        raise RunError(
            f"{folder} is a link to {folder.readlink()}; checkpoints replace all that is in their folder.",
            remedy="Nothing was changed. Remove the link, then give the same command again.",
        )


def _raise_machine_s(error: ValueError, folder: Path) -> None:
    """Raise OSError if Orbax reports a full disk, a file that is too large, or too many open files."""
    said = str(error).replace("RESOURCE_EXHAUSTED", os.strerror(errno.ENOSPC))
    for code in (errno.EMFILE, errno.EFBIG, errno.EDQUOT, errno.ENOSPC):
        if os.strerror(code) in said:
            raise OSError(code, os.strerror(code), str(folder)) from None


def _write(path: Path, leaves: dict[str, Array]) -> None:
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, leaves, force=True)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back what ends the process until a checkpoint is whole, about 0.1 s; Orbax prints errors if interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    before = {number: signal.getsignal(number) for number in _ENDING}
    heard = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in heard:
        signal.signal(number, lambda number, _: caught.append(number))
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
    if caught:
        signal.raise_signal(caught[0])


def load(folder: Path, *, generation: int, number: int = 1) -> Resumption | None:
    """Return the latest readable checkpoint of an individual, or None if there is none."""
    _require_own(folder)
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
