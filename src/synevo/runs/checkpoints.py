"""Checkpoints of the training in progress, written with Orbax so that little is lost when it is interrupted.

Each checkpoint is a folder such as `g07-1-a0-e003` (generation 7, first offspring, attempt 0, epoch 3), or within the
epoch after that `g07-1-a0-e003-s000000400` (400 steps further). Orbax writes it under a temporary name and renames it;
then the older ones are removed.
"""

import errno
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp

from synevo.errors import RunError
from synevo.evolution import Training
from synevo.genetics.archive import Resumption

_ENDING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
"""The signals that end a process: Ctrl-C, and those of schedulers and closed terminals."""

_LOGGERS = ("absl", "asyncio")
"""Where Orbax and its threads log what they raise as well."""

_NAME = re.compile(r"g(\d+)-(\d+)-a(\d+)-e(\d+)(?:-s(\d+))?")

_LOSS = "loss"
"""The name of the array beside those of a state, within an epoch: the sum of the losses of its steps."""


def save(folder: Path, training: Training) -> None:
    """Write the state after an epoch or within it, and remove the older ones; raise OSError if the disk is full."""
    _require_own(folder)
    folder.mkdir(parents=True, exist_ok=True)
    state = training.state
    name = f"g{training.generation:02d}-{training.number}-a{training.attempt}-e{state.epoch:03d}"
    leaves: dict[str, Any] = {str(number): leaf for number, leaf in enumerate(state.leaves())}
    if state.step:
        name, leaves[_LOSS] = f"{name}-s{state.step:09d}", np.array(state.loss, np.float64)
    with _undisturbed(), _readable(folder) as place:
        _say_once(partial(_write, place / name, leaves), folder)
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


_MACHINE_S = (errno.EMFILE, errno.EFBIG, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOSPC)
"""The errors of files that are no bug of anybody's: no room, no access, a limit."""


def _machine_s(error: Exception, folder: Path) -> OSError | None:
    """Return the error of the machine that Orbax reports in one of its own; None if it is another."""
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror, error.filename) if error.errno in _MACHINE_S else None
    said = str(error).replace("RESOURCE_EXHAUSTED", os.strerror(errno.ENOSPC))
    found = (code for code in _MACHINE_S if os.strerror(code) in said)
    return next((OSError(code, os.strerror(code), str(folder)) for code in found), None)


def _say_once(work: Callable[[], None], folder: Path) -> None:
    """Do some work of Orbax; raise an error of the machine as OSError, without what Orbax and its threads print of it.

    All else that they print is printed when the work has ended.
    """
    failure = None
    with _held_back() as held:
        try:
            work()
        except (ValueError, OSError) as error:
            failure = _machine_s(error, folder)
            if failure is None:
                raise
        if failure is not None:
            held.clear()
            for name in _LOGGERS:
                logging.getLogger(name).addFilter(_is_news)
    if failure is not None:
        sys.unraisablehook = partial(_unless_closed, sys.unraisablehook)
        raise failure


@contextmanager
def _held_back() -> Iterator[list[Callable[[], object]]]:
    """Hold back the errors that libraries log and the exceptions of their threads; yield what would print them."""
    held: list[Callable[[], object]] = []
    unraisable, loggers = sys.unraisablehook, [logging.getLogger(name) for name in _LOGGERS]

    def hold(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.ERROR:
            held.append(partial(logging.getLogger(record.name).handle, record))
        return record.levelno < logging.ERROR

    for logger in loggers:
        logger.addFilter(hold)
    sys.unraisablehook = lambda about: held.append(partial(unraisable, about))
    try:
        yield held
    finally:
        for logger in loggers:
            logger.removeFilter(hold)
        sys.unraisablehook = unraisable
        for show in held:
            show()


def _is_news(record: logging.LogRecord) -> bool:
    """Return whether a log is of more than an error of the machine; threads log that late, when the work has failed."""
    errors = (ValueError(record.getMessage()), record.exc_info[1] if record.exc_info else None)
    return not any(isinstance(error, Exception) and _machine_s(error, Path()) for error in errors)


def _unless_closed(show: Callable[[Any], object], about: Any) -> None:
    """Show an exception of a thread, unless it comes late to work that has failed."""
    if str(about.exc_value) != "Event loop is closed":
        show(about)


def _write(path: Path, leaves: dict[str, Any]) -> None:
    """Write a checkpoint; once more if that took too long.

    Orbax measures by the system clock: it was changed, or the machine was suspended.
    """
    for last in (False, True):
        try:
            with ocp.StandardCheckpointer() as checkpointer:
                checkpointer.save(path, leaves, force=True)
        except TimeoutError:
            if last:
                raise
        else:
            return


@contextmanager
def _readable(folder: Path) -> Iterator[Path]:
    """Yield an absolute path of a folder for Orbax, which reads no path but UTF-8: the folder's, or that of a link."""
    place = folder.resolve()
    if str(place).encode("utf-8", "ignore").decode() == str(place):
        yield place
        return
    with tempfile.TemporaryDirectory() as aside:
        link = Path(aside) / "training"
        link.symlink_to(place)
        yield link


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
                with _readable(folder) as place, ocp.StandardCheckpointer() as checkpointer:
                    leaves = checkpointer.restore(place / match[0])
            except (ValueError, OSError, KeyError):
                continue
            loss = float(leaves.pop(_LOSS, np.nan))
            arrays = [leaves[str(number)] for number in range(len(leaves))]
            return Resumption(int(match[3]), int(match[4]), arrays, int(match[5] or 0), loss)
    return None


def clear(folder: Path) -> None:
    """Remove all checkpoints, after the training has ended."""
    shutil.rmtree(folder, ignore_errors=True)
