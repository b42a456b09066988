"""Synthesis: an offspring's architecture, sampled from the genetic encoding of its parent in its environment.

    P(H_g | H_{g-1}, R_g) = Π_c [ P(s_c | W, R^c) · Π_{j∈c} P(s_j | w_j, R^s) ]        1709.02043 eq. 2

Clusters are sampled first; a synapse survives if both its cluster and the synapse itself are drawn. The whole network
is one program on the device. Everything is computed in double precision from counter-based random bits, so that the
rounding of a backend does not decide what lives.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import inf
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.genetics import encoding
from synevo.genetics.clusters import clusters, ties, value_clusters
from synevo.genetics.environment import grouped, select, soften
from synevo.genetics.heredity import HEREDITIES, Worth
from synevo.keys import derive
from synevo.plan.fields import EncodingPlan, Environment, Scope
from synevo.wiring.masks import Masks, by_unit, from_units
from synevo.wiring.programs import for_one_run
from synevo.wiring.units import Wiring

RUN_ONCE = 10_000_000
"""The most synapses with which compiling takes longer than running. Every offspring has other sizes: its synthesis is
compiled to run once."""


@dataclass(frozen=True)
class Sample:
    """The sampled masks, and the expected number of surviving synapses."""

    masks: Masks
    expected_synapses: float


class _Layer(NamedTuple):
    """The synapses of a layer [inputs, outputs, places], and the cluster of each.

    The cluster of a synapse is number `group[input], place[output]` of the clusters of its tie.
    """

    weights: Any
    alive: Any
    group: Any
    place: Any


class _Tie(NamedTuple):
    """The clusters [groups of inputs, count] of layers that share them.

    `spared` ones survive for certain; `gains` is the increase of the loss without each, where that was measured.
    """

    spared: Any
    gains: Any


@dataclass(frozen=True)
class _Layout:
    """The layers of each tie, the numbers of its clusters, and the groups of inputs of each layer; static.

    `whole` are the layers whose synapses cannot die alone (`Layer.grain`).
    """

    ties: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]
    groups: tuple[int, ...]
    whole: tuple[int, ...] = ()

    @property
    def tie_of(self) -> dict[int, int]:
        """The number of the tie of each layer."""
        return {layer: number for number, layers in enumerate(self.ties) for layer in layers}


def synthesise(
    key: Array,
    wiring: Wiring,
    worth: Worth,
    masks: Masks,
    *,
    encoding_plan: EncodingPlan,
    environment: Environment,
) -> Sample:
    """Sample an offspring of the parent with these `masks` (1709.02043 eq. 2), by the `worth` of synapses and clusters.

    Arrays of synapses are by layer name and in the layers' shapes. The offspring's masks have the parent's shapes and
    are a subset of the parent's. If clusters were measured, filters that can never be removed survive. Filters of units
    that the wiring keeps always survive. If filters live and die in groups (`Environment.multiple`), at least one group
    of each layer survives, or what it has of permanent ones.
    """
    kinds = [clusters(layer, encoding_plan.cluster) for layer in wiring.layers]
    tied = ties(wiring, encoding_plan.cluster)
    places = {number: ids for tie in tied for number, ids in zip(tie.layers, tie.ids, strict=True)}
    gains, spare = worth.clusters, encoding_plan.spare_outputs or worth.clusters is not None
    layers = [
        _Layer(
            np.asarray(by_unit(layer, np.asarray(worth.synapses[layer.name]))),
            by_unit(layer, masks[layer.name]),
            kind.groups,
            places[number],
        )
        for number, (layer, kind) in enumerate(zip(wiring.layers, kinds, strict=True))
    ]
    staying = np.append(wiring.fates(wiring.staying()), False) & (encoding_plan.cluster == "filter")
    known = [
        _Tie(
            (tie.permanent & spare | value_clusters(wiring, tie, staying))[None],
            None if gains is None else value_clusters(wiring, tie, gains)[None],
        )
        for tie in tied
    ]
    keys = derive(key, "clusters"), derive(key, "synapses"), derive(key, "shuffle")
    layout = _Layout(
        tuple(tie.layers for tie in tied),
        tuple(tie.count for tie in tied),
        tuple(kind.count for kind in kinds),
        tuple(number for number, layer in enumerate(wiring.layers) if layer.grain != "synapse"),
    )
    with jax.enable_x64(True):
        keep = environment.keep_clusters, environment.keep_synapses
        scopes = environment.cluster_scope, environment.synapse_scope
        multiple = environment.multiple if encoding_plan.cluster == "filter" else 1
        once = sum(layer.weights.size for layer in layers) <= RUN_ONCE
        sampled, expected = _compiled(once=once)(
            keys, layers, known, keep, layout=layout, plan=encoding_plan, scopes=scopes, multiple=multiple
        )
        drawn = {
            layer.name: from_units(layer, np.asarray(mask), masks[layer.name].shape)
            for layer, mask in zip(wiring.layers, sampled, strict=True)
        }
        return Sample(drawn, float(expected))


@cache
def _compiled(*, once: bool) -> Callable[..., tuple[list[Array], Array]]:
    """Return `_sample` as a program; `once` compiles it for one run, in half of the time."""
    compile_ = for_one_run if once else jax.jit
    return compile_(_sample, static_argnames=("layout", "plan", "scopes", "multiple"))


def _sample(
    keys: tuple[Array, Array, Array],
    layers: list[_Layer],
    known: list[_Tie],
    keep: tuple[Array, Array],
    *,
    layout: _Layout,
    plan: EncodingPlan,
    scopes: tuple[Scope, Scope],
    multiple: int,
) -> tuple[list[Array], Array]:
    """Sample masks [inputs, outputs, places] of every layer; also return the expected number of surviving synapses."""
    heredity = HEREDITIES[plan.heredity]
    certain = heredity.sharpness == inf
    press, sharpen = (select, 1.0) if certain else (soften, heredity.sharpness)
    layers = [layer._replace(weights=layer.weights.astype(jnp.float64)) for layer in layers]
    numbers = range(len(layers))
    gathered = [
        _gather_clusters([(layers[i], layout.groups[i]) for i in members], count, plan.truncation)
        for members, count in zip(layout.ties, layout.counts, strict=True)
    ]
    living = [size > 0 for _, size in gathered]
    spared = [jnp.broadcast_to(tie.spared, own.shape) for tie, own in zip(known, living, strict=True)]
    mortal = [own & ~one for own, one in zip(living, spared, strict=True)]
    sharing = _scopes(len(known), scopes[0])
    of_clusters = _encode_clusters(gathered, [tie.gains for tie in known], mortal, sharing, plan, sharpen)
    leaders: list[Array] | None = None
    if multiple > 1:
        herds = [grouped(p, can, multiple) for p, can in zip(of_clusters, mortal, strict=True)]
        of_clusters, leaders = [mean for mean, _, _ in herds], [first for _, first, _ in herds]
        stay = [best & ~one.any() for (_, _, best), one in zip(herds, spared, strict=True)]
        spared = [one | kept for one, kept in zip(spared, stay, strict=True)]
        mortal = [can & ~kept for can, kept in zip(mortal, stay, strict=True)]
    of_synapses = _encode_synapses(layers, _scopes(len(layers), scopes[1]), plan, sharpen)

    def spread(clusters: list[Array], number: int) -> Array:
        """Return the value of each cluster at each synapse [inputs, outputs, 1] of a layer."""
        layer = layers[number]
        return clusters[layout.tie_of[number]][layer.group][:, layer.place, None]

    keep_clusters = keep[0] if heredity.clustered else 1.0
    survive = [jnp.ones(()) for _ in known]
    for members in sharing:
        ones = [mortal[t].astype(jnp.float64) for t in members]
        survival = press([of_clusters[t] for t in members], ones, keep_clusters * _total(ones))
        for t, p in zip(members, survival, strict=True):
            survive[t] = jnp.where(spared[t], 1.0, p if leaders is None else p.ravel()[leaders[t]])
    drawn = _draw(keys[0], survive)
    if leaders is not None:
        drawn = [one.ravel()[first] for one, first in zip(drawn, leaders, strict=True)]
    live_on = [layer.alive.astype(jnp.float64) for layer in layers]
    for group in _scopes(len(layers), scopes[1]):
        members = [i for i in group if i not in layout.whole]
        if not members:
            continue
        weighing = [jnp.broadcast_to(spread(survive, i), of_synapses[i].shape) for i in members]
        allowed = keep[1] * _total([layers[i].alive for i in members])
        for i, p in zip(members, press([of_synapses[i] for i in members], weighing, allowed), strict=True):
            live_on[i] = p
    synapses = _draw(keys[1], live_on)
    sampled = [layers[i].alive & spread(drawn, i) & synapses[i] for i in numbers]
    if heredity.shuffled:
        clusters_key, synapses_key = jax.random.split(keys[2])
        moved = _redraw(clusters_key, [drawn[t] & can for t, can in enumerate(mortal)], mortal)
        moved = [those | one for those, one in zip(moved, spared, strict=True)]
        able = [layers[i].alive & spread(moved, i) for i in numbers]
        redrawn = _redraw(synapses_key, sampled, able)
        sampled = [able[i] if i in layout.whole else redrawn[i] for i in numbers]
    expected = [jnp.sum(spread(survive, i) * live_on[i]) for i in numbers]
    return sampled, jnp.sum(jnp.stack(expected))


def _gather_clusters(layers: list[tuple[_Layer, int]], count: int, truncation: float) -> tuple[Array, Array]:
    """Return Σ⌊w⌋ and size of each cluster [groups of inputs, count] of layers that share them, over all these layers.

    Each layer comes with its number of groups of inputs.
    """
    strengths: list[Array] = []
    synapses: list[Array] = []
    for layer, groups in layers:
        parts = encoding.sum_clusters(layer.weights, layer.alive, layer.group, count=groups, truncation=truncation)
        for whole, part in zip((strengths, synapses), parts, strict=True):
            whole.append(jnp.zeros((groups, count), part.dtype).at[:, layer.place].add(part))
    return sum(strengths[1:], start=strengths[0]), sum(synapses[1:], start=synapses[0])


def _encode_clusters(
    gathered: list[tuple[Array, Array]],
    gains: list[Array | None],
    mortal: list[Array],
    sharing: list[list[int]],
    plan: EncodingPlan,
    sharpen: float,
) -> list[Array]:
    """Return P of every cluster, from Σ⌊w⌋ and size of each, or from the `gains` where they were measured."""
    sharpness = sharpen * plan.cluster_sharpness
    measured = [gain for gain in gains if gain is not None]
    if not measured:
        return [
            encoding.survival(strength, size > 0, sharpness=sharpness, normaliser=plan.normaliser)
            for strength, size in gathered
        ]
    return _share(
        sharing,
        lambda members: encoding.encode_gains(
            [measured[t] for t in members], [mortal[t] for t in members], sharpness=sharpness
        ),
    )


def _encode_synapses(layers: list[_Layer], sharing: list[list[int]], plan: EncodingPlan, sharpen: float) -> list[Array]:
    """Return P of every synapse; z is its layer's or, if worths compare, that of all layers with the same factor."""
    sharpness = sharpen * plan.synapse_sharpness
    if not HEREDITIES[plan.heredity].comparable:
        return [
            encoding.encode_synapses(layer.weights, layer.alive, sharpness=sharpness, normaliser=plan.normaliser)
            for layer in layers
        ]
    return _share(
        sharing,
        lambda members: encoding.encode_together(
            [layers[i].weights for i in members], [layers[i].alive for i in members], sharpness=sharpness
        ),
    )


def _share(sharing: list[list[int]], encode: Callable[[list[int]], list[Array]]) -> list[Array]:
    """Return the results of `encode` for the members of each group, in the members' order."""
    shared: dict[int, Array] = {}
    for members in sharing:
        shared |= dict(zip(members, encode(members), strict=True))
    return [shared[i] for i in range(len(shared))]


def _scopes(count: int, scope: Scope) -> list[list[int]]:
    """Group `count` layers (or sets of layers that share clusters) by the environmental factor that they share."""
    return [list(range(count))] if scope == "network" else [[i] for i in range(count)]


def _total(parts: list[Array]) -> Array:
    return jnp.sum(jnp.stack([jnp.sum(part, dtype=jnp.float64) for part in parts]))


def _draw(key: Array, probabilities: list[Array]) -> list[Array]:
    """Draw True with the given probabilities, from 32 random bits an element."""
    sizes = [p.size for p in probabilities]
    bits = jax.random.bits(key, (sum(sizes),), jnp.uint32)
    parts = jnp.split(bits, np.cumsum(sizes)[:-1])
    return [
        part.reshape(p.shape).astype(jnp.float64) < p * 2.0**32 for part, p in zip(parts, probabilities, strict=True)
    ]


def _redraw(key: Array, drawn: list[Array], among: list[Array]) -> list[Array]:
    """Redraw each array: it keeps its number of true entries, at random places where `among` allows one."""
    moved = []
    for number, (chosen, able) in enumerate(zip(drawn, among, strict=True)):
        bits = jax.random.bits(jax.random.fold_in(key, number), chosen.shape, jnp.uint32).astype(jnp.int64)
        rank = jnp.argsort(jnp.argsort(jnp.where(able, bits, 2**32).ravel())).reshape(chosen.shape)
        moved.append(able & (rank < chosen.sum()))
    return moved
