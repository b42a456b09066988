"""Synthesis: an offspring's architecture, sampled from the genetic encoding of its parent in its environment.

    P(H_g | H_{g-1}, R_g) = Π_c [ P(s_c | W, R^c) · Π_{j∈c} P(s_j | w_j, R^s) ]        1709.02043 eq. 2

Clusters are sampled first; a synapse survives if its cluster and itself are drawn. The whole network is one program on
the device. Everything is computed in double precision from counter-based random bits, so that the rounding of one
backend or another does not decide what lives.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo import encoding
from synevo.environment import press, solve_factor
from synevo.keys import derive
from synevo.masks import Masks, by_unit, clusters, from_units
from synevo.plan import EncodingPlan, EnvironmentPlan
from synevo.wiring import Wiring


@dataclass(frozen=True)
class Offspring:
    """The sampled masks, and how many synapses the environment let the encoding expect."""

    masks: Masks
    expected_synapses: float


def synthesise(
    key: Array,
    wiring: Wiring,
    weights: Mapping[str, Any],
    masks: Masks,
    *,
    encoding: EncodingPlan,
    environment: EnvironmentPlan,
) -> Offspring:
    """Sample an offspring of the parent with these `weights` and `masks` (arrays by layer name, in the layers' shapes).

    The offspring's masks have the parent's shapes and are a subset of the parent's.
    """
    kinds = [clusters(layer, encoding.cluster) for layer in wiring.layers]
    views = [np.asarray(by_unit(layer, np.asarray(weights[layer.name]))) for layer in wiring.layers]
    alive = [by_unit(layer, masks[layer.name]) for layer in wiring.layers]
    keys = derive(key, "clusters"), derive(key, "synapses")
    with jax.enable_x64(True):
        sampled, expected = _sample(
            keys,
            views,
            alive,
            [kind.groups for kind in kinds],
            counts=tuple(kind.count for kind in kinds),
            encoding_plan=encoding,
            environment=environment,
        )
        return Offspring(
            {
                layer.name: from_units(layer, np.asarray(mask), masks[layer.name].shape)
                for layer, mask in zip(wiring.layers, sampled, strict=True)
            },
            float(expected),
        )


@partial(jax.jit, static_argnames=("counts", "encoding_plan", "environment"))
def _sample(
    keys: tuple[Array, Array],
    weights: list[Array],
    alive: list[Array],
    groups: list[Array],
    *,
    counts: tuple[int, ...],
    encoding_plan: EncodingPlan,
    environment: EnvironmentPlan,
) -> tuple[list[Array], Array]:
    """Masks [inputs, outputs, places] of every layer, and the expected number of surviving synapses."""
    probabilities = [
        _encode(weight, living, group, count, encoding_plan)
        for weight, living, group, count in zip(weights, alive, groups, counts, strict=True)
    ]
    of_clusters = _cluster_survival([p for p, _, _ in probabilities], environment)
    of_synapses = _synapse_survival([p for _, p, _ in probabilities], of_clusters, alive, groups, environment)
    sampled = [
        living & lives[group][:, :, None] & drawn
        for living, group, lives, drawn in zip(
            alive, groups, _draw(keys[0], of_clusters), _draw(keys[1], of_synapses), strict=True
        )
    ]
    expected = [jnp.sum(q[group][:, :, None] * p) for q, p, group in zip(of_clusters, of_synapses, groups, strict=True)]
    return sampled, jnp.sum(jnp.stack(expected))


def _encode(weights: Array, alive: Array, groups: Array, count: int, plan: EncodingPlan) -> tuple[Array, Array, Array]:
    """P of every cluster and of every synapse of a layer, and the number of synapses of every cluster."""
    weights = weights.astype(jnp.float64)
    of_cluster, synapses = encoding.encode_clusters(
        weights,
        alive,
        groups,
        count=count,
        truncation=plan.truncation,
        sharpness=plan.cluster_sharpness,
        normaliser=plan.normaliser,
    )
    of_synapse = encoding.encode_synapses(weights, alive, sharpness=plan.synapse_sharpness, normaliser=plan.normaliser)
    return of_cluster, of_synapse, synapses


def _scopes(layers: int, scope: Literal["layer", "network"]) -> list[list[int]]:
    """The layers that share one environmental factor."""
    return [list(range(layers))] if scope == "network" else [[i] for i in range(layers)]


def _cluster_survival(probabilities: list[Array], environment: EnvironmentPlan) -> list[Array]:
    """The survival of the clusters of each layer that the environment allows."""
    pressed: dict[int, Array] = {}
    for members in _scopes(len(probabilities), environment.cluster_scope):
        ours = [probabilities[i] for i in members]
        ones = [(p > 0).astype(p.dtype) for p in ours]
        kept = environment.keep_clusters * jnp.sum(jnp.stack([jnp.sum(one) for one in ones]))
        factor = solve_factor(ours, ones, kept)
        pressed |= {i: press(probabilities[i], factor) for i in members}
    return [pressed[i] for i in range(len(probabilities))]


def _synapse_survival(
    probabilities: list[Array],
    of_clusters: list[Array],
    alive: list[Array],
    groups: list[Array],
    environment: EnvironmentPlan,
) -> list[Array]:
    """The survival of the synapses of each layer, within surviving clusters, that the environment allows."""
    pressed: dict[int, Array] = {}
    for members in _scopes(len(probabilities), environment.synapse_scope):
        ours = [probabilities[i] for i in members]
        weights = [jnp.broadcast_to(of_clusters[i][groups[i]][:, :, None], probabilities[i].shape) for i in members]
        kept = environment.keep_synapses * jnp.sum(jnp.stack([jnp.sum(alive[i], dtype=jnp.float64) for i in members]))
        factor = solve_factor(ours, weights, kept)
        pressed |= {i: press(probabilities[i], factor) for i in members}
    return [pressed[i] for i in range(len(probabilities))]


def _draw(key: Array, probabilities: list[Array]) -> list[Array]:
    """True with the given probabilities, from 32 random bits an element."""
    sizes = [p.size for p in probabilities]
    bits = jax.random.bits(key, (sum(sizes),), jnp.uint32)
    parts = jnp.split(bits, np.cumsum(sizes)[:-1])
    return [
        part.reshape(p.shape).astype(jnp.float64) < p * 2.0**32 for part, p in zip(parts, probabilities, strict=True)
    ]
