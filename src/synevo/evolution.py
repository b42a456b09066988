"""Evolution, the method as a paragraph (1609.01360).

An ancestor is trained. Its genetic encoding, pressed by the environment, gives the probability that each synaptic
cluster and each synapse survives; an offspring is sampled from it, trimmed of what carries no signal, made physically
as small as it then is, inherits the surviving weights and is trained. It becomes the parent of the next generation,
until the last generation is reached or accuracy has fallen below the budget. Several parents are mated to one before
they are encoded (1709.02043).

What comes next, and when to stop, is decided in `synevo.lineage.course`. `ancestor` and `offspring` are generators:
they yield every epoch and the individual, and save, show and time nothing themselves. All randomness is derived from
the seed and the individual's place in its lineage, so a lineage taken up again goes on as if it had never stopped.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.compaction import cutting, proof
from synevo.errors import DivergenceError
from synevo.genetics import census, mating, mutation, removal, viability
from synevo.genetics.heredity import HEREDITIES, deal
from synevo.genetics.organism import Organism, Species
from synevo.genetics.synthesis import synthesise
from synevo.keys import derive
from synevo.lineage.course import Conception
from synevo.lineage.individuals import Counts, Scores
from synevo.model.network import Network, normalise
from synevo.plan.fields import Environment, Plan, TrainingPlan
from synevo.tasks.images import Dataset
from synevo.training import fit
from synevo.training.fit import State
from synevo.wiring import masks

PROOF_IMAGES = 128


@dataclass(frozen=True)
class Legacy:
    """What all offspring have of their ancestor beside its genes, where the plan asks for it.

    `lessons` are its logits [images, classes] for the training images, `origin` is its network as it once was, in the
    ancestor's shapes.
    """

    lessons: NDArray[np.float32] | None = None
    origin: Network | None = None


NOTHING = Legacy()


@dataclass(frozen=True)
class Training:
    """An epoch of `epochs` has ended: of which individual, on which attempt, and the state after it."""

    generation: int
    number: int
    attempt: int
    epochs: int
    state: State


@dataclass(frozen=True)
class Resumption:
    """Where a training was interrupted: the arrays of its state after `epoch` epochs of its `attempt`."""

    attempt: int
    epoch: int
    leaves: Sequence[Any]


@dataclass(frozen=True)
class Birth:
    """An individual has grown up; `organism` is None where every attempt to train it diverged."""

    generation: int
    number: int
    pressure: float
    organism: Organism | None
    counts: Counts | None
    scores: Scores | None
    expected_synapses: float | None
    sampled_synapses: int | None
    learning_rate: float
    epochs: int
    problem: str | None = None


Event = Training | Birth


@dataclass(frozen=True)
class _Embryo:
    """An offspring before training."""

    organism: Organism
    expected_synapses: float | None
    sampled_synapses: int | None

    @property
    def efficiency(self) -> float:
        """Its synaptic efficiency."""
        return sum(mask.size for mask in self.organism.masks.values()) / census.synapses(self.organism.masks)


def ancestor(
    key: Array, species: Species, dataset: Dataset, plan: Plan, *, resume: Resumption | None = None
) -> Iterator[Event]:
    """Train generation 1 from the species' untrained arrays."""
    wiring = species.anatomy.wiring
    embryo = _Embryo(Organism(species.template, masks.full(wiring, species.template), species.everyone), None, None)
    first = Conception(generation=1, number=1, pressure=1.0)
    yield from _grow(individual_key(key, first), first, species, embryo, dataset, plan.ancestor_training, plan, resume)


def bequeath(key: Array, species: Species, grown: Organism, dataset: Dataset, plan: Plan) -> Legacy:
    """The legacy of a `grown` ancestor. To rewind, its first epochs are trained again, to the bit."""
    lessons = None
    if plan.training.distillation:
        lessons = fit.answer(species.blueprint, grown.network, dataset.train, dataset)
    origin = None if plan.evolution.rewind is None else species.template
    if plan.evolution.rewind:
        events = (event for event in ancestor(key, species, dataset, plan) if isinstance(event, Training))
        origin = next(event.state.network for event in events if event.state.epoch == plan.evolution.rewind)
    return Legacy(lessons, origin)


def offspring(
    key: Array,
    species: Species,
    parents: Sequence[Organism],
    dataset: Dataset,
    plan: Plan,
    conception: Conception,
    *,
    spent: int,
    legacy: Legacy = NOTHING,
    resume: Resumption | None = None,
) -> Iterator[Event]:
    """Conceive an offspring of `parents`, the best first, and let it grow up.

    `spent` is how many epochs its line was trained, for a heredity without inheritance; `resume` a training of this
    offspring that was interrupted.
    """
    own_key = individual_key(key, conception)
    embryo = conceive(own_key, species, parents, dataset, plan, conception, origin=legacy.origin)
    before = 0 if HEREDITIES[plan.encoding.heredity].inherited else spent
    training_plan = grow_up(plan.training, embryo.efficiency, spent=before)
    yield from _grow(own_key, conception, species, embryo, dataset, training_plan, plan, resume, legacy.lessons)


def individual_key(key: Array, conception: Conception) -> Array:
    """The randomness of one individual, from the `key` of its lineage."""
    own = derive(key, "generation", conception.generation)
    return own if conception.number == 1 else derive(own, "offspring", conception.number)


def unite(
    species: Species, parents: Sequence[Organism], plan: Plan, environment: Environment
) -> tuple[Organism, Environment]:
    """The one organism that `parents` make for synthesis, and its environment; both as they are for a single parent.

    What of the mated network carries no signal is trimmed, and a path that is missing is restored from what any of the
    parents holds. The environment keeps what it would of the mean parent, or of the mated network if that is smaller.
    """
    if len(parents) == 1:
        return parents[0], environment
    wiring, cluster = species.anatomy.wiring, plan.encoding.cluster
    spared = plan.encoding.spare_outputs or HEREDITIES[plan.encoding.heredity].measured
    network, sampled = mating.mate(
        wiring,
        [
            mating.Parent(cutting.uncut(one.network, wiring, one.units, species.template), one.masks, one.units)
            for one in parents
        ],
        mating=plan.evolution.mating,
        dominance=plan.evolution.dominance,
        cluster=cluster,
        tag_share=plan.evolution.tag_share,
    )
    together = {name: np.logical_or.reduce([one.masks[name] for one in parents]) for name in sampled}
    alive, units, _ = viability.make_viable(wiring, network.parameters, together, sampled)
    clusters, synapses = mating.allowance(wiring, alive, [one.masks for one in parents], cluster, spared=spared)
    whole = Organism(cutting.cut(masks.apply(alive, network), wiring, units), alive, units)
    return whole, environment.narrowed(clusters=clusters, synapses=synapses)


def conceive(
    key: Array,
    species: Species,
    parents: Sequence[Organism],
    dataset: Dataset,
    plan: Plan,
    conception: Conception,
    *,
    origin: Network | None = None,
) -> _Embryo:
    """Synthesise an offspring, trim, repair and mutate it, and cut it to its physical size, proven equal to the masked.

    It has the weights of its parents, those of `origin` where that is given, or new ones where its heredity says so.
    """
    environment = plan.environment.of(conception.generation).under(conception.pressure)
    parent, environment = unite(species, parents, plan, environment)
    anatomy = species.anatomy
    wiring = anatomy.wiring
    heredity = HEREDITIES[plan.encoding.heredity]
    worth = heredity.worth(species.blueprint_of(parent.units), parent.network, dataset)
    strengths = cutting.uncut(Network(worth, parent.network.statistics), wiring, parent.units, species.template)
    gains = None
    if heredity.measured:
        own, living = wiring.restrict(parent.units), cutting.cut_masks(parent.masks, wiring, parent.units)
        gains = removal.measure(species.blueprint_of(parent.units), parent.network, own, living, dataset)
    inherited = environment.keep_synapses * (1 - plan.evolution.mutation)
    sampled = synthesise(
        derive(key, "synthesis"),
        wiring,
        strengths.parameters,
        parent.masks,
        encoding=plan.encoding,
        environment=environment._replace(keep_synapses=inherited),
        gains=gains,
    )
    alive_masks, units, _ = viability.make_viable(wiring, strengths.parameters, parent.masks, sampled.masks)
    grown = round((environment.keep_synapses - inherited) * census.synapses(parent.masks))
    alive_masks = mutation.regrow(derive(key, "mutation"), wiring, alive_masks, units, grown) if grown else alive_masks
    if not heredity.inherited:
        weights = deal(derive(key, "weights"), species.template)
    else:
        weights = origin or cutting.uncut(parent.network, wiring, parent.units, species.template)
    child = Organism(cutting.cut(masks.apply(alive_masks, weights), wiring, units), alive_masks, units)
    images = jnp.asarray(dataset.validation.first(PROOF_IMAGES).pixels)
    proof.prove(
        species.blueprint,
        anatomy,
        units,
        masked=cutting.uncut(child.network, wiring, units, species.template),
        compact=child.network,
        images=normalise(images, dataset.mean, dataset.deviation),
        shape=dataset.shape,
        key=derive(key, "proof"),
    )
    return _Embryo(child, sampled.expected_synapses + grown, census.synapses(sampled.masks) + grown)


def _grow(
    key: Array,
    conception: Conception,
    species: Species,
    embryo: _Embryo,
    dataset: Dataset,
    training_plan: TrainingPlan,
    plan: Plan,
    resume: Resumption | None,
    lessons: NDArray[np.float32] | None = None,
) -> Iterator[Event]:
    """Train an embryo; where that diverges, again with a quarter of the learning rate, as often as the plan allows."""
    organism = embryo.organism
    living = cutting.cut_masks(organism.masks, species.anatomy.wiring, organism.units)
    blueprint = species.blueprint_of(organism.units)
    problem = ""
    first = resume.attempt if resume else 0
    for attempt in range(first, max(first, plan.evolution.retries) + 1):
        rate = training_plan.learning_rate / 4**attempt
        gentler = training_plan.model_copy(update={"learning_rate": rate})
        state = fit.start(_copy(organism.network), dataset, gentler, blueprint)
        if resume is not None and resume.attempt == attempt:
            state = state.filled(resume.leaves, epoch=resume.epoch)
        try:
            training_key = derive(key, "training", attempt)
            for after in fit.fit(training_key, blueprint, state, living, dataset, gentler, lessons):
                yield Training(conception.generation, conception.number, attempt, gentler.epochs, after)
                state = after
        except DivergenceError as error:
            problem = error.problem
            continue
        grown = replace(organism, network=state.network)
        yield _birth(conception, species, grown, embryo, dataset, gentler)
        return
    yield Birth(
        conception.generation,
        conception.number,
        conception.pressure,
        None,
        None,
        None,
        embryo.expected_synapses,
        embryo.sampled_synapses,
        gentler.learning_rate,
        0,
        f"Training diverged {attempt + 1} times, each with a quarter of the learning rate: {problem}",
    )


def grow_up(plan: TrainingPlan, efficiency: float, *, spent: int = 0) -> TrainingPlan:
    """How a network of this synaptic efficiency is trained, after `spent` epochs that it did not inherit.

    For epochs · efficiency^growth epochs, rounded, with the learning rate · efficiency^rate_growth, at most 1.
    """
    epochs = round(plan.epochs * efficiency**plan.growth) + spent
    rate = min(1.0, plan.learning_rate * efficiency**plan.rate_growth)
    return plan.model_copy(update={"epochs": epochs, "learning_rate": rate})


def _birth(
    conception: Conception, species: Species, organism: Organism, embryo: _Embryo, dataset: Dataset, plan: TrainingPlan
) -> Birth:
    """An individual that has grown up, counted and scored."""
    return Birth(
        conception.generation,
        conception.number,
        conception.pressure,
        organism,
        count(species, organism),
        score(species, organism, dataset),
        embryo.expected_synapses,
        embryo.sampled_synapses,
        plan.learning_rate,
        plan.epochs,
    )


def count(species: Species, organism: Organism) -> Counts:
    """What an organism is made of."""
    wiring = species.anatomy.wiring
    living = cutting.cut_masks(organism.masks, wiring, organism.units)
    return census.count(wiring.restrict(organism.units), organism.network, living)


def score(species: Species, organism: Organism, dataset: Dataset) -> Scores:
    """How well an organism does on the images that it was not trained on."""
    blueprint = species.blueprint_of(organism.units)
    return Scores(
        fit.accuracy(blueprint, organism.network, dataset.validation, dataset),
        fit.accuracy(blueprint, organism.network, dataset.test, dataset),
    )


def _copy(network: Network) -> Network:
    """Arrays of their own: the training step reuses the memory of those that it is given."""
    return jax.tree.map(jnp.array, network)
