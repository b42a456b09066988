"""Constant units: a unit may be cut out only if it passes exactly zero to the units that are left, for all inputs.

A unit that no signal reaches has the same value for every input. It can be removed where that value is zero, or where
all units that are left read it with synapses that are zero. A bias or a normalisation that is not masked gives it
another value. Then it is a constant that the network needs, even if all its synapses are dead. The values are found by
running the model once. Units end at the contractions, and there every removed place must meet a zero on one side.

Units can also end in a sum over weights, such as the norm by which others are divided. There every removed place must
be zero.
"""

from typing import Any

import jax
import numpy as np

from synevo.model.network import Inputs, Network
from synevo.wiring.dissection import Anatomy
from synevo.wiring.identities import Flags
from synevo.wiring.tracing import Step, evaluate, sources
from synevo.wiring.units import survives


def find_constant(anatomy: Anatomy, network: Network, alive: Flags, inputs: Inputs) -> tuple[Flags, Flags]:
    """Return which units [units] the others cannot do without, although they are not `alive` [units].

    The first flags are of units that are constants for those that are left, the second of units whose weights count in
    sums. `inputs` are arguments for two examples; a unit that no signal reaches has the same value for every example.
    """
    program, wiring = anatomy.program, anatomy.wiring
    fates, constant, counted = wiring.fates(alive), np.zeros(wiring.units, bool), np.zeros(wiring.units, bool)
    values = evaluate(program, network.arrays, *jax.tree.leaves(inputs))
    computed = sources(program)
    for step in program.steps:
        first = step.operands[0] if step.operands else None
        if step.primitive in _SUMS and first in computed:
            assert isinstance(first, int)
            for axis in step.parameters["axes"]:
                units = anatomy.units[first][axis]
                gone = ~survives(units, fates)
                if gone.any():
                    wiring.mark(counted, units, gone & _heard(anatomy, values, first, axis, fates))
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
            grouped = step.parameters.get("feature_group_count", 1) > 1
            read = (
                _heard_in_groups(anatomy, values, step, fates)
                if grouped
                else _heard(anatomy, values, right, other, fates)
            )
            met = gone & said & read
            wiring.mark(counted if left in computed and right in computed else constant, units, met)
    return constant & ~alive, counted & ~alive


def _heard(anatomy: Anatomy, values: dict[int, Any], value: int, axis: int, fates: Flags) -> Flags:
    """Return which places of an axis of a value hold anything but zero, where its other axes are left."""
    array = np.asarray(values[value]) != 0
    for number, units in enumerate(anatomy.units[value]):
        if number != axis:
            array = np.compress(survives(units, fates), array, axis=number)
    heard: Flags = array.any(axis=tuple(number for number in range(array.ndim) if number != axis))
    return heard


def _heard_in_groups(anatomy: Anatomy, values: dict[int, Any], step: Step, fates: Flags) -> Flags:
    """Return which channels of a signal meet anything but zero in a grouped kernel: in the filters of their group."""
    kernel, numbers = step.operands[1], step.parameters["dimension_numbers"]
    assert isinstance(kernel, int)
    out, into, *_ = numbers.rhs_spec
    array = np.moveaxis(np.asarray(values[kernel]) != 0, (into, out), (0, 1))
    heard = array.any(axis=tuple(range(2, array.ndim))) & survives(anatomy.units[kernel][out], fates)
    groups = step.parameters["feature_group_count"]
    return heard.reshape(len(heard), groups, -1).any(axis=2).T.reshape(-1)


def _dot_sides(step: Step) -> list[tuple[int, int]]:
    (left, right), _ = step.parameters["dimension_numbers"]
    return list(zip(left, right, strict=True))


def _convolution_sides(step: Step) -> list[tuple[int, int]]:
    numbers = step.parameters["dimension_numbers"]
    return [(numbers.lhs_spec[1], numbers.rhs_spec[1])]


_SUMS = {"reduce_sum", "reduce_max"}

_SIDES = {"dot_general": _dot_sides, "conv_general_dilated": _convolution_sides}
