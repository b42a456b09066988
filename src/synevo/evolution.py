"""Evolution, the method as a paragraph (1609.01360).

An ancestor is trained. Its genetic encoding, pressed by the environment, gives the probability that each synaptic
cluster and each synapse survives; an offspring is sampled from it, trimmed of what carries no signal, made physically
as small as it then is, inherits the surviving weights and is trained. It becomes the parent of the next generation,
until the last generation is reached or the score has fallen below the budget. Several parents are mated to one before
they are encoded (1709.02043).

What comes next, and when to stop, is decided in `synevo.lineage.course`. `trained_ancestor`, `offspring` and `evolve`
are generators: they yield every epoch and the individual, and save, show and time nothing themselves. All randomness is
derived from the seed and the individual's place in its lineage, so a lineage taken up again goes on as if it had never
stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.compaction.proof import prove
from synevo.errors import DivergenceError
from synevo.genetics import census, mating, mutation, viability
from synevo.genetics.archive import Archive, Birth, Memory, Resumption
from synevo.genetics.heredity import HEREDITIES, Worth, by_size, permute
from synevo.genetics.organism import Organism, Species
from synevo.genetics.synthesis import synthesise
from synevo.keys import derive
from synevo.lineage.course import Conception, choose_parents, next_conception
from synevo.lineage.individuals import Individual, Scores
from synevo.model.network import Inputs, Network
from synevo.plan.fields import EncodingPlan, Environment, EvolutionPlan, Plan, TrainingPlan
from synevo.tasks.classification import moved
from synevo.tasks.distillation import distilled, taught
from synevo.tasks.task import Examples, Problem, Task, first
from synevo.training.evaluation import evaluate, outputs_of
from synevo.training.fit import State, fit, start
from synevo.wiring.cutting import uncut_arrays

PROVEN = 128
"""Validation examples on which the proof of each offspring is made."""


@dataclass(frozen=True)
class FromAncestor:
    """What every offspring has of its ancestor beside its genes, where the plan asks for it.

    `train` are the training examples, with the ancestor's answers where the plan distils; `rewound` is the ancestor's
    network as it once was.
    """

    train: Examples
    rewound: Network | None = None


@dataclass(frozen=True)
class Training:
    """An epoch of `epochs` has ended: of which individual, on which attempt, and the state after it."""

    generation: int
    number: int
    attempt: int
    epochs: int
    state: State


Event = Training | Birth


def evolve(
    key: Array, ancestor: Organism, problem: Problem, plan: Plan, *, archive: Archive | None = None
) -> Iterator[Event]:
    """Evolve a trained ancestor to the plan's last generation, or until the score falls below the plan's budget.

    Yields each epoch of training and each individual, as it is kept; where the `archive` has individuals already, the
    lineage goes on behind them. The parents of every offspring come from the archive, so that a lineage on disk that is
    taken up again is the one that was never stopped. `key` is that of the lineage (`synevo.keys.root`).

    Raises:
        ViabilityError, ProofError: as in `conceive`.
    """
    if archive is None:
        archive = Memory()
        archive.keep(Birth(_individual(Conception(1, 1, 1.0), ancestor, problem, plan.ancestor_training), ancestor))
    conception = next_conception(archive.lineage(), plan)
    inheritance = from_ancestor(key, ancestor, problem, plan) if conception else None
    while conception is not None and inheritance is not None:
        chosen = choose_parents(archive.lineage(), conception.generation, plan)
        parents = {parent.name: archive.organism(parent.name) for parent in chosen}
        spent, resume = max(parent.epochs for parent in chosen), archive.resumption(conception)
        for event in offspring(key, parents, problem, plan, conception, inheritance, spent=spent, resume=resume):
            yield archive.keep(event) if isinstance(event, Birth) else event
        conception = next_conception(archive.lineage(), plan)


def trained_ancestor(
    key: Array, species: Species, problem: Problem, plan: Plan, *, resume: Resumption | None = None
) -> Iterator[Event]:
    """Train generation 1 from the species' untrained arrays, yielding each epoch and the individual."""
    organism, conception = Organism.first(species, species.template), Conception(1, 1, 1.0)
    growing = _Growing(conception, problem, plan.ancestor_training, plan.evolution.retries)
    yield from _grow(individual_key(key, conception), organism, growing, resume=resume)


def from_ancestor(key: Array, grown: Organism, problem: Problem, plan: Plan) -> FromAncestor:
    """Return what a `grown` ancestor leaves to all. To rewind, its first epochs are trained again, to the bit."""
    train = problem.train
    if plan.training.distillation:
        train = taught(train, outputs_of(grown.network, problem.task, train))
    if plan.evolution.rewind is None:
        return FromAncestor(train)
    rewound = grown.species.template
    if plan.evolution.rewind:
        events = (event for event in trained_ancestor(key, grown.species, problem, plan) if isinstance(event, Training))
        rewound = next(event.state.network for event in events if event.state.epoch == plan.evolution.rewind)
    return FromAncestor(train, rewound)


def offspring(
    key: Array,
    parents: Mapping[str, Organism],
    problem: Problem,
    plan: Plan,
    conception: Conception,
    inheritance: FromAncestor,
    *,
    spent: int,
    resume: Resumption | None = None,
) -> Iterator[Event]:
    """Conceive an offspring of `parents` (by name, the best first) and train it; yield each epoch and the individual.

    `spent` is how many epochs its line was trained, for a heredity without inheritance; `resume` a training of this
    offspring that was interrupted.
    """
    own_key = individual_key(key, conception)
    heredity = HEREDITIES[plan.encoding.heredity]
    species = next(iter(parents.values())).species
    weights = inheritance.rewound if heredity.inherited else permute(derive(own_key, "weights"), species.template)
    child = conceive(
        own_key,
        list(parents.values()),
        encoding=plan.encoding,
        environment=plan.environment.of(conception.generation).under(conception.pressure),
        evolution=plan.evolution,
        worth=lambda parent: heredity.worth(parent, problem.task, problem.train),
        weights=weights,
        inputs=problem.task.inputs(jax.tree.map(jnp.asarray, first(problem.validation, PROVEN))),
    )
    training = scaled(plan.training, child.efficiency, spent=0 if heredity.inherited else spent)
    growing = _Growing(conception, problem, training, plan.evolution.retries, tuple(parents), inheritance.train)
    yield from _grow(own_key, child, growing, resume=resume)


def individual_key(key: Array, conception: Conception) -> Array:
    """Return the randomness of one individual, from the `key` of its lineage."""
    own = derive(key, "generation", conception.generation)
    return own if conception.number == 1 else derive(own, "offspring", conception.number)


def conceive(
    key: Array,
    parents: Sequence[Organism],
    *,
    keep_synapses: float | None = None,
    keep_clusters: float | None = None,
    encoding: EncodingPlan = EncodingPlan(),  # noqa: B008  (plans are frozen)
    environment: Environment = Environment(0.95, 0.67),  # noqa: B008
    evolution: EvolutionPlan = EvolutionPlan(),  # noqa: B008
    worth: Callable[[Organism], Worth] = by_size,
    weights: Network | None = None,
    inputs: Inputs | None = None,
) -> Organism:
    """Conceive an offspring: mate, synthesise, trim, repair, mutate, and cut it to its physical size. It is untrained.

    Clusters and synapses survive by the genetic `encoding` (1609.01360; 1709.02043 eqs. 2, 6, 7) of what they are
    `worth` in the (mated) parent, the sizes of weights unless said otherwise. `keep_synapses` and `keep_clusters` are
    the shares of the parent's that are expected to survive, in place of those of the `environment`, which says what is
    shared by layers. The `evolution` part of a plan says how several parents are mated, the best first, and which share
    of the synapses grows anew. The offspring has the parent's weights, or `weights` in the ancestor's shapes. It is
    proven to be the masked network that it was cut from, on real `inputs` where there are any, and as many random ones.

    Raises:
        ValueError: where synapses would survive without their clusters.
        ViabilityError: where even the parent has no path to an output.
        ProofError: where the smaller network would not be the masked one.
    """
    environment = environment._replace(
        keep_synapses=environment.keep_synapses if keep_synapses is None else keep_synapses,
        keep_clusters=environment.keep_clusters if keep_clusters is None else keep_clusters,
    )
    if not 0 < environment.keep_synapses <= environment.keep_clusters <= 1:
        raise ValueError(f"0 < keep_synapses <= keep_clusters <= 1 is not so in {environment}")
    parent = _mated(parents, evolution, encoding)
    wiring, template = parent.species.anatomy.wiring, parent.species.template
    worths = worth(parent)
    if len(parents) > 1:
        spared = encoding.spare_outputs or worths.clusters is not None
        masks = [one.masks for one in parents]
        clusters, synapses = mating.allowance(wiring, parent.masks, masks, encoding.cluster, spared=spared)
        environment = environment.narrowed(clusters=clusters, synapses=synapses)
    worths = worths._replace(synapses=uncut_arrays(worths.synapses, wiring, parent.units, template))
    inherited = environment.keep_synapses * (1 - evolution.mutation)
    sample = synthesise(
        derive(key, "synthesis"),
        wiring,
        worths,
        parent.masks,
        encoding_plan=encoding,
        environment=environment._replace(keep_synapses=inherited),
    )
    alive, units, _ = viability.make_viable(wiring, worths.synapses, parent.masks, sample.masks)
    grown = round((environment.keep_synapses - inherited) * parent.synapses)
    alive = mutation.regrow(derive(key, "mutation"), wiring, alive, units, grown) if grown else alive
    child = Organism.left(parent.species, weights or parent.whole, alive, units)
    _prove(derive(key, "proof"), child, inputs)
    sampled = census.synapses(sample.masks) + grown
    return replace(child, expected_synapses=sample.expected_synapses + grown, sampled_synapses=sampled)


def _mated(parents: Sequence[Organism], evolution: EvolutionPlan, encoding: EncodingPlan) -> Organism:
    """The one organism that parents make for synthesis; a single parent as it is.

    What of the mated network carries no signal is trimmed, and a path that is missing is restored from what any of the
    parents holds.
    """
    if len(parents) == 1:
        return parents[0]
    species = parents[0].species
    network, sampled = mating.mate(
        parents,
        mating=evolution.mating,
        dominance=evolution.dominance,
        cluster=encoding.cluster,
        tag_share=evolution.tag_share,
    )
    together = {name: np.logical_or.reduce([one.masks[name] for one in parents]) for name in sampled}
    alive, units, _ = viability.make_viable(species.anatomy.wiring, network.parameters, together, sampled)
    return Organism.left(species, network, alive, units)


def _prove(key: Array, child: Organism, inputs: Inputs | None) -> None:
    """Prove that an organism is the masked network; on random inputs alone where there are no real ones."""
    real = inputs or jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), child.inputs)
    prove(key, child.species.anatomy, child.units, masked=child.whole, compact=child.network, inputs=real)


@dataclass(frozen=True)
class _Growing:
    """How an individual grows up: its place in the lineage, its problem and training, and its parents' names."""

    conception: Conception
    problem: Problem
    training: TrainingPlan
    retries: int
    parents: tuple[str, ...] = ()
    train: Examples | None = None


def _grow(key: Array, organism: Organism, growing: _Growing, *, resume: Resumption | None) -> Iterator[Event]:
    """Train an individual; where that diverges, again with a quarter of the learning rate, as often as is allowed."""
    conception, task = growing.conception, growing.problem.task
    living, examples = organism.living, growing.train or growing.problem.train
    reason = ""
    begun = resume.attempt if resume else 0
    for attempt in range(begun, max(begun, growing.retries) + 1):
        rate = growing.training.learning_rate / 4**attempt
        gentler = growing.training.model_copy(update={"learning_rate": rate})
        state = start(_copy(organism.network), gentler)
        if resume is not None and resume.attempt == attempt:
            state = state.filled(resume.leaves, epoch=resume.epoch)
        try:
            seen = _as_trained(task, gentler)
            for after in fit(derive(key, "training", attempt), state, seen, examples, gentler, masks=living):
                yield Training(conception.generation, conception.number, attempt, gentler.epochs, after)
                state = after
        except DivergenceError as error:
            reason = error.problem
            continue
        grown = replace(organism, network=state.network)
        yield Birth(_individual(conception, grown, growing.problem, gentler, growing.parents), grown)
        return
    failed = _individual(conception, None, growing.problem, gentler, growing.parents)
    problem = f"Training diverged {attempt + 1} times, each with a quarter of the learning rate: {reason}"
    synthesis = {name: getattr(organism, name) for name in ("expected_synapses", "sampled_synapses")}
    yield Birth(replace(failed, problem=problem, epochs=0, **synthesis), None)


def _as_trained(task: Task, plan: TrainingPlan) -> Task:
    """The task as one training sees it: its images moved, and the ancestor's answers beside it, as the plan says."""
    task = moved(task, shift=plan.shift, flip=plan.flip)
    if not plan.distillation:
        return task
    return distilled(task, share=plan.distillation, temperature=plan.temperature)


def scaled(plan: TrainingPlan, efficiency: float, *, spent: int = 0) -> TrainingPlan:
    """Return how a network of this synaptic efficiency is trained, after `spent` epochs that it did not inherit.

    For epochs · efficiency^growth epochs, rounded, with the learning rate · efficiency^rate_growth, at most 1.
    """
    epochs = round(plan.epochs * efficiency**plan.growth) + spent
    rate = min(1.0, plan.learning_rate * efficiency**plan.rate_growth)
    return plan.model_copy(update={"epochs": epochs, "learning_rate": rate})


def _individual(
    conception: Conception,
    organism: Organism | None,
    problem: Problem,
    plan: TrainingPlan,
    parents: tuple[str, ...] = (),
) -> Individual:
    """An individual that has grown up, counted and scored; whoever keeps it adds how long that took."""
    return Individual(
        generation=conception.generation,
        number=conception.number,
        parents=parents,
        pressure=conception.pressure,
        counts=census.count(organism) if organism else None,
        scores=score(organism, problem) if organism else None,
        expected_synapses=organism.expected_synapses if organism else None,
        sampled_synapses=organism.sampled_synapses if organism else None,
        learning_rate=plan.learning_rate,
        epochs=plan.epochs,
        seconds=0.0,
    )


def score(organism: Organism, problem: Problem) -> Scores:
    """Return how well an organism does on the examples that it was not trained on."""
    task, network = problem.task, organism.network
    validation, test = (evaluate(network, task, split) for split in (problem.validation, problem.test))
    return Scores(validation, test, task.name, task.better)


def _copy(network: Network) -> Network:
    """Arrays of their own: the training step reuses the memory of those that it is given."""
    return jax.tree.map(jnp.array, network)
