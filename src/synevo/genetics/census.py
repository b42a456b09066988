"""Census: every count of a network, defined once.

A synapse is one weight of a layer; biases and normalisation are none. A kernel is all synapses from one unit to one
other. Multiply-adds are those of the stored dense network for one image; multiplications by zero count, too.
"""

import numpy as np

from synevo.genetics.clusters import kernels
from synevo.genetics.organism import Organism
from synevo.lineage.individuals import Counts, LayerCount
from synevo.wiring.masks import Mask, Masks
from synevo.wiring.units import Layer


def count(organism: Organism) -> Counts:
    """Count the synapses, kernels, weights and multiply-adds of an organism."""
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
    """Return the number of living synapses of a network with these masks."""
    return sum(int(mask.sum()) for mask in masks.values())
