"""What was found in a data set: how many images of which split and class, how they are kept, and what is left out.

It is said once when a run begins, and written beside the description of the machine.
"""

from collections.abc import Sequence, Sized
from dataclasses import dataclass
from typing import Any

from synevo.data import memory

SHOWN = 5
"""The number of files that are left out, and are named on the screen; the plan of the run names all."""


@dataclass(frozen=True)
class Findings:
    """How the images of a run are kept: `size` is the bytes of all their pixels, of which `budget` may be in memory.

    With `streamed` they are read when they are needed. `sample` is the number of training images that mean and
    deviation are taken from, None for all; `left_out` are the files that are not used.
    """

    images: int
    classes: int
    size: int
    budget: int
    streamed: bool
    disk_cache: bool
    sample: int | None
    left_out: tuple[str, ...]


def in_words(splits: Sequence[Sized], found: Findings | None) -> str:
    """Return a line or more on the splits to train, to validate and to test, and on how they are kept."""
    train, validation, test = map(len, splits)
    parts = f"{train:,} to train, {validation:,} to validate, {test:,} to test"
    if found is None:
        return f"{train + validation + test:,} examples: {parts}."
    lines = [f"{found.images:,} images, {found.classes:,} classes: {parts}.", _kept(found)]
    if found.left_out:
        shown = ", ".join(found.left_out[:SHOWN]) + (", …" if len(found.left_out) > SHOWN else "")
        lines.append(f"Left out, because they cannot be read: {len(found.left_out):,} ({shown}).")
    return "\n".join(lines)


def _kept(found: Findings) -> str:
    """Return the way that was taken, with its bytes."""
    size, budget = memory.in_words(found.size), memory.in_words(found.budget)
    if not found.streamed:
        return f"Their pixels take {size} and stay in memory (up to {budget}: data.memory)."
    once = ", then from the cache on disk" if found.disk_cache else ""
    sample = f" Mean and deviation are those of {found.sample:,} to train." if found.sample else ""
    return (
        f"Their pixels take {size}, more than {budget} (data.memory): they are read and decoded when they are needed"
        f"{once}.{sample}"
    )


def as_table(found: Findings) -> dict[str, Any]:
    """Return the findings as JSON values; the files that are left out are in the plan, and counted here."""
    return {
        "images": found.images,
        "classes": found.classes,
        "bytes": found.size,
        "budget_bytes": found.budget,
        "way": "streamed" if found.streamed else "resident",
        "disk_cache": found.disk_cache,
        "moments_from": found.sample or "all training images",
        "left_out": len(found.left_out),
    }
