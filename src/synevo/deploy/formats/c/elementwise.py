"""Elementwise steps as one loop: operands are read once, every step is a constant of the loop's body."""

import numpy as np

from synevo.deploy.formats.c.expressions import EXPRESSIONS, type_of
from synevo.deploy.formats.c.loops import walk
from synevo.deploy.formats.c.memory import Operation
from synevo.deploy.formats.c.values import View, storage_order
from synevo.deploy.formats.c.writer import Writer, load, store
from synevo.wiring.tracing import Operand, Step

COMPUTED = (np.dtype(np.float32), np.dtype(np.int32), np.dtype(np.bool_))
"""The dtypes in which C computes as JAX does."""


def write_loop(writer: Writer, steps: list[Step]) -> None:
    """Add the operation that computes elementwise steps of one shape; the last one's result gets a buffer.

    Raises:
        ExportError: if a step computes in numbers that C's differ from.
    """
    inner = {step.results[0]: f"v{step.results[0]}" for step in steps}
    result = steps[-1].results[0]
    read: dict[Operand, View] = {}
    names: dict[int, str] = {}
    body = []
    for step in steps:
        if writer.dtype(step.results[0]) not in COMPUTED:
            raise writer.refuse(step, f"it computes in {writer.dtype(step.results[0])}")
        words = []
        for operand in step.operands:
            literal = writer.literal(operand)
            if literal is not None:
                words.append(f"({literal})" if literal.startswith("-") else literal)
            elif isinstance(operand, int) and operand in inner:
                words.append(inner[operand])
            else:
                if operand not in read:
                    names[id(operand)] = f"x{len(read)}"
                    read[operand] = writer.view(operand)
                words.append(f"x{list(read).index(operand)}")
        made = EXPRESSIONS[step.primitive](step, *words)
        if step.primitive == "not" and writer.dtype(step.results[0]) != np.bool_:
            raise writer.refuse(step, "it is of integers")
        body.append(f"const {type_of(writer.dtype(step.results[0]))} {inner[step.results[0]]} = {made};")
    shape = writer.shape(result)
    views = [View(one.buffer, np.broadcast_to(one.places, shape)) for one in read.values()]
    like = max(views, key=_size, default=None)
    target = writer.make(result, None if like is None or like.buffer.name else like.places)
    loops = walk([target.places, *(one.places for one in views)], storage_order(target.places), writer.places_table)
    kinds = [type_of(writer.dtype(operand)) for operand in read]

    def lines() -> list[str]:
        loads = [
            f"const {kind} x{place} = {load(view.buffer, loops.index(place + 1), loops.starts[place + 1])};"
            for place, (kind, view) in enumerate(zip(kinds, views, strict=True))
        ]
        stored = store(target.buffer, loops.index(0), loops.starts[0], inner[result])
        return loops.around([*loads, *body, stored])

    title = f"{', '.join(dict.fromkeys(step.primitive for step in steps))} ({steps[-1].where})"
    writer.operations.append(Operation(title, tuple(view.buffer for view in views), target.buffer, lines))


def _size(view: View) -> int:
    """Return the number of elements that a view has of its buffer, without those that it repeats."""
    return view.buffer.size
