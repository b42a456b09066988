"""Mutation: grow new synapses in an offspring, so that a lost synapse can come back where it is of use.

A new synapse joins two units that live. It starts at the parent's weight, which is zero where the parent had none. The
next generation's encoding gives a weak synapse little chance, so it must become strong in training. The papers have no
such operator; it is the regrowth of sparse training (Mocanu et al., arXiv 1707.04780), and off unless a plan asks for
it.
"""

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.wiring.masks import Masks, by_unit, from_units
from synevo.wiring.units import Layer, Wiring, survives


def regrow(key: Array, wiring: Wiring, masks: Masks, units: NDArray[np.bool_], count: int) -> Masks:
    """Return `masks` with `count` more living synapses between living `units` [units], or all that there is room for.

    All dead synapses between living units are equally likely, except those that come and go with their filter.
    """
    fates = wiring.fates(units)
    views = [by_unit(layer, masks[layer.name]) for layer in wiring.layers]
    room = [
        ~view & _between(layer, fates) & (layer.grain == "synapse")
        for layer, view in zip(wiring.layers, views, strict=True)
    ]
    sizes = [int(places.sum()) for places in room]
    grown = np.zeros(sum(sizes), bool)
    grown[np.asarray(jax.random.permutation(key, len(grown)))[:count]] = True
    mutated = {}
    for layer, view, places, part in zip(
        wiring.layers, views, room, np.split(grown, np.cumsum(sizes)[:-1]), strict=True
    ):
        new = view.copy()
        new[places] = part
        mutated[layer.name] = from_units(layer, new, masks[layer.name].shape)
    return mutated


def _between(layer: Layer, fates: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which places [inputs, outputs, 1] of a layer join surviving units."""
    return survives(layer.inputs, fates)[:, None, None] & survives(layer.outputs, fates)[None, :, None]
