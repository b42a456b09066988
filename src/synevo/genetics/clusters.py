"""Clusters: which synapses live and die together.

All of a filter (in all layers that make its unit: see `ties`), or all between one input unit and one output unit, which
is a k×k kernel in a convolution and the whole map that a flatten spread out in the matrix behind it.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synevo.wiring.masks import Mask, by_unit
from synevo.wiring.units import PERMANENT, Layer, Wiring


@dataclass(frozen=True)
class Clusters:
    """The cluster of a synapse is (`groups`[its input], its output): there are `count` groups of inputs."""

    groups: NDArray[np.int64]
    count: int


def clusters(layer: Layer, kind: Literal["kernel", "filter"]) -> Clusters:
    """How a layer's synapses are clustered; a permanent input is a group of its own."""
    if kind == "filter":
        return Clusters(np.zeros(len(layer.inputs), np.int64), min(1, len(layer.inputs)))
    tags = np.where(layer.inputs == PERMANENT, -1 - np.arange(len(layer.inputs)), layer.inputs)
    distinct, groups = np.unique(tags, return_inverse=True)
    return Clusters(groups, len(distinct))


@dataclass(frozen=True)
class Tie:
    """Layers whose clusters live and die together: the cluster of output j of `layers[i]` is number `ids[i][j]`.

    `permanent` [count] are the clusters that are a filter that is never removed.
    """

    layers: tuple[int, ...]
    ids: tuple[NDArray[np.int64], ...]
    permanent: NDArray[np.bool_]

    @property
    def count(self) -> int:
        """How many clusters there are for each group of inputs."""
        return len(self.permanent)


def ties(wiring: Wiring, kind: Literal["kernel", "filter"]) -> tuple[Tie, ...]:
    """Which layers share clusters: where a filter is a cluster, all that make the same unit, as around a residual sum.

    Kernels are of one layer. A filter that is never removed is a cluster of its own.
    """
    if kind == "kernel":
        sizes = [len(layer.outputs) for layer in wiring.layers]
        return tuple(Tie((number,), (np.arange(size),), np.zeros(size, bool)) for number, size in enumerate(sizes))
    sets: list[tuple[list[int], set[int]]] = []
    for number, layer in enumerate(wiring.layers):
        units = {int(unit) for unit in layer.outputs if unit != PERMANENT}
        sharing = [one for one in sets if one[1] & units]
        members = sorted([number, *(member for one in sharing for member in one[0])])
        sets = [one for one in sets if one not in sharing]
        sets.append((members, units.union(*(one[1] for one in sharing))))
    return tuple(_tie(wiring, members) for members, _ in sorted(sets, key=lambda one: one[0]))


def _tie(wiring: Wiring, members: list[int]) -> Tie:
    known: dict[tuple[int, int, int], int] = {}
    ids = []
    for number in members:
        keys = [
            (number, place, PERMANENT) if unit == PERMANENT else (0, 0, int(unit))
            for place, unit in enumerate(wiring.layers[number].outputs)
        ]
        ids.append(np.array([known.setdefault(key, len(known)) for key in keys], np.int64))
    return Tie(tuple(members), tuple(ids), np.array([unit == PERMANENT for *_, unit in known], bool))


def value_clusters(wiring: Wiring, tie: Tie, values: NDArray[Any]) -> NDArray[Any]:
    """The value of each filter [count] of a tie, from those of the units and derived units; 0 of a permanent one."""
    found = np.zeros(tie.count, values.dtype)
    for number, ids in zip(tie.layers, tie.ids, strict=True):
        outputs = wiring.layers[number].outputs
        found[ids] = np.where(outputs == PERMANENT, 0, values[outputs])
    return found


def kernels(layer: Layer, mask: Mask) -> NDArray[np.bool_]:
    """Which kernels [groups of inputs, outputs] of a layer hold at least one living synapse."""
    kind = clusters(layer, "kernel")
    alive = np.zeros((kind.count, len(layer.outputs)), bool)
    np.logical_or.at(alive, kind.groups, by_unit(layer, mask).any(axis=2))
    return alive
