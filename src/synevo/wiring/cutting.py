"""Cut the dead units out of a network, its masks and its optimiser's state, and restore the original shapes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.errors import CompactionError
from synevo.model.network import Network, path_of
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


def left_of(wiring: Wiring, before: Flags, after: Flags) -> dict[str, tuple[Flags, ...]]:
    """Return which places along each axis of each array are left, of those with the units `before`, `after` a cut.

    Raises:
        CompactionError: where `after` has units that were gone `before`.
    """
    if (after & ~before).any():
        raise CompactionError(
            f"{int((after & ~before).sum())} units of the offspring are not in this parent.",
            remedy="State is cut along one line of descent; with several parents, start the optimiser anew.",
        )
    had, has = wiring.fates(before), wiring.fates(after)
    return {
        name: tuple(survives(axis, has)[survives(axis, had)] for axis in axes) for name, axes in wiring.slots.items()
    }


def cut_state(state: Any, left: Mapping[str, tuple[Flags, ...]]) -> Any:
    """Return the state of an optimiser without what belongs to removed units; any pytree whose leaves mirror arrays.

    `left` are flags of the places along each axis of each array, by its name. A leaf mirrors an array if its path ends
    with the array's name and it has the array's shape, as the moments of Adam do, and the parameters of a Linen
    `TrainState`. Leaves of one number stay as they are.

    Raises:
        CompactionError: where a leaf mirrors no array; it is named.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(state)
    strange = [f"{path_of(path)} {list(leaf.shape)}" for path, leaf in leaves if _mirrored(path, leaf, left) is None]
    if strange:
        raise CompactionError(
            f"This state does not mirror the arrays of the network: {', '.join(strange)}.",
            remedy="Start the optimiser anew for the smaller network, or cut this part of its state by hand.",
        )
    return jax.tree.unflatten(tree, [_kept(leaf, _mirrored(path, leaf, left) or ()) for path, leaf in leaves])


def _mirrored(path: Any, leaf: Any, left: Mapping[str, tuple[Flags, ...]]) -> tuple[Flags, ...] | None:
    """Return the flags for each axis of a leaf: none for a single number, None where it mirrors no array."""
    parts, shape = path_of(path).split("/"), np.shape(leaf)
    for start in range(len(parts)):
        flags = left.get("/".join(parts[start:]))
        if flags is not None and shape == tuple(map(len, flags)):
            return flags
    return () if np.size(leaf) <= 1 else None


def _kept(leaf: Any, flags: tuple[Flags, ...]) -> Any:
    for axis, left in enumerate(flags):
        leaf = jnp.compress(left, leaf, axis=axis)
    return leaf


def round_up(wiring: Wiring, alive: Flags, multiple: int | Mapping[str, int]) -> Flags:
    """Revive dead units until the width of every layer is a multiple of `multiple`, or its full width.

    A mapping has the multiple of each layer, by its name; a layer that it lacks stays as it is. Returns the flags
    [units] of the units that are alive then.
    """
    alive = alive.copy()
    for layer in wiring.layers:
        living = survives(layer.outputs, wiring.fates(alive))
        missing = -int(living.sum()) % (multiple if isinstance(multiple, int) else multiple.get(layer.name, 1))
        for unit in layer.outputs[~living][:missing]:
            alive[list(wiring.parts(int(unit)))] = True
    return alive


def uncut(network: Network, wiring: Wiring, alive: Flags, like: Network) -> Network:
    """Undo `cut`: return the masked network in the shapes of `like`; `wiring` is that of `like`."""
    return like.like(uncut_arrays(network.arrays, wiring, alive, like))


def uncut_arrays(small: Mapping[str, Any], wiring: Wiring, alive: Flags, like: Network) -> dict[str, Array]:
    """Undo `cut` for arrays: return `small` in the shapes of `like`, with zeros for units that are not `alive`."""
    fates = wiring.fates(alive)
    whole = {
        name: _scatter(np.asarray(array), like.arrays[name], wiring.slots[name], fates) for name, array in small.items()
    }
    return jax.device_put(whole)


def _slice(array: Any, slots: tuple[Numbers, ...], fates: Flags) -> Any:
    for axis, units in enumerate(slots):
        array = np.compress(survives(units, fates), array, axis=axis)
    return array


def _scatter(small: Any, like: Any, slots: tuple[Numbers, ...], fates: Flags) -> Any:
    whole = np.zeros(like.shape, small.dtype)
    whole[np.ix_(*(np.flatnonzero(survives(units, fates)) for units in slots))] = small
    return whole
