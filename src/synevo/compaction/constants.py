"""Constant units: a unit may be cut out only if it passes exactly zero to the units that are left, for all inputs.

A unit that no signal reaches has the same value for every input. It can be removed where that value is zero, or where
all units that are left read it with synapses that are zero. A bias or a normalisation that is not masked gives it
another value. Then it is a constant that the network needs, even if all its synapses are dead. The values are found by
running the model once. Units end at the contractions, and there every removed place must meet a zero on one side.

Units can also end in a sum over weights, such as the norm by which others are divided. There every removed place must
be zero.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from synevo.model.network import Inputs, Network
from synevo.wiring.dissection import Anatomy
from synevo.wiring.identities import Flags, Numbers
from synevo.wiring.programs import for_one_run
from synevo.wiring.tracing import Step, evaluate, sources
from synevo.wiring.units import PERMANENT, survives

Heard = Mapping[int, Flags]
"""Flags of what is not zero, for each value that ends units; axes without units have one place."""


def listen(anatomy: Anatomy, network: Network, inputs: Inputs) -> Heard:
    """Run the network once, and return which places of the values in which units end hold anything but zero.

    `inputs` are arguments for two examples; a unit that no signal reaches has the same value for every example.
    """

    def heard(arrays: Mapping[str, Any], *inputs: Any) -> dict[int, Any]:
        values = evaluate(anatomy.program, arrays, *inputs)
        read = {value for _, left, _, right, _ in _meetings(anatomy) for value in (left, right)}
        read |= {value for value, _ in _sums(anatomy)}
        return {
            value: (values[value] != 0).any(axis=_without_units(anatomy.units[value]), keepdims=True) for value in read
        }

    return jax.tree.map(np.asarray, for_one_run(heard)(network.arrays, *jax.tree.leaves(inputs)))


def find_constant(anatomy: Anatomy, heard: Heard, alive: Flags) -> tuple[Flags, Flags]:
    """Return which units [units] the others cannot do without, although they are not `alive` [units].

    The first flags are of units that are constants for those that are left, the second of units whose weights count in
    sums.
    """
    wiring, computed = anatomy.wiring, sources(anatomy.program)
    fates, constant, counted = wiring.fates(alive), np.zeros(wiring.units, bool), np.zeros(wiring.units, bool)
    for value, axis in _sums(anatomy):
        units = anatomy.units[value][axis]
        gone = ~survives(units, fates)
        if gone.any():
            wiring.mark(counted, units, gone & _along(heard[value], anatomy.units[value], axis, fates))
    for step, left, axis, right, other in _meetings(anatomy):
        units = anatomy.units[left][axis]
        gone = ~survives(units, fates)
        if not gone.any():
            continue
        said = _along(heard[left], anatomy.units[left], axis, fates)
        grouped = step.parameters.get("feature_group_count", 1) > 1
        read = (
            _along_groups(heard[right], anatomy.units[right], step, fates)
            if grouped
            else _along(heard[right], anatomy.units[right], other, fates)
        )
        wiring.mark(counted if left in computed and right in computed else constant, units, gone & said & read)
    return constant & ~alive, counted & ~alive


def _meetings(anatomy: Anatomy) -> Iterator[tuple[Step, int, int, int, int]]:
    """Yield each step that contracts, with the number and the axis of both values that meet there."""
    for step in anatomy.program.steps:
        for axis, other in _SIDES[step.primitive](step) if step.primitive in _SIDES else ():
            left, right = step.operands
            assert isinstance(left, int)
            assert isinstance(right, int)
            yield step, left, axis, right, other


def _sums(anatomy: Anatomy) -> Iterator[tuple[int, int]]:
    """Yield the number and the axis of each value that is computed from arrays alone and summed over."""
    computed = sources(anatomy.program)
    for step in anatomy.program.steps:
        if step.primitive in _SUMS and step.operands[0] in computed:
            value = step.operands[0]
            assert isinstance(value, int)
            yield from ((value, axis) for axis in step.parameters["axes"])


def _without_units(axes: tuple[Numbers, ...]) -> tuple[int, ...]:
    return tuple(number for number, units in enumerate(axes) if (units == PERMANENT).all())


def _along(heard: Flags, axes: tuple[Numbers, ...], axis: int, fates: Flags) -> Flags:
    """Return which places of an axis hold anything but zero, where the other axes are left."""
    for number, units in enumerate(axes):
        if number != axis and heard.shape[number] > 1:
            heard = np.compress(survives(units, fates), heard, axis=number)
    found = heard.any(axis=tuple(number for number in range(heard.ndim) if number != axis))
    return np.broadcast_to(found, len(axes[axis]))


def _along_groups(heard: Flags, axes: tuple[Numbers, ...], step: Step, fates: Flags) -> Flags:
    """Return which channels of a signal meet anything but zero in a grouped kernel: in the filters of their group."""
    out, into, *window = step.parameters["dimension_numbers"].rhs_spec
    found = np.moveaxis(heard, (into, out, *window), range(heard.ndim)).any(axis=tuple(range(2, heard.ndim)))
    found = np.broadcast_to(found, (len(axes[into]), len(axes[out]))) & survives(axes[out], fates)
    groups = step.parameters["feature_group_count"]
    return found.reshape(len(found), groups, -1).any(axis=2).T.reshape(-1)


def _dot_sides(step: Step) -> list[tuple[int, int]]:
    (left, right), _ = step.parameters["dimension_numbers"]
    return list(zip(left, right, strict=True))


def _convolution_sides(step: Step) -> list[tuple[int, int]]:
    numbers = step.parameters["dimension_numbers"]
    return [(numbers.lhs_spec[1], numbers.rhs_spec[1])]


_SUMS = {"reduce_sum", "reduce_max"}

_SIDES = {"dot_general": _dot_sides, "conv_general_dilated": _convolution_sides}
