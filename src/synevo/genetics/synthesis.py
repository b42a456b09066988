"""Synthesis: an offspring's architecture, sampled from the genetic encoding of its parent in its environment.

    P(H_g | H_{g-1}, R_g) = Π_c [ P(s_c | W, R^c) · Π_{j∈c} P(s_j | w_j, R^s) ]        1709.02043 eq. 2

Clusters are sampled first; a synapse survives if its cluster and itself are drawn. The whole network is one program on
the device. Everything is computed in double precision from counter-based random bits, so that the rounding of one
backend or another does not decide what lives.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.genetics import encoding
from synevo.genetics.clusters import clusters, ties, value_clusters
from synevo.genetics.environment import select, soften
from synevo.genetics.heredity import HEREDITIES
from synevo.keys import derive
from synevo.plan.fields import EncodingPlan, Environment, Scope
from synevo.wiring.masks import Masks, by_unit, from_units
from synevo.wiring.units import Wiring


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
    environment: Environment,
    gains: NDArray[np.float64] | None = None,
) -> Offspring:
    """Sample an offspring of the parent with these `weights` and `masks` (arrays by layer name, in the layers' shapes).

    Only the sizes of the weights count: they may be any worth of the synapses that `synevo.genetics.heredity` knows.
    The offspring's masks have the parent's shapes and are a subset of the parent's. `gains` [units + derived] are those
    of `synevo.genetics.removal.measure`, for a heredity of measured clusters and no other (ValueError); filters that
    can never be removed then survive.
    """
    if HEREDITIES[encoding.heredity].measured != (gains is not None):
        raise ValueError(f"gains are for a heredity that is measured, and {encoding.heredity} was given {gains}")
    kinds = [clusters(layer, encoding.cluster) for layer in wiring.layers]
    tied = ties(wiring, encoding.cluster)
    views = [np.asarray(by_unit(layer, np.asarray(weights[layer.name]))) for layer in wiring.layers]
    alive = [by_unit(layer, masks[layer.name]) for layer in wiring.layers]
    keys = derive(key, "clusters"), derive(key, "synapses"), derive(key, "shuffle")
    with jax.enable_x64(True):
        sampled, expected = _sample(
            keys,
            views,
            alive,
            [kind.groups for kind in kinds],
            [list(tie.ids) for tie in tied],
            [tie.permanent[None] & (encoding.spare_outputs or gains is not None) for tie in tied],
            None if gains is None else [value_clusters(wiring, tie, gains)[None] for tie in tied],
            (environment.keep_clusters, environment.keep_synapses),
            ties=tuple((tie.layers, tie.count) for tie in tied),
            counts=tuple(kind.count for kind in kinds),
            encoding_plan=encoding,
            scopes=(environment.cluster_scope, environment.synapse_scope),
        )
        return Offspring(
            {
                layer.name: from_units(layer, np.asarray(mask), masks[layer.name].shape)
                for layer, mask in zip(wiring.layers, sampled, strict=True)
            },
            float(expected),
        )


@partial(jax.jit, static_argnames=("ties", "counts", "encoding_plan", "scopes"))
def _sample(
    keys: tuple[Array, Array, Array],
    weights: list[Array],
    alive: list[Array],
    groups: list[Array],
    ids: list[list[Array]],
    spared: list[Array],
    gains: list[Array] | None,
    keep: tuple[Array, Array],
    *,
    ties: tuple[tuple[tuple[int, ...], int], ...],
    counts: tuple[int, ...],
    encoding_plan: EncodingPlan,
    scopes: tuple[Scope, Scope],
) -> tuple[list[Array], Array]:
    """Masks [inputs, outputs, places] of every layer, and the expected number of surviving synapses."""
    heredity = HEREDITIES[encoding_plan.heredity]
    certain = heredity.sharpness == inf
    press, sharpen = (select, 1.0) if certain else (soften, heredity.sharpness)
    keep_clusters = keep[0] if heredity.clustered else 1.0
    weights = [weight.astype(jnp.float64) for weight in weights]
    places = {
        layer: own for (layers, _), tie in zip(ties, ids, strict=True) for layer, own in zip(layers, tie, strict=True)
    }
    of_tie = {layer: number for number, (layers, _) in enumerate(ties) for layer in layers}
    gathered = [
        _gather_clusters(
            [(weights[i], alive[i], groups[i], counts[i], places[i]) for i in layers], count, encoding_plan
        )
        for layers, count in ties
    ]
    living = [size > 0 for _, size in gathered]
    spared = [jnp.broadcast_to(one, own.shape) for one, own in zip(spared, living, strict=True)]
    mortal = [own & ~one for own, one in zip(living, spared, strict=True)]
    sharing = _scopes(len(ties), scopes[0])
    of_clusters = _encode_clusters(gathered, gains, mortal, sharing, encoding_plan, sharpen)
    of_synapses = _encode_synapses(weights, alive, _scopes(len(weights), scopes[1]), encoding_plan, sharpen)

    def spread(clusters: Mapping[int, Array], layer: int) -> Array:
        """What is known of each cluster, at each synapse [inputs, outputs, 1] of a layer."""
        return clusters[of_tie[layer]][groups[layer]][:, places[layer], None]

    surviving: dict[int, Array] = {}
    for members in sharing:
        chances = [of_clusters[t] for t in members]
        ones = [mortal[t].astype(jnp.float64) for t in members]
        survival = press(chances, ones, keep_clusters * _total(ones))
        surviving |= {t: jnp.where(spared[t], 1.0, p) for t, p in zip(members, survival, strict=True)}
    drawn = dict(enumerate(_draw(keys[0], [surviving[t] for t in range(len(ties))])))
    living_on: dict[int, Array] = {}
    for members in _scopes(len(weights), scopes[1]):
        weighing = [jnp.broadcast_to(spread(surviving, i), of_synapses[i].shape) for i in members]
        allowed = keep[1] * _total([alive[i] for i in members])
        survival = press([of_synapses[i] for i in members], weighing, allowed)
        living_on |= dict(zip(members, survival, strict=True))
    layers = range(len(weights))
    synapses = _draw(keys[1], [living_on[i] for i in layers])
    sampled = [alive[i] & spread(drawn, i) & synapses[i] for i in layers]
    if heredity.shuffled:
        clusters_key, synapses_key = jax.random.split(keys[2])
        moved = _move(clusters_key, [drawn[t] & can for t, can in enumerate(mortal)], mortal)
        moved = [those | one for those, one in zip(moved, spared, strict=True)]
        sampled = _move(synapses_key, sampled, [alive[i] & spread(dict(enumerate(moved)), i) for i in layers])
    expected = [jnp.sum(spread(surviving, i) * living_on[i]) for i in layers]
    return sampled, jnp.sum(jnp.stack(expected))


def _gather_clusters(
    layers: list[tuple[Array, Array, Array, int, Array]], count: int, plan: EncodingPlan
) -> tuple[Array, Array]:
    """Σ⌊w⌋ and size of each cluster [groups of inputs, count] of layers that share them; all their synapses count."""
    strengths: list[Array] = []
    synapses: list[Array] = []
    for weights, alive, groups, inputs, places in layers:
        parts = encoding.sum_clusters(weights, alive, groups, count=inputs, truncation=plan.truncation)
        for whole, part in zip((strengths, synapses), parts, strict=True):
            whole.append(jnp.zeros((inputs, count), part.dtype).at[:, places].add(part))
    return sum(strengths[1:], start=strengths[0]), sum(synapses[1:], start=synapses[0])


def _encode_clusters(
    gathered: list[tuple[Array, Array]],
    gains: list[Array] | None,
    mortal: list[Array],
    sharing: list[list[int]],
    plan: EncodingPlan,
    sharpen: float,
) -> list[Array]:
    """P of every cluster, from Σ⌊w⌋ and size of each, or from the `gains` where they were measured."""
    sharpness = sharpen * plan.cluster_sharpness
    if gains is None:
        return [
            encoding.survival(strength, size > 0, sharpness=sharpness, normaliser=plan.normaliser)
            for strength, size in gathered
        ]
    return _share(
        sharing,
        lambda members: encoding.encode_gains(
            [gains[t] for t in members], [mortal[t] for t in members], sharpness=sharpness
        ),
    )


def _encode_synapses(
    weights: list[Array], alive: list[Array], sharing: list[list[int]], plan: EncodingPlan, sharpen: float
) -> list[Array]:
    """P of every synapse: z is its layer's or, where worths compare, that of all layers that share a factor."""
    sharpness = sharpen * plan.synapse_sharpness
    if not HEREDITIES[plan.heredity].comparable:
        return [
            encoding.encode_synapses(weight, living, sharpness=sharpness, normaliser=plan.normaliser)
            for weight, living in zip(weights, alive, strict=True)
        ]
    return _share(
        sharing,
        lambda members: encoding.encode_together(
            [weights[i] for i in members], [alive[i] for i in members], sharpness=sharpness
        ),
    )


def _share(sharing: list[list[int]], encode: Callable[[list[int]], list[Array]]) -> list[Array]:
    """What `encode` gives for the members of each group, in the members' order."""
    shared: dict[int, Array] = {}
    for members in sharing:
        shared |= dict(zip(members, encode(members), strict=True))
    return [shared[i] for i in range(len(shared))]


def _scopes(count: int, scope: Scope) -> list[list[int]]:
    """Which of `count` layers (or sets of layers that share clusters) share one environmental factor."""
    return [list(range(count))] if scope == "network" else [[i] for i in range(count)]


def _total(parts: list[Array]) -> Array:
    return jnp.sum(jnp.stack([jnp.sum(part, dtype=jnp.float64) for part in parts]))


def _draw(key: Array, probabilities: list[Array]) -> list[Array]:
    """True with the given probabilities, from 32 random bits an element."""
    sizes = [p.size for p in probabilities]
    bits = jax.random.bits(key, (sum(sizes),), jnp.uint32)
    parts = jnp.split(bits, np.cumsum(sizes)[:-1])
    return [
        part.reshape(p.shape).astype(jnp.float64) < p * 2.0**32 for part, p in zip(parts, probabilities, strict=True)
    ]


def _move(key: Array, drawn: list[Array], among: list[Array]) -> list[Array]:
    """As many of each array as are drawn, or as there are, but any `among` those that may be."""
    moved = []
    for number, (chosen, able) in enumerate(zip(drawn, among, strict=True)):
        bits = jax.random.bits(jax.random.fold_in(key, number), chosen.shape, jnp.uint32).astype(jnp.int64)
        rank = jnp.argsort(jnp.argsort(jnp.where(able, bits, 2**32).ravel())).reshape(chosen.shape)
        moved.append(able & (rank < chosen.sum()))
    return moved
