"""Masks: which synapses of a network are alive.

A mask is one boolean array a layer, in the shape that the layer has now. `Clusters` says which synapses live and die
together: all of a filter (in all layers that make its unit: see `ties`), or all between one input unit and one output
unit, which is a k×k kernel in a convolution and the whole map that a flatten spread out in the matrix behind it.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.network import Network
from synevo.wiring import PERMANENT, Layer, Wiring

Mask = NDArray[np.bool_]
Masks = dict[str, Mask]


def full(wiring: Wiring, network: Network) -> Masks:
    """The masks of a network in which every synapse is alive."""
    return {layer.name: np.ones(network.parameters[layer.name].shape, bool) for layer in wiring.layers}


def apply(masks: dict[str, Any], network: Network) -> Network:
    """The network with every dead synapse exactly zero."""
    parameters = {
        name: jnp.where(masks[name], array, 0) if name in masks else array for name, array in network.parameters.items()
    }
    return Network(parameters, network.statistics)


def by_unit(layer: Layer, array: Any) -> Any:
    """An array of a layer as [inputs, outputs, places in the window]."""
    inputs, outputs = axes_of(layer)
    moved = (jnp if isinstance(array, Array) else np).moveaxis(
        array, (*inputs, *outputs), tuple(range(len(inputs) + len(outputs)))
    )
    places = math.prod(moved.shape[len(inputs) + len(outputs) :])
    return moved.reshape(len(layer.inputs), len(layer.outputs), places)


def from_units(layer: Layer, view: Any, shape: tuple[int, ...]) -> Any:
    """The inverse of `by_unit`: an array [inputs, outputs, places] in the layer's own shape."""
    inputs, outputs = axes_of(layer)
    order = (*inputs, *outputs, *(axis for axis in range(len(shape)) if axis not in (*inputs, *outputs)))
    backend = jnp if isinstance(view, Array) else np
    return backend.transpose(view.reshape([shape[axis] for axis in order]), np.argsort(order).tolist())


def axes_of(layer: Layer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes of a layer's array that are its inputs, and those that are its outputs."""
    first, second = ((axis,) if isinstance(axis, int) else axis for axis in (layer.input_axis, layer.output_axis))
    return first, second


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
