"""Evolution: a short lineage of the tiny network, and what must hold from each generation to the next."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from specimens import Specimen, lay_out, silence

from synevo import evolution, keys
from synevo.compaction import cutting
from synevo.errors import DivergenceError
from synevo.evolution import Birth, Resumption, Training
from synevo.genetics import census
from synevo.genetics.organism import Organism, Species
from synevo.lineage.course import Conception
from synevo.plan.fields import EncodingPlan, EnvironmentPlan, EvolutionPlan, Plan, TrainingPlan
from synevo.tasks.images import Dataset
from synevo.training import fit
from synevo.training.fit import State
from synevo.wiring.units import PERMANENT

GENERATIONS = 4
SEED = 3
SECOND = Conception(generation=2, number=1, pressure=1.0)

PLAN = Plan(
    ancestor_training=TrainingPlan(epochs=3, batch_size=16, learning_rate=1e-2),
    training=TrainingPlan(epochs=2, batch_size=32, learning_rate=5e-3),
    encoding=EncodingPlan(cluster="filter", synapse_sharpness=4.0),
    environment=EnvironmentPlan(
        keep_clusters=0.85, keep_synapses=0.5, cluster_scope="network", synapse_scope="network"
    ),
    evolution=EvolutionPlan(generations=GENERATIONS),
)


@dataclass
class Life:
    """A lineage: its births, and the epochs of its trainings with arrays of their own."""

    species: Species
    births: dict[int, Birth] = field(default_factory=dict)
    epochs: list[tuple[Training, list[np.ndarray]]] = field(default_factory=list)

    def organism(self, generation: int) -> Organism:
        organism = self.births[generation].organism
        assert organism is not None
        return organism

    def bear(
        self,
        digits: Dataset,
        plan: Plan,
        generation: int,
        *,
        parent: Organism | None = None,
        number: int = 1,
        pressure: float = 1.0,
        spent: int = 0,
        resume: Resumption | None = None,
    ) -> "Life":
        """One offspring of `parent`, or of the generation before."""
        return self.watch(
            evolution.offspring(
                keys.root(SEED),
                self.species,
                [parent or self.organism(generation - 1)],
                digits,
                plan,
                Conception(generation, number, pressure),
                spent=spent,
                resume=resume,
            )
        )

    def watch(self, events: Iterator[evolution.Event]) -> "Life":
        for event in events:
            if isinstance(event, Birth):
                self.births[event.generation] = event
            else:
                self.epochs.append((event, [np.array(leaf) for leaf in event.state.leaves()]))
        return self


def species_of(tiny: Specimen) -> Species:
    return Species(tiny.blueprint, tiny.anatomy, tiny.network)


@pytest.fixture(scope="module")
def life(tiny: Specimen, digits: Dataset) -> Life:
    """The ancestor and three generations of offspring."""
    life = Life(species_of(tiny))
    life.watch(evolution.ancestor(keys.root(SEED), life.species, digits, PLAN))
    for generation in range(2, GENERATIONS + 1):
        life.bear(digits, PLAN, generation)
    return life


def same(one: Organism, other: Organism) -> bool:
    """Equality to the bit."""
    return (
        all(np.array_equal(one.masks[name], other.masks[name]) for name in one.masks)
        and np.array_equal(one.units, other.units)
        and all(
            np.asarray(array).tobytes() == np.asarray(other.network.arrays[name]).tobytes()
            for name, array in one.network.arrays.items()
        )
    )


def test_the_ancestor_is_generation_1_whole_and_trained(tiny: Specimen, digits: Dataset, life: Life) -> None:
    birth, organism = life.births[1], life.organism(1)
    assert all(mask.all() for mask in organism.masks.values())
    assert organism.units.all()
    assert birth.counts is not None
    assert birth.counts.synapses == 54 + 432 + 384 + 48
    assert birth.scores is not None
    assert birth.scores.validation_score > 0.8
    assert birth.scores.test_score == fit.accuracy(tiny.blueprint, organism.network, digits.test, digits)
    assert (birth.expected_synapses, birth.sampled_synapses) == (None, None)


def test_every_generation_is_born_once_in_order(life: Life) -> None:
    assert list(life.births) == [1, 2, 3, 4]
    assert [(event.generation, event.state.epoch, event.epochs) for event, _ in life.epochs] == [
        (1, 1, 3),
        (1, 2, 3),
        (1, 3, 3),
        *[(generation, epoch, 2) for generation in (2, 3, 4) for epoch in (1, 2)],
    ]


@pytest.mark.parametrize("generation", [2, 3, 4])
def test_an_offspring_holds_nothing_that_its_parent_does_not(life: Life, generation: int) -> None:
    parent, child = life.organism(generation - 1), life.organism(generation)
    for name, mask in child.masks.items():
        assert mask.shape == parent.masks[name].shape
        assert not (mask & ~parent.masks[name]).any()
    assert not (child.units & ~parent.units).any()
    assert child.masks["conv1/kernel"].any(axis=(0, 1, 2)).sum() == child.units[:6].sum()


@pytest.mark.parametrize("generation", [2, 3, 4])
def test_a_generation_is_physically_smaller_than_the_one_before(life: Life, generation: int) -> None:
    before, after = life.births[generation - 1].counts, life.births[generation].counts
    assert before is not None
    assert after is not None
    assert after.synapses < before.synapses
    assert after.stored_weights < before.stored_weights
    assert after.parameters < before.parameters
    assert after.multiply_adds < before.multiply_adds
    assert after.stored_weights == sum(
        array.size for name, array in life.organism(generation).network.arrays.items() if name.endswith("kernel")
    )


@pytest.mark.parametrize("generation", [1, 2, 3, 4])
def test_the_counts_are_those_of_the_arrays(life: Life, generation: int) -> None:
    birth, organism = life.births[generation], life.organism(generation)
    assert birth.counts is not None
    assert birth.counts.synapses == sum(int(mask.sum()) for mask in organism.masks.values())
    assert birth.counts.synapses >= sum(
        int((np.asarray(array) != 0).sum())
        for name, array in organism.network.parameters.items()
        if name.endswith("kernel")
    )
    assert birth.counts.parameters == sum(array.size for array in organism.network.arrays.values())


@pytest.mark.parametrize("generation", [2, 3, 4])
def test_a_filter_remembers_its_place_in_the_ancestor(tiny: Specimen, life: Life, generation: int) -> None:
    """An axis of the small network is the ancestor's without the units that went: their numbers are the gene tag."""
    organism = life.organism(generation)
    for name, array in organism.network.arrays.items():
        for axis, units in enumerate(tiny.wiring.slots[name]):
            kept = [unit for unit in units if unit == PERMANENT or organism.units[unit]]
            assert array.shape[axis] == len(kept)
            assert tiny.wiring.restrict(organism.units).slots[name][axis].tolist() == kept


@pytest.mark.parametrize("generation", [2, 3, 4])
def test_an_embryo_inherits_the_weights_that_survive_in_it(
    tiny: Specimen, digits: Dataset, life: Life, generation: int
) -> None:
    key = keys.derive(keys.root(SEED), "generation", generation)
    parent = life.organism(generation - 1)
    embryo = evolution.conceive(key, life.species, [parent], digits, PLAN, SECOND)
    whole, before = (cutting.uncut(o.network, tiny.wiring, o.units, tiny.network) for o in (embryo.organism, parent))
    for name, array in whole.parameters.items():
        if name in embryo.organism.masks:
            expected = np.where(embryo.organism.masks[name], before.parameters[name], 0)
            np.testing.assert_array_equal(array, expected)
    silent = silence(tiny, before, embryo.organism.units)
    np.testing.assert_array_equal(whole.parameters["full/bias"], silent.parameters["full/bias"])


@pytest.mark.parametrize("generation", [2, 4])
def test_an_offspring_rebuilt_alone_is_the_one_in_its_lineage(digits: Dataset, life: Life, generation: int) -> None:
    alone = Life(life.species).bear(digits, PLAN, generation, parent=life.organism(generation - 1))
    assert same(alone.organism(generation), life.organism(generation))
    assert alone.births[generation].scores == life.births[generation].scores


def test_another_seed_gives_another_offspring(digits: Dataset, life: Life) -> None:
    key = keys.derive(keys.root(SEED + 1), "generation", 2)
    embryo = evolution.conceive(key, life.species, [life.organism(1)], digits, PLAN, SECOND)
    assert not same(embryo.organism, life.organism(2))
    assert any((embryo.organism.masks[n] != mask).any() for n, mask in life.organism(2).masks.items())


@pytest.mark.parametrize("generation", [2, 3, 4])
def test_a_birth_tells_what_was_expected_and_what_was_sampled(life: Life, generation: int) -> None:
    birth, parent = life.births[generation], life.births[generation - 1]
    assert birth.expected_synapses == pytest.approx(0.5 * parent.counts.synapses, rel=1e-6)
    assert birth.sampled_synapses >= birth.counts.synapses - 20  # trimmed, but for a few paths that were restored
    assert birth.learning_rate == 5e-3
    assert birth.epochs == 2
    assert birth.problem is None


def test_resuming_in_the_middle_of_a_training_equals_not_stopping(digits: Dataset, life: Life) -> None:
    event, leaves = next((event, leaves) for event, leaves in life.epochs if event.generation == 3)
    assert event.state.epoch == 1
    resume = Resumption(event.attempt, event.state.epoch, leaves)
    resumed = Life(life.species).bear(digits, PLAN, 3, parent=life.organism(2), resume=resume)
    assert [event.state.epoch for event, _ in resumed.epochs] == [2]
    assert same(resumed.organism(3), life.organism(3))


# What follows is about the course of a lineage, so training is played: it takes no time and says what it was asked.


@dataclass
class Stage:
    """Plays training: the rates that it was asked for, of which those of at least `limit` diverge."""

    limit: float = 2.0
    asked: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    def fit(
        self, _key: Array, _blueprint: Any, state: State, _masks: Any, _data: Dataset, plan: TrainingPlan, _lessons: Any
    ) -> Iterator[State]:
        self.asked.append(plan.learning_rate)
        self.epochs.append(plan.epochs)
        if plan.learning_rate >= self.limit:
            for leaf in state.leaves():
                leaf.delete()  # as a training step does with the arrays that it is given
            raise DivergenceError("The loss was nan in epoch 1.", remedy="Lower the learning rate.")
        yield replace(state, epoch=plan.epochs, loss=1.0)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr(fit, "fit", stage.fit)
    return stage


def offspring(life: Life, digits: Dataset, plan: Plan = PLAN) -> Life:
    return Life(life.species).bear(digits, plan, 2, parent=life.organism(1))


def test_a_training_that_diverges_is_tried_again_with_a_quarter_of_the_learning_rate(
    life: Life, digits: Dataset, stage: Stage
) -> None:
    stage.limit = 1e-3
    found = offspring(life, digits)
    assert stage.asked == pytest.approx([5e-3, 5e-3 / 4, 5e-3 / 16])
    assert found.births[2].learning_rate == pytest.approx(5e-3 / 16)
    assert found.births[2].problem is None
    assert [event.attempt for event, _ in found.epochs] == [2]
    assert same(found.organism(2), offspring(life, digits).organism(2))


def test_a_generation_that_always_diverges_is_recorded_with_its_problem(
    life: Life, digits: Dataset, stage: Stage
) -> None:
    stage.limit = 0.0
    found = offspring(life, digits)
    assert list(found.births) == [2]
    birth = found.births[2]
    assert (birth.organism, birth.counts, birth.scores) == (None, None, None)
    assert birth.problem is not None
    assert "diverged 3 times" in birth.problem
    assert "loss was nan" in birth.problem
    assert len(stage.asked) == 1 + PLAN.evolution.retries


def test_a_plan_without_retries_gives_up_at_once(life: Life, digits: Dataset, stage: Stage) -> None:
    stage.limit = 0.0
    plan = PLAN.model_copy(update={"evolution": EvolutionPlan(retries=0)})
    assert offspring(life, digits, plan).births[2].problem is not None
    assert len(stage.asked) == 1


def test_a_training_interrupted_on_its_last_attempt_ends_in_a_birth_also_under_fewer_retries(
    life: Life, digits: Dataset, stage: Stage
) -> None:
    event, leaves = next((event, leaves) for event, leaves in life.epochs if event.generation == 2)
    plan = PLAN.model_copy(update={"evolution": EvolutionPlan(generations=2, retries=1)})
    resume = Resumption(2, event.state.epoch, leaves)
    found = Life(life.species).bear(digits, plan, 2, parent=life.organism(1), resume=resume)
    assert list(found.births) == [2]
    assert len(stage.asked) <= 1


def test_a_parent_is_not_touched_by_its_offspring(life: Life, digits: Dataset, stage: Stage) -> None:
    parent = life.organism(1)
    before = jax.tree.map(np.array, (parent.network, parent.masks, parent.units))
    stage.limit = 1e-3
    offspring(life, digits)
    after = jax.tree.map(np.array, (parent.network, parent.masks, parent.units))
    for one, other in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_untrained_ancestor_is_left_for_the_next(tiny: Specimen, life: Life) -> None:
    """Its arrays are the template of every generation, so training must not reuse their memory."""
    trained = life.organism(1).network.parameters
    for name, array in life.species.template.parameters.items():
        assert jnp.isfinite(array).all()
        assert (np.asarray(array) != np.asarray(trained[name])).any()
    assert life.species.template is tiny.network


def test_epochs_and_the_learning_rate_grow_as_a_network_shrinks(life: Life, digits: Dataset, stage: Stage) -> None:
    """A network of synaptic efficiency 4 trains 2 * 4^0.5 = 4 epochs in place of 2."""
    plan = TrainingPlan(epochs=2, growth=0.5)
    assert [evolution.grow_up(plan, efficiency).epochs for efficiency in (1, 4, 9)] == [2, 4, 6]
    assert evolution.grow_up(TrainingPlan(epochs=2), 100).epochs == 2
    assert evolution.grow_up(plan, 4, spent=3).epochs == 7
    faster = TrainingPlan(learning_rate=0.01, rate_growth=0.5)
    rates = [evolution.grow_up(faster, efficiency).learning_rate for efficiency in (1, 4, 100, 1e6)]
    assert rates == pytest.approx([0.01, 0.02, 0.1, 1.0])
    growing = PLAN.model_copy(update={"training": PLAN.training.model_copy(update={"growth": 1.0})})
    found = offspring(life, digits, growing)
    counts = found.births[2].counts
    assert counts is not None
    assert stage.epochs == [round(2 * 918 / counts.synapses)]


def test_a_heredity_without_inheritance_trains_new_weights_for_as_long_as_its_whole_lineage(
    life: Life, digits: Dataset, stage: Stage
) -> None:
    plan = PLAN.model_copy(update={"encoding": PLAN.encoding.model_copy(update={"heredity": "scratch"})})
    parent = life.organism(1)
    found = Life(life.species).bear(digits, plan, 2, parent=parent, spent=life.births[1].epochs)
    found.bear(digits, plan, 3, spent=found.births[2].epochs)
    assert stage.epochs == [3 + 2, 3 + 2 + 2]
    embryo = evolution.conceive(
        keys.derive(keys.root(SEED), "generation", 2), life.species, [parent], digits, plan, SECOND
    )
    heir = evolution.conceive(
        keys.derive(keys.root(SEED), "generation", 2), life.species, [parent], digits, PLAN, SECOND
    )
    assert all((embryo.organism.masks[name] == mask).all() for name, mask in heir.organism.masks.items())
    for name, array in life.species.template.parameters.items():
        new = np.asarray(embryo.organism.network.parameters[name])
        assert np.isin(new[new != 0], np.asarray(array)).all()
        if name.endswith("kernel"):
            assert (new != np.asarray(heir.organism.network.parameters[name])).any()


def test_siblings_differ_and_a_pressure_that_is_half_as_high_keeps_more(
    life: Life, digits: Dataset, stage: Stage
) -> None:
    one, other, softer = (
        Life(life.species).bear(digits, PLAN, 2, parent=life.organism(1), number=number, pressure=pressure)
        for number, pressure in ((1, 1.0), (2, 1.0), (2, 0.5))
    )
    assert not same(one.organism(2), other.organism(2))
    assert [life.births[2].number for life in (one, other, softer)] == [1, 2, 2]
    for found, keep in ((other, 0.5), (softer, 0.5**0.5)):
        assert found.births[2].expected_synapses == pytest.approx(918 * keep, rel=1e-6)
    assert softer.births[2].pressure == 0.5
    assert len(stage.asked) == 3


def changed(plan: Plan, section: str, **fields: Any) -> Plan:
    return plan.model_copy(update={section: getattr(plan, section).model_copy(update=fields)})


def test_a_mutated_offspring_has_as_many_synapses_as_its_environment_expects_some_of_them_new(
    life: Life, digits: Dataset
) -> None:
    plan = changed(PLAN, "evolution", mutation=0.25)
    parent = life.organism(3)
    key = keys.derive(keys.root(SEED), "generation", 4)
    third = Conception(generation=4, number=1, pressure=1.0)
    embryo, heir = (evolution.conceive(key, life.species, [parent], digits, one, third) for one in (plan, PLAN))
    grown = round(0.25 * PLAN.environment.of(4).keep_synapses * census.synapses(parent.masks))
    new = sum((mask & ~parent.masks[name]).sum() for name, mask in embryo.organism.masks.items())
    assert 0 < new <= grown
    assert embryo.expected_synapses == pytest.approx(heir.expected_synapses, rel=0.01)
    born = cutting.uncut(
        embryo.organism.network, life.species.anatomy.wiring, embryo.organism.units, life.species.template
    )
    for name, mask in embryo.organism.masks.items():
        assert (np.asarray(born.parameters[name])[mask & ~parent.masks[name]] == 0).all()


def test_rewinding_trains_the_first_epochs_of_the_ancestor_again_to_the_bit(life: Life, digits: Dataset) -> None:
    def origin(epoch: int) -> list[Any]:
        plan = changed(PLAN, "evolution", rewind=epoch)
        legacy = evolution.bequeath(keys.root(SEED), life.species, life.organism(1), digits, plan)
        return jax.tree.leaves(legacy.origin)

    second = next(leaves for event, leaves in life.epochs if (event.generation, event.state.epoch) == (1, 2))
    for past, expected in ((origin(2), second), (origin(0), jax.tree.leaves(life.species.template))):
        assert past
        assert all(np.array_equal(one, other) for one, other in zip(past, expected, strict=False))


def test_a_rewound_offspring_has_its_parents_genes_and_its_ancestors_weights(life: Life, digits: Dataset) -> None:
    species = life.species
    plan = changed(PLAN, "evolution", rewind=0)
    key, parent = keys.root(5), life.organism(2)
    embryo = evolution.conceive(key, species, [parent], digits, plan, SECOND, origin=species.template)
    heir = evolution.conceive(key, species, [parent], digits, PLAN, SECOND)
    wiring, organism = species.anatomy.wiring, embryo.organism
    born = cutting.uncut(organism.network, wiring, organism.units, species.template)
    for name, mask in organism.masks.items():
        assert (mask == heir.organism.masks[name]).all()
        own, past = np.asarray(born.parameters[name]), np.asarray(species.template.parameters[name])
        np.testing.assert_array_equal(own, np.where(mask, past, 0))


def mated(mating: str) -> Plan:
    return changed(PLAN, "evolution", population=2, parents=2, mating=mating)


@pytest.fixture
def siblings(life: Life, digits: Dataset, stage: Stage) -> list[Organism]:
    """Two untrained offspring of the ancestor."""
    del stage
    found = [Life(life.species).bear(digits, PLAN, 2, parent=life.organism(1), number=number) for number in (1, 2)]
    return [one.organism(2) for one in found]


def test_a_single_parent_is_taken_as_it_is(life: Life) -> None:
    parent, environment = life.organism(1), PLAN.environment.of(2)
    assert evolution.unite(life.species, [parent], PLAN, environment) == (parent, environment)


@pytest.mark.parametrize(
    ("mating", "heredity"), [("sum", "cluster"), ("product", "cluster"), ("product", "taylor"), ("sum", "removal")]
)
def test_two_parents_have_an_offspring_that_is_no_larger_than_that_of_one(
    tiny: Specimen, life: Life, digits: Dataset, siblings: list[Organism], mating: str, heredity: str
) -> None:
    plan = changed(mated(mating), "encoding", heredity=heredity)
    third = Conception(3, 1, 1.0)
    embryo = evolution.conceive(keys.root(1), life.species, siblings, digits, plan, third)
    parent, _ = evolution.unite(life.species, siblings, plan, plan.environment.of(3))
    joined = {name: [one.masks[name] for one in siblings] for name in parent.masks}
    held = {
        name: np.all(masks, axis=0) if mating == "product" else np.any(masks, axis=0) for name, masks in joined.items()
    }
    assert all((mask <= held[name]).all() for name, mask in parent.masks.items())
    assert all((mask <= parent.masks[name]).all() for name, mask in embryo.organism.masks.items())
    sizes = [sum(int(mask.sum()) for mask in one.masks.values()) for one in (*siblings, parent)]
    assert embryo.expected_synapses == pytest.approx(0.5 * min(sum(sizes[:2]) / 2, sizes[2]), rel=1e-6)
    child, whole = (cutting.uncut(o.network, tiny.wiring, o.units, tiny.network) for o in (embryo.organism, parent))
    for name, mask in embryo.organism.masks.items():
        np.testing.assert_array_equal(child.parameters[name], np.where(mask, whole.parameters[name], 0))


def test_parents_that_have_nothing_in_common_still_have_a_product(tiny: Specimen, life: Life) -> None:
    """Each lives by one half of the filters; of what either has, a path to every class is restored."""
    whole, wiring = life.organism(1), tiny.wiring
    halves = []
    for half in (0, 1):
        units = np.arange(wiring.units) % 2 == half
        own = lay_out(cutting.cut_masks(whole.masks, wiring, units), wiring, units, tiny.network)
        halves.append(Organism(cutting.cut(whole.network, wiring, units), own, units))
    parent, _ = evolution.unite(life.species, halves, mated("product"), PLAN.environment.of(3))
    assert parent.masks["classifier/kernel"].any(axis=0).all()
    for name, mask in parent.masks.items():
        assert (mask <= halves[0].masks[name] | halves[1].masks[name]).all()
    masked = cutting.uncut(parent.network, wiring, parent.units, tiny.network)
    for name, mask in parent.masks.items():
        expected = np.where(mask, whole.network.parameters[name], 0)
        np.testing.assert_allclose(masked.parameters[name], expected / (2 if "classifier" in name else 1), rtol=1e-6)
