"""Keep dead synapses at zero, by an Optax transformation to chain behind any optimiser."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from synevo.model.network import path_of


def keep_dead(masks: Mapping[str, Any]) -> optax.GradientTransformation:
    """Return an Optax transformation that keeps dead synapses, once zero, at exactly zero.

        optimiser = optax.chain(optax.adamw(1e-3), synevo.keep_dead(organism.living))

    `masks` are boolean, True where alive, in the shapes of the parameters that they name by their path in the model,
    such as `conv1/kernel`; parameters without one are all alive. Put it last: it masks the updates, so whatever comes
    before it (momentum, weight decay, clipping) cannot move a dead synapse. Parameters may be a flat dictionary, nested
    dictionaries as Linen has them, or an `nnx.State`.

    Raises:
        KeyError: in the first update, for a mask that names no parameter.
    """

    def init(parameters: Any) -> optax.EmptyState:
        del parameters
        return optax.EmptyState()

    def update(updates: Any, state: optax.EmptyState, parameters: Any = None) -> tuple[Any, optax.EmptyState]:
        del parameters
        leaves, tree = jax.tree_util.tree_flatten_with_path(updates)
        names = [path_of(path) for path, _ in leaves]
        unknown = set(masks) - set(names)
        if unknown:
            raise KeyError(f"masks of {', '.join(sorted(unknown))}, but the parameters are {', '.join(sorted(names))}")
        kept = [
            jnp.where(masks[name], update, 0) if name in masks else update
            for name, (_, update) in zip(names, leaves, strict=True)
        ]
        return jax.tree.unflatten(tree, kept), state

    return optax.GradientTransformation(init, update)
