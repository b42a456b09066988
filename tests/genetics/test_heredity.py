"""Heredities: each against a slow account of what it says, on a small parent of which a quarter is dead."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from scipy.stats import spearmanr
from specimens import CLASSES, Specimen, random_masks

from synevo import keys
from synevo.genetics import heredity
from synevo.genetics.clusters import clusters
from synevo.genetics.heredity import HEREDITIES, Worth
from synevo.genetics.organism import Organism
from synevo.genetics.synthesis import Sample, synthesise
from synevo.plan.fields import EncodingPlan, Environment, Scope
from synevo.tasks.classification import normalise
from synevo.tasks.task import Problem, Task
from synevo.wiring.masks import Masks, apply, by_unit

pytestmark = pytest.mark.slow

CHANNELS = {"conv1/kernel": 1, "conv2/kernel": 6, "full/kernel": 8, "classifier/kernel": 12}
ENVIRONMENT = Environment(keep_clusters=0.8, keep_synapses=0.5, cluster_scope="layer", synapse_scope="network")
DRAWS = 400


@pytest.fixture(scope="module")
def parent(tiny: Specimen) -> Masks:
    return random_masks(tiny, 0.75, 2)


@pytest.fixture(scope="module")
def weights(tiny: Specimen) -> dict[str, np.ndarray]:
    return {name: np.asarray(tiny.network.parameters[name]) for name in CHANNELS}


def alive(tiny: Specimen, parent: Masks) -> Organism:
    """The tiny network with these living synapses."""
    return replace(tiny.organism, network=apply(parent, tiny.network), masks=parent)


def draw(
    tiny: Specimen, name: heredity.HeredityName, weights: dict[str, np.ndarray], parent: Masks, seed: int
) -> Sample:
    encoding = EncodingPlan(heredity=name, cluster="filter", cluster_sharpness=2.0, synapse_sharpness=3.0)
    return synthesise(
        keys.root(seed), tiny.wiring, Worth(weights), parent, encoding_plan=encoding, environment=ENVIRONMENT
    )


def expect(
    weights: dict[str, np.ndarray], parent: Masks, *, keep_clusters: float, sharpness: tuple[float, float] = (2.0, 3.0)
) -> dict[str, np.ndarray]:
    """How likely each synapse survives, by the oracle."""
    layers = [
        oracle.Layer(weights[name].astype(float), parent[name], channels, "filter")
        for name, channels in CHANNELS.items()
    ]
    survivals = oracle.press(
        layers,
        keep_clusters=keep_clusters,
        keep_synapses=0.5,
        truncation=1.0,
        sharpness=sharpness,
        name="max",
        shared=(False, True),
        spared=(len(CHANNELS) - 1,),
    )
    return {name: survival.marginal() for name, survival in zip(CHANNELS, survivals, strict=True)}


def check_frequencies(offspring: list[Sample], chances: dict[str, np.ndarray]) -> None:
    for name, chance in chances.items():
        frequency = np.mean([child.masks[name] for child in offspring], axis=0)
        deviation = np.sqrt(chance * (1 - chance) / len(offspring))
        assert (np.abs(frequency - chance) <= 5 * deviation + 1e-9).all(), name


def test_without_clusters_each_synapse_is_drawn_alone(
    tiny: Specimen, weights: dict[str, np.ndarray], parent: Masks
) -> None:
    chances = expect(weights, parent, keep_clusters=1.0)
    check_frequencies([draw(tiny, "synapse", weights, parent, seed) for seed in range(DRAWS)], chances)


def test_at_random_the_weights_do_not_matter(
    tiny: Specimen, weights: dict[str, np.ndarray], parent: Masks, digits: Problem
) -> None:
    worth = {name: np.ones_like(array) for name, array in weights.items()}
    found = heredity.nothing(tiny.organism, digits.task, digits.train, EncodingPlan()).synapses
    assert all((np.asarray(found[name]) == array).all() for name, array in worth.items())
    chances = expect(weights, parent, keep_clusters=0.8, sharpness=(0.0, 0.0))
    for name, chance in chances.items():
        np.testing.assert_allclose(chance[parent[name]], chance[parent[name]][0], rtol=1e-9)
    check_frequencies([draw(tiny, "random", weights, parent, seed) for seed in range(DRAWS)], chances)


def test_by_magnitude_the_strongest_clusters_live_and_the_strongest_synapses_in_them(
    tiny: Specimen, weights: dict[str, np.ndarray], parent: Masks
) -> None:
    """One after the other, strongest first, each measured by the strongest of its layer, until enough live."""
    ranked: list[tuple[float, str, oracle.Index]] = []
    for name, channels in CHANNELS.items():
        layer = oracle.Layer(weights[name].astype(float), parent[name], channels, "filter")
        of_clusters = oracle.encode_clusters(layer, truncation=1.0, sharpness=1.0, name="max")
        allowed = int((1.0 if name == "classifier/kernel" else 0.8) * len(of_clusters) + 1e-9)
        living = set(sorted(of_clusters, key=lambda c: -of_clusters[c])[:allowed])
        of_synapses = oracle.encode_synapses(layer, sharpness=1.0, name="max")
        ranked += [(p, name, index) for index, p in of_synapses.items() if layer.cluster(index) in living]
    ranked.sort(key=lambda one: -one[0])
    expected = {name: np.zeros(array.shape, bool) for name, array in weights.items()}
    for _, name, index in ranked[: sum(mask.sum() for mask in parent.values()) // 2]:
        expected[name][index] = True
    for seed in (0, 1):
        found = draw(tiny, "magnitude", weights, parent, seed)
        for name, mask in expected.items():
            np.testing.assert_array_equal(found.masks[name], mask)


def test_shuffled_as_many_live_in_each_layer_but_any(
    tiny: Specimen, weights: dict[str, np.ndarray], parent: Masks
) -> None:
    """The counts are those of the paper's draw with the same key; what lives does not depend on its strength."""
    gains = []
    for seed in range(40):
        drawn, shuffled = (draw(tiny, name, weights, parent, seed).masks for name in ("cluster", "shuffled"))
        for layer in tiny.wiring.layers:
            name = layer.name
            assert (shuffled[name] <= parent[name]).all()
            kind = clusters(layer, "filter")
            filters = [by_unit(layer, masks[name]).any(axis=(0, 2)).sum() for masks in (drawn, shuffled)]
            room = by_unit(layer, parent[name])[:, by_unit(layer, shuffled[name]).any(axis=(0, 2))].sum()
            assert shuffled[name].sum() == min(drawn[name].sum(), room), (name, kind)
            assert filters[1] <= filters[0] + 1  # a filter may have been drawn of which no synapse was
        sizes = np.abs(weights["full/kernel"])
        gains.append([sizes[masks["full/kernel"]].mean() for masks in (drawn, shuffled)])
    drawn_size, shuffled_size = np.mean(gains, axis=0)
    parent_size = np.abs(weights["full/kernel"])[parent["full/kernel"]].mean()
    assert drawn_size > 1.2 * parent_size
    assert shuffled_size == pytest.approx(parent_size, rel=0.03)


def test_the_influence_of_a_synapse_is_what_the_loss_would_feel_of_its_death(
    tiny: Specimen, parent: Masks, digits: Problem
) -> None:
    """Against central differences in double precision, a batch at a time."""
    organism = alive(tiny, parent)
    network = organism.network
    found = heredity.influence(organism, digits.task, digits.train, EncodingPlan()).synapses
    batches = min(heredity.BATCHES, len(digits.train) // heredity.BATCH)
    assert batches > 1
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        exact = {name: jnp.asarray(np.asarray(array), jnp.float64) for name, array in network.parameters.items()}
        loss = jax.jit(partial(_loss, tiny, digits), static_argnums=1)
        for name in CHANNELS:
            for _ in range(3):
                index = tuple(random.integers(0, size) for size in exact[name].shape)
                step = 1e-5
                total = 0.0
                for batch in range(batches):
                    up, down = (
                        float(loss(exact | {name: exact[name].at[index].add(move)}, batch)) for move in (step, -step)
                    )
                    total += abs(float(exact[name][index]) * (up - down) / (2 * step))
                assert float(found[name][index]) == pytest.approx(total / batches, rel=2e-3, abs=1e-6)


def _squares(outputs: jax.Array, batch: dict[str, jax.Array]) -> jax.Array:
    return jnp.square(outputs - jax.nn.one_hot(batch["label"], CLASSES)).sum(axis=-1)


LOSSES: dict[str, tuple[Callable[..., jax.Array] | None, bool]] = {
    "classes": (None, True),
    "numbers": (_squares, False),
}
"""What a network may be for, as a loss, and whether the loss stays as it is where a constant is added to outputs."""


@pytest.mark.parametrize("kind", LOSSES)
def test_the_sensitivity_to_a_synapse_is_how_far_the_outputs_move_when_it_dies(
    tiny: Specimen, parent: Masks, digits: Problem, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against central differences in double precision; what moves all logits alike moves no probability."""
    monkeypatch.setattr(heredity, "SENSED", 41)
    loss, blind = LOSSES[kind]
    task: Task = digits.task if loss is None else replace(digits.task, loss=loss)
    organism = alive(tiny, parent)
    found = heredity.feel(organism, task, digits.train, together=1)
    signs = np.asarray(heredity.draw_signs(41, CLASSES), float)
    random = np.random.default_rng(0)
    apart = 0
    with jax.enable_x64(True):
        exact = {
            name: jnp.asarray(np.asarray(array), jnp.float64) for name, array in organism.network.parameters.items()
        }
        images = _images(digits, slice(41))
        outputs = jax.jit(lambda parameters: replace(tiny.network, parameters=parameters)(images))
        for name in CHANNELS:
            for _ in range(3):
                index = tuple(random.integers(0, size) for size in exact[name].shape)
                step = 1e-5
                up, down = (
                    np.asarray(outputs(exact | {name: exact[name].at[index].add(move)})) for move in (step, -step)
                )
                slopes = (up - down) / (2 * step)
                centred = slopes - slopes.mean(axis=1, keepdims=True)
                size = abs(float(exact[name][index]))
                one, other = (
                    size * np.sqrt(np.mean((signs * moves).sum(axis=1) ** 2))
                    for moves in ((centred, slopes) if blind else (slopes, centred))
                )
                assert float(found[name][index]) == pytest.approx(one, rel=2e-3, abs=1e-6)
                apart += float(found[name][index]) != pytest.approx(other, rel=2e-3, abs=1e-6)
    assert apart > 0, "these synapses tell whether outputs are centred"


def test_images_felt_together_rank_synapses_as_those_felt_alone_and_are_as_strong_on_the_mean(
    tiny: Specimen, parent: Masks, digits: Problem
) -> None:
    organism = alive(tiny, parent)
    alone, together = (heredity.feel(organism, digits.task, digits.train, together=count) for count in (1, 4))
    for name, mask in parent.items():
        one, other = (np.asarray(felt[name])[mask] for felt in (alone, together))
        assert spearmanr(one, other).statistic >= 0.95, name
        assert np.square(other).sum() == pytest.approx(np.square(one).sum(), rel=0.2)
        assert not np.allclose(one, other, rtol=1e-2)


def test_random_signs_measure_the_length_of_what_they_weigh() -> None:
    """E(s · v)² = ‖v‖², within what so many draws leave to chance."""
    signs = np.asarray(heredity.draw_signs(4000, 7))
    assert (np.abs(signs) == 1).all()
    vector = np.array([3.0, -1, 0.5, 2, 0, -2, 1])
    assert np.mean((signs @ vector) ** 2) == pytest.approx(vector @ vector, rel=0.1)


@pytest.mark.parametrize("scope", ["network", "layer"])
def test_what_logits_feel_compares_across_the_layers_that_share_a_factor(
    tiny: Specimen, parent: Masks, scope: Scope
) -> None:
    """z is the root mean square of all living synapses that share F; all clusters survive."""
    random = np.random.default_rng(1)
    scales = dict(zip(CHANNELS, (4.0, 1.0, 0.5, 2.0), strict=True))
    worth = {name: scales[name] * random.exponential(size=parent[name].shape) for name in CHANNELS}
    plan = EncodingPlan(heredity="sensitivity", cluster="filter", synapse_sharpness=1.5)
    environment = Environment(keep_clusters=1.0, keep_synapses=0.5, cluster_scope="layer", synapse_scope=scope)
    gains = np.ones(tiny.wiring.units + len(tiny.wiring.derived))
    offspring = [
        synthesise(
            keys.root(seed), tiny.wiring, Worth(worth, gains), parent, encoding_plan=plan, environment=environment
        )
        for seed in range(DRAWS)
    ]
    chances = {name: np.zeros(mask.shape) for name, mask in parent.items()}
    for sharing in [list(CHANNELS)] if scope == "network" else [[name] for name in CHANNELS]:
        z = oracle.rms([strength for name in sharing for strength in worth[name][parent[name]]])
        encoded = {
            (name, index): oracle.probability(worth[name][index], z, 1.5)
            for name in sharing
            for index in zip(*np.nonzero(parent[name]), strict=True)
        }
        factor = oracle.bisect_factor([(chance, 1.0) for chance in encoded.values()], 0.5 * len(encoded))
        for (name, index), chance in encoded.items():
            chances[name][index] = min(1.0, factor * chance)
    check_frequencies(offspring, chances)


def _loss(tiny: Specimen, digits: Problem, parameters: dict[str, jax.Array], batch: int) -> jax.Array:
    part = slice(batch * heredity.BATCH, (batch + 1) * heredity.BATCH)
    logits = replace(tiny.network, parameters=parameters)(_images(digits, part))
    chosen = jnp.take_along_axis(logits, jnp.asarray(digits.train.arrays["label"][part])[:, None], 1)[:, 0]
    return (jax.nn.logsumexp(logits, axis=1) - chosen).mean()


def _images(digits: Problem, part: slice) -> jax.Array:
    return normalise(jnp.asarray(digits.train.arrays["image"][part]), (0.3,), (0.4,)).astype(jnp.float64)


def test_new_weights_are_those_of_an_untrained_network_in_another_order(tiny: Specimen) -> None:
    permuted = heredity.permute(keys.root(1), tiny.network)
    for name, array in tiny.network.parameters.items():
        assert sorted(np.asarray(permuted.parameters[name]).ravel()) == sorted(np.asarray(array).ravel())
    assert (permuted.parameters["full/kernel"] != tiny.network.parameters["full/kernel"]).any()


def test_every_heredity_of_a_plan_is_known() -> None:
    for name in HEREDITIES:
        assert EncodingPlan(heredity=name, cluster="filter").heredity == name
    assert len(HEREDITIES) == 9
