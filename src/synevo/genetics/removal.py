"""Removal: what the loss gains when a filter is removed, measured one filter at a time.

The sizes of weights say little about which filters of a narrow layer can go, and nothing about which layer can spare
one; what happens without a filter says both. A measure costs one pass over `IMAGES` images a filter, so it gets
cheaper as a lineage shrinks.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from numpy.typing import NDArray

from synevo.model.network import Blueprint, Network, forward, normalise
from synevo.tasks.images import Dataset
from synevo.wiring.masks import Masks
from synevo.wiring.units import PERMANENT, Wiring, survives

IMAGES = 512
"""The training images, the first ones, over which the loss is averaged."""

Presence = dict[str, tuple[NDArray[np.bool_], ...]]


def measure(
    blueprint: Blueprint, network: Network, wiring: Wiring, masks: Masks, dataset: Dataset
) -> NDArray[np.float64]:
    """What the mean cross-entropy gains without each filter, for each living synapse that goes with it.

    One number for each unit, and behind them for each derived unit, [units + derived]: negative where the loss falls, 0
    for what no layer makes. `wiring` and `masks` are those of `network`. Without a unit, everything that knows it is
    zero, as it is before compaction cuts it out.
    """
    images = normalise(jnp.asarray(dataset.train.pixels[:IMAGES]), dataset.mean, dataset.deviation)
    labels = jnp.asarray(dataset.train.labels[:IMAGES])
    made = [layer.outputs[layer.outputs != PERMANENT] for layer in wiring.layers]
    units = np.unique(np.concatenate(made, dtype=np.int64))
    presences = [_presence(wiring, unit) for unit in (PERMANENT, *units.tolist())]
    losses = jnp.stack([_loss(blueprint, network, presence, images, labels) for presence in presences])
    living = np.array([_count(masks, presence) for presence in presences])
    gains = np.zeros(wiring.units + len(wiring.derived))
    gains[units] = (np.asarray(losses, np.float64)[1:] - float(losses[0])) / np.maximum(1, living[0] - living[1:])
    return gains


def _presence(wiring: Wiring, absent: int) -> Presence:
    """Which places along each axis of each array are left without one unit; all without the permanent one."""
    fates = wiring.fates(np.arange(wiring.units) != absent)
    if absent >= wiring.units:
        fates[absent] = False
    return {name: tuple(survives(axis, fates) for axis in axes) for name, axes in wiring.slots.items()}


def _count(masks: Masks, presence: Presence) -> int:
    """The living synapses that are left."""
    return sum(int(mask[np.ix_(*presence[name])].sum()) for name, mask in masks.items())


@partial(jax.jit, static_argnums=0)
def _loss(blueprint: Blueprint, network: Network, presence: Presence, images: Array, labels: Array) -> Array:
    def silence(name: str, array: Array) -> Array:
        for axis, left in enumerate(presence[name]):
            array = array * left.reshape([-1 if a == axis else 1 for a in range(array.ndim)]).astype(array.dtype)
        return array

    logits = forward(blueprint, network.map(silence), images)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
