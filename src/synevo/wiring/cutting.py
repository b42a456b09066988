"""Cutting: a network without its dead units, its masks likewise, and the way back to the shapes that it had."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.model.network import Network
from synevo.wiring.identities import Flags, Numbers
from synevo.wiring.masks import Masks
from synevo.wiring.units import Wiring, survives


def cut(network: Network, wiring: Wiring, alive: Flags) -> Network:
    """Return the network without the units that are not `alive` [units]; `wiring` is that of `network`."""
    fates = wiring.fates(alive)
    left = {
        name: jnp.asarray(_slice(np.asarray(array), wiring.slots[name], fates))
        for name, array in network.arrays.items()
    }
    return network.like(left, groups=wiring.groups_left(alive))


def cut_masks(masks: Masks, wiring: Wiring, alive: Flags) -> Masks:
    """Return the masks of the network that `cut` makes."""
    fates = wiring.fates(alive)
    return {name: _slice(mask, wiring.slots[name], fates) for name, mask in masks.items()}


def round_up(wiring: Wiring, alive: Flags, multiple: int) -> Flags:
    """Revive dead units until the width of every layer is a multiple of `multiple`, or all that it ever had."""
    alive = alive.copy()
    for layer in wiring.layers:
        living = survives(layer.outputs, wiring.fates(alive))
        missing = -int(living.sum()) % multiple
        for unit in layer.outputs[~living][:missing]:
            alive[list(wiring.parts(int(unit)))] = True
    return alive


def uncut(network: Network, wiring: Wiring, alive: Flags, like: Network) -> Network:
    """Return the masked network in the shapes of `like`, of which `cut` left `network`; `wiring` is that of `like`."""
    return like.like(uncut_arrays(network.arrays, wiring, alive, like))


def uncut_arrays(small: Mapping[str, Any], wiring: Wiring, alive: Flags, like: Network) -> dict[str, Array]:
    """Return the arrays `small`, named as those of `like`, in its shapes, with zeros where units are not `alive`."""
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
