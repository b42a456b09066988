"""Mating: several parents become one network, which is then encoded as a single parent is.

    sum       M = Σ_k α_k · W_k        1709.02043, where it is M = α·W_A + β·W_B of two parents
    product   |M| = Π_k |W_k|^α_k      the intersection of m parents; Σ_k α_k = 1 in both

Weights of different parents are combined if they have the same place in the ancestor: masks and unit numbers are in its
coordinates, which are the gene tags of 1811.07966. A cluster is mated if at least a share χ of the parents hold it.

Our readings. A dead synapse is a weight of 0. So a sum holds the synapses of any parent, weaker where fewer parents
hold them, and a product those of all parents. A parent whose filter is dead takes no part in that filter: the α of the
others are scaled up, so that they pass it on unchanged. The biases, normalisation and running statistics of a filter
are averaged in both kinds of mating. The product is a geometric mean, so that its weights are as large as the parents'
for any number of them, with the signs of the sum. α is the same for all, or falls by a constant factor from one parent
to the next worse one: the accuracies of siblings differ too little to weigh them by.

The environment keeps its share of the mated network, or of the mean parent where the mated network is larger: several
parents offer more synapses to choose from, but do not make a larger offspring. A product also loses the synapses that
its parents do not share, so a lineage shrinks faster with more parents.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.genetics import census
from synevo.genetics.clusters import clusters, ties
from synevo.genetics.organism import Organism
from synevo.model.network import Network
from synevo.plan.fields import Mating
from synevo.wiring.identities import Flags
from synevo.wiring.masks import Masks, apply, axes_of, by_unit, from_units
from synevo.wiring.units import Wiring, survives

Kind = Literal["kernel", "filter"]


def mate(
    parents: Sequence[Organism], *, mating: Mating, dominance: float, cluster: Kind, tag_share: float
) -> tuple[Network, Masks]:
    """Return the mated network of `parents`, the best first, and its masks, in the ancestor's shapes (1709.02043).

    The weight α of each parent is `dominance` times that of the one before it; where that is 1, their order does not
    matter. Parts without a signal are not trimmed yet. The network has a weight at every synapse that any parent holds,
    so a path that is missing in the masks can be restored.
    """
    wiring = parents[0].species.anatomy.wiring
    held = np.logical_and if mating == "product" else np.logical_or
    masks = {name: held.reduce([parent.masks[name] for parent in parents]) for name in parents[0].masks}
    tagged = _tagged(wiring, [parent.masks for parent in parents], cluster, tag_share)
    weighing = dominance ** np.arange(len(parents), dtype=np.float64)
    networks = [apply(parent.masks, parent.whole) for parent in parents]
    network = networks[0].map(
        lambda name, first: _average(
            first,
            [np.asarray(one.arrays[name]) for one in networks],
            [weight * _present(wiring, name, parent.units) for weight, parent in zip(weighing, parents, strict=True)],
        )
    )
    if mating == "product":
        network = _multiply(network, networks, masks, weighing / weighing.sum())
    return network, {name: mask & tagged[name] for name, mask in masks.items()}


def allowance(
    wiring: Wiring, mated: Masks, parents: Sequence[Masks], cluster: Kind, *, spared: bool
) -> tuple[float, float]:
    """Return the mean parent's clusters and synapses as shares of the mated network's, at most 1.

    If `spared`, filters that are never removed are not counted, as in synthesis.
    """
    clusters_of = [max(1, _count(wiring, masks, cluster, spared=spared)) for masks in (mated, *parents)]
    synapses_of = [census.synapses(masks) for masks in (mated, *parents)]
    of_clusters, of_synapses = (min(1.0, fmean(sizes[1:]) / sizes[0]) for sizes in (clusters_of, synapses_of))
    return of_clusters, of_synapses


def _tagged(wiring: Wiring, parents: Sequence[Masks], kind: Kind, share: float) -> Masks:
    """Return masks of the clusters that at least a `share` of the parents hold; tied layers hold a cluster together."""
    holders = [np.sum(held, axis=0) for held in zip(*(_hold(wiring, masks, kind) for masks in parents), strict=True)]
    tagged = {}
    for tie, held in zip(ties(wiring, kind), holders, strict=True):
        enough = held >= share * len(parents) - 1e-9
        for number, ids in zip(tie.layers, tie.ids, strict=True):
            layer = wiring.layers[number]
            shape = parents[0][layer.name].shape
            at_synapse = enough[np.ix_(clusters(layer, kind).groups, ids)][:, :, None]
            view = np.broadcast_to(at_synapse, by_unit(layer, parents[0][layer.name]).shape)
            tagged[layer.name] = from_units(layer, view, shape)
    return tagged


def _hold(wiring: Wiring, masks: Masks, kind: Kind) -> list[Flags]:
    """Return which clusters [groups of inputs, count] of each set of tied layers hold a living synapse."""
    found = []
    for tie in ties(wiring, kind):
        kinds = [clusters(wiring.layers[number], kind) for number in tie.layers]
        held = np.zeros((max(one.count for one in kinds), tie.count), bool)
        for number, ids, one in zip(tie.layers, tie.ids, kinds, strict=True):
            layer = wiring.layers[number]
            living = by_unit(layer, masks[layer.name]).any(axis=2)
            np.logical_or.at(held, (one.groups[:, None], ids[None, :]), living)
        found.append(held)
    return found


def _count(wiring: Wiring, masks: Masks, kind: Kind, *, spared: bool) -> int:
    """Count the clusters that hold a living synapse, without those that are `spared`."""
    held = zip(ties(wiring, kind), _hold(wiring, masks, kind), strict=True)
    return sum(int(living[:, ~(tie.permanent & spared)].sum()) for tie, living in held)


def _present(wiring: Wiring, name: str, units: Flags) -> Any:
    """Return which elements of an array are in filters that live among `units` [units], broadcastable to its shape."""
    outputs = {layer.name: axes_of(layer)[1] for layer in wiring.layers}
    axes, fates = wiring.slots[name], wiring.fates(units)
    present: Any = np.ones((1,) * len(axes), bool)
    for axis in outputs.get(name, range(len(axes))):
        shape = [1] * len(axes)
        shape[axis] = -1
        present = present & survives(axes[axis], fates).reshape(shape)
    return present


def _average(first: Array, arrays: list[Any], weighing: list[Any]) -> Array:
    """Return the weighted mean of floating-point arrays; of others, such as a counter, return the first parent's.

    Terms are added in the order of their size, so that the order of the parents does not change the rounding.
    """
    if not jnp.issubdtype(first.dtype, jnp.floating):
        return first
    total = sum(weighing, start=np.zeros((1,) * first.ndim))
    shares = [np.divide(weight, total, out=np.zeros_like(total), where=total > 0) for weight in weighing]
    terms = np.stack([share * array.astype(np.float64) for share, array in zip(shares, arrays, strict=True)])
    return jnp.asarray(_add(terms).astype(first.dtype))


def _multiply(average: Network, networks: list[Network], masks: Masks, weighing: NDArray[np.float64]) -> Network:
    """Return the `average` with geometric means for sizes at the synapses that all parents hold."""

    def product(name: str, mean: Array) -> Array:
        if name not in masks:
            return mean
        sizes = np.stack([np.abs(np.asarray(one.parameters[name], np.float64)) for one in networks])
        with np.errstate(divide="ignore"):
            logs = np.log(sizes) * weighing.reshape(-1, *(1,) * mean.ndim)
        sign = np.sign(np.asarray(mean, np.float64))
        return jnp.asarray(np.where(masks[name], sign * np.exp(_add(logs)), np.asarray(mean)).astype(mean.dtype))

    return average.map(product)


def _add(terms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum over the first axis, with the same rounding in any order of the terms."""
    total: NDArray[np.float64] = np.sort(terms, axis=0).sum(axis=0)
    return total
