"""The proof that a compacted network is the masked one: the same program, and the same results."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.errors import ProofError
from synevo.model.network import Inputs, Network, call
from synevo.wiring.dissection import Anatomy, check
from synevo.wiring.identities import Flags

TOLERANCE = 1e-4
"""The largest difference of outputs, relative to the largest output, that float32 may make."""


@dataclass(frozen=True)
class Proof:
    """That a compacted network is the masked one: the same program, and the same outputs for `examples` examples.

    `max_difference` is absolute, `largest_output` its scale. `top1_agreement` is the share of real examples whose
    largest output is at the same place, where outputs are one array of several along its last axis; None elsewhere.
    """

    steps: int
    examples: int
    random_examples: int
    max_difference: float
    largest_output: float
    top1_agreement: float | None


def prove(key: Array, anatomy: Anatomy, alive: Flags, *, masked: Network, compact: Network, inputs: Inputs) -> Proof:
    """Prove that `compact` is `masked` without the units that are not `alive` [units].

    `inputs` are real arguments, the first axis of whose arrays counts examples; as many random ones are drawn from
    `key`. Outputs are compared leaf by leaf.

    Raises:
        ProofError: where program or outputs differ.
    """
    steps = check(masked, anatomy, alive)
    both = jax.tree.map(lambda *arrays: jnp.concatenate(arrays), inputs, draw(key, inputs))
    large, small = (jax.tree.map(np.asarray, call(network, *both)) for network in (masked, compact))
    compared = [_compare(one, other) for one, other in zip(jax.tree.leaves(large), jax.tree.leaves(small), strict=True)]
    for difference, scale in compared:
        if not difference <= TOLERANCE * max(scale, 1.0):
            raise ProofError(
                f"The compacted network's outputs differ from the masked one's by {difference:.3g} (largest "
                f"{scale:.3g}).",
                remedy="Nothing was written. Please report the model: synevo must freeze what it cannot remove.",
            )
    differences, scales = zip(*compared, strict=True)
    count = len(jax.tree.leaves(inputs)[0])
    return Proof(steps, count, count, max(differences), max(scales), _agreement(large, small, count))


def draw(key: Array, inputs: Inputs) -> Inputs:
    """Draw random arguments like `inputs`: normal fractions, and the real ones of other dtypes in another order."""
    leaves, tree = jax.tree.flatten(inputs)
    drawn = []
    for place, leaf in enumerate(leaves):
        own = jax.random.fold_in(key, place) if place else key
        normal = jnp.issubdtype(leaf.dtype, jnp.floating)
        drawn.append(jax.random.normal(own, leaf.shape, leaf.dtype) if normal else jax.random.permutation(own, leaf))
    found: Inputs = jax.tree.unflatten(tree, drawn)
    return found


def _compare(large: Any, small: Any) -> tuple[float, float]:
    """The largest difference between two arrays, and the largest number of the first."""
    if not np.issubdtype(large.dtype, np.inexact):
        large, small = large.astype(np.float64), small.astype(np.float64)
    return float(np.abs(large - small).max(initial=0)), float(np.abs(large).max(initial=0))


def _agreement(large: Any, small: Any, count: int) -> float | None:
    """The share of the first `count` examples whose largest output is at one place; None without classes."""
    if not isinstance(large, np.ndarray) or large.ndim < 2 or large.shape[-1] < 2:  # noqa: PLR2004
        return None
    return float((large.argmax(-1) == small.argmax(-1))[:count].mean())
