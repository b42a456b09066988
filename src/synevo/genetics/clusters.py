"""Clusters: which synapses live and die together.

A cluster is all synapses of a filter (in all layers that make its unit: see `ties`), or all synapses between one input
unit and one output unit. The second kind is a k×k kernel in a convolution. In a matrix behind a flatten, it is the
whole map that the flatten spread out.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synevo.wiring.masks import Mask, by_unit
from synevo.wiring.units import PERMANENT, Layer, Wiring


@dataclass(frozen=True)
class Clusters:
    """The clusters of a layer: a synapse is in cluster (`groups`[its input], its output); `count` groups of inputs."""

    groups: NDArray[np.int64]
    count: int


def clusters(layer: Layer, kind: Literal["kernel", "filter"]) -> Clusters:
    """Return the clusters of a layer's synapses; a permanent input is a group of its own.

    If synapses cannot die alone (`Layer.grain`), the clusters are filters whatever the kind.
    """
    if kind == "filter" or layer.grain != "synapse":
        return Clusters(np.zeros(len(layer.inputs), np.int64), min(1, len(layer.inputs)))
    return _kernels(layer)


def _kernels(layer: Layer) -> Clusters:
    tags = np.where(layer.inputs == PERMANENT, -1 - np.arange(len(layer.inputs)), layer.inputs)
    distinct, groups = np.unique(tags, return_inverse=True)
    return Clusters(groups, len(distinct))


@dataclass(frozen=True)
class Tie:
    """Layers whose clusters live and die together: the cluster of output j of `layers[i]` is number `ids[i][j]`.

    `permanent` [count] flags the clusters that are filters and never removed.
    """

    layers: tuple[int, ...]
    ids: tuple[NDArray[np.int64], ...]
    permanent: NDArray[np.bool_]

    @property
    def count(self) -> int:
        """The number of clusters for each group of inputs."""
        return len(self.permanent)


def ties(wiring: Wiring, kind: Literal["kernel", "filter"]) -> tuple[Tie, ...]:
    """Return the sets of layers that share clusters.

    If a filter is a cluster, all layers that make the same unit share it, as around a residual sum. If a kernel is a
    cluster, it is of one layer. A filter that is never removed is a cluster of its own.
    """
    if kind == "kernel":
        return tuple(
            Tie((number,), (np.arange(len(layer.outputs)),), (layer.outputs == PERMANENT) & (layer.grain != "synapse"))
            for number, layer in enumerate(wiring.layers)
        )
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
    """Return the value of each filter [count] of a tie, from those of units and derived units; 0 of a permanent one."""
    found = np.zeros(tie.count, values.dtype)
    for number, ids in zip(tie.layers, tie.ids, strict=True):
        outputs = wiring.layers[number].outputs
        found[ids] = np.where(outputs == PERMANENT, 0, values[outputs])
    return found


def kernels(layer: Layer, mask: Mask) -> NDArray[np.bool_]:
    """Return which kernels [groups of inputs, outputs] of a layer hold at least one living synapse."""
    kind = _kernels(layer)
    alive = np.zeros((kind.count, len(layer.outputs)), bool)
    np.logical_or.at(alive, kind.groups, by_unit(layer, mask).any(axis=2))
    return alive
