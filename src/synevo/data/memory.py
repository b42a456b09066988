"""How much memory there is: what declares more than that is refused before anything is allocated for it."""

import contextlib
import os
from pathlib import Path

from synevo.errors import DataError

_GROUP = Path("/sys/fs/cgroup/memory.max")  # the bound of a container


def check_room(count: int, what: str, *, remedy: str) -> None:
    """Raise DataError if `count` bytes are more than this process can have; `what` says what declares them."""
    there = memory()
    if count > there:
        raise DataError(f"{what} {in_words(count)}; there are {in_words(there)} of memory.", remedy=remedy)


def memory() -> int:
    """Return the bytes of memory that this process can have at most."""
    bounds = [1 << 62]
    with contextlib.suppress(AttributeError, OSError, ValueError):
        bounds.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 (not on every system)

        bounds += [resource.getrlimit(one)[0] for one in (resource.RLIMIT_AS, resource.RLIMIT_DATA)]
    with contextlib.suppress(OSError, ValueError):
        bounds.append(int(_GROUP.read_text()))
    return min(bound for bound in bounds if bound > 0)


def in_words(count: int) -> str:
    """Return a number of bytes in GiB, or in MiB where it is less than one."""
    return f"{count / 2**30:,.1f} GiB" if count >= 1 << 30 else f"{count / 2**20:,.1f} MiB"
