"""Whole filters: standardised synapses act although they are zero, so they live and die with their filter."""

from functools import cache

import jax
import numpy as np
import optax
import pytest
import weights
from flax import nnx

from synevo import keys
from synevo.evolution import conceive
from synevo.genetics import census
from synevo.genetics.organism import Organism
from synevo.plan.fields import EncodingPlan, EvolutionPlan
from synevo.training.keep_dead import keep_dead
from synevo.wiring.masks import by_unit

pytestmark = pytest.mark.slow

SHAPE = (8,)


@cache
def child(recipe: weights.Recipe, cluster: str = "filter", mutation: float = 0.0) -> Organism:
    parent = Organism.of(weights.Dense(recipe, rngs=nnx.Rngs(0)), SHAPE)
    return conceive(
        keys.root(3),
        [parent],
        keep_synapses=0.4,
        keep_clusters=0.6,
        encoding=EncodingPlan(cluster=cluster, spare_outputs=True),
        evolution=EvolutionPlan(mutation=mutation),
    )


@pytest.mark.parametrize("cluster", ["filter", "kernel"])
def test_an_offspring_has_all_synapses_of_a_standardised_filter_or_none(cluster: str) -> None:
    organism = child(weights.standardised, cluster)
    layer = organism.species.anatomy.wiring.layers[1]
    living = by_unit(layer, organism.masks["kernel"])[:, :, 0]
    assert 0 < living.any(axis=0).sum() < 5
    assert (living == living.any(axis=0)).all()
    assert not organism.masks["first/kernel"].all()
    counted = census.count(organism).layers[1]
    assert (counted.synapses, counted.kernels) == (living.sum(), living.sum())


def test_synapses_of_a_standardised_filter_do_not_regrow_one_by_one() -> None:
    organism = child(weights.standardised, mutation=0.2)
    living = organism.masks["kernel"]
    assert (living == living.any(axis=0)).all()


def test_an_offspring_has_some_synapses_of_a_normalised_filter_and_trains_without_the_others() -> None:
    organism = child(weights.normalised)
    living = organism.living["kernel"]
    assert living.any()
    assert not living.all()
    model = organism.model
    model.train()
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)
    optimiser = optax.chain(optax.adamw(1e-2), keep_dead(organism.living))
    x = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)

    @jax.jit
    def step(parameters: nnx.State, state: optax.OptState) -> tuple[nnx.State, optax.OptState]:
        gradient = jax.grad(lambda own: (nnx.merge(graph, own, rest)(x) ** 2).mean())(parameters)
        updates, state = optimiser.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state

    state = optimiser.init(parameters)
    for _ in range(3):
        parameters, state = step(parameters, state)
    trained = organism.trained(nnx.merge(graph, parameters, rest))
    assert (np.asarray(trained.network.arrays["kernel"]) != 0).sum() == living.sum()
