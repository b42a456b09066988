"""Loops over the elements of arrays, as few as their places allow: axes that follow each other in every array are one.

for each (i, j) of 16 × 784: floats[100 + 784 * i0 + i1] = …
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synevo.deploy.formats.c.values import affine

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Walk:
    """Loops of these `sizes`, from the outermost; each array has a start, and a stride a loop.

    An array whose places are not affine is read at `table[flat index]`: it has the name of a table, else "".
    """

    sizes: tuple[int, ...]
    starts: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    tables: tuple[str, ...]
    letter: str = "i"

    def index(self, which: int) -> str:
        """Return the C text of the place in an array, without its start; "0" if it is the start."""
        names = (f"{self.letter}{depth}" for depth in range(len(self.sizes)))
        pairs = zip(names, self.strides[which], strict=True)
        text = " + ".join(name if stride == 1 else f"{stride} * {name}" for name, stride in pairs if stride) or "0"
        return f"{self.tables[which]}[{text}]" if self.tables[which] else text

    def around(self, body: Iterable[str]) -> list[str]:
        """Return the loops with these lines inside; a block of its own if there is a single element."""
        lines = list(body)
        if not self.sizes and len(lines) > 1:
            return ["{", *indented(lines), "}"]
        for depth in reversed(range(len(self.sizes))):
            name = f"{self.letter}{depth}"
            head = f"for (int {name} = 0; {name} < {self.sizes[depth]}; {name}++) {{"
            lines = [head, *indented(lines), "}"]
        return lines


def walk(arrays: Sequence[Places], order: Sequence[int], tabled: Callable[[Places], str], letter: str = "i") -> Walk:
    """Return the loops over arrays of places of one shape, the axes in this order from the outermost.

    `tabled` stores a table of places, and returns its name.
    """
    kept = [axis for axis in order if arrays[0].shape[axis] > 1]
    sizes = [arrays[0].shape[axis] for axis in kept]
    starts, strides, tables = [], [], []
    for places in arrays:
        found = affine(places)
        if found is None:
            starts.append(0)
            strides.append(_row_major(sizes))
            tables.append(tabled(places.transpose(order).reshape(-1)))
        else:
            starts.append(found.start)
            strides.append([found.strides[axis] for axis in kept])
            tables.append("")
    sizes, strides = _merged(sizes, strides)
    return Walk(tuple(sizes), tuple(starts), tuple(map(tuple, strides)), tuple(tables), letter)


def _row_major(sizes: list[int]) -> list[int]:
    return [int(np.prod(sizes[depth + 1 :])) for depth in range(len(sizes))]


def _merged(sizes: list[int], strides: list[list[int]]) -> tuple[list[int], list[list[int]]]:
    """Merge each two neighbouring loops that every array walks through as one."""
    for depth in reversed(range(len(sizes) - 1)):
        if all(own[depth] == own[depth + 1] * sizes[depth + 1] for own in strides):
            sizes = [*sizes[:depth], sizes[depth] * sizes[depth + 1], *sizes[depth + 2 :]]
            strides = [[*own[:depth], *own[depth + 1 :]] for own in strides]
    return sizes, strides


def indented(lines: Iterable[str]) -> list[str]:
    """Return lines one level deeper."""
    return [f"  {line}" for line in lines]
