"""Memory of a C program: every buffer has a place in a static array of its type, free again after its last reader."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from synevo.deploy.formats.c.values import POOLS, Buffer


@dataclass(frozen=True)
class Operation:
    """A part of the program: the buffers that it reads and the one that it writes, and its lines of C.

    `lines` is called once the buffers have their places. `living` and `stored` are multiply-adds: of the synapses that
    are not zero, and of all. `reach` is the number of elements of a buffer that the operation may touch.
    """

    title: str
    reads: tuple[Buffer, ...]
    write: Buffer
    lines: Callable[[], list[str]]
    living: int = 0
    stored: int = 0
    reach: tuple[tuple[Buffer, int], ...] = ()


def place(operations: Sequence[Operation]) -> dict[str, int]:
    """Give each buffer its offset, larger ones first; return the number of elements of each type's static array.

    Two buffers share memory if the last reader of one comes before the writer of the other.
    """
    lives: dict[Buffer, tuple[int, int]] = {}
    for time, operation in enumerate(operations):
        for buffer in (operation.write, *operation.reads):
            if not buffer.name:
                first, _ = lives.get(buffer, (time, time))
                lives[buffer] = (first, time)
    placed: list[Buffer] = []
    for buffer in sorted(lives, key=lambda buffer: (-buffer.size, lives[buffer])):
        near = [one for one in placed if one.kind == buffer.kind and _meet(lives[one], lives[buffer])]
        buffer.offset = _gap(sorted((one.offset, one.offset + one.size) for one in near), buffer.size)
        placed.append(buffer)
    ends = [(buffer, buffer.size) for buffer in placed] + [pair for one in operations for pair in one.reach]
    return {
        kind: max((buffer.offset + size for buffer, size in ends if buffer.kind == kind and not buffer.name), default=0)
        for kind in POOLS
    }


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _gap(taken: Iterable[tuple[int, int]], size: int) -> int:
    """Return the first place where `size` elements fit between the stretches that are taken."""
    end = 0
    for first, last in taken:
        if end + size <= first:
            return end
        end = max(end, last)
    return end
