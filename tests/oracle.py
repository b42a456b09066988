"""The equations of METHOD 2 and 3, one synapse at a time: slow, plain, and sharing nothing with synevo.

A layer is a kernel [..., in, out]. `channels` says how many input channels feed it: the rows of a matrix behind a
flatten go round and round through them. A synapse is known by its index, a cluster by (input channel, output) or by its
output alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, sqrt

import numpy as np

Index = tuple[int, ...]
Cluster = tuple[int, ...]


@dataclass(frozen=True)
class Layer:
    """The parent's weights and living synapses of one layer, and what its synapses are clustered by."""

    weights: np.ndarray
    alive: np.ndarray
    channels: int
    kind: str

    def synapses(self) -> Iterator[Index]:
        """The living synapses."""
        for index in np.ndindex(self.weights.shape):
            if self.alive[index]:
                yield index

    def cluster(self, index: Index) -> Cluster:
        """The cluster of a synapse."""
        return (index[-2] % self.channels, index[-1]) if self.kind == "kernel" else (index[-1],)

    def strength(self, index: Index) -> float:
        return abs(float(self.weights[index]))


def rms(values: list[float]) -> float:
    return sqrt(sum(value * value for value in values) / len(values)) if values else 0.0


def normaliser(values: list[float], name: str) -> float:
    return max(values, default=0.0) if name == "max" else rms(values)


def probability(strength: float, scale: float, sharpness: float) -> float:
    return min(1.0, exp(sharpness * ((strength / scale if scale else 0.0) - 1)))


def encode_clusters(*layers: Layer, truncation: float, sharpness: float, name: str) -> dict[Cluster, float]:
    """P(s_c = 1) of every living cluster (eq. 6) of a layer, or of layers whose clusters of one name are one."""
    sums: dict[Cluster, float] = {}
    for layer in layers:
        threshold = truncation * rms([layer.strength(index) for index in layer.synapses()])
        for index in layer.synapses():
            strength = layer.strength(index)
            sums.setdefault(layer.cluster(index), 0.0)
            sums[layer.cluster(index)] += strength if strength >= threshold else 0.0
    scale = normaliser(list(sums.values()), name)
    return {cluster: probability(total, scale, sharpness) for cluster, total in sums.items()}


def encode_synapses(layer: Layer, *, sharpness: float, name: str) -> dict[Index, float]:
    """P(s_j = 1) of every living synapse (eq. 7)."""
    scale = normaliser([layer.strength(index) for index in layer.synapses()], name)
    return {index: probability(layer.strength(index), scale, sharpness) for index in layer.synapses()}


def bisect_factor(terms: list[tuple[float, float]], expected: float) -> float:
    """The F with sum of m * min(1, F * P) = expected, over `terms` (P, m); the largest that matters where none is."""

    def survive(factor: float) -> float:
        return sum(m * min(1.0, factor * p) for p, m in terms)

    low, high = 0.0, 1.0 / min((p for p, _ in terms if p > 0), default=1.0)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if survive(middle) < expected else (low, middle)
    return high


@dataclass(frozen=True)
class Survival:
    """How likely each cluster of a layer survives, and each synapse in a surviving cluster."""

    layer: Layer
    clusters: dict[Cluster, float]
    synapses: dict[Index, float]

    def marginal(self) -> np.ndarray:
        """How likely each synapse survives, in the shape of the layer."""
        whole = np.zeros(self.layer.weights.shape)
        for index, chance in self.synapses.items():
            whole[index] = self.clusters[self.layer.cluster(index)] * chance
        return whole

    def variance(self) -> float:
        """The variance of the number of surviving synapses: clusters are drawn apart, synapses within them too."""
        total = 0.0
        for cluster, q in self.clusters.items():
            chances = [p for index, p in self.synapses.items() if self.layer.cluster(index) == cluster]
            total += q * sum(p * (1 - p) for p in chances) + q * (1 - q) * sum(chances) ** 2
        return total


def press(
    layers: list[Layer],
    *,
    keep_clusters: float,
    keep_synapses: float,
    truncation: float,
    sharpness: tuple[float, float],
    name: str,
    shared: tuple[bool, bool],
    tied: list[list[int]] | None = None,
    spared: tuple[int, ...] = (),
) -> list[Survival]:
    """The survival of all layers in an environment.

    `sharpness`, and whether one factor is `shared` by all layers or each has its own, are those of the clusters and of
    the synapses. `tied` are the layers that share their clusters; where unset, each has its own. Of the layers
    that are `spared` all clusters survive, and none is counted.
    """
    sets = tied or [[n] for n in range(len(layers))]
    clusters = [
        encode_clusters(*(layers[n] for n in members), truncation=truncation, sharpness=sharpness[0], name=name)
        for members in sets
    ]
    pressed: dict[int, dict[Cluster, float]] = {}
    for n, members in enumerate(sets):
        scope = range(len(sets)) if shared[0] else [n]
        terms = [(p, 1.0) for k in scope if not {*sets[k]} & {*spared} for p in clusters[k].values()]
        factor = bisect_factor(terms, keep_clusters * len(terms))
        safe = bool({*members} & {*spared})
        survival = {c: 1.0 if safe else min(1.0, factor * p) for c, p in clusters[n].items()}
        pressed |= dict.fromkeys(members, survival)
    synapses = [encode_synapses(layer, sharpness=sharpness[1], name=name) for layer in layers]
    survivals = []
    for n, layer in enumerate(layers):
        scope = range(len(layers)) if shared[1] else range(n, n + 1)
        terms = [(p, pressed[k][layers[k].cluster(index)]) for k in scope for index, p in synapses[k].items()]
        factor = bisect_factor(terms, keep_synapses * len(terms))
        survivals.append(Survival(layer, pressed[n], {i: min(1.0, factor * p) for i, p in synapses[n].items()}))
    return survivals


@dataclass(frozen=True)
class Mate:
    """A layer of one parent, the biases of its filters, and how much the parent counts."""

    layer: Layer
    biases: np.ndarray
    weight: float

    def has(self, filter_: int) -> bool:
        """Whether a filter lives: whether any of its synapses does."""
        return any(index[-1] == filter_ for index in self.layer.synapses())


def count_holders(*parents: list[Mate]) -> dict[Cluster, int]:
    """How many parents hold each cluster; the layers of a parent share the clusters that have one name."""
    holders: dict[Cluster, int] = {}
    for layers in parents:
        for cluster in {one.layer.cluster(index) for one in layers for index in one.layer.synapses()}:
            holders[cluster] = holders.get(cluster, 0) + 1
    return holders


def mate_synapse(mates: list[Mate], index: Index, *, product: bool) -> float:
    """The weight that parents make of a synapse which at least one of them has."""
    own = [float(one.layer.weights[index]) if one.layer.alive[index] else 0.0 for one in mates]
    counting = [one.weight if one.has(index[-1]) else 0.0 for one in mates]
    mean = sum(a * w for a, w in zip(counting, own, strict=True)) / sum(counting)
    if not product or not all(one.layer.alive[index] for one in mates):
        return mean
    size = 1.0
    for one, weight in zip(mates, own, strict=True):
        size *= abs(weight) ** (one.weight / sum(mate.weight for mate in mates))
    return size if mean > 0 else -size


def mate_masks(
    mates: list[Mate], holders: dict[Cluster, int], *, product: bool, share: float, parents: int
) -> np.ndarray:
    """The synapses that parents make: those of all or of any of them, in clusters that enough of them hold."""
    mask = np.zeros(mates[0].layer.weights.shape, bool)
    for index in np.ndindex(mask.shape):
        alive = [bool(one.layer.alive[index]) for one in mates]
        enough = holders.get(mates[0].layer.cluster(index), 0) / parents >= share
        mask[index] = enough and (all(alive) if product else any(alive))
    return mask


def mate_bias(mates: list[Mate], filter_: int) -> float | None:
    """The bias of a filter, or None where no parent has it."""
    having = [one for one in mates if one.has(filter_)]
    if not having:
        return None
    return sum(one.weight * float(one.biases[filter_]) for one in having) / sum(one.weight for one in having)
