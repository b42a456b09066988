"""Constant units: what is to be cut out must say nothing to what is left, exactly and not just on some inputs.

A unit that no signal reaches has the same value for every input. Where that value is zero, or all that is left reads it
with synapses that are zero, it can be removed. A bias or a normalisation that nobody masked gives it another value:
then it is a constant that the network needs, however dead its synapses are. The values are found by running the model
once. Units end at the contractions, and there every removed place must meet a zero on one side.
"""

from typing import Any

import jax
import numpy as np

from synevo.model.network import Inputs, Network
from synevo.wiring.dissection import Anatomy
from synevo.wiring.identities import Flags
from synevo.wiring.tracing import Step, evaluate
from synevo.wiring.units import survives


def find_constant(anatomy: Anatomy, network: Network, alive: Flags, inputs: Inputs) -> Flags:
    """Return the units [units] that are constants for those that are left, although they are not `alive` [units].

    `inputs` are arguments for two examples; units that no signal reaches say the same to every example.
    """
    program, wiring = anatomy.program, anatomy.wiring
    fates, constant = wiring.fates(alive), np.zeros(wiring.units, bool)
    values = evaluate(program, network.arrays, *jax.tree.leaves(inputs))
    for step in program.steps:
        sides = _SIDES.get(step.primitive)
        if sides is None:
            continue
        left, right = step.operands
        assert isinstance(left, int)
        assert isinstance(right, int)
        for axis, other in sides(step):
            units = anatomy.units[left][axis]
            gone = ~survives(units, fates)
            if not gone.any():
                continue
            said = _heard(anatomy, values, left, axis, fates)
            read = _heard(anatomy, values, right, other, fates)
            wiring.mark(constant, units, gone & said & _spread(step, read, len(said)))
    return constant & ~alive


def _heard(anatomy: Anatomy, values: dict[int, Any], value: int, axis: int, fates: Flags) -> Flags:
    """Which places of an axis of a value hold anything but zero at places that are left along its other axes."""
    array = np.asarray(values[value]) != 0
    for number, units in enumerate(anatomy.units[value]):
        if number != axis:
            array = np.compress(survives(units, fates), array, axis=number)
    heard: Flags = array.any(axis=tuple(number for number in range(array.ndim) if number != axis))
    return heard


def _spread(step: Step, read: Flags, count: int) -> Flags:
    """What is read of each channel of a signal: each group of a grouped convolution has the same places."""
    return np.tile(read, count // len(read)) if step.primitive == "conv_general_dilated" else read


def _dot_sides(step: Step) -> list[tuple[int, int]]:
    (left, right), _ = step.parameters["dimension_numbers"]
    return list(zip(left, right, strict=True))


def _convolution_sides(step: Step) -> list[tuple[int, int]]:
    numbers = step.parameters["dimension_numbers"]
    return [(numbers.lhs_spec[1], numbers.rhs_spec[1])]


_SIDES = {"dot_general": _dot_sides, "conv_general_dilated": _convolution_sides}
