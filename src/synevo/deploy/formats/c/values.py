"""Values of a C program: buffers, and views that say at which place of a buffer each element of an array stands.

    reshape, transpose, slice, reverse, take, broadcast = the same buffer, other places

So these steps cost nothing when the program runs. A view whose places are affine, start + Σ index · stride, becomes
plain loops; any other is read through a table of places. A buffer has a place in a static array of its type, which is
free again after its last reader.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT, BYTE, WORD = "float", "int8_t", "int32_t"
"""The element types of buffers: floats, whole numbers of eight bits (and truth values), integers."""

POOLS = {FLOAT: "floats", BYTE: "bytes", WORD: "words"}
"""The static array that holds the buffers of a type."""


@dataclass(frozen=True)
class Quantum:
    """What a whole number q of eight bits stands for: (q - zero) · scale."""

    scale: float
    zero: int


@dataclass(eq=False)
class Buffer:
    """A stretch of static memory, or, with a `name`, an array of its own: an argument or a constant.

    `offset` is its first place in the static array of its kind, which is decided once all operations are known.
    """

    kind: str
    size: int
    quantum: Quantum | None = None
    name: str = ""
    offset: int = 0

    def at(self, index: str, start: int = 0) -> str:
        """Return the C text of the element at `start` + index."""
        place = self.offset + start
        terms = [index] if index and index != "0" else []
        return f"{self.name or POOLS[self.kind]}[{' + '.join([str(place), *terms] if place or not terms else terms)}]"

    def pointer(self, start: int = 0) -> str:
        """Return the C text of a pointer to the element at `start`."""
        return f"{self.name or POOLS[self.kind]} + {self.offset + start}"


@dataclass(frozen=True)
class View:
    """An array whose element at each index stands at a place of a buffer."""

    buffer: Buffer
    places: NDArray[np.int64]

    def moved(self, places: NDArray[np.int64]) -> "View":
        """Return the view of other places of the same buffer."""
        return View(self.buffer, places)


@dataclass(frozen=True)
class Affine:
    """Places that are start + Σ index · stride, a stride an axis; 0 for an axis of size 1."""

    start: int
    strides: tuple[int, ...]


def affine(places: NDArray[np.int64]) -> Affine | None:
    """Return the places as an affine function of the index; None if they are none."""
    if not places.size:
        return None
    start = int(places.flat[0])
    origin = (0,) * places.ndim
    strides = []
    expected: NDArray[np.int64] = np.full(places.shape, start)
    for axis, size in enumerate(places.shape):
        one = (*origin[:axis], 1, *origin[axis + 1 :])
        stride = int(places[one]) - start if size > 1 else 0
        strides.append(stride)
        line = (np.arange(size) * stride).reshape((-1, *(1,) * (places.ndim - axis - 1)))
        expected = expected + line
    return Affine(start, tuple(strides)) if np.array_equal(expected, places) else None


def contiguous(shape: tuple[int, ...], order: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the places of an array that is stored whole, its axes in this order from the outermost."""
    stored = np.arange(int(np.prod(shape)), dtype=np.int64).reshape([shape[axis] for axis in order])
    return stored.transpose(np.argsort(order))


def storage_order(places: NDArray[np.int64]) -> tuple[int, ...]:
    """Return the axes of an array from the outermost, by their strides; its own order if not affine."""
    found = affine(places)
    if found is None:
        return tuple(range(places.ndim))
    return tuple(sorted(range(places.ndim), key=lambda axis: (-abs(found.strides[axis]), axis)))


def number(value: Any) -> str:
    """Return the C text of a number: the shortest that is read back as the same float32, or an integer."""
    kind = np.asarray(value).dtype
    if kind == np.bool_:
        return str(int(value))
    if np.issubdtype(kind, np.integer):
        return str(int(value))
    single = np.float32(value)
    if np.isnan(single):
        return "NAN"
    if np.isinf(single):
        return "INFINITY" if single > 0 else "-INFINITY"
    text = str(single)
    return f"{text}f" if any(sign in text for sign in ".en") else f"{text}.0f"


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
