"""Census: every count of what a network is made of, defined once.

A synapse is one weight of a layer; biases and normalisation are none. A kernel is all synapses from one unit to one
other. Multiply-adds are those of the dense network that is stored, for one image: what hardware does that does not skip
zeros.
"""

import numpy as np

from synevo.genetics.clusters import kernels
from synevo.genetics.organism import Organism
from synevo.lineage.individuals import Counts, LayerCount
from synevo.wiring.masks import Mask, Masks
from synevo.wiring.units import Layer


def count(organism: Organism) -> Counts:
    """Count what an organism is made of."""
    living, wiring = organism.living, organism.species.anatomy.wiring.restrict(organism.units)
    layers = tuple(_count_layer(layer, living[layer.name]) for layer in wiring.layers)
    return Counts(layers, sum(int(np.prod(array.shape)) for array in organism.network.arrays.values()))


def _count_layer(layer: Layer, mask: Mask) -> LayerCount:
    return LayerCount(
        name=layer.name,
        inputs=len(layer.inputs),
        filters=len(layer.outputs),
        kernels=int(kernels(layer, mask).sum()),
        synapses=int(mask.sum()),
        stored_weights=mask.size,
        multiply_adds=mask.size * layer.positions,
    )


def synapses(masks: Masks) -> int:
    """Living synapses of a network with these masks."""
    return sum(int(mask.sum()) for mask in masks.values())
