"""The synaptic cluster-driven genetic encoding: a parent's weights as probabilities of survival.

    P(s_c = 1 | W) = exp(β_c · (Σ_{i∈c} ⌊w_i⌋ / Z - 1))        1709.02043 eq. 6
    P(s_j = 1 | w_j) = exp(β_s · (w_j / z - 1))                1709.02043 eq. 7

(restating 1609.01360). The papers leave three things open; these are our readings. First, w is |w|: a signed strength
would make negative synapses unlikely for no reason. Second, ⌊w⌋, "weight truncation", is |w| where |w| ≥ τ · rms of the
layer and 0 elsewhere: a literal floor is 0 for every |w| < 1, and the cluster term would not depend on the weights.
Third, Z and z are a layer's largest cluster strength and largest |w| (`max`), so that P ∈ [e^-β, 1]; or they are the
root mean square of these (`rms`), and P is capped at 1. The sharpness β is 1 in the paper. A dead synapse has no
probability: it stays dead.

If the worth of clusters was measured (`synevo.genetics.removal`), the strength of a cluster is √(ΔL/n). ΔL is the
increase of the loss without it, and n the number of living synapses that go with it. The root is taken because around a
minimum the loss is quadratic in the weights. Such increases compare across layers, so all clusters that share an
environmental factor have one Z. It is their root mean square, because the largest, a filter of a narrow layer, may be a
thousand times the median. The same holds for z if the worth of synapses compares across layers
(`synevo.genetics.heredity.sensitivity`).

Layers are [inputs, outputs, places], clusters [groups of inputs, outputs]; see `synevo.wiring.masks`.
"""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Normaliser = Literal["max", "rms"]


def sum_clusters(weights: Array, alive: Array, groups: Array, *, count: int, truncation: float) -> tuple[Array, Array]:
    """Return Σ⌊w⌋ of each cluster (1709.02043 eq. 6) and its number of living synapses, both [count, outputs]."""
    strong = truncate(weights, alive, truncation)
    strengths = jax.ops.segment_sum(strong.sum(axis=2), groups, count)
    return strengths, jax.ops.segment_sum(alive.sum(axis=2, dtype=weights.dtype), groups, count)


def encode_synapses(weights: Array, alive: Array, *, sharpness: float, normaliser: Normaliser) -> Array:
    """Return P(s_j = 1) of each synapse of a layer (1709.02043 eq. 7), 0 where it is dead."""
    return survival(jnp.abs(weights), alive, sharpness=sharpness, normaliser=normaliser)


def encode_gains(gains: Sequence[Array], alive: Sequence[Array], *, sharpness: float) -> list[Array]:
    """Return P(s_c = 1) of the clusters of layers that share Z, from the increase of the loss without each of them.

    `gains` are these increases, for each living synapse of the cluster. One array a layer, of any shape; 0 where not
    alive.
    """
    return encode_together([jnp.sqrt(jnp.maximum(0, one)) for one in gains], alive, sharpness=sharpness)


def encode_together(strengths: Sequence[Array], alive: Sequence[Array], *, sharpness: float) -> list[Array]:
    """Return P(s = 1) for layers whose strengths compare; all are divided by their one root mean square.

    One array a layer, of any shape; 0 where not alive.
    """
    ends = np.cumsum([one.size for one in strengths])[:-1].tolist()
    together, living = (jnp.concatenate([one.ravel() for one in parts]) for parts in (strengths, alive))
    chances = survival(together, living, sharpness=sharpness, normaliser="rms")
    return [part.reshape(one.shape) for part, one in zip(jnp.split(chances, ends), strengths, strict=True)]


def truncate(weights: Array, alive: Array, truncation: float) -> Array:
    """Return ⌊w⌋: |w| of the living synapses that reach τ · rms of the layer's living synapses, 0 elsewhere."""
    strengths = jnp.abs(weights)
    return jnp.where(alive & (strengths >= truncation * _rms(strengths, alive)), strengths, 0)


def survival(strengths: Array, alive: Array, *, sharpness: float, normaliser: Normaliser) -> Array:
    """Return exp(β · (strength / normaliser - 1)), at most 1; 0 where not alive."""
    largest = jnp.max(strengths, where=alive, initial=0)
    scale = largest if normaliser == "max" else _rms(strengths, alive)
    relative = strengths / jnp.where(scale > 0, scale, 1)
    return jnp.where(alive, jnp.minimum(1, jnp.exp(sharpness * (relative - 1))), 0)


def _rms(strengths: Array, alive: Array) -> Array:
    total = jnp.sum(jnp.square(strengths), where=alive)
    return jnp.sqrt(total / jnp.maximum(1, alive.sum()))
