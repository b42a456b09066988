"""Evolution: the whole method of the paper (1609.01360).

An ancestor is trained. Its genetic encoding and the environment give the probability that each synaptic cluster and
each synapse survives. An offspring is sampled from these probabilities, and parts without a signal are trimmed. It is
made physically smaller, inherits the surviving weights and is trained. It becomes the parent of the next generation,
until the last generation is reached or the score has fallen below the budget. Several parents are mated to one before
they are encoded (1709.02043).

`synevo.lineage.course` decides what comes next and when to stop. `trained_ancestor`, `offspring` and `evolve` are
generators: they yield every epoch and the individual, and save, show and time nothing themselves. All randomness is
derived from the seed and the individual's place in its lineage, so a resumed lineage equals one that never stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.compaction.proof import prove
from synevo.errors import DivergenceError, PlanError, TrainingError
from synevo.genetics import census, mating, mutation, viability
from synevo.genetics.archive import Archive, Birth, Memory, Resumption
from synevo.genetics.heredity import HEREDITIES, Worth, by_size, permute
from synevo.genetics.measured import worth_of
from synevo.genetics.organism import Organism, Species
from synevo.genetics.synthesis import synthesise
from synevo.keys import derive
from synevo.lineage.course import Conception, choose_parents, next_conception, siblings
from synevo.lineage.individuals import Individual, Scores
from synevo.model.network import Inputs, Network
from synevo.plan.fields import EncodingPlan, Environment, EvolutionPlan, Plan, TrainingPlan
from synevo.tasks.task import Problem, at_once, first
from synevo.training import hosts
from synevo.training.evaluation import evaluate
from synevo.training.fit import State, fit, start
from synevo.training.placement import ALONE, Placement, here, placement
from synevo.training.side_by_side import in_turn
from synevo.training.teaching import Lessons, as_trained, taught_by
from synevo.wiring.cutting import uncut_arrays

PROVEN = 128
"""The number of validation examples used to prove each offspring."""

PAUSE = 100
"""The number of steps after which a training within an epoch may be kept, so that a long epoch is not lost."""


@dataclass(frozen=True)
class FromAncestor:
    """The data of the ancestor that every offspring uses beside its genes, where the plan asks for it.

    `lessons` are the training examples, with the ancestor's answers where the plan distils. `rewound` is the ancestor's
    network after an early epoch.
    """

    lessons: Lessons
    rewound: Network | None = None


@dataclass(frozen=True)
class Training:
    """The event that one of `epochs` epochs has ended: whose, on which attempt, and the state after it.

    Within a long epoch it comes every `PAUSE` steps; `state.step` is 0 at the end of an epoch alone.
    """

    generation: int
    number: int
    attempt: int
    epochs: int
    state: State


Event = Training | Birth

Bear: TypeAlias = Callable[[Sequence[Conception], Callable[[Conception], Iterator[Event]]], Iterator[Event]]
"""How a brood is borne: a function of its conceptions and of what bears one, which yields all that happens."""


def evolve(
    key: Array,
    ancestor: Organism,
    problem: Problem,
    plan: Plan,
    *,
    archive: Archive | None = None,
    watch: Callable[[Event], object] = lambda _: None,
    bear: Bear = in_turn,
) -> Iterator[Event]:
    """Evolve a trained ancestor to the plan's last generation, or until the score falls below the plan's budget.

    Yields each epoch of training, and each individual as the archive keeps it. If the `archive` already has
    individuals, the lineage continues after them. The parents of every offspring are read from the archive, so a
    lineage that is resumed from disk equals one that never stopped. `key` is the key of the lineage
    (`synevo.keys.root`). `watch` is called with each whole epoch and each individual before it is yielded. `bear` says
    whether the offspring of a brood are trained one after the other, or side by side; they come in their order.

    Raises:
        ViabilityError, ProofError: as in `conceive`.
    """
    archive = Memory() if archive is None else archive
    if not archive.lineage().individuals:
        archive.keep(Birth(record(Conception(1, 1, 1.0), ancestor, problem, plan.ancestor_training), ancestor))
    conception = next_conception(archive.lineage(), plan)
    inheritance = from_ancestor(key, ancestor, problem, plan) if conception else None
    while conception is not None and inheritance is not None:
        chosen = choose_parents(archive.lineage(), conception.generation, plan)
        parents = {parent.name: archive.organism(parent.name) for parent in chosen}
        spent = max(parent.epochs for parent in chosen)
        one = partial(offspring, key, parents, problem, plan, inheritance=inheritance, spent=spent, archive=archive)
        for event in bear(siblings(conception, plan), one):
            happened = archive.keep(event) if isinstance(event, Birth) else event
            if not (isinstance(happened, Training) and happened.state.step):
                watch(happened)
            yield happened
        conception = next_conception(archive.lineage(), plan)


def trained_ancestor(
    key: Array,
    species: Species,
    problem: Problem,
    plan: Plan,
    *,
    network: Network | None = None,
    resume: Resumption | None = None,
) -> Iterator[Event]:
    """Train generation 1 from the species' untrained arrays, or from a `network`; yield each epoch, and the individual.

    `key` is the key of the lineage; `resume` is an interrupted training of the ancestor.
    """
    organism, conception = Organism.first(species, network or species.template), Conception(1, 1, 1.0)
    growing = _Growing(conception, problem, plan.ancestor_training, plan.evolution.retries)
    yield from _grow(individual_key(key, conception), organism, growing, resume=resume)


def from_ancestor(key: Array, grown: Organism, problem: Problem, plan: Plan) -> FromAncestor:
    """Return the data of a trained ancestor (`grown`) that all offspring use.

    To rewind, the first epochs of the ancestor are trained again, equal to the bit; its last epoch needs no training.
    """
    lessons = taught_by(grown.network, problem.task, problem.train, plan.training)
    if plan.evolution.rewind is None:
        return FromAncestor(lessons)
    if plan.evolution.rewind == plan.ancestor_training.epochs:
        return FromAncestor(lessons, grown.network)
    rewound = grown.species.template
    if plan.evolution.rewind:
        events = (event for event in trained_ancestor(key, grown.species, problem, plan) if isinstance(event, Training))
        rewound = next(event.state.network for event in events if event.state.epoch == plan.evolution.rewind)
    return FromAncestor(lessons, rewound)


def offspring(
    key: Array,
    parents: Mapping[str, Organism],
    problem: Problem,
    plan: Plan,
    conception: Conception,
    inheritance: FromAncestor,
    *,
    spent: int,
    archive: Archive,
) -> Iterator[Event]:
    """Conceive an offspring of `parents` (by name, the best first) and train it; yield each epoch and the individual.

    `spent` is the number of epochs that its line was trained; only a heredity without inheritance uses it. The
    `archive` knows an interrupted training of this offspring, and keeps what is measured of the parents.

    Raises:
        ViabilityError, ProofError: as in `conceive`.
        HostsError: where hosts that work together have drawn different masks.
    """
    own_key, near = individual_key(key, conception), placement(plan.training.devices, together=False)
    heredity = HEREDITIES[plan.encoding.heredity]
    species = next(iter(parents.values())).species
    weights = inheritance.rewound if heredity.inherited else permute(derive(own_key, "weights"), species.template)
    child = conceive(
        own_key,
        list(parents.values()),
        encoding=plan.encoding,
        environment=plan.environment.of(conception.generation).under(conception.pressure),
        evolution=plan.evolution,
        protect=plan.evolution.protect,
        only=plan.evolution.only,
        worth=lambda parent: worth_of(
            parent, tuple(parents), problem.task, problem.train, plan.encoding, archive, over=near.over
        ),
        weights=weights,
        inputs=problem.task.inputs(
            jax.tree.map(jnp.asarray, first(problem.validation, at_once(problem.validation, PROVEN)))
        ),
    )
    hosts.require_same(f"masks of generation {conception.generation}", {**child.masks, ":units": child.units})
    training = plan.training.scaled(child.efficiency, spent=0 if heredity.inherited else spent)
    growing = _Growing(conception, problem, training, plan.evolution.retries, tuple(parents), inheritance.lessons)
    yield from _grow(own_key, child, growing, resume=archive.resumption(conception))


def individual_key(key: Array, conception: Conception) -> Array:
    """Return the random key of one individual, derived from the `key` of its lineage."""
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
    protect: str | None = None,
    only: str | None = None,
    worth: Callable[[Organism], Worth] = by_size,
    weights: Network | None = None,
    inputs: Inputs | None = None,
) -> Organism:
    """Conceive an untrained offspring: mate, synthesise, trim, repair, mutate, and cut it to its physical size.

    Clusters and synapses survive by the genetic `encoding` (1609.01360; 1709.02043 eqs. 2, 6, 7) of their `worth` in
    the (mated) parent; by default that is the size of the weights. `keep_synapses` and `keep_clusters` are the expected
    shares of the parent's synapses and clusters that survive. They replace those of the `environment`, which also
    decides whether layers share a factor. The `evolution` part of a plan decides how several parents are mated (the
    best first), and the share of the synapses that grow anew. The units of the layers that the regular expression
    `protect` names stay, or of all that `only` leaves out, in this offspring and in those after it. The offspring has
    the parent's weights, or `weights` in the ancestor's shapes. It is proven equal to the masked network from which it
    was cut: on real `inputs`, if given, and on as many random ones.

    Raises:
        PlanError: unless 0 < keep_synapses <= keep_clusters <= 1, or where `protect` or `only` names no layer.
        ViabilityError: where even the parent has no path to an output.
        ProofError: where the smaller network differs from the masked one.
    """
    environment = environment._replace(
        keep_synapses=environment.keep_synapses if keep_synapses is None else keep_synapses,
        keep_clusters=environment.keep_clusters if keep_clusters is None else keep_clusters,
    )
    if not 0 < environment.keep_synapses <= environment.keep_clusters <= 1:
        raise PlanError(
            f"An offspring cannot keep {environment.keep_synapses:g} of its parent's synapses and "
            f"{environment.keep_clusters:g} of its clusters.",
            remedy="Give shares with 0 < keep_synapses <= keep_clusters <= 1: synapses survive in surviving clusters.",
        )
    species = parents[0].species.protecting(protect, only)
    parents = [replace(parent, species=species) for parent in parents]
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
    """Return the one organism that parents make for synthesis; a single parent is returned as it is.

    Parts of the mated network without a signal are trimmed. A missing path is restored from the synapses of all
    parents.
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
    """Prove that an organism equals the masked network; on random inputs alone where there are no real ones."""
    real = inputs or jax.tree.map(lambda like: jnp.zeros(like.shape, like.dtype), child.inputs)
    prove(key, child.species.anatomy, child.units, masked=child.whole, compact=child.network, inputs=real)


@dataclass(frozen=True)
class _Growing:
    """The training of one individual: its place in the lineage, its problem and plan, and its parents' names."""

    conception: Conception
    problem: Problem
    training: TrainingPlan
    retries: int
    parents: tuple[str, ...] = ()
    lessons: Lessons | None = None


def _grow(key: Array, organism: Organism, growing: _Growing, *, resume: Resumption | None) -> Iterator[Event]:
    """Train an individual; if that diverges, try again with a quarter of the learning rate, up to `retries` times."""
    conception, task = growing.conception, growing.problem.task
    examples, teacher = growing.lessons or Lessons(growing.problem.train)
    reason = ""
    begun = resume.attempt if resume else 0
    for attempt in range(begun, max(begun, growing.retries) + 1):
        rate = growing.training.learning_rate / 4**attempt
        gentler = growing.training.model_copy(update={"learning_rate": rate})
        state = start(_copy(organism.network), gentler, examples)
        if resume is not None and resume.attempt == attempt:
            state = _resumed(state, resume, conception)
        try:
            seen, own_key = as_trained(task, gentler), derive(key, "training", attempt)
            for after in fit(
                own_key, state, seen, examples, gentler, masks=organism.living, teacher=teacher, pause=PAUSE
            ):
                yield Training(conception.generation, conception.number, attempt, gentler.epochs, after)
                state = after
        except DivergenceError as error:
            reason = error.problem
            continue
        grown = replace(organism, network=here(state.network))
        yield Birth(record(conception, grown, growing.problem, gentler, growing.parents), grown)
        return
    failed = record(conception, None, growing.problem, gentler, growing.parents)
    problem = f"Training diverged {attempt + 1} times, each with a quarter of the learning rate: {reason}"
    synthesis = {name: getattr(organism, name) for name in ("expected_synapses", "sampled_synapses")}
    yield Birth(replace(failed, problem=problem, epochs=0, **synthesis), None)


def _resumed(state: State, resume: Resumption, conception: Conception) -> State:
    """Return the state of an interrupted training; raise TrainingError if it is that of another one."""
    try:
        return state.filled(resume.leaves, epoch=resume.epoch, step=resume.step, loss=resume.loss)
    except ValueError:
        raise TrainingError(
            f"The interrupted training of generation {conception.generation} cannot go on: its checkpoint has other "
            "arrays than this network and its optimiser.",
            remedy="Give the optimiser or the model back its code; or remove the folder training of the run, and this "
            "training begins anew.",
        ) from None


def record(
    conception: Conception,
    organism: Organism | None,
    problem: Problem,
    plan: TrainingPlan,
    parents: tuple[str, ...] = (),
) -> Individual:
    """Return the record of an individual trained by a `plan`, with its counts and scores.

    The archive adds the seconds that it took. An individual without an organism has neither counts nor scores.
    """
    return Individual(
        generation=conception.generation,
        number=conception.number,
        parents=parents,
        pressure=conception.pressure,
        counts=census.count(organism) if organism else None,
        scores=score(organism, problem, placement(plan.devices, shard=plan.shard)) if organism else None,
        expected_synapses=organism.expected_synapses if organism else None,
        sampled_synapses=organism.sampled_synapses if organism else None,
        learning_rate=plan.learning_rate,
        epochs=plan.epochs,
        seconds=0.0,
    )


def score(organism: Organism, problem: Problem, place: Placement = ALONE) -> Scores:
    """Return the scores of an organism on the validation and the test examples."""
    task, network = problem.task, organism.network
    validation, test = (evaluate(network, task, split, place) for split in (problem.validation, problem.test))
    return Scores(validation, test, task.name, task.better)


@jax.jit
def _copy(network: Network) -> Network:
    """Copy the arrays of a network, because the training step reuses the memory of its arguments."""
    return jax.tree.map(jnp.array, network)
