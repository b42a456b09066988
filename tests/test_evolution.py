"""Evolution: a short lineage of the tiny network, and what must hold from each generation to the next."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import compiled
from flax import nnx
from specimens import SHAPE, Specimen, Tiny, hatch, images, lay_out, outputs, silence

from synevo import evolution, growing, keys
from synevo.compaction.proof import Proof
from synevo.errors import CompactionError, DivergenceError
from synevo.evolution import Birth, FromAncestor, Memory, Resumption, Training, conceive, evolve
from synevo.genetics.heredity import HEREDITIES
from synevo.genetics.organism import Organism, Species
from synevo.genetics.synthesis import Sample, synthesise
from synevo.lineage.course import Conception
from synevo.lineage.individuals import Individual, Lineage
from synevo.model.network import Network
from synevo.plan.fields import EncodingPlan, Environment, EnvironmentPlan, EvolutionPlan, Plan, TrainingPlan
from synevo.tasks.distillation import Taught
from synevo.tasks.task import Problem
from synevo.training.evaluation import evaluate
from synevo.training.fit import State
from synevo.training.keep_dead import keep_dead
from synevo.training.teaching import Lessons
from synevo.wiring import cutting
from synevo.wiring.signal import trim
from synevo.wiring.units import PERMANENT

pytestmark = pytest.mark.slow

GENERATIONS = 4
SEED = 3

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
class Interrupted(Memory):
    """An archive in memory that knows of an interrupted training."""

    resume: Resumption | None = None

    def resumption(self, _: Conception) -> Resumption | None:
        return self.resume


@dataclass
class Life:
    """A lineage: its births, the epochs of its trainings with arrays of their own, and the programs it compiled."""

    species: Species
    births: dict[int, Birth] = field(default_factory=dict)
    epochs: list[tuple[Training, list[np.ndarray]]] = field(default_factory=list)
    programs: dict[int, list[str]] = field(default_factory=dict)

    def organism(self, generation: int) -> Organism:
        organism = self.births[generation].organism
        assert organism is not None
        return organism

    def individual(self, generation: int) -> Individual:
        return self.births[generation].individual

    def bear(
        self,
        digits: Problem,
        plan: Plan,
        generation: int,
        *,
        parent: Organism | None = None,
        number: int = 1,
        pressure: float = 1.0,
        spent: int = 0,
        resume: Resumption | None = None,
        inheritance: FromAncestor | None = None,
    ) -> "Life":
        """One offspring of `parent`, or of the generation before."""
        return self.watch(
            evolution.offspring(
                keys.root(SEED),
                {f"g{generation - 1:02d}": parent or self.organism(generation - 1)},
                digits,
                plan,
                Conception(generation, number, pressure),
                inheritance or FromAncestor(Lessons(digits.train)),
                spent=spent,
                archive=Interrupted(resume=resume),
            )
        )

    def watch(self, events: Iterator[evolution.Event]) -> "Life":
        for event in events:
            if isinstance(event, Birth):
                self.births[event.individual.generation] = event
            else:
                self.epochs.append((event, [np.array(leaf) for leaf in event.state.leaves()]))
        return self


@pytest.fixture(scope="module")
def life(tiny: Specimen, digits: Problem) -> Life:
    """The ancestor and three generations of offspring."""
    life = Life(tiny.species)
    life.watch(evolution.trained_ancestor(keys.root(SEED), life.species, digits, PLAN))
    for generation in range(2, GENERATIONS + 1):
        with compiled() as life.programs[generation]:
            life.bear(digits, PLAN, generation)
    return life


def offspring_of(parent: Organism, generation: int, plan: Plan = PLAN, *, seed: int = SEED, **more: Any) -> Organism:
    """What is conceived for a generation by a plan, before any training."""
    return conceive(
        keys.derive(keys.root(seed), "generation", generation),
        [parent],
        encoding=plan.encoding,
        environment=plan.environment.of(generation),
        evolution=plan.evolution,
        **more,
    )


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


def test_the_ancestor_is_generation_1_whole_and_trained(digits: Problem, life: Life) -> None:
    individual, organism = life.individual(1), life.organism(1)
    assert all(mask.all() for mask in organism.masks.values())
    assert organism.units.all()
    assert individual.counts is not None
    assert individual.counts.synapses == 54 + 432 + 384 + 48
    assert individual.scores is not None
    assert individual.scores.validation > 0.8
    assert individual.scores.test == evaluate(organism.network, digits.task, digits.test)
    assert (individual.scores.name, individual.scores.better) == ("accuracy", "higher")
    assert (individual.expected_synapses, individual.sampled_synapses) == (None, None)
    assert individual.parents == ()


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
    before, after = life.individual(generation - 1).counts, life.individual(generation).counts
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
    counts, organism = life.individual(generation).counts, life.organism(generation)
    assert counts is not None
    assert counts.synapses == organism.synapses == sum(int(mask.sum()) for mask in organism.masks.values())
    assert counts.synapses >= sum(
        int((np.asarray(array) != 0).sum())
        for name, array in organism.network.parameters.items()
        if name.endswith("kernel")
    )
    assert counts.parameters == sum(array.size for array in organism.network.arrays.values())


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
def test_an_offspring_inherits_the_weights_that_survive_in_it(tiny: Specimen, life: Life, generation: int) -> None:
    parent = life.organism(generation - 1)
    child = offspring_of(parent, generation)
    whole, before = (cutting.uncut(o.network, tiny.wiring, o.units, tiny.network) for o in (child, parent))
    for name, array in whole.parameters.items():
        if name in child.masks:
            expected = np.where(child.masks[name], before.parameters[name], 0)
            np.testing.assert_array_equal(array, expected)
    silent = silence(tiny, before, child.units)
    np.testing.assert_array_equal(whole.parameters["full/bias"], silent.parameters["full/bias"])


@pytest.mark.parametrize("generation", [2, 4])
def test_an_offspring_rebuilt_alone_is_the_one_in_its_lineage(digits: Problem, life: Life, generation: int) -> None:
    alone = Life(life.species).bear(digits, PLAN, generation, parent=life.organism(generation - 1))
    assert same(alone.organism(generation), life.organism(generation))
    assert alone.individual(generation) == life.individual(generation)


def test_another_seed_gives_another_offspring(life: Life) -> None:
    one, other = (offspring_of(life.organism(1), 2, seed=seed) for seed in (SEED, SEED + 1))
    assert all((one.masks[name] == mask).all() for name, mask in life.organism(2).masks.items())
    assert not same(one, other)
    assert any((other.masks[name] != mask).any() for name, mask in one.masks.items())


@pytest.mark.parametrize("generation", [2, 3, 4])
def test_a_birth_tells_what_was_expected_and_what_was_sampled(
    life: Life, generation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampled: list[Sample] = []

    def synthesise_and_tell(*args: Any, **kwargs: Any) -> Sample:
        sampled.append(synthesise(*args, **kwargs))
        return sampled[-1]

    monkeypatch.setattr(evolution, "synthesise", synthesise_and_tell)
    offspring_of(life.organism(generation - 1), generation)
    individual, before = life.individual(generation), life.individual(generation - 1)
    assert individual.expected_synapses == pytest.approx(0.5 * before.counts.synapses, rel=1e-6)
    (sample,) = sampled
    assert individual.sampled_synapses == sum(mask.sum() for mask in sample.masks.values())
    trimmed, _ = trim(life.species.anatomy.wiring, sample.masks)
    assert trimmed["classifier/kernel"].any(axis=0).all(), "every class is reached, so nothing is restored"
    for name, mask in trimmed.items():
        np.testing.assert_array_equal(life.organism(generation).masks[name], mask)
    assert individual.counts.synapses == sum(mask.sum() for mask in trimmed.values()) < individual.sampled_synapses
    assert individual.learning_rate == 5e-3
    assert individual.epochs == 2
    assert individual.parents == (before.name,)
    assert individual.problem is None


def test_resuming_in_the_middle_of_a_training_equals_not_stopping(digits: Problem, life: Life) -> None:
    event, leaves = next((event, leaves) for event, leaves in life.epochs if event.generation == 3)
    assert event.state.epoch == 1
    resume = Resumption(event.attempt, event.state.epoch, leaves)
    resumed = Life(life.species).bear(digits, PLAN, 3, parent=life.organism(2), resume=resume)
    assert [event.state.epoch for event, _ in resumed.epochs] == [2]
    assert same(resumed.organism(3), life.organism(3))


@pytest.mark.parametrize("generation", [3, 4])
def test_a_generation_compiles_three_programs_of_its_network_and_five_at_most_for_a_shape_that_is_new(
    life: Life, generation: int
) -> None:
    """However long it trains. The three are its outputs, for the proof; a training step; and its score.

    An array of a shape that no generation had is brought to the device, copied before training, and gets moments of
    Adam; its mask, if it has one, is brought there too; and if its parent's is new, so is the size of its weights.
    The first offspring also compiles what is the same for all.
    """
    new, known = {}, set[tuple[int, ...]]()
    for number in range(1, generation + 1):
        shapes = {array.shape for array in life.organism(number).network.arrays.values()}
        new[number] = shapes - known
        known |= shapes
    masked = {array.shape for name, array in life.organism(generation).network.arrays.items() if "kernel" in name}
    most = 3 + 3 * len(new[generation]) + len(new[generation] & masked) + len(new[generation - 1])
    assert 0 < len(life.programs[generation]) <= most


# What follows is about the course of a lineage, so training is played: it takes no time and says what it was asked.


@dataclass
class Stage:
    """Plays training: the rates that it was asked for, of which those of at least `limit` diverge."""

    limit: float = 2.0
    asked: list[float] = field(default_factory=list)
    epochs: list[int] = field(default_factory=list)

    def fit(self, *args: object, **kwargs: object) -> Iterator[State]:
        """Whatever else training is called with, a state and a plan are among it."""
        given = [*args, *kwargs.values()]
        (state,) = (one for one in given if isinstance(one, State))
        (plan,) = (one for one in given if isinstance(one, TrainingPlan))
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
    monkeypatch.setattr(growing, "fit", stage.fit)
    return stage


def offspring(life: Life, digits: Problem, plan: Plan = PLAN) -> Life:
    return Life(life.species).bear(digits, plan, 2, parent=life.organism(1))


def test_a_training_that_diverges_is_tried_again_with_a_quarter_of_the_learning_rate(
    life: Life, digits: Problem, stage: Stage
) -> None:
    stage.limit = 1e-3
    found = offspring(life, digits)
    assert stage.asked == pytest.approx([5e-3, 5e-3 / 4, 5e-3 / 16])
    assert found.individual(2).learning_rate == pytest.approx(5e-3 / 16)
    assert found.individual(2).problem is None
    assert [event.attempt for event, _ in found.epochs] == [2]
    assert same(found.organism(2), offspring(life, digits).organism(2))


def test_a_generation_that_always_diverges_is_recorded_with_its_problem(
    life: Life, digits: Problem, stage: Stage
) -> None:
    stage.limit = 0.0
    found = offspring(life, digits)
    assert list(found.births) == [2]
    individual = found.individual(2)
    assert (found.births[2].organism, individual.counts, individual.scores) == (None, None, None)
    assert individual.problem is not None
    assert "diverged 3 times" in individual.problem
    assert "loss was nan" in individual.problem
    assert individual.epochs == 0
    assert individual.expected_synapses == pytest.approx(0.5 * 918, rel=1e-6)
    assert individual.sampled_synapses == life.individual(2).sampled_synapses
    assert len(stage.asked) == 1 + PLAN.evolution.retries


def test_a_plan_without_retries_gives_up_at_once(life: Life, digits: Problem, stage: Stage) -> None:
    stage.limit = 0.0
    plan = PLAN.model_copy(update={"evolution": EvolutionPlan(retries=0)})
    assert offspring(life, digits, plan).individual(2).problem is not None
    assert len(stage.asked) == 1


def test_a_training_interrupted_on_its_last_attempt_ends_in_a_birth_also_under_fewer_retries(
    life: Life, digits: Problem, stage: Stage
) -> None:
    event, leaves = next((event, leaves) for event, leaves in life.epochs if event.generation == 2)
    plan = PLAN.model_copy(update={"evolution": EvolutionPlan(generations=2, retries=1)})
    resume = Resumption(2, event.state.epoch, leaves)
    found = Life(life.species).bear(digits, plan, 2, parent=life.organism(1), resume=resume)
    assert list(found.births) == [2]
    assert found.births[2].organism is not None
    assert stage.asked == pytest.approx([5e-3 / 16]), "the attempt that was interrupted, and no other"


def test_a_parent_is_not_touched_by_its_offspring(life: Life, digits: Problem, stage: Stage) -> None:
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


def test_epochs_and_the_learning_rate_grow_as_a_network_shrinks(life: Life, digits: Problem, stage: Stage) -> None:
    """A network of synaptic efficiency 4 trains 2 * 4^0.5 = 4 epochs in place of 2."""
    plan = TrainingPlan(epochs=2, growth=0.5)
    assert [plan.scaled(efficiency).epochs for efficiency in (1, 4, 9)] == [2, 4, 6]
    assert TrainingPlan(epochs=2).scaled(100).epochs == 2
    assert plan.scaled(4, spent=3).epochs == 7
    faster = TrainingPlan(learning_rate=0.01, rate_growth=0.5)
    rates = [faster.scaled(efficiency).learning_rate for efficiency in (1, 4, 100, 1e6)]
    assert rates == pytest.approx([0.01, 0.02, 0.1, 1.0])
    growing = PLAN.model_copy(update={"training": PLAN.training.model_copy(update={"growth": 1.0})})
    found = offspring(life, digits, growing)
    counts = found.individual(2).counts
    assert counts is not None
    assert stage.epochs == [round(2 * 918 / counts.synapses)]


def test_a_heredity_without_inheritance_trains_new_weights_for_as_long_as_its_whole_lineage(
    life: Life, digits: Problem, stage: Stage
) -> None:
    plan = PLAN.model_copy(update={"encoding": PLAN.encoding.model_copy(update={"heredity": "scratch"})})
    parent = life.organism(1)
    found = Life(life.species).bear(digits, plan, 2, parent=parent, spent=life.individual(1).epochs)
    found.bear(digits, plan, 3, spent=found.individual(2).epochs)
    assert stage.epochs == [3 + 2, 3 + 2 + 2]
    fresh, heir = found.organism(2), offspring(life, digits).organism(2)
    assert all((fresh.masks[name] == mask).all() for name, mask in heir.masks.items())
    for name, array in life.species.template.parameters.items():
        new = np.asarray(fresh.network.parameters[name])
        assert np.isin(new[new != 0], np.asarray(array)).all()
        if name.endswith("kernel"):
            assert (new != np.asarray(heir.network.parameters[name])).any()


def test_siblings_differ_and_a_pressure_that_is_half_as_high_keeps_more(
    life: Life, digits: Problem, stage: Stage
) -> None:
    one, other, softer = (
        Life(life.species).bear(digits, PLAN, 2, parent=life.organism(1), number=number, pressure=pressure)
        for number, pressure in ((1, 1.0), (2, 1.0), (2, 0.5))
    )
    assert not same(one.organism(2), other.organism(2))
    assert [life.individual(2).number for life in (one, other, softer)] == [1, 2, 2]
    for found, keep in ((other, 0.5), (softer, 0.5**0.5)):
        assert found.individual(2).expected_synapses == pytest.approx(918 * keep, rel=1e-6)
    assert softer.individual(2).pressure == 0.5
    assert len(stage.asked) == 3


def changed(plan: Plan, section: str, **fields: Any) -> Plan:
    return plan.model_copy(update={section: getattr(plan, section).model_copy(update=fields)})


def test_a_mutated_offspring_has_as_many_synapses_as_its_environment_expects_some_of_them_new(life: Life) -> None:
    parent = life.organism(3)
    child, heir = (offspring_of(parent, 4, plan) for plan in (changed(PLAN, "evolution", mutation=0.25), PLAN))
    grown = round(0.25 * 0.5 * parent.synapses)
    new = sum((mask & ~parent.masks[name]).sum() for name, mask in child.masks.items())
    assert 0 < new <= grown
    assert heir.expected_synapses == pytest.approx(0.5 * parent.synapses, rel=1e-6)
    assert child.expected_synapses == pytest.approx(0.75 * 0.5 * parent.synapses + grown, rel=1e-6)
    born = child.whole
    for name, mask in child.masks.items():
        assert (np.asarray(born.parameters[name])[mask & ~parent.masks[name]] == 0).all()


def test_rewinding_trains_the_first_epochs_of_the_ancestor_again_to_the_bit(life: Life, digits: Problem) -> None:
    def rewound(epoch: int) -> list[Any]:
        plan = changed(PLAN, "evolution", rewind=epoch)
        return jax.tree.leaves(evolution.from_ancestor(keys.root(SEED), life.organism(1), digits, plan).rewound)

    second = next(leaves for event, leaves in life.epochs if (event.generation, event.state.epoch) == (1, 2))
    for past, expected in ((rewound(2), second), (rewound(0), jax.tree.leaves(life.species.template))):
        assert past
        assert all(np.array_equal(one, other) for one, other in zip(past, expected, strict=False))


def test_a_rewound_offspring_has_its_parents_genes_and_its_ancestors_weights(
    life: Life, digits: Problem, stage: Stage
) -> None:
    del stage
    past = life.species.template
    rewound, heir = (
        Life(life.species).bear(
            digits, PLAN, 3, parent=life.organism(2), inheritance=FromAncestor(Lessons(digits.train), weights)
        )
        for weights in (past, None)
    )
    child = rewound.organism(3)
    born = child.whole
    for name, mask in child.masks.items():
        assert (mask == heir.organism(3).masks[name]).all()
        own = np.asarray(born.parameters[name])
        np.testing.assert_array_equal(own, np.where(mask, np.asarray(past.parameters[name]), 0))


def test_distilling_shows_offspring_what_their_ancestor_says_and_plain_plans_show_the_examples_alone(
    life: Life, digits: Problem
) -> None:
    ancestor, places = life.organism(1), np.array([200, 3, 3])
    plain = evolution.from_ancestor(keys.root(SEED), ancestor, digits, PLAN)
    assert plain.lessons.examples is digits.train
    assert plain.rewound is None
    plan = changed(PLAN, "training", distillation=1.0)
    inheritance = evolution.from_ancestor(keys.root(SEED), ancestor, digits, plan)
    shown = inheritance.lessons.examples[places]
    assert isinstance(shown, Taught)
    pixels = digits.train.arrays["image"][places].astype(np.float32) / 255
    said = outputs(ancestor.network, (pixels - np.float32(0.3)) / np.float32(0.4))
    np.testing.assert_allclose(shown.answers, said, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(shown.batch["label"], digits.train.arrays["label"][places])
    taught = Life(life.species).bear(digits, plan, 2, parent=ancestor, inheritance=inheritance)
    assert all((taught.organism(2).masks[name] == mask).all() for name, mask in life.organism(2).masks.items())
    assert not same(taught.organism(2), life.organism(2))


def mated(mating: str) -> Plan:
    return changed(PLAN, "evolution", population=2, parents=2, mating=mating)


@pytest.fixture
def siblings(life: Life, digits: Problem, stage: Stage) -> list[Organism]:
    """Two untrained offspring of the ancestor."""
    del stage
    found = [Life(life.species).bear(digits, PLAN, 2, parent=life.organism(1), number=number) for number in (1, 2)]
    return [one.organism(2) for one in found]


def mate(parents: list[Organism], plan: Plan) -> Organism:
    """What parents make together, before it is encoded."""
    return evolution._mated(parents, plan.evolution, plan.encoding)


def test_a_single_parent_is_taken_as_it_is(life: Life) -> None:
    parent = life.organism(1)
    assert mate([parent], mated("product")) is parent


@pytest.mark.parametrize(
    ("mating", "heredity"), [("sum", "cluster"), ("product", "cluster"), ("product", "taylor"), ("sum", "removal")]
)
def test_two_parents_have_an_offspring_that_is_no_larger_than_that_of_one(
    tiny: Specimen, digits: Problem, siblings: list[Organism], mating: str, heredity: str
) -> None:
    plan = changed(mated(mating), "encoding", heredity=heredity)
    child = conceive(
        keys.root(1),
        siblings,
        encoding=plan.encoding,
        environment=plan.environment.of(3),
        evolution=plan.evolution,
        worth=lambda parent: HEREDITIES[plan.encoding.heredity].worth(parent, digits.task, digits.train, plan.encoding),
    )
    parent = mate(siblings, plan)
    joined = {name: [one.masks[name] for one in siblings] for name in parent.masks}
    held = {
        name: np.all(masks, axis=0) if mating == "product" else np.any(masks, axis=0) for name, masks in joined.items()
    }
    assert all((mask <= held[name]).all() for name, mask in parent.masks.items())
    assert all((mask <= parent.masks[name]).all() for name, mask in child.masks.items())
    sizes = [sum(int(mask.sum()) for mask in one.masks.values()) for one in (*siblings, parent)]
    assert child.expected_synapses == pytest.approx(0.5 * min(sum(sizes[:2]) / 2, sizes[2]), rel=1e-6)
    own, whole = (cutting.uncut(o.network, tiny.wiring, o.units, tiny.network) for o in (child, parent))
    for name, mask in child.masks.items():
        np.testing.assert_array_equal(own.parameters[name], np.where(mask, whole.parameters[name], 0))


def test_parents_that_have_nothing_in_common_still_have_a_product(tiny: Specimen, life: Life) -> None:
    """Each lives by one half of the filters; of what either has, a path to every class is restored."""
    whole, wiring = life.organism(1), tiny.wiring
    halves = []
    for half in (0, 1):
        units = np.arange(wiring.units) % 2 == half
        own = lay_out(cutting.cut_masks(whole.masks, wiring, units), wiring, units, tiny.network)
        halves.append(Organism(life.species, cutting.cut(whole.network, wiring, units), own, units))
    parent = mate(halves, mated("product"))
    assert parent.masks["classifier/kernel"].any(axis=0).all()
    for name, mask in parent.masks.items():
        assert (mask <= halves[0].masks[name] | halves[1].masks[name]).all()
    masked = cutting.uncut(parent.network, wiring, parent.units, tiny.network)
    for name, mask in parent.masks.items():
        expected = np.where(mask, whole.network.parameters[name], 0)
        np.testing.assert_allclose(masked.parameters[name], expected / (2 if "classifier" in name else 1), rtol=1e-6)


# What follows is the library's: models in memory, and no run.


def test_evolving_in_memory_is_the_loop_of_offspring_to_the_bit(life: Life, digits: Problem) -> None:
    plan = changed(PLAN, "evolution", max_drop=1.0)
    events = list(evolve(keys.root(SEED), life.organism(1), digits, plan))
    births = [event for event in events if isinstance(event, Birth)]
    assert [birth.individual for birth in births] == [life.individual(generation) for generation in (2, 3, 4)]
    for birth in births:
        assert birth.organism is not None
        assert same(birth.organism, life.organism(birth.individual.generation))
    epochs = [(event.generation, event.state.epoch) for event in events if isinstance(event, Training)]
    assert epochs == [(generation, epoch) for generation in (2, 3, 4) for epoch in (1, 2)]


def test_a_lineage_in_memory_that_is_taken_up_again_goes_on_as_if_it_had_never_stopped(
    life: Life, digits: Problem
) -> None:
    plan = changed(PLAN, "evolution", max_drop=1.0)
    memory = Memory(Lineage((life.individual(1), life.individual(2))), {"g02": life.organism(2)})
    list(evolve(keys.root(SEED), life.organism(1), digits, plan, archive=memory))
    assert list(memory.lineage().individuals) == [life.individual(generation) for generation in (1, 2, 3, 4)]
    assert all(same(memory.organism(f"g0{generation}"), life.organism(generation)) for generation in (3, 4))
    assert list(evolve(keys.root(SEED), life.organism(1), digits, plan, archive=memory)) == []


def test_in_memory_too_the_best_of_a_generation_are_the_parents_of_the_next(
    life: Life, digits: Problem, stage: Stage
) -> None:
    del stage
    plan = changed(mated("sum"), "evolution", max_drop=1.0, generations=3)
    births = [event for event in evolve(keys.root(SEED), life.organism(1), digits, plan) if isinstance(event, Birth)]
    assert [birth.individual.name for birth in births] == ["g02", "g02-2", "g03", "g03-2"]
    best = sorted(births[:2], key=lambda birth: -birth.individual.scores.validation)
    parents = {birth.individual.name: birth.organism for birth in best}
    for birth in births[2:]:
        assert birth.individual.parents == tuple(parents)
        conception = Conception(3, birth.individual.number, 1.0)
        alone = evolution.offspring(
            keys.root(SEED),
            parents,
            digits,
            plan,
            conception,
            FromAncestor(Lessons(digits.train)),
            spent=2,
            archive=Memory(),
        )
        assert same(next(event for event in alone if isinstance(event, Birth)).organism, birth.organism)


def test_a_lineage_ends_with_the_generation_that_falls_below_the_budget(
    life: Life, digits: Problem, stage: Stage
) -> None:
    """Untrained, half of the synapses know less than all of them: more than nothing is lost at once."""
    del stage
    plan = changed(PLAN, "evolution", max_drop=0.0)
    births = [e for e in evolve(keys.root(SEED), life.organism(1), digits, plan) if isinstance(e, Birth)]
    assert [birth.individual.generation for birth in births] == [2]
    assert births[0].individual.scores.validation < life.individual(1).scores.validation


HALF = Environment(keep_clusters=0.8, keep_synapses=0.5, cluster_scope="network", synapse_scope="network")
FILTERS = EncodingPlan(cluster="filter", synapse_sharpness=4.0)


@pytest.fixture
def proofs(monkeypatch: pytest.MonkeyPatch) -> list[Proof]:
    """The proofs that have been made of offspring."""
    made: list[Proof] = []
    prove = evolution.prove
    monkeypatch.setattr(evolution, "prove", lambda *args, **kwargs: made.append(prove(*args, **kwargs)))
    return made


def masked_outputs(of: Specimen, weights: Network, child: Organism, x: np.ndarray) -> np.ndarray:
    """What the whole model says with `weights` of which all that is dead in a child is zero, biases included."""
    quiet = silence(of, weights, child.units)
    dead = {name: jnp.asarray(np.where(mask, quiet.parameters[name], 0)) for name, mask in child.masks.items()}
    return outputs(replace(quiet, parameters=quiet.parameters | dead), x)


def test_conceiving_a_model_s_offspring_again_and_again_gives_proven_ever_smaller_models_that_say_the_same(
    tiny: Specimen, proofs: list[Proof]
) -> None:
    model, x = hatch(Tiny), images(20)
    organism = ancestor = Organism.of(model, SHAPE)
    assert organism.synapses == 54 + 432 + 384 + 48
    assert organism.efficiency == 1
    np.testing.assert_array_equal(organism.model(x), model(jnp.asarray(x)))
    line = [organism]
    for number in (1, 2, 3):
        organism = conceive(keys.root(number), [organism], encoding=FILTERS, environment=HALF, inputs=(jnp.asarray(x),))
        line.append(organism)
        expected = masked_outputs(tiny, ancestor.network, organism, x)
        largest = np.abs(expected).max()
        assert largest > 0
        np.testing.assert_allclose(organism.model(jnp.asarray(x)), expected, atol=1e-5 * largest)
        assert (proofs[-1].examples, proofs[-1].random_examples) == (20, 20)
        assert proofs[-1].largest_output >= largest * (1 - 1e-5)
        assert proofs[-1].max_difference <= 1e-5 * proofs[-1].largest_output
    assert len(proofs) == 3
    for before, after in pairwise(line):
        assert after.synapses < before.synapses
        assert sum(array.size for array in after.network.arrays.values()) < sum(
            array.size for array in before.network.arrays.values()
        )
        assert after.efficiency == pytest.approx(918 / sum(mask.sum() for mask in after.masks.values()))
    assert line[-1].model.conv1.out_features == line[-1].units[:6].sum()


def test_without_examples_an_offspring_is_proven_on_random_inputs(life: Life, proofs: list[Proof]) -> None:
    offspring_of(life.organism(1), 2)
    (proof,) = proofs
    assert proof.random_examples > 0
    assert proof.largest_output > 0


def learn(organism: Organism, transformation: optax.GradientTransformation) -> Any:
    """The model of an organism after three steps towards outputs of its ancestor's size."""
    model = organism.model
    optimiser = nnx.Optimizer(model, transformation, wrt=nnx.Param)
    x = jnp.asarray(images(16))

    @nnx.jit
    def step(model: Any, optimiser: nnx.Optimizer) -> None:
        optimiser.update(model, nnx.grad(lambda model: jnp.square(model(x) - 1).mean())(model))

    for _ in range(3):
        step(model, optimiser)
    return model


@pytest.fixture(scope="module")
def young() -> Organism:
    """An offspring of a model in memory that has lost filters, and synapses of those that are left."""
    organism = conceive(keys.root(1), [Organism.of(hatch(Tiny), SHAPE)], encoding=FILTERS, environment=HALF)
    assert not organism.units.all()
    assert any(not mask.all() for mask in organism.living.values())
    return organism


def test_an_organism_takes_its_model_back_that_was_trained_without_reviving_the_dead(young: Organism) -> None:
    before = jax.tree.map(np.array, young.network)
    decaying = optax.chain(optax.add_decayed_weights(0.1), optax.sgd(0.05, momentum=0.9), keep_dead(young.living))
    model = learn(young, decaying)
    grown = young.trained(model)
    x = jnp.asarray(images(5))
    np.testing.assert_array_equal(grown.model(x), model(x))
    for name, mask in young.living.items():
        own = np.asarray(grown.network.parameters[name])
        assert (own[~mask] == 0).all()
        assert (own[mask] != before.parameters[name][mask]).mean() > 0.5
    assert all((grown.masks[name] == mask).all() for name, mask in young.masks.items())
    assert (grown.units == young.units).all()
    for name, array in before.arrays.items():
        np.testing.assert_array_equal(young.network.arrays[name], array)
    child = conceive(keys.root(2), [grown], encoding=FILTERS, environment=HALF)
    assert child.synapses < grown.synapses


def test_an_organism_refuses_a_model_in_which_dead_synapses_have_been_revived(young: Organism) -> None:
    thinned = [name for name, mask in young.living.items() if not mask.all()]
    with pytest.raises(CompactionError, match=f"Dead synapses of .*{thinned[0]}.* no longer zero") as error:
        young.trained(learn(young, optax.sgd(0.05, momentum=0.9)))
    assert "keep_dead" in error.value.remedy
    model: Any = young.model
    index = tuple(np.argwhere(~young.living["full/kernel"])[0])
    model.full.kernel.set_value(model.full.kernel.get_value().at[index].set(1e-30))
    with pytest.raises(CompactionError, match="Dead synapses of full/kernel are"):
        young.trained(model)


def test_an_organism_refuses_a_model_that_is_not_its_own(young: Organism) -> None:
    with pytest.raises(CompactionError, match="not the model of the organism"):
        young.trained(hatch(Tiny))
