"""Cores: how many of them a timing may use, so that engines that take all they get are measured alike."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_THREADS = Path("/proc/self/task")


@contextmanager
def confined(threads: int) -> Iterator[None]:
    """Let this process run on so many of its cores while the block lasts, all of its threads; where the system can.

    XLA and others start as many threads as there are cores, and cannot be told later: fewer cores hold them, too.
    """
    if not can_confine():
        yield
        return
    allowed = os.sched_getaffinity(0)
    _move(sorted(allowed)[-threads:])
    try:
        yield
    finally:
        _move(allowed)


def can_confine() -> bool:
    """Return whether this system can hold a process to some of its cores."""
    return hasattr(os, "sched_setaffinity") and _THREADS.is_dir()


def _move(cores: set[int] | list[int]) -> None:
    for thread in _THREADS.iterdir():
        with suppress(OSError):  # it has ended
            os.sched_setaffinity(int(thread.name), cores)
