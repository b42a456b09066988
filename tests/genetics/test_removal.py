"""Removal: what filters are worth, against a network from which each has really been cut."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from architectures import ResNeXt, Shuffle, ViT
from flax import nnx
from jax import Array
from named_networks import GPT, MLP
from scipy.stats import spearmanr
from specimens import (
    CLASSES,
    Attentive,
    Normed,
    Residual,
    Shape,
    Specimen,
    Tiny,
    chain,
    outputs,
    random_masks,
    specimen,
)

from synevo import keys
from synevo.errors import PlanError
from synevo.genetics import census, heredity, removal
from synevo.genetics.heredity import HEREDITIES, Worth
from synevo.genetics.organism import Organism
from synevo.genetics.synthesis import synthesise
from synevo.model.network import Network
from synevo.plan.compose import compose
from synevo.plan.fields import EncodingPlan, Environment, HeredityName, Scope, TrainingPlan
from synevo.tasks.task import InMemory, Problem, Task, first
from synevo.training.fit import fit, start
from synevo.wiring import cutting, masks
from synevo.wiring.units import PERMANENT

pytestmark = pytest.mark.slow


class Wide(nnx.Module):
    """Two normalised convolutions of some width, pools, and a matrix."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs, *, width: int) -> None:
        self.conv1 = nnx.Conv(shape[-1], width, (3, 3), rngs=rngs)
        self.norm1 = nnx.BatchNorm(width, rngs=rngs)
        self.conv2 = nnx.Conv(width, 2 * width, (3, 3), rngs=rngs)
        self.norm2 = nnx.BatchNorm(2 * width, rngs=rngs)
        self.classifier = nnx.Linear(2 * width, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.max_pool(nnx.relu(self.norm1(self.conv1(x))), (2, 2), (2, 2))
        return self.classifier(nnx.relu(self.norm2(self.conv2(x))).mean(axis=(1, 2)))


LOST = 2
"""A unit that the networks of these tests have lost already: the others keep their numbers."""


@pytest.mark.parametrize("factory", [Tiny, Normed, Residual])
def test_a_filter_is_worth_what_the_loss_gains_without_it_for_each_synapse_that_goes_with_it(
    factory: Callable[..., nnx.Module], digits: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "EXAMPLES", 64)
    of = specimen(factory)
    units = np.arange(of.wiring.units) != LOST
    network, alive, found = _measure(of, units, digits)
    made = {int(unit) for layer in of.wiring.layers for unit in layer.outputs} - {PERMANENT, LOST}
    assert len(made) >= 9
    for unit in range(of.wiring.units):
        if unit not in made:
            assert found[unit] == 0
            continue
        rest = np.arange(of.wiring.units) != unit
        wiring = of.wiring.restrict(units)
        small, left = cutting.cut(network, wiring, rest), cutting.cut_masks(alive, wiring, rest)
        gain = _loss(small, digits) - _loss(network, digits)
        freed = _synapses(alive) - _synapses(left)
        assert freed > 0
        assert found[unit] * freed == pytest.approx(gain, rel=1e-3, abs=2e-6)


def test_a_filter_that_is_never_removed_is_not_measured(digits: Problem) -> None:
    of = specimen(Attentive)
    *_, found = _measure(of, np.ones(of.wiring.units, bool), digits)
    frozen = [unit for layer in of.wiring.layers for unit in layer.outputs if unit == PERMANENT]
    assert len(frozen) >= 6
    assert len(found) == of.wiring.units == np.count_nonzero(found)


@pytest.mark.parametrize("scope", ["network", "layer"])
def test_clusters_survive_as_often_as_their_gains_say(scope: Scope) -> None:
    """P = exp(β(√(ΔL/n) / Z - 1)), Z the root mean square of all that share a factor; the last layer is permanent."""
    wiring = chain(3, 4, 5, 2)
    random = np.random.default_rng(1)
    gains = random.exponential(size=wiring.units) * np.where(np.arange(wiring.units) < 4, 1e-4, 1e-6)
    gains[[1, 6]] = -1e-6, 0
    parent = {layer.name: np.ones((len(layer.inputs), len(layer.outputs)), bool) for layer in wiring.layers}
    environment = Environment(keep_clusters=0.6, keep_synapses=1.0, cluster_scope=scope, synapse_scope="network")
    plan = EncodingPlan(heredity="removal", cluster="filter", cluster_sharpness=2.0, spare_outputs=False)
    weights = {name: np.ones(mask.shape, np.float32) for name, mask in parent.items()}
    draws = 600
    survived = np.zeros(wiring.units)
    for seed in range(draws):
        child = synthesise(
            keys.root(seed), wiring, Worth(weights, gains), parent, encoding_plan=plan, environment=environment
        )
        for layer in wiring.layers[:2]:
            survived[layer.outputs] += child.masks[layer.name].any(axis=0)
        assert child.masks[wiring.layers[2].name].any(axis=0).all()
    first, second = (layer.outputs.tolist() for layer in wiring.layers[:2])
    for sharing in [first + second] if scope == "network" else [first, second]:
        strengths = [max(0.0, gains[unit]) ** 0.5 for unit in sharing]
        chances = [oracle.probability(strength, oracle.rms(strengths), 2.0) for strength in strengths]
        factor = oracle.bisect_factor([(chance, 1.0) for chance in chances], 0.6 * len(chances))
        for unit, chance in zip(sharing, chances, strict=True):
            expected = min(1.0, factor * chance)
            deviation = (expected * (1 - expected) / draws) ** 0.5
            assert abs(survived[unit] / draws - expected) <= 5 * deviation + 1e-9


def test_a_filter_of_several_layers_lives_or_dies_in_all_of_them_by_its_one_gain() -> None:
    of = specimen(Residual)
    made = {int(unit) for layer in of.wiring.layers for unit in layer.outputs} - {PERMANENT}
    makers = [sum(unit in layer.outputs for layer in of.wiring.layers) for unit in made]
    assert max(makers) > 1
    wanted = {unit for unit in made if unit % 3}
    gains = np.array([float(unit in wanted) for unit in range(of.wiring.units)])
    child = synthesise(
        keys.root(0),
        of.wiring,
        Worth(of.network.parameters, gains),
        masks.full(of.wiring, of.network),
        encoding_plan=EncodingPlan(heredity="removal", cluster="filter", cluster_sharpness=500.0),
        environment=Environment(len(wanted) / len(made), 1.0, cluster_scope="network", synapse_scope="network"),
    )
    for layer in of.wiring.layers:
        survives = masks.by_unit(layer, child.masks[layer.name]).any(axis=(0, 2))
        assert survives.tolist() == [unit == PERMANENT or int(unit) in wanted for unit in layer.outputs]


@pytest.mark.parametrize(("name", "measured", "kept"), [("cluster", True, [2, 3]), ("removal", False, [0, 1])])
def test_clusters_are_as_strong_as_what_was_measured_or_as_their_synapses_whatever_the_heredity_is_called(
    name: HeredityName,
    measured: bool,  # noqa: FBT001
    kept: list[int],
) -> None:
    """Of four filters the first two have the large weights, and the last two are all that the loss would miss."""
    wiring = chain(3, 4, 2)
    parent = {layer.name: np.ones((len(layer.inputs), len(layer.outputs)), bool) for layer in wiring.layers}
    weights = {"layer0": np.tile([1.0, 1.0, 0.1, 0.1], (3, 1)), "layer1": np.ones((4, 2))}
    gains = np.array([0.0, 0.0, 1.0, 1.0])
    child = synthesise(
        keys.root(0),
        wiring,
        Worth(weights, gains if measured else None),
        parent,
        encoding_plan=EncodingPlan(heredity=name, cluster="filter", cluster_sharpness=500.0),
        environment=Environment(2 / 4, (2 * 3 + 4 * 2) / 20, cluster_scope="network", synapse_scope="network"),
    )
    np.testing.assert_array_equal(child.masks["layer0"], np.tile(np.isin(np.arange(4), kept), (3, 1)))
    assert child.masks["layer1"].all()


@pytest.mark.parametrize("name", HEREDITIES)
def test_what_measures_filters_is_refused_without_filters_as_clusters_with_the_option_that_helps(
    name: str, tiny: Specimen, digits: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heredity, "SENSED", 1)
    few = InMemory(first(digits.train, 4))
    kernels = [f"encoding.heredity={name}", "encoding.cluster=kernel"]
    if HEREDITIES[name].worth(tiny.organism, digits.task, few, EncodingPlan(audit=0.1)).clusters is None:
        assert compose(sets=kernels).encoding.heredity == name
    else:
        with pytest.raises(PlanError, match=f"{name}.*--cluster filter"):
            compose(sets=kernels)


@pytest.fixture(scope="module", params=[partial(MLP, width=40), partial(Wide, width=12)], ids=["dense", "convolved"])
def grown(request: pytest.FixtureRequest, digits: Problem) -> Organism:
    """An organism that was trained a little: without training, all filters are worth about nothing."""
    of = specimen(request.param)
    plan = TrainingPlan(epochs=6, batch_size=16, learning_rate=3e-3)
    state = start(of.network.map(lambda _, array: array.copy()), plan, digits.train)
    *_, last = fit(keys.root(0), state, digits.task, digits.train, plan, masks={})
    return Organism.first(of.species, last.network)


@pytest.fixture(scope="module")
def exact(grown: Organism, digits: Problem) -> np.ndarray:
    return removal.gains(grown, digits.task, digits.train, audit=1)


def _ranks(grown: Organism, found: np.ndarray, exact: np.ndarray) -> list[float]:
    """How the ranks of filters agree, in each layer that makes units."""
    layers = [layer.outputs for layer in grown.species.anatomy.wiring.layers if (layer.outputs != PERMANENT).any()]
    return [float(spearmanr(found[outputs], exact[outputs]).statistic) for outputs in layers]


def test_a_few_backward_passes_rank_filters_as_their_removal_does(
    grown: Organism, exact: np.ndarray, digits: Problem
) -> None:
    found = removal.gains(grown, digits.task, digits.train, audit=0)
    made = removal.made(grown.species.anatomy.wiring)
    assert spearmanr(found[made], exact[made]).statistic >= 0.95
    assert min(_ranks(grown, found, exact)) >= 0.8  # of twelve filters
    assert found[made].sum() == pytest.approx(exact[made].sum(), rel=0.3)
    assert not np.allclose(found[made], exact[made], rtol=1e-3)


def test_where_outputs_are_many_their_curvature_ranks_filters(
    grown: Organism, exact: np.ndarray, digits: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "OUTPUTS", 2)
    assert min(_ranks(grown, removal.gains(grown, digits.task, digits.train, audit=0), exact)) > 0.8


class TwoHeads(nnx.Module):
    """A hidden layer, and two outputs by their names: what the hidden units do to the outputs is linear in each."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(shape[-1], 12, rngs=rngs)
        self.place, self.kinds = nnx.Linear(12, 1, rngs=rngs), nnx.Linear(12, classes, rngs=rngs)

    def __call__(self, x: Array) -> dict[str, Array]:
        x = nnx.gelu(self.hidden(x[:, 0, 0]))
        return {"place": self.place(x)[:, 0], "kinds": self.kinds(x)}


def test_several_outputs_of_any_task_are_measured_together() -> None:
    """A loss of both that is far from quadratic: the outputs are known exactly, so the increases are, too."""
    of, random = specimen(TwoHeads, (1, 1, 5)), np.random.default_rng(0)
    x = random.normal(size=(40, 1, 1, 5)).astype(np.float32)
    examples = InMemory({"x": x, "place": random.normal(size=40).astype(np.float32), "kind": np.arange(40) % CLASSES})

    def loss(outputs: Any, batch: Any) -> Array:
        far = jnp.abs(outputs["place"] - batch["place"]) ** 1.5
        return far - jnp.take_along_axis(nnx.log_softmax(outputs["kinds"]), batch["kind"][:, None], 1)[:, 0]

    task = Task(inputs=lambda batch: (batch["x"],), loss=loss, score=loss)
    exact, found = (removal.gains(of.organism, task, examples, audit=audit) for audit in (1, 0))
    np.testing.assert_allclose(found, exact, rtol=1e-3, atol=1e-6)
    assert np.count_nonzero(exact) == 12


def test_a_language_model_is_measured_by_the_tokens_that_it_expects() -> None:
    """Heads of attention and places within them, over more outputs than get a pass of their own."""
    length, vocabulary = 6, 11
    model = GPT((length,), vocabulary, nnx.Rngs(0), width=8)
    tokens = np.random.default_rng(0).integers(0, vocabulary, (48, length + 1)).astype(np.int32)
    organism = Organism.of(model, (jax.ShapeDtypeStruct((2, length), jnp.int32),))

    def loss(outputs: Array, batch: Any) -> Array:
        chances = nnx.log_softmax(outputs)
        return -jnp.take_along_axis(chances, batch[:, 1:, None], 2)[..., 0].mean(axis=1)

    task, examples = Task(inputs=lambda batch: (batch[:, :-1],), loss=loss, score=loss), InMemory(tokens)
    exact, found = (removal.gains(organism, task, examples, audit=audit) for audit in (1, 0))
    made = removal.made(organism.species.anatomy.wiring)
    assert len(made) > 30
    assert spearmanr(found[made], exact[made]).statistic > 0.9


def test_the_weakest_filters_are_really_removed_and_only_they(
    grown: Organism, exact: np.ndarray, digits: Problem
) -> None:
    estimated = removal.gains(grown, digits.task, digits.train, audit=0)
    audited = removal.gains(grown, digits.task, digits.train, audit=0.2)
    made = removal.made(grown.species.anatomy.wiring)
    weakest = made[np.argsort(estimated[made])[: round(0.2 * len(made))]]
    np.testing.assert_allclose(audited[weakest], exact[weakest], rtol=1e-6)
    others = np.setdiff1d(made, weakest)
    np.testing.assert_array_equal(audited[others], estimated[others])


@pytest.mark.parametrize("factory", [Residual, ViT, ResNeXt, Shuffle])
def test_the_synapses_that_go_with_a_filter_are_those_that_are_zero_without_it(
    factory: Callable[..., nnx.Module],
) -> None:
    """Residual sums read what they make, and attention and grouped convolutions make what belongs to several units."""
    of = specimen(factory, (8, 8, 3))
    alive = random_masks(of, 0.7, 3)
    counts = removal.freed(of.wiring, alive)
    for unit in removal.made(of.wiring).tolist():
        gone = 0
        for name, mask in alive.items():
            holding = [[of.wiring.parts(own) for own in axis.tolist()] for axis in of.wiring.slots[name]]
            for place in zip(*np.nonzero(mask), strict=True):
                held = {part for parts, at in zip(holding, place, strict=True) for part in parts[at]}
                gone += held.issuperset(of.wiring.parts(unit))
        assert counts[unit] == gone > 0


@pytest.mark.parametrize("factory", [Residual, ViT, ResNeXt])
def test_what_a_filter_costs_is_what_the_network_is_smaller_without_it(factory: Callable[..., nnx.Module]) -> None:
    of = specimen(factory, (8, 8, 3))
    all_ = np.ones(of.wiring.units, bool)
    parent = Organism.left(of.species, of.network, random_masks(of, 0.7, 3), all_)
    found = {cost: removal.costs_of(parent, cost) for cost in ("synapses", "macs", "bytes", "macs+bytes")}
    whole = census.count(parent)
    size = sum(array.nbytes for array in parent.network.arrays.values())
    cheap = removal.made(of.wiring)[:: max(1, len(all_) // 5)].tolist()
    for unit in [one for one in cheap if one < of.wiring.units]:
        child = Organism.left(of.species, of.network, parent.masks, np.arange(of.wiring.units) != unit)
        assert found["synapses"][unit] == parent.synapses - sum(int(mask.sum()) for mask in child.living.values())
        assert found["macs"][unit] == whole.multiply_adds - census.count(child).multiply_adds > 0
        assert found["bytes"][unit] == size - sum(array.nbytes for array in child.network.arrays.values())
    assert found["macs+bytes"] == pytest.approx(np.sqrt(found["macs"] * found["bytes"]))


def test_the_worth_of_a_filter_is_what_the_loss_gains_for_what_it_costs(tiny: Specimen, digits: Problem) -> None:
    few, gained = InMemory(first(digits.train, 4)), {}
    for cost in ("synapses", "macs", "bytes"):
        plan = EncodingPlan(heredity="removal", cluster="filter", audit=1, cost=cost)
        clusters = HEREDITIES["removal"].worth(tiny.organism, digits.task, few, plan).clusters
        assert clusters is not None
        gained[cost] = clusters * removal.costs_of(tiny.organism, cost)
    assert np.count_nonzero(gained["macs"]) > 2
    np.testing.assert_allclose(gained["macs"], gained["synapses"], rtol=1e-9)
    np.testing.assert_allclose(gained["bytes"], gained["synapses"], rtol=1e-9)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["encoding.cost=macs"], "heredity cluster does not measure it: add --heredity sensitivity or removal"),
        (["encoding.heredity=removal", "encoding.cluster=filter", "encoding.cost=macs+time"], "encoding.cost"),
    ],
)
def test_a_cost_that_nothing_is_divided_by_is_refused(sets: list[str], message: str) -> None:
    with pytest.raises(PlanError, match=re.escape(message)):
        compose(sets=sets)


def _measure(of: Specimen, units: np.ndarray, digits: Problem) -> tuple[Network, masks.Masks, np.ndarray]:
    """A network of these `units` [units], its living synapses, and what its filters are worth."""
    alive = cutting.cut_masks(random_masks(of, 0.7, 3), of.wiring, units)
    network = masks.apply(alive, cutting.cut(of.network, of.wiring, units))
    wiring = of.wiring.restrict(units)
    gains = removal.measure(network, wiring, digits.task, digits.train)
    return network, alive, gains / np.maximum(1, removal.freed(wiring, alive))


def _loss(network: Network, digits: Problem) -> float:
    """The mean cross-entropy of the first images, in double precision from the logits on."""
    batch = first(digits.train, removal.EXAMPLES)
    x = (batch["image"] / np.float32(255) - np.float32(0.3)) / np.float32(0.4)
    logits = outputs(network, x.astype(np.float32)).astype(float)
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(x)), batch["label"]]))


def _synapses(alive: masks.Masks) -> int:
    return sum(int(mask.sum()) for mask in alive.values())
