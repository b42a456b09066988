"""Constant units: a unit may be cut out only if it passes exactly zero to the units that are left, for all inputs.

A unit that no signal reaches has the same value for every input. It can be removed where that value is zero, or where
all units that are left read it with synapses that are zero. A bias or a normalisation that is not masked gives it
another value. Then it is a constant that the network needs, even if all its synapses are dead. The values are found by
running the model once. Units end at the contractions, and there every removed place must meet a zero on one side.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from synevo.model.network import Inputs, Network
from synevo.wiring.dissection import Anatomy
from synevo.wiring.identities import Flags, Numbers
from synevo.wiring.programs import for_one_run
from synevo.wiring.tracing import Step, evaluate
from synevo.wiring.units import PERMANENT, survives

Heard = Mapping[int, Flags]
"""Flags of what is not zero, for each value that a contraction reads; axes without units have one place."""


def listen(anatomy: Anatomy, network: Network, inputs: Inputs) -> Heard:
    """Run the network once, and return which places of the values that it contracts hold anything but zero.

    `inputs` are arguments for two examples; a unit that no signal reaches has the same value for every example.
    """

    def heard(arrays: Mapping[str, Any], *inputs: Any) -> dict[int, Any]:
        values = evaluate(anatomy.program, arrays, *inputs)
        read = {value for _, left, _, right, _ in _meetings(anatomy) for value in (left, right)}
        return {
            value: (values[value] != 0).any(axis=_without_units(anatomy.units[value]), keepdims=True) for value in read
        }

    return jax.tree.map(np.asarray, for_one_run(heard)(network.arrays, *jax.tree.leaves(inputs)))


def find_constant(anatomy: Anatomy, heard: Heard, alive: Flags) -> Flags:
    """Return the units [units] that are constants for those that are left, although they are not `alive` [units]."""
    wiring = anatomy.wiring
    fates, constant = wiring.fates(alive), np.zeros(wiring.units, bool)
    for step, left, axis, right, other in _meetings(anatomy):
        units = anatomy.units[left][axis]
        gone = ~survives(units, fates)
        if not gone.any():
            continue
        said = _along(heard[left], anatomy.units[left], axis, fates)
        read = _along(heard[right], anatomy.units[right], other, fates)
        wiring.mark(constant, units, gone & said & _spread(step, read, len(said)))
    return constant & ~alive


def _meetings(anatomy: Anatomy) -> Iterator[tuple[Step, int, int, int, int]]:
    """Yield each step that contracts, with the number and the axis of both values that meet there."""
    for step in anatomy.program.steps:
        for axis, other in _SIDES[step.primitive](step) if step.primitive in _SIDES else ():
            left, right = step.operands
            assert isinstance(left, int)
            assert isinstance(right, int)
            yield step, left, axis, right, other


def _without_units(axes: tuple[Numbers, ...]) -> tuple[int, ...]:
    return tuple(number for number, units in enumerate(axes) if (units == PERMANENT).all())


def _along(heard: Flags, axes: tuple[Numbers, ...], axis: int, fates: Flags) -> Flags:
    """Return which places of an axis hold anything but zero, where the other axes are left."""
    for number, units in enumerate(axes):
        if number != axis and heard.shape[number] > 1:
            heard = np.compress(survives(units, fates), heard, axis=number)
    found = heard.any(axis=tuple(number for number in range(heard.ndim) if number != axis))
    return np.broadcast_to(found, len(axes[axis]))


def _spread(step: Step, read: Flags, count: int) -> Flags:
    """Repeat the flags of a kernel for each channel of a signal: all groups of a convolution have the same places."""
    return np.tile(read, count // len(read)) if step.primitive == "conv_general_dilated" else read


def _dot_sides(step: Step) -> list[tuple[int, int]]:
    (left, right), _ = step.parameters["dimension_numbers"]
    return list(zip(left, right, strict=True))


def _convolution_sides(step: Step) -> list[tuple[int, int]]:
    numbers = step.parameters["dimension_numbers"]
    return [(numbers.lhs_spec[1], numbers.rhs_spec[1])]


_SIDES = {"dot_general": _dot_sides, "conv_general_dilated": _convolution_sides}
