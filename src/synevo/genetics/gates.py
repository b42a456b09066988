"""Gates: one number a unit, multiplied into what the network reads of the unit.

At 1 the network is as it is; at 0 the unit is gone, as if it were cut out. So the derivatives by the gates say in one
backward pass what all units do, where removing them would take a pass for each.

What a unit makes is read where its axis is contracted: by the matrix or the kernel behind it or, as the places of a
head in attention, by another signal. The gate is multiplied into the signal there. Norms, activations, residual sums
and pools pass a unit on without reading it, and so do the groups of a convolution. A place that belongs to several
units, as one of a head, has the gates of those that are contracted there, and one of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.model.network import Inputs, Network
from synevo.wiring.dissection import Anatomy
from synevo.wiring.identities import Flags, Numbers
from synevo.wiring.programs import program_of
from synevo.wiring.tracing import CONTRACTIONS, Operand, Program, Step, evaluate, sources
from synevo.wiring.units import PERMANENT, Wiring

Run: TypeAlias = Callable[[Array, Mapping[str, Any], Inputs], Any]
"""A gated network: its outputs for gates [units + derived], its arrays, and inputs of one example."""

Parts: TypeAlias = tuple[int, ...]
"""The units that a place belongs to."""


@dataclass(frozen=True)
class _Reading:
    """The operand of a step that is gated, and the gates to multiply into it: [gates, places of the operand].

    Its places are those of the axes that carry units; all others have the size 1.
    """

    operand: int
    gates: NDArray[np.int64]


def gated(network: Network, anatomy: Anatomy, alive: Flags, inputs: Inputs) -> Run | None:
    """Return a network with gates, for one example of `inputs` at a time, as without an axis of examples.

    `network` is what is left of the ancestor with the `alive` units [units]. There is one gate for each unit of the
    ancestor, followed by one for each derived unit. None where the network does not contract in the ancestor's order,
    as an einsum of other sizes may: then take the masked network, in the ancestor's shapes.
    """
    one = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape[1:], array.dtype), inputs)
    for copies in (1, 2):
        shapes = jax.tree.map(lambda array: jax.ShapeDtypeStruct((copies, *array.shape), array.dtype), one)  # noqa: B023
        program = program_of(network, shapes, differentiable=True)
        readings = _readings(anatomy, alive, program)
        if readings is not None:
            return _Gated(program, readings, jax.tree.structure(jax.eval_shape(network, *shapes)), copies)
    return None


@dataclass(frozen=True)
class _Gated:
    """A program with gates. It is run on so many `copies` of an example as it needs to be the ancestor's program."""

    program: Program
    readings: Mapping[int, _Reading]
    outputs: Any
    copies: int

    def __call__(self, gates: Array, arrays: Mapping[str, Any], inputs: Inputs) -> Any:
        """Return the outputs for one example, without an axis of examples."""
        closed = jnp.append(gates, jnp.ones((), gates.dtype))  # `PERMANENT` is the last place

        def gate(step: Step, operands: list[Any]) -> list[Any]:
            reading = self.readings.get(step.results[0])
            if reading is None:
                return operands
            factor = jnp.prod(closed[reading.gates], axis=0)
            signal = operands[reading.operand]
            return [
                signal * factor.astype(signal.dtype) if place == reading.operand else operand
                for place, operand in enumerate(operands)
            ]

        leaves = [jnp.stack([leaf] * self.copies) for leaf in jax.tree.leaves(inputs)]
        values = evaluate(self.program, arrays, *leaves, change=gate)
        found = [values[output] if isinstance(output, int) else output.value for output in self.program.outputs]
        return jax.tree.unflatten(self.outputs, [output[0] for output in found])


def _readings(anatomy: Anatomy, alive: Flags, program: Program) -> dict[int, _Reading] | None:
    """Return what is gated in a program, by the first result of its step; None where that is not the ancestor's."""
    both = ([step for step in one.steps if step.primitive in CONTRACTIONS] for one in (anatomy.program, program))
    predicted, found = both
    if len(predicted) != len(found):
        return None
    survivors, computed = anatomy.survivors(alive), sources(anatomy.program).keys()
    derived = {frozenset(parts): anatomy.wiring.units + i for i, parts in enumerate(anatomy.wiring.derived)}

    def axes(operand: Operand) -> list[Numbers]:
        """Return the units that are left at the places of each axis of an operand in the ancestor's program."""
        if not isinstance(operand, int):
            return []
        return [units[left] for units, left in zip(anatomy.units[operand], survivors[operand], strict=True)]

    readings: dict[int, _Reading] = {}
    for before, after in zip(predicted, found, strict=True):
        sides = [axes(operand) for operand in before.operands]
        if not _is_as_predicted(before, after, program, sides):
            return None
        place = 1 if before.operands[0] in computed and before.operands[1] not in computed else 0
        gates = _gates(sides[place], _contracted(before, place, sides, anatomy.wiring), anatomy.wiring, derived)
        if gates is not None:
            readings[after.results[0]] = _Reading(place, gates)
    return readings


def _is_as_predicted(before: Step, after: Step, program: Program, sides: list[list[Numbers]]) -> bool:
    """Return whether a step contracts what was predicted; of the sizes, only those of axes with units are compared."""
    if before.primitive != after.primitive or _axes_read(before) != _axes_read(after):
        return False
    for axes, operand in zip(sides, after.operands, strict=True):
        shape = program.shapes[operand] if isinstance(operand, int) else ()
        if len(axes) != len(shape):
            return False
        if any(len(units) != size and (units != PERMANENT).any() for units, size in zip(axes, shape, strict=True)):
            return False
    return True


def _axes_read(step: Step) -> Any:
    """Return over which axes a step contracts."""
    numbers = step.parameters["dimension_numbers"]
    return numbers if step.primitive == "dot_general" else (numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec)


def _contracted(step: Step, place: int, sides: list[list[Numbers]], wiring: Wiring) -> dict[int, list[Parts]]:
    """Return the units that end at each place of each axis that a step contracts, of the operand at `place`.

    The group of a grouped convolution does not end there: it goes on in the outputs.
    """
    if step.primitive == "dot_general":
        return {axis: [wiring.parts(int(unit)) for unit in sides[place][axis]] for axis in _axes_read(step)[0][place]}
    signal, kernel, _ = _axes_read(step)
    if place:
        return {kernel[1]: [wiring.parts(int(unit)) for unit in sides[1][kernel[1]]]}
    within = [wiring.parts(int(unit)) for unit in sides[1][kernel[1]]]
    groups = len(sides[0][signal[1]]) // max(1, len(within))
    return {signal[1]: within * groups}


def _gates(
    axes: list[Numbers], contracted: Mapping[int, list[Parts]], wiring: Wiring, derived: Mapping[frozenset[int], int]
) -> NDArray[np.int64] | None:
    """Return the gates [gates, places] of an operand with these units along its `axes`; None where nothing is gated."""
    if not any(parts for places in contracted.values() for parts in places):
        return None
    carrying = [axis for axis, units in enumerate(axes) if (units != PERMANENT).any()]
    shape = [len(units) if axis in carrying else 1 for axis, units in enumerate(axes)]
    rows = []
    for axis, places in contracted.items():
        for number in range(max(map(len, places), default=0)):
            row = np.array([parts[number] if number < len(parts) else PERMANENT for parts in places], np.int64)
            rows.append(np.broadcast_to(row.reshape([-1 if k == axis else 1 for k in range(len(axes))]), shape))
    if derived:
        own = np.full(shape, PERMANENT, np.int64)
        for cell in np.ndindex(*shape):
            parts = {part for axis in carrying for part in wiring.parts(int(axes[axis][cell[axis]]))}
            ending = {part for axis, places in contracted.items() for part in places[cell[axis]]}
            if len(parts) > 1 and parts & ending:
                own[cell] = derived.get(frozenset(parts), PERMANENT)
        rows.append(own)
    return np.stack(rows)
