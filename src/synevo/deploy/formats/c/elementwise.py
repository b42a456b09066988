"""Elementwise steps as one loop: operands are read once, every step is a constant of the loop's body."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from synevo.deploy.formats.c.expressions import EXPRESSIONS, OF_INTEGERS, type_of
from synevo.deploy.formats.c.loops import walk
from synevo.deploy.formats.c.values import Operation, View, storage_order
from synevo.deploy.formats.c.writer import Writer, load, store
from synevo.wiring.tracing import Operand, Step

COMPUTED = (np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.bool_))
"""The dtypes in which C computes as JAX does."""


class Read(Protocol):
    """What a loop reads at each of its indices: from a buffer, at one place or at several from there on."""

    @property
    def view(self) -> View:
        """The buffer, and the place for each index of the loop."""

    def lines(self, name: str, index: str, start: int, *, raw: bool = False) -> list[str]:
        """Return the lines of C that declare `name` as what is read; a whole number as it is if it is `raw`."""


@dataclass(frozen=True)
class Element:
    """A single element, of C's type `kind`."""

    view: View
    kind: str

    def lines(self, name: str, index: str, start: int, *, raw: bool = False) -> list[str]:
        """Return the line that reads the element."""
        return [f"const {self.kind} {name} = {load(self.view.buffer, index, start, raw=raw)};"]


def write_loop(writer: Writer, steps: list[Step], reads: dict[Operand, Read]) -> None:
    """Add the operation that computes elementwise steps of one shape; the last one's result gets a buffer.

    `reads` are what stands for values that have no buffer.

    Raises:
        ExportError: if a step computes in numbers that C's differ from.
    """
    inner = {step.results[0]: f"v{step.results[0]}" for step in steps}
    result, shape = steps[-1].results[0], writer.shape(steps[-1].results[0])
    read: dict[Operand, Read] = {}
    body = []
    for step in steps:
        dtype = writer.dtype(step.results[0])
        if dtype not in COMPUTED or (step.primitive == "not" and dtype != np.bool_):
            raise writer.refuse(step, f"it computes in {dtype}")
        words = []
        for operand in step.operands:
            literal = writer.literal(operand)
            if literal is not None:
                words.append(f"({literal})" if literal.startswith("-") else literal)
            elif isinstance(operand, int) and operand in inner:
                words.append(inner[operand])
            else:
                if operand not in read:
                    read[operand] = reads[operand] if operand in reads else _element(writer, operand, shape)
                words.append(f"x{list(read).index(operand)}")
        rule = EXPRESSIONS[step.primitive] if dtype == np.float32 else {**EXPRESSIONS, **OF_INTEGERS}[step.primitive]
        made = rule(step, *words)
        body.append(f"const {type_of(dtype)} {inner[step.results[0]]} = {made};")
    title = f"{', '.join(dict.fromkeys(step.name for step in steps))} ({steps[-1].where})"
    write_reads(writer, result, list(read.values()), body, inner[result], title)


def write_reads(
    writer: Writer, result: int, reads: list[Read], body: list[str], value: str, title: str, *, raw: bool = False
) -> None:
    """Add the loop that reads x0, x1 …, runs the lines of its body and stores a `value` as the elements of a result.

    The result's axes stand as those of the largest buffer that is read.
    """
    like = max((one.view for one in reads), key=lambda view: view.buffer.size, default=None)
    target = writer.make(result, None if like is None or like.buffer.name else like.places)
    places = [target.places, *(one.view.places for one in reads)]
    loops = walk(places, storage_order(target.places), writer.places_table)

    def lines() -> list[str]:
        loads = [
            line
            for which, read in enumerate(reads)
            for line in read.lines(f"x{which}", loops.index(which + 1), loops.starts[which + 1], raw=raw)
        ]
        return loops.around([*loads, *body, store(target.buffer, loops.index(0), loops.starts[0], value, raw=raw)])

    writer.operations.append(Operation(title, tuple(one.view.buffer for one in reads), target.buffer, lines))


def _element(writer: Writer, operand: Operand, shape: tuple[int, ...]) -> Element:
    view = writer.view(operand)
    return Element(view.moved(np.broadcast_to(view.places, shape)), type_of(writer.dtype(operand)))
