"""Synthesis: what is sampled, how often, and that it depends on nothing but the key, the weights and the plan."""

import hashlib
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from specimens import Residual, Specimen, chain, random_masks, specimen

from synevo import keys
from synevo.genetics import synthesis
from synevo.genetics.heredity import Worth
from synevo.genetics.synthesis import Sample, synthesise
from synevo.plan.fields import EncodingPlan, Environment, Scope
from synevo.wiring.masks import Masks
from synevo.wiring.units import Wiring

pytestmark = pytest.mark.slow

CHANNELS = {"conv1/kernel": 1, "conv2/kernel": 6, "full/kernel": 8, "classifier/kernel": 12}

ENCODING = EncodingPlan(cluster="kernel", cluster_sharpness=2.0, synapse_sharpness=3.0)
ENVIRONMENT = Environment(keep_clusters=0.8, keep_synapses=0.5)
SHARED = ENVIRONMENT._replace(cluster_scope="network", synapse_scope="network")
MIXED = ENVIRONMENT._replace(synapse_scope="network")

DRAWS = 600


def weights_of(tiny: Specimen) -> dict[str, np.ndarray]:
    """Weights whose layers differ: in the first all are equally strong, so it is the favourite of a shared factor."""
    weights = {name: np.asarray(tiny.network.parameters[name]) for name in CHANNELS}
    return weights | {"conv1/kernel": np.sign(weights["conv1/kernel"])}


def draw(tiny: Specimen, parent: Masks, environment: Environment, *seeds: int) -> list[Sample]:
    weights = weights_of(tiny)
    return [
        synthesise(
            keys.root(seed), tiny.wiring, Worth(weights), parent, encoding_plan=ENCODING, environment=environment
        )
        for seed in seeds
    ]


@pytest.fixture(scope="module")
def parent(tiny: Specimen) -> Masks:
    """A parent of which three quarters live, the very first synapse among them."""
    masks = random_masks(tiny, 0.75, 1)
    masks["conv1/kernel"][:, :, 0, 0] = True
    return masks


def expect(tiny: Specimen, parent: Masks, environment: Environment) -> list[oracle.Survival]:
    """What the oracle expects of the plans of this module."""
    weights = weights_of(tiny)
    layers = [
        oracle.Layer(weights[name].astype(float), parent[name], channels, "kernel")
        for name, channels in CHANNELS.items()
    ]
    return oracle.press(
        layers,
        keep_clusters=0.8,
        keep_synapses=0.5,
        truncation=1.0,
        sharpness=(2.0, 3.0),
        name="max",
        shared=(environment.cluster_scope == "network", environment.synapse_scope == "network"),
    )


def check_frequencies(
    offspring: list[Sample], expected: dict[str, oracle.Survival], *, at_least: int, slack: float = 0.3
) -> None:
    """Each frequency is within 5 standard deviations of its chance, and all together are as far as by chance."""
    scores = []
    for name, survival in expected.items():
        chance = survival.marginal()
        frequency = np.mean([child.masks[name] for child in offspring], axis=0)
        certain = (chance < 1e-12) | (chance > 1 - 1e-12)
        np.testing.assert_allclose(frequency[certain], chance[certain], atol=1e-12)
        deviation = np.sqrt(chance * (1 - chance) / len(offspring))
        scores.extend(((frequency - chance)[~certain] / deviation[~certain]).tolist())
    assert len(scores) >= at_least
    assert np.abs(scores).max() < 5
    assert np.square(scores).mean() == pytest.approx(1, abs=slack)


def test_every_synapse_survives_as_often_as_the_oracle_says(tiny: Specimen, parent: Masks) -> None:
    offspring = draw(tiny, parent, ENVIRONMENT, *range(DRAWS))
    check_frequencies(offspring, dict(zip(CHANNELS, expect(tiny, parent, ENVIRONMENT), strict=True)), at_least=500)


TIED = {"stem": 1, "block1": 5, "inner2": 5, "outer2": 7, "classifier": 5}
"""The layers of the residual network: of these the first, second and fourth write to the same units."""


@pytest.mark.parametrize(("scope", "spared"), [("layer", True), ("layer", False), ("network", True)])
def test_filters_that_a_residual_sum_ties_together_survive_as_often_as_the_oracle_says(
    scope: Scope,
    spared: bool,  # noqa: FBT001
) -> None:
    of = specimen(Residual)
    parent, weights = random_masks(of, 0.8, 1), {name: np.asarray(a) for name, a in of.network.parameters.items()}
    plan = ENVIRONMENT._replace(keep_clusters=0.7, cluster_scope=scope, synapse_scope="network")
    encoding = ENCODING.model_copy(update={"cluster": "filter", "spare_outputs": spared})
    layers = [
        oracle.Layer(weights[f"{name}/kernel"].astype(float), parent[f"{name}/kernel"], channels, "filter")
        for name, channels in TIED.items()
    ]
    expected = oracle.press(
        layers,
        keep_clusters=0.7,
        keep_synapses=0.5,
        truncation=1.0,
        sharpness=(2.0, 3.0),
        name="max",
        shared=(scope == "network", True),
        tied=[[0, 1, 3], [2], [4]],
        spared=(4,) if spared else (),
    )
    offspring = [
        synthesise(keys.root(seed), of.wiring, Worth(weights), parent, encoding_plan=encoding, environment=plan)
        for seed in range(DRAWS)
    ]
    names = [f"{name}/kernel" for name in TIED]
    slack = 0.35 if scope == "network" else 0.3  # fewer filters die apart from each other
    check_frequencies(offspring, dict(zip(names, expected, strict=True)), at_least=400, slack=slack)


def test_filters_that_a_residual_sum_ties_together_live_or_die_together() -> None:
    of = specimen(Residual)
    parent = random_masks(of, 2.0, 0)
    weights = {name: np.ones(mask.shape, np.float32) for name, mask in parent.items()}
    half = Environment(keep_clusters=0.5, keep_synapses=0.5, cluster_scope="network", synapse_scope="network")
    child = synthesise(
        keys.root(1),
        of.wiring,
        Worth(weights),
        parent,
        encoding_plan=EncodingPlan(cluster="filter", spare_outputs=False),
        environment=half,
    )
    for unit in range(5):
        fates = [child.masks[f"{name}/kernel"][..., unit] for name in ("stem", "block1", "outer2")]
        assert all(fate.all() for fate in fates) or not any(fate.any() for fate in fates)
    assert 0 < child.masks["stem/kernel"].sum() < parent["stem/kernel"].sum()


@pytest.mark.parametrize("environment", [ENVIRONMENT, MIXED, SHARED], ids=["layer", "mixed", "network"])
def test_as_many_synapses_survive_as_the_environment_allows(
    tiny: Specimen, parent: Masks, environment: Environment
) -> None:
    """Means of 200 draws, within 4 standard errors of independent clusters of independent synapses."""
    draws = 200
    offspring = draw(tiny, parent, environment, *range(draws))
    expected = expect(tiny, parent, environment)
    living = sum(mask.sum() for mask in parent.values())
    for child in offspring:
        assert child.expected_synapses == pytest.approx(0.5 * living, rel=1e-9)
    shares = []
    for name, survival in zip(CHANNELS, expected, strict=True):
        counts = [child.masks[name].sum() for child in offspring]
        error = np.sqrt(survival.variance() / draws)
        assert np.mean(counts) == pytest.approx(survival.marginal().sum(), abs=4 * error)
        shares.append(np.mean(counts) / parent[name].sum())
    if environment is ENVIRONMENT:
        assert shares == pytest.approx([0.5] * 4, abs=0.04)
    else:
        total = np.mean([sum(mask.sum() for mask in child.masks.values()) for child in offspring])
        assert total == pytest.approx(0.5 * living, abs=4 * np.sqrt(sum(s.variance() for s in expected) / draws))
        assert shares[0] > 0.65
        assert min(shares) < 0.5


@pytest.mark.parametrize("kind", ["kernel", "filter"])
def test_a_cluster_lives_or_dies_whole(tiny: Specimen, kind: str) -> None:
    """Where all synapses are equally strong and as many may survive as clusters do, no cluster is thinned."""
    wiring = replace(tiny.wiring, layers=tiny.wiring.layers[1:3])
    parent = {layer.name: np.ones(tiny.network.parameters[layer.name].shape, bool) for layer in wiring.layers}
    weights = {name: np.ones(mask.shape, np.float32) for name, mask in parent.items()}
    environment = Environment(keep_clusters=0.5, keep_synapses=0.5, cluster_scope="network", synapse_scope="network")
    offspring = synthesise(
        keys.root(3), wiring, Worth(weights), parent, encoding_plan=EncodingPlan(cluster=kind), environment=environment
    )
    for name, alive in parent.items():
        clusters: dict[Any, set[bool]] = {}
        layer = oracle.Layer(weights[name], alive, CHANNELS[name], kind)
        for index in layer.synapses():
            clusters.setdefault(layer.cluster(index), set()).add(bool(offspring.masks[name][index]))
        assert all(len(fates) == 1 for fates in clusters.values())
        assert {True, False} == {fate for fates in clusters.values() for fate in fates}


def filters_drawn(tiny: Specimen, multiple: int, seeds: int, keep: float = 0.6) -> dict[str, np.ndarray]:
    """Which filters survive in each of many offspring [offspring, filters], where all their synapses do."""
    weights = {name: np.asarray(tiny.network.parameters[name]) for name in CHANNELS}
    parent = {name: np.ones(array.shape, bool) for name, array in weights.items()}
    environment = Environment(keep, 1.0, "network", "network", multiple)
    encoding = EncodingPlan(cluster="filter", cluster_sharpness=2.0)
    drawn = [
        synthesise(
            keys.root(seed), tiny.wiring, Worth(weights), parent, encoding_plan=encoding, environment=environment
        ).masks
        for seed in range(seeds)
    ]
    return {
        name: np.array([masks[name].any(axis=tuple(range(masks[name].ndim - 1))) for masks in drawn])
        for name in list(CHANNELS)[:-1]
    }


@pytest.mark.parametrize("multiple", [2, 3])
def test_filters_live_and_die_in_groups_of_like_strength_and_one_group_of_a_layer_stays(
    tiny: Specimen, multiple: int
) -> None:
    found = filters_drawn(tiny, multiple, 60)
    for name, filters in found.items():
        strengths = oracle.encode_clusters(
            oracle.Layer(
                np.asarray(tiny.network.parameters[name], float),
                np.ones(tiny.network.parameters[name].shape, bool),
                CHANNELS[name],
                "filter",
            ),
            truncation=1.0,
            sharpness=2.0,
            name="max",
        )
        ranked = sorted(range(filters.shape[1]), key=lambda place: -strengths[place,])
        groups = [ranked[start : start + multiple] for start in range(0, len(ranked), multiple)]
        assert filters[:, groups[0]].all()
        for group in groups:
            assert (filters[:, group] == filters[:, group[:1]]).all()
        assert not filters[:, groups[-1]].all()


def test_as_many_filters_survive_in_groups_as_without(tiny: Specimen) -> None:
    """The share of the filters that may die which lives, over many offspring, is the environment's."""
    drawn = filters_drawn(tiny, 2, 300)
    mortal = np.concatenate([filters[:, ~filters.all(axis=0)] for filters in drawn.values()], axis=1)
    share, groups = mortal.mean(), mortal.shape[1] / 2
    assert mortal.shape[1] == (6 - 2) + (8 - 2) + (12 - 2)
    assert abs(share - 0.6) < 5 * np.sqrt(0.6 * 0.4 / (300 * groups))


@pytest.mark.parametrize("environment", [ENVIRONMENT, SHARED], ids=["layer", "network"])
def test_an_offspring_holds_no_synapse_that_its_parent_does_not(
    tiny: Specimen, parent: Masks, environment: Environment
) -> None:
    for child in draw(tiny, parent, environment, *range(20)):
        for name, mask in child.masks.items():
            assert mask.shape == parent[name].shape
            assert not (mask & ~parent[name]).any()
            assert mask.any()


def test_where_all_may_survive_all_do() -> None:
    """One draw of 2^32 decides each synapse, so a chance of 1 must mean certainty, not almost."""
    wiring, weights, parent = matrices()
    everyone = Environment(keep_clusters=1, keep_synapses=1)
    for seed in range(10):
        child = synthesise(
            keys.root(seed), wiring, Worth(weights), parent, encoding_plan=ENCODING, environment=everyone
        )
        for name, mask in child.masks.items():
            np.testing.assert_array_equal(mask, parent[name])


def test_the_same_key_gives_the_same_offspring_and_another_key_another(tiny: Specimen, parent: Masks) -> None:
    one, again, other = draw(tiny, parent, ENVIRONMENT, 7, 7, 8)
    assert all((one.masks[name] == again.masks[name]).all() for name in CHANNELS)
    assert all((one.masks[name] != other.masks[name]).any() for name in CHANNELS)


@pytest.mark.parametrize("most", [0, 10**9])
def test_a_small_offspring_is_compiled_to_run_once_and_is_the_same(
    tiny: Specimen, parent: Masks, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    (usual,) = draw(tiny, parent, ENVIRONMENT, 7)
    asked = []

    def program(*, once: bool) -> Any:
        asked.append(once)
        return compiled(once=once)

    compiled = synthesis._compiled
    monkeypatch.setattr(synthesis, "RUN_ONCE", most)
    monkeypatch.setattr(synthesis, "_compiled", program)
    (found,) = draw(tiny, parent, ENVIRONMENT, 7)
    assert asked == [bool(most)]
    assert all((found.masks[name] == usual.masks[name]).all() for name in CHANNELS)
    assert found.expected_synapses == pytest.approx(usual.expected_synapses, rel=1e-12)


def test_scaling_the_weights_of_a_layer_changes_nothing(tiny: Specimen, parent: Masks) -> None:
    weights = weights_of(tiny)
    scaled = {name: array * np.float32(2.0 ** (3 * n)) for n, (name, array) in enumerate(weights.items())}
    for environment in (ENVIRONMENT, SHARED):
        one, other = (
            synthesise(keys.root(7), tiny.wiring, Worth(w), parent, encoding_plan=ENCODING, environment=environment)
            for w in (weights, scaled)
        )
        assert all((one.masks[name] == other.masks[name]).all() for name in CHANNELS)


def matrices() -> tuple[Wiring, dict[str, np.ndarray], Masks]:
    """A parent of two matrices."""
    wiring, random = chain(20, 35, 10), np.random.default_rng(0)
    weights = {layer.name: random.normal(size=(len(layer.inputs), len(layer.outputs))) for layer in wiring.layers}
    return wiring, weights, {name: random.random(array.shape) < 0.9 for name, array in weights.items()}


def digest() -> str:
    """The masks of ten offspring as one number."""
    wiring, weights, parent = matrices()
    sums = hashlib.sha256()
    for seed in range(10):
        child = synthesise(
            keys.root(seed), wiring, Worth(weights), parent, encoding_plan=ENCODING, environment=ENVIRONMENT
        )
        for name in sorted(child.masks):
            sums.update(np.packbits(child.masks[name]).tobytes())
    return sums.hexdigest()


def test_masks_are_the_same_on_two_devices_with_one_thread_and_fast_mathematics() -> None:
    flags = [
        "--xla_force_host_platform_device_count=2",
        "--xla_cpu_multi_thread_eigen=false",
        "--xla_cpu_enable_fast_math=true",
    ]
    program = "import jax, test_synthesis; print(jax.device_count(), test_synthesis.digest())"
    there = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parent,
        env=os.environ | {"XLA_FLAGS": " ".join(flags), "PYTHONPATH": str(Path(__file__).parents[1])},
        stdout=subprocess.PIPE,
        text=True,
    )
    here = digest()
    assert there.communicate(timeout=120)[0].split() == ["2", here]
