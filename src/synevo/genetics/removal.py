"""Removal: measure the increase of the loss without each filter, one filter at a time.

The sizes of weights are a poor guide to which filters of a narrow layer can be removed, and none to which layer can
lose one; this measure shows both. It costs one pass over `EXAMPLES` examples a filter, so it gets cheaper as a lineage
shrinks.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.model.network import Network
from synevo.tasks.task import Batch, Examples, Task, first
from synevo.wiring.masks import Masks
from synevo.wiring.units import PERMANENT, Wiring, survives

EXAMPLES = 512
"""The number of training examples, the first ones, over which the loss is averaged."""

Presence = dict[str, tuple[NDArray[np.bool_], ...]]


def measure(network: Network, wiring: Wiring, masks: Masks, task: Task, examples: Examples) -> NDArray[np.float64]:
    """Return the increase of the mean loss without each filter, for each living synapse that goes with it.

    One number for each unit, followed by one for each derived unit, [units + derived]: negative where the loss falls, 0
    for units that no layer makes. `wiring` and `masks` are those of `network`. A unit is measured with all its arrays
    set to zero, as they are before compaction cuts it out.
    """
    batch = jax.tree.map(jnp.asarray, first(examples, EXAMPLES))
    made = [layer.outputs[layer.outputs != PERMANENT] for layer in wiring.layers]
    units = np.unique(np.concatenate(made, dtype=np.int64))
    presences = [_presence(wiring, unit) for unit in (PERMANENT, *units.tolist())]
    losses = jnp.stack([_loss(network, task, presence, batch) for presence in presences])
    living = np.array([_count(masks, presence) for presence in presences])
    gains = np.zeros(wiring.units + len(wiring.derived))
    gains[units] = (np.asarray(losses, np.float64)[1:] - float(losses[0])) / np.maximum(1, living[0] - living[1:])
    return gains


def _presence(wiring: Wiring, absent: int) -> Presence:
    """Return which places along each axis of each array are left without one unit; all without the permanent one."""
    fates = wiring.fates(np.arange(wiring.units) != absent)
    if absent >= wiring.units:
        fates[absent] = False
    return {name: tuple(survives(axis, fates) for axis in axes) for name, axes in wiring.slots.items()}


def _count(masks: Masks, presence: Presence) -> int:
    """Count the living synapses that are left."""
    return sum(int(mask[np.ix_(*presence[name])].sum()) for name, mask in masks.items())


@partial(jax.jit, static_argnums=1)
def _loss(network: Network, task: Task, presence: Presence, batch: Batch) -> Array:
    def masked(name: str, array: Array) -> Array:
        for axis, left in enumerate(presence[name]):
            array = array * left.reshape([-1 if a == axis else 1 for a in range(array.ndim)]).astype(array.dtype)
        return array

    return task.loss(network.map(masked)(*task.inputs(batch)), batch).mean()
