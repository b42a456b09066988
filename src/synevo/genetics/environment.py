"""The environment: the share of a parent that may survive (F_c(E) and F_s(E) of 1609.01360).

The papers set the factors so that an offspring has about 70 to 80 % of its parent's synapses. We state that share and
solve for the factor F: the expected survival Σ m · min(1, F · P) must be `expected`. P are the encoding's
probabilities, and m is the weight of each in the sum (1 for a cluster; for a synapse, the survival of its cluster).
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array


def solve_factor(probabilities: Sequence[Array], weights: Sequence[Array], expected: Array) -> Array:
    """Return the least F ≥ 0 with Σ m · min(1, F · P) = `expected`, or one that lets all survive if that is too much.

    The sum is concave and piecewise linear in F, so Newton's method from below rises to the root without passing it.
    """
    possible = _expected(jnp.inf, probabilities, weights)
    expected = jnp.minimum(expected, possible)

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        factor, _ = state
        sure = sum(jnp.sum(m, where=(factor * p >= 1) & (p > 0)) for p, m in zip(probabilities, weights, strict=True))
        slope = sum(jnp.sum(m * p, where=factor * p < 1) for p, m in zip(probabilities, weights, strict=True))
        climbed = jnp.where(slope > 0, (expected - sure) / jnp.where(slope > 0, slope, 1), factor)
        return jnp.maximum(climbed, factor), factor  # with rounding, it may seem passed already

    def rising(state: tuple[Array, Array]) -> Array:
        factor, before = state
        return factor > before * (1 + 1e-12)

    start = jnp.zeros((), expected.dtype)
    factor, _ = jax.lax.while_loop(rising, step, step((start, start)))
    return factor


def press(probability: Array, factor: Array) -> Array:
    """Return the probability min(1, F · P) of survival in the environment."""
    return jnp.minimum(1, factor * probability)


def soften(probabilities: Sequence[Array], weights: Sequence[Array], expected: Array) -> list[Array]:
    """Return the probabilities of survival in an environment that lets `expected` survive."""
    factor = solve_factor(probabilities, weights, expected)
    return [press(p, factor) for p in probabilities]


def select(probabilities: Sequence[Array], weights: Sequence[Array], expected: Array) -> list[Array]:
    """Return the limit of `soften` for infinite sharpness: 1 for the likeliest, up to `expected`, 0 for the rest.

    Of equals, the first survives.
    """
    chances, sizes = (jnp.concatenate([part.ravel() for part in parts]) for parts in (probabilities, weights))
    order = jnp.argsort(-chances, stable=True)
    kept = (jnp.cumsum(sizes[order]) <= expected * (1 + 1e-12)) & (chances[order] > 0)
    survival = jnp.zeros_like(chances).at[order].set(kept.astype(chances.dtype))
    ends = np.cumsum([p.size for p in probabilities])[:-1]
    return [part.reshape(p.shape) for part, p in zip(jnp.split(survival, ends), probabilities, strict=True)]


def grouped(probabilities: Array, mortal: Array, multiple: int) -> tuple[Array, Array, Array]:
    """Group the mortal clusters of a layer by `multiple`, those of like probability together, the likeliest first.

    Returns the mean probability of each cluster's group, the place of the group's first member, which is drawn for all,
    and which clusters are of the first group. Arrays are of one shape; places are those of the array when it is flat.
    """
    places, can = jnp.arange(mortal.size), mortal.ravel()
    order = jnp.argsort(jnp.where(can, -probabilities.ravel(), jnp.inf), stable=True)
    group = jnp.zeros_like(places).at[order].set(places // multiple)
    first = jax.ops.segment_min(jnp.where(can, places, mortal.size), group, mortal.size)[group]
    totals = jax.ops.segment_sum(jnp.where(can, probabilities.ravel(), 0), group, mortal.size)
    members = jnp.maximum(jax.ops.segment_sum(can.astype(totals.dtype), group, mortal.size), 1)
    mean = jnp.where(can, (totals / members)[group], probabilities.ravel())
    return (
        mean.reshape(mortal.shape),
        jnp.where(can, first, places).reshape(mortal.shape),
        (can & (group == 0)).reshape(mortal.shape),
    )


def _expected(factor: float, probabilities: Sequence[Array], weights: Sequence[Array]) -> Array:
    terms = [
        jnp.sum(jnp.where(p > 0, m * jnp.minimum(1, factor * jnp.where(p > 0, p, 1)), 0))
        for p, m in zip(probabilities, weights, strict=True)
    ]
    return jnp.sum(jnp.stack(terms))
