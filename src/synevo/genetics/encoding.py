"""The synaptic cluster-driven genetic encoding: a parent's weights as probabilities of survival.

    P(s_c = 1 | W) = exp(β_c · (Σ_{i∈c} ⌊w_i⌋ / Z - 1))        1709.02043 eq. 6
    P(s_j = 1 | w_j) = exp(β_s · (w_j / z - 1))                1709.02043 eq. 7

(restating 1609.01360). The papers leave three things open; these are our readings. w is |w|: a signed strength would
make negative synapses unlikely for no reason. ⌊w⌋, "weight truncation", is |w| where |w| ≥ τ · rms of the layer and 0
elsewhere: a literal floor is 0 for every |w| < 1 and would leave the cluster term blind. Z and z are a layer's largest
cluster strength and largest |w| (`max`), so that P ∈ [e^-β, 1]; or their root mean square (`rms`), P then capped at 1.
The sharpness β is 1 in the paper. A dead synapse has no probability: it stays dead.

Where what a cluster is worth was measured (`synevo.genetics.removal`), its strength is √(ΔL/n): what the loss gains
without it, ΔL, for each of the n living synapses that go with it; the root, because around a minimum the loss is a
square of weights. Such gains compare across layers, so Z is one for all clusters that share an environmental factor:
their root mean square, since the largest, a filter of a narrow layer, may be a thousand times the median. So it is with
z, where what a synapse is worth compares across layers (`synevo.genetics.heredity.sensitivity`).

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
    """Σ⌊w⌋ of each cluster, and its number of living synapses: both [count, outputs]."""
    strong = truncate(weights, alive, truncation)
    strengths = jax.ops.segment_sum(strong.sum(axis=2), groups, count)
    return strengths, jax.ops.segment_sum(alive.sum(axis=2, dtype=weights.dtype), groups, count)


def encode_synapses(weights: Array, alive: Array, *, sharpness: float, normaliser: Normaliser) -> Array:
    """P(s_j = 1) of each synapse of a layer, 0 where it is dead."""
    return survival(jnp.abs(weights), alive, sharpness=sharpness, normaliser=normaliser)


def encode_gains(gains: Sequence[Array], alive: Sequence[Array], *, sharpness: float) -> list[Array]:
    """P(s_c = 1) of the clusters of layers that share Z, from what the loss gains without each, for each synapse of it.

    One array a layer, of any shape; 0 where not alive.
    """
    return encode_together([jnp.sqrt(jnp.maximum(0, one)) for one in gains], alive, sharpness=sharpness)


def encode_together(strengths: Sequence[Array], alive: Sequence[Array], *, sharpness: float) -> list[Array]:
    """P(s = 1) of what is in layers whose strengths compare, all measured by their one root mean square.

    One array a layer, of any shape; 0 where not alive.
    """
    ends = np.cumsum([one.size for one in strengths])[:-1].tolist()
    together, living = (jnp.concatenate([one.ravel() for one in parts]) for parts in (strengths, alive))
    chances = survival(together, living, sharpness=sharpness, normaliser="rms")
    return [part.reshape(one.shape) for part, one in zip(jnp.split(chances, ends), strengths, strict=True)]


def truncate(weights: Array, alive: Array, truncation: float) -> Array:
    """⌊w⌋: |w| of the living synapses that reach τ · rms of the layer's living synapses, 0 elsewhere."""
    strengths = jnp.abs(weights)
    return jnp.where(alive & (strengths >= truncation * _rms(strengths, alive)), strengths, 0)


def survival(strengths: Array, alive: Array, *, sharpness: float, normaliser: Normaliser) -> Array:
    """exp(β · (strength / normaliser - 1)), at most 1; 0 where not alive."""
    largest = jnp.max(strengths, where=alive, initial=0)
    scale = largest if normaliser == "max" else _rms(strengths, alive)
    relative = strengths / jnp.where(scale > 0, scale, 1)
    return jnp.where(alive, jnp.minimum(1, jnp.exp(sharpness * (relative - 1))), 0)


def _rms(strengths: Array, alive: Array) -> Array:
    total = jnp.sum(jnp.square(strengths), where=alive)
    return jnp.sqrt(total / jnp.maximum(1, alive.sum()))
