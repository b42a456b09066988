"""How much memory there is: what declares more than that is refused before anything is allocated for it."""

import contextlib
import os
from pathlib import Path

import jax

from synevo.errors import DataError

SHARE = 0.25
"""The share of the memory that decoded images may take, unless the plan says how much."""

_GROUP = Path("/sys/fs/cgroup/memory.max")  # the bound of a container


def check_room(count: int, what: str, *, remedy: str) -> None:
    """Raise DataError if `count` bytes are more than this process can have; `what` says what declares them."""
    there = memory()
    if count > there:
        raise DataError(f"{what} {in_words(count)}; there are {in_words(there)} of memory.", remedy=remedy)


def budget(gigabytes: float | None) -> int:
    """Return the bytes that decoded images may take: so many GiB, or by default a share of what there is.

    The share is `SHARE` of the memory of this process, or of the accelerator's if that is smaller: while images are
    read, and again while they are divided, there are copies of them.
    """
    if gigabytes is not None:
        return round(gigabytes * 2**30)
    return round(SHARE * min([memory(), *_on_device()]))


def _on_device() -> list[int]:
    """Return the bytes of memory of an accelerator; nothing for a CPU, which has none of its own."""
    facts = jax.local_devices()[0].memory_stats() or {}
    return [facts["bytes_limit"]] if facts.get("bytes_limit") else []


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
    """Return a number of bytes in the largest of GiB, MiB and KiB of which there is at least one."""
    for name, power in (("GiB", 30), ("MiB", 20)):
        if count >= 1 << power:
            return f"{count / 2**power:,.1f} {name}"
    return f"{count / 2**10:,.1f} KiB"
