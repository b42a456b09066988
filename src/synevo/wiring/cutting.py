"""Cut the dead units out of a network and its masks, and restore the original shapes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.model.network import Network
from synevo.wiring.identities import Flags, Numbers
from synevo.wiring.masks import Masks
from synevo.wiring.units import Wiring, survives


def cut(network: Network, wiring: Wiring, alive: Flags) -> Network:
    """Return `network` without the units that are not `alive` [units]; `wiring` is its own."""
    fates = wiring.fates(alive)
    left = {name: _slice(np.array(array), wiring.slots[name], fates) for name, array in network.arrays.items()}
    return network.like(jax.device_put(left), groups=wiring.groups_left(alive))


def cut_masks(masks: Masks, wiring: Wiring, alive: Flags) -> Masks:
    """Cut masks in the way that `cut` cuts their network."""
    fates = wiring.fates(alive)
    return {name: _slice(mask, wiring.slots[name], fates) for name, mask in masks.items()}


def round_up(wiring: Wiring, alive: Flags, multiple: int) -> Flags:
    """Revive dead units until the width of every layer is a multiple of `multiple`, or its full width.

    Returns the flags [units] of the units that are alive then.
    """
    alive = alive.copy()
    for layer in wiring.layers:
        living = survives(layer.outputs, wiring.fates(alive))
        missing = -int(living.sum()) % multiple
        for unit in layer.outputs[~living][:missing]:
            alive[list(wiring.parts(int(unit)))] = True
    return alive


def uncut(network: Network, wiring: Wiring, alive: Flags, like: Network) -> Network:
    """Undo `cut`: return the masked network in the shapes of `like`; `wiring` is that of `like`."""
    return like.like(uncut_arrays(network.arrays, wiring, alive, like))


def uncut_arrays(small: Mapping[str, Any], wiring: Wiring, alive: Flags, like: Network) -> dict[str, Array]:
    """Undo `cut` for arrays: return `small` in the shapes of `like`, with zeros for units that are not `alive`."""
    fates = wiring.fates(alive)
    return {
        name: jnp.asarray(_scatter(np.asarray(array), like.arrays[name], wiring.slots[name], fates))
        for name, array in small.items()
    }


def _slice(array: Any, slots: tuple[Numbers, ...], fates: Flags) -> Any:
    for axis, units in enumerate(slots):
        array = np.compress(survives(units, fates), array, axis=axis)
    return array


def _scatter(small: Any, like: Any, slots: tuple[Numbers, ...], fates: Flags) -> Any:
    whole = np.zeros(like.shape, small.dtype)
    whole[np.ix_(*(np.flatnonzero(survives(units, fates)) for units in slots))] = small
    return whole
