"""The proof that a compacted network is the masked one: the same program, and the same results."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.errors import ProofError
from synevo.model.network import Blueprint, Network, forward
from synevo.wiring.dissection import Anatomy, check, fitted
from synevo.wiring.identities import Flags

TOLERANCE = 1e-4
"""The largest difference of logits, relative to the largest logit, that float32 may make."""


@dataclass(frozen=True)
class Proof:
    """That a compacted network is the masked one: the same program, and the same logits on `images` images.

    `max_difference` is absolute, `largest_logit` its scale; `top1_agreement` is the share of real images classified
    alike.
    """

    steps: int
    images: int
    random_images: int
    max_difference: float
    largest_logit: float
    top1_agreement: float


def prove(
    blueprint: Blueprint,
    anatomy: Anatomy,
    alive: Flags,
    *,
    masked: Network,
    compact: Network,
    images: Array,
    shape: tuple[int, int, int],
    key: Array,
) -> Proof:
    """Prove that `compact` is `masked` without the units that are not `alive`.

    `images` are normalised [n, height, width, channels]; as many random ones are drawn from `key`.

    Raises:
        ProofError: where program or logits differ.
    """
    steps = check(blueprint, masked, shape, anatomy, alive)
    small_blueprint = fitted(blueprint, anatomy.wiring, alive)
    random = jax.random.normal(key, images.shape, images.dtype)
    both = jnp.concatenate([images, random])
    large = np.asarray(_logits(blueprint, masked, both))
    small = np.asarray(_logits(small_blueprint, compact, both))
    difference, scale = float(np.abs(large - small).max()), float(np.abs(large).max())
    if not difference <= TOLERANCE * max(scale, 1.0):
        raise ProofError(
            f"The compacted network's logits differ from the masked one's by {difference:.3g} (largest {scale:.3g}).",
            remedy="Nothing was written. Please report the model: synevo must freeze what it cannot remove.",
        )
    agreement = float((large.argmax(-1) == small.argmax(-1))[: len(images)].mean())
    return Proof(steps, len(images), len(random), difference, scale, agreement)


@jax.jit(static_argnums=0)
def _logits(blueprint: Blueprint, network: Network, images: Array) -> Array:
    return forward(blueprint, network, images)
