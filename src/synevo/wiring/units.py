"""Units: the parts of a network that live and die together, and the slices of arrays that belong to each."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Literal

import numpy as np

from synevo.wiring.identities import Flags, Numbers

PERMANENT = -1
"""The unit of an element that is never removed: an input, an output, a place in a window, something frozen."""


Grain = Literal["synapse", "filter", "none"]
"""The smallest part of a layer that passes nothing on once it is zero."""

GRAINS: tuple[Grain, ...] = ("synapse", "filter", "none")


@dataclass(frozen=True)
class Layer:
    """An array of synapses, and the unit at each place of its axes that carry units.

    `positions` is how often each synapse is used for one image: the places of a convolution's output, 1 in a matrix.
    Where several axes are inputs or outputs, as in attention, they count as one. `groups` is the unit of the group of
    each output of a grouped convolution; the group must live for the output to be read.

    `grain` is the smallest part of the layer that passes nothing on once it is zero. It is a single `synapse` in most
    layers. In others the synapses are weights from which the kernel is computed in such a way that one of them acts
    although it is zero, as in (w - mean) / std: there it is a whole `filter`, whose synapses live and die together; or
    `none`, if even a filter of zeros passes something on. `beside` names the other arrays that the kernel is computed
    from; a filter of zeros passes nothing on where they, too, are zero in its unit.
    """

    name: str
    input_axis: int | tuple[int, ...]
    output_axis: int | tuple[int, ...]
    inputs: Numbers
    outputs: Numbers
    positions: int
    groups: Numbers | None = None
    grain: Grain = "synapse"
    beside: tuple[str, ...] = ()


@dataclass(frozen=True)
class Frozen:
    """The `count` elements of an axis of an array that are never removed for one reason, although one could hope so.

    Left out is what nobody would remove: synapses from an input of the network, outputs that no layer of it reads,
    places in a window, a picture or a sequence, examples, and the only element of an axis. A layer that makes something
    as wide as the input, or that is read and also an output, is listed.
    """

    array: str
    axis: int
    count: int
    reason: str


@dataclass(frozen=True)
class Wiring:
    """The layers in the order of the signal, and the unit of every element of every axis of every array.

    Unit `units + i` is derived: it lives while all units of `derived[i]` do. `axes` are the axes without permanent
    elements; at least one element of each must stay. `groups` are the units of the groups of each grouped kernel, by
    name, and those that an attribute of a module counts, by `module.attribute`. `contracted` are the layers together
    with the arrays that are contracted like them and never trained, or of which nothing dies (`Layer.grain`), in the
    order of the signal. `kept` are the units that may not be removed, although they could be
    (`synevo.wiring.protection`). If a layer is used again, as in a loop, `order` names all in the order of their uses.
    """

    layers: tuple[Layer, ...]
    slots: Mapping[str, tuple[Numbers, ...]]
    units: int
    frozen: tuple[Frozen, ...]
    derived: tuple[tuple[int, ...], ...] = ()
    axes: tuple[Numbers, ...] = ()
    groups: Mapping[str, Numbers] = field(default_factory=dict)
    contracted: tuple[Layer, ...] = ()
    kept: tuple[int, ...] = ()
    order: tuple[str, ...] = ()

    @property
    def uses(self) -> tuple[Layer, ...]:
        """The layers in the order in which a signal passes them, as often as it does."""
        named = {layer.name: layer for layer in self.layers}
        return tuple(named[name] for name in self.order if name in named) if self.order else self.layers

    def staying(self) -> Flags:
        """Return the flags [units] of the units that may not be removed."""
        flags = np.zeros(self.units, bool)
        flags[list(self.kept)] = True
        return flags

    def fates(self, alive: Flags) -> Flags:
        """Return the flags [units] followed by those of the derived units, which live while all their parts do."""
        if not self.derived:
            return alive.copy()
        parts, counts = self._parts
        return np.append(alive, np.logical_and.reduceat(alive[parts], np.cumsum(counts) - counts))

    def parts(self, unit: int) -> tuple[int, ...]:
        """Return the units that an element depends on: one, several if it is derived, none if it is permanent."""
        if unit == PERMANENT:
            return ()
        return (unit,) if unit < self.units else self.derived[unit - self.units]

    def mark(self, flags: Flags, axis: Numbers, marked: Flags) -> None:
        """Set the flags [units] of all units that the marked places of an axis depend on."""
        units = axis[marked]
        flags[units[(units != PERMANENT) & (units < self.units)]] = True
        if self.derived:
            parts, counts = self._parts
            chosen = np.zeros(len(self.derived), bool)
            chosen[units[units >= self.units] - self.units] = True
            flags[parts[np.repeat(chosen, counts)]] = True

    @cached_property
    def _parts(self) -> tuple[Numbers, Numbers]:
        """The units that all derived units depend on, in a row, and how many belong to each."""
        counts = np.array([len(parts) for parts in self.derived], np.int64)
        return np.fromiter(chain.from_iterable(self.derived), np.int64), counts

    def groups_left(self, alive: Flags) -> dict[str, int]:
        """Return the numbers of `groups` that are left with only the `alive` units [units]."""
        fates = self.fates(alive)
        return {name: int(survives(axis, fates).sum()) for name, axis in self.groups.items()}

    def restrict(self, alive: Flags) -> "Wiring":
        """Return the wiring of the network with only the `alive` units [units]; units keep their numbers."""
        fates = self.fates(alive)

        def left(axis: Numbers) -> Numbers:
            return axis[survives(axis, fates)]

        def restricted(layer: Layer) -> Layer:
            groups = None if layer.groups is None else layer.groups[survives(layer.outputs, fates)]
            return replace(layer, inputs=left(layer.inputs), outputs=left(layer.outputs), groups=groups)

        slots = {name: tuple(left(axis) for axis in axes) for name, axes in self.slots.items()}
        groups = {name: left(axis) for name, axis in self.groups.items()}
        return replace(
            self,
            layers=tuple(map(restricted, self.layers)),
            slots=slots,
            axes=tuple(left(axis) for axis in self.axes),
            groups=groups,
            contracted=tuple(map(restricted, self.contracted)),
        )

    def present(self) -> Flags:
        """Return the flags [units] of the units that this wiring still holds."""
        held = np.zeros(self.units, bool)
        for axes in self.slots.values():
            for axis in axes:
                self.mark(held, axis, np.ones(len(axis), bool))
        return held


def survives(axis: Numbers, fates: Flags) -> Flags:
    """Return flags of the elements of an axis that are left; permanent ones always are.

    `fates` are those of `Wiring.fates`.
    """
    left: Flags = np.append(fates, True)[axis]  # `PERMANENT` is the last place
    return left


def keep_one(wiring: Wiring, alive: Flags) -> Flags:
    """Return the flags [units] after reviving the first element of each axis that would become empty."""
    alive, fates = alive.copy(), wiring.fates(alive)
    for axis in wiring.axes:
        if not fates[axis].any():
            wiring.mark(alive, axis, np.arange(len(axis)) == 0)
            fates = wiring.fates(alive)
    return alive
