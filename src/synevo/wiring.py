"""Wiring: which slices of which arrays of a network live and die together.

Every element of every axis of every array gets an identity. The rules (`synevo.rules`) follow the identities through
the traced program and unite those that must share a fate: a filter, its bias, its normalisation, the rows of the next
layer that a flatten spreads it over, both sides of a residual sum. A set of identities that may be removed is a
*unit*. A set that reaches the output, or meets a primitive without a rule, is frozen: never removed, and named with
its reason.

A layer is an array that is contracted with a signal; its elements are the synapses of the paper. Units are numbered
once, in the ancestor, and keep their number however small the network becomes: the number is the gene tag of
1811.07966.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from synevo.network import Blueprint, Network, forward
from synevo.rules import Contraction, Identities, follow
from synevo.tracing import Program, trace

Numbers = NDArray[np.int64]

PERMANENT = -1
"""The unit of an element that is never removed: an input, an output, a place in a window, something frozen."""


@dataclass(frozen=True)
class Layer:
    """An array of synapses, and the unit at each place of its two axes that carry units.

    `positions` is how often each synapse is used for one image: the places of a convolution's output, 1 in a matrix.
    """

    name: str
    input_axis: int
    output_axis: int
    inputs: Numbers
    outputs: Numbers
    positions: int


@dataclass(frozen=True)
class Frozen:
    """An axis of an array of which `count` elements are never removed, and why."""

    array: str
    axis: int
    count: int
    reason: str


@dataclass(frozen=True)
class Wiring:
    """The layers in the order of the signal, and the unit of every element of every axis of every array."""

    layers: tuple[Layer, ...]
    slots: Mapping[str, tuple[Numbers, ...]]
    units: int
    frozen: tuple[Frozen, ...]

    def restrict(self, alive: NDArray[np.bool_]) -> "Wiring":
        """The wiring of the network in which only the `alive` units [units] are left; units keep their numbers."""
        return Wiring(
            tuple(
                Layer(
                    layer.name,
                    layer.input_axis,
                    layer.output_axis,
                    layer.inputs[survives(layer.inputs, alive)],
                    layer.outputs[survives(layer.outputs, alive)],
                    layer.positions,
                )
                for layer in self.layers
            ),
            {name: tuple(axis[survives(axis, alive)] for axis in axes) for name, axes in self.slots.items()},
            self.units,
            self.frozen,
        )

    def present(self) -> NDArray[np.bool_]:
        """Which units [units] this wiring still holds."""
        held = np.zeros(self.units, bool)
        for axes in self.slots.values():
            for axis in axes:
                held[axis[axis != PERMANENT]] = True
        return held


def survives(units: Numbers, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which elements of an axis are left when only the `alive` units are; permanent elements always are."""
    return np.where(units == PERMANENT, True, np.append(alive, True)[units])


@dataclass(frozen=True)
class Anatomy:
    """The traced program of a network, the identity of every axis of every value in it, and the wiring that follows."""

    program: Program
    units: Mapping[int, tuple[Numbers, ...]]
    wiring: Wiring


def dissect(blueprint: Blueprint, network: Network, shape: tuple[int, int, int]) -> Anatomy:
    """Trace a network in evaluation mode on images of `shape`, and follow its units through the program."""
    program = program_of(blueprint, network, shape)
    identities, contractions = follow(program)
    _freeze_what_no_layer_makes(program, identities, contractions)
    numbering = _number_units(program, identities)
    units = {value: tuple(numbering(axis) for axis in axes) for value, axes in identities.axes.items()}
    slots = {name: units[value] for name, value in program.arrays.items()}
    layers = tuple(_layer(contraction, slots) for contraction in contractions)
    count = 1 + max((int(axis.max(initial=PERMANENT)) for axes in slots.values() for axis in axes), default=PERMANENT)
    return Anatomy(program, units, Wiring(layers, slots, count, _frozen(program, identities, slots)))


def _freeze_what_no_layer_makes(program: Program, identities: Identities, contractions: list[Contraction]) -> None:
    """Only what a layer makes can be left unmade: numbers in the code are as many as the code says."""
    made = {
        int(root)
        for found in contractions
        for root in identities.roots(identities.axes[program.arrays[found.array]][found.output_axis])
    }
    for value in program.arrays.values():
        for axis in identities.axes[value]:
            others = [identity for identity in axis if identities.root(int(identity)) not in made]
            identities.freeze(np.array(others, np.int64), "made by no layer")


def program_of(blueprint: Blueprint, network: Network, shape: tuple[int, int, int]) -> Program:
    """The program of a network in evaluation mode; traced on two images, since one would elide broadcasts."""

    def run(arrays: dict[str, Any], x: Any) -> Any:
        return forward(
            blueprint,
            Network({k: arrays[k] for k in network.parameters}, {k: arrays[k] for k in network.statistics}),
            x,
        )

    abstract = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in network.arrays.items()}
    return trace(run, abstract, jax.ShapeDtypeStruct((2, *shape), jnp.float32))


def _layer(contraction: Contraction, slots: Mapping[str, tuple[Numbers, ...]]) -> Layer:
    axes = slots[contraction.array]
    return Layer(
        contraction.array,
        contraction.input_axis,
        contraction.output_axis,
        axes[contraction.input_axis],
        axes[contraction.output_axis],
        contraction.positions,
    )


def _number_units(program: Program, identities: Identities) -> Any:
    """A function from identities to unit numbers, counted in the order in which the arrays first meet a signal."""
    order = [operand for step in program.steps for operand in step.operands if isinstance(operand, int)]
    arrays = set(program.arrays.values())
    numbers: dict[int, int] = {}
    for value in dict.fromkeys(operand for operand in order if operand in arrays):
        for axis in identities.axes[value]:
            for root in identities.roots(axis):
                if not identities.is_frozen(int(root)):
                    numbers.setdefault(int(root), len(numbers))

    def number(axis: Numbers) -> Numbers:
        return np.array([numbers.get(int(root), PERMANENT) for root in identities.roots(axis)], np.int64)

    return number


def _frozen(program: Program, identities: Identities, slots: Mapping[str, tuple[Numbers, ...]]) -> tuple[Frozen, ...]:
    found = []
    for name, axes in slots.items():
        for axis, units in enumerate(axes):
            kept = np.flatnonzero(units == PERMANENT)
            if len(kept):
                identity = int(identities.axes[program.arrays[name]][axis][kept[0]])
                found.append(Frozen(name, axis, len(kept), identities.reason(identity)))
    return tuple(found)
