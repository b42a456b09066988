"""Rules, one for each primitive that is neither elementwise nor a contraction, that write a step of a program in C.

A step that only moves elements makes a view of other places, and no operation.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from synevo.deploy.formats.c.contractions import convolution, dense
from synevo.deploy.formats.c.lookups import write_dynamic_slice, write_gather, write_place, write_running_sum
from synevo.deploy.formats.c.loops import Places
from synevo.deploy.formats.c.reductions import write_product, write_reduction, write_windows
from synevo.deploy.formats.c.tables import write_contraction
from synevo.deploy.formats.c.values import View
from synevo.deploy.formats.c.writer import Writer
from synevo.deploy.formats.graph import taken
from synevo.wiring.tracing import Step

Rule: TypeAlias = Callable[[Writer, Step], None]


def _moved(move: Callable[[Writer, Step, Places], Places | list[Places]]) -> Rule:
    """Return the rule of a step whose results are elements of its first operand, given their places."""

    def rule(writer: Writer, step: Step) -> None:
        view = writer.view(step.operands[0])
        made = move(writer, step, view.places)
        several = made if isinstance(made, list) else [made]
        writer.values |= {result: view.moved(places) for result, places in zip(step.results, several, strict=True)}

    return rule


def _reshape(writer: Writer, step: Step, places: Places) -> Places:
    return places.reshape(writer.shape(step.results[0]))


def _broadcast(writer: Writer, step: Step, places: Places) -> Places:
    shape, axes = writer.shape(step.results[0]), step.parameters["broadcast_dimensions"]
    spread = [places.shape[axes.index(axis)] if axis in axes else 1 for axis in range(len(shape))]
    return np.broadcast_to(places.reshape(spread), shape)


def _slice(writer: Writer, step: Step, places: Places) -> Places:
    del writer
    of = step.parameters
    strides = of["strides"] or (1,) * places.ndim
    return places[tuple(map(slice, of["start_indices"], of["limit_indices"], strides))]


def _unstack(writer: Writer, step: Step, places: Places) -> list[Places]:
    del writer
    return list(np.moveaxis(places, step.parameters["axis"], 0))


def _split(writer: Writer, step: Step, places: Places) -> list[Places]:
    del writer
    ends = np.cumsum(step.parameters["sizes"])[:-1]
    return list(np.split(places, ends, axis=step.parameters["axis"]))


def _concatenate(writer: Writer, step: Step) -> None:
    _beside(writer, step, [writer.view(operand) for operand in step.operands], step.parameters["dimension"])


def _stack(writer: Writer, step: Step) -> None:
    axis = step.parameters["axis"]
    views = [writer.view(operand) for operand in step.operands]
    _beside(writer, step, [view.moved(np.expand_dims(view.places, axis)) for view in views], axis)


def _beside(writer: Writer, step: Step, views: list[View], axis: int) -> None:
    """Copy views one after the other along an axis of the result."""
    target = writer.make(step.results[0], max(views, key=lambda view: view.places.size).places)
    first = 0
    for view in views:
        last = first + view.places.shape[axis]
        cut = tuple(slice(first, last) if one == axis else slice(None) for one in range(view.places.ndim))
        writer.copy(view, target.moved(target.places[cut]), f"{step.name} ({step.where})")
        first = last


def _pad(writer: Writer, step: Step) -> None:
    """Fill the result with the value of the margins, and copy the operand into it."""
    view, literal = writer.view(step.operands[0]), writer.literal(step.operands[1])
    if literal is None:
        raise writer.refuse(step, "the value of its margins depends on the input")
    target = writer.make(step.results[0], view.places)
    edges = step.parameters["padding_config"]
    writer.fill(target, literal)
    low, gaps = [edge[0] for edge in edges], [edge[2] + 1 for edge in edges]
    writer.insert(view, target, low, gaps, title=f"{step.name} ({step.where})")


def _gather(writer: Writer, step: Step) -> None:
    """Move the elements at known places; look those up whose places depend on the input."""
    found, operand = taken(writer.fused.graph, step), step.operands[0]
    if found is None or writer.fused.graph.known(operand) is not None:
        write_gather(writer, step)
    else:
        view, (axis, chosen) = writer.view(operand), found
        writer.values[step.results[0]] = view.moved(view.places.take(np.asarray(chosen, np.int64), axis=axis))


def _require_floats(writer: Writer, step: Step) -> None:
    """Raise ExportError if numbers other than float32 are multiplied."""
    for value in (*step.operands, *step.results):
        if writer.dtype(value) != np.float32:
            raise writer.refuse(step, f"it multiplies in {writer.dtype(value)}")


def _convolution(writer: Writer, step: Step) -> None:
    _require_floats(writer, step)
    write_contraction(writer, convolution(writer, step))


def _dot(writer: Writer, step: Step) -> None:
    _require_floats(writer, step)
    if all(writer.fused.graph.known(operand) is None for operand in step.operands):
        write_product(writer, step)
    else:
        write_contraction(writer, dense(writer, step))


def _reduced(kind: str) -> Rule:
    return lambda writer, step: write_reduction(writer, step, kind)


def _extreme(sign: str) -> Rule:
    return lambda writer, step: write_place(writer, step, sign)


def _windows(kind: str) -> Rule:
    return lambda writer, step: write_windows(writer, step, kind)


RULES: dict[str, Rule] = {
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _moved(_reshape)),
    "broadcast_in_dim": _moved(_broadcast),
    "transpose": _moved(lambda _, step, places: places.transpose(step.parameters["permutation"])),
    "slice": _moved(_slice),
    "gather": _gather,
    "dynamic_slice": write_dynamic_slice,
    "argmax": _extreme(">"),
    "argmin": _extreme("<"),
    "cumsum": write_running_sum,
    "tile": _moved(lambda _, step, places: np.tile(places, step.parameters["reps"])),
    "rev": _moved(lambda _, step, places: np.flip(places, step.parameters["dimensions"])),
    "split": _moved(_split),
    "unstack": _moved(_unstack),
    "concatenate": _concatenate,
    "stack": _stack,
    "pad": _pad,
    **{f"reduce_{kind}": _reduced(kind) for kind in ("sum", "max", "min", "prod")},
    "reduce_and": _reduced("min"),
    "reduce_or": _reduced("max"),
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
    **{f"reduce_window_{kind}": _windows(kind) for kind in ("sum", "max", "min")},
}
