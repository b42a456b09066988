"""Compaction: the masked network made physically smaller, and the proof that both are the same network.

A unit that no longer lives is cut out of every array that knows it: its filter, bias and normalisation, and the slices
of the next layers that read it. The proof has two parts. The model is traced again with the smaller arrays and
compared, step by step and literal by literal, with the program predicted from the wiring; and masked and compacted
networks classify real and random images. A difference in either is an error, and nothing is written.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.errors import ProofError
from synevo.identities import Numbers
from synevo.masks import Masks
from synevo.network import Blueprint, Network, forward
from synevo.prediction import Flags, compare_programs
from synevo.tracing import Program
from synevo.wiring import Anatomy, Wiring, check, fitted, survives

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


def cut(network: Network, wiring: Wiring, alive: Flags) -> Network:
    """The network without the units that are not `alive` [units]; `wiring` is that of `network`."""
    fates = wiring.fates(alive)
    return network.map(lambda name, array: jnp.asarray(_slice(np.asarray(array), wiring.slots[name], fates)))


def cut_masks(masks: Masks, wiring: Wiring, alive: Flags) -> Masks:
    """The masks of the network that `cut` makes."""
    fates = wiring.fates(alive)
    return {name: _slice(mask, wiring.slots[name], fates) for name, mask in masks.items()}


def uncut(network: Network, wiring: Wiring, alive: Flags, like: Network) -> Network:
    """The masked network in the shapes of `like`, of which `cut` left `network`; `wiring` is that of `like`."""
    small, fates = network.arrays, wiring.fates(alive)
    return like.map(
        lambda name, array: jnp.asarray(_scatter(np.asarray(small[name]), array, wiring.slots[name], fates))
    )


def uncut_masks(masks: Masks, wiring: Wiring, alive: Flags, like: Network) -> Masks:
    """The masks in the shapes of `like`, where all that was cut is dead."""
    fates = wiring.fates(alive)
    return {name: _scatter(mask, like.parameters[name], wiring.slots[name], fates) for name, mask in masks.items()}


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


def compare(anatomy: Anatomy, alive: Flags, found: Program) -> int:
    """The number of steps of a compacted program, after checking that it is the one that the wiring predicts."""
    return compare_programs(anatomy.program, anatomy.survivors(alive), found)


@jax.jit(static_argnums=0)
def _logits(blueprint: Blueprint, network: Network, images: Array) -> Array:
    return forward(blueprint, network, images)


def _slice(array: Any, slots: tuple[Numbers, ...], fates: Flags) -> Any:
    for axis, units in enumerate(slots):
        array = np.compress(survives(units, fates), array, axis=axis)
    return array


def _scatter(small: Any, like: Any, slots: tuple[Numbers, ...], fates: Flags) -> Any:
    whole = np.zeros(like.shape, small.dtype)
    whole[np.ix_(*(np.flatnonzero(survives(units, fates)) for units in slots))] = small
    return whole
