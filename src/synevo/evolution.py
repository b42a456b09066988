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
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.compaction.proof import prove
from synevo.errors import PlanError
from synevo.genetics import census, mating, mutation, viability
from synevo.genetics.archive import Archive, Birth, Memory, Resumption
from synevo.genetics.heredity import HEREDITIES, Worth, by_size, permute
from synevo.genetics.measured import worth_of
from synevo.genetics.organism import Organism, Species
from synevo.genetics.removal import NO_PRICES, Prices
from synevo.genetics.synthesis import synthesise
from synevo.growing import Event, Growing, Training, grow, record, select
from synevo.keys import derive
from synevo.lineage.course import Candidate, Conception, choose_parents, next_conception, siblings
from synevo.model.network import Inputs, Network
from synevo.plan.fields import EncodingPlan, Environment, EvolutionPlan, Plan
from synevo.tasks.task import Problem, at_once, first
from synevo.training import hosts
from synevo.training.placement import placement
from synevo.training.side_by_side import in_turn
from synevo.training.teaching import Lessons, taught_by
from synevo.wiring.cutting import uncut_arrays

PROVEN = 128
"""The number of validation examples used to prove each offspring."""


@dataclass(frozen=True)
class FromAncestor:
    """The data of the ancestor that every offspring uses beside its genes, where the plan asks for it.

    `lessons` are the training examples, with the ancestor's answers where the plan distils. `rewound` is the ancestor's
    network after an early epoch, `prices` what the filters of each layer cost in time.
    """

    lessons: Lessons
    rewound: Network | None = None
    prices: Prices = field(default_factory=dict)


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
    prices: Prices = NO_PRICES,
) -> Iterator[Event]:
    """Evolve a trained ancestor to the plan's last generation, or until the score falls below the plan's budget.

    Yields each epoch of training, and each individual as the archive keeps it. If the `archive` already has
    individuals, the lineage continues after them. The parents of every offspring are read from the archive, so a
    lineage that is resumed from disk equals one that never stopped. `key` is the key of the lineage
    (`synevo.keys.root`). `watch` is called with each whole epoch and each individual before it is yielded. `bear` says
    whether the offspring of a brood are trained one after the other, or side by side; they come in their order.
    `prices` are the microseconds that a filter of each layer costs, for plans with the cost `latency`.

    Raises:
        ViabilityError, ProofError: as in `conceive`.
    """
    archive = Memory() if archive is None else archive
    if not archive.lineage().individuals:
        archive.keep(Birth(record(Conception(1, 1, 1.0), ancestor, problem, plan.ancestor_training), ancestor))
    conception = next_conception(archive.lineage(), plan)
    inheritance = from_ancestor(key, ancestor, problem, plan, prices) if conception else None
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
    growing = Growing(conception, problem, plan.ancestor_training, plan.evolution.retries)
    yield from grow(individual_key(key, conception), organism, growing, resume=resume)


def from_ancestor(
    key: Array, grown: Organism, problem: Problem, plan: Plan, prices: Prices = NO_PRICES
) -> FromAncestor:
    """Return the data of a trained ancestor (`grown`) that all offspring use.

    To rewind, the first epochs of the ancestor are trained again, equal to the bit; its last epoch needs no training.
    """
    lessons = taught_by(grown.network, problem.task, problem.train, plan.training)
    if plan.evolution.rewind is None:
        return FromAncestor(lessons, None, prices)
    if plan.evolution.rewind == plan.ancestor_training.epochs:
        return FromAncestor(lessons, grown.network, prices)
    rewound = grown.species.template
    if plan.evolution.rewind:
        events = (event for event in trained_ancestor(key, grown.species, problem, plan) if isinstance(event, Training))
        rewound = next(event.state.network for event in events if event.state.epoch == plan.evolution.rewind)
    return FromAncestor(lessons, rewound, prices)


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
    candidates = candidates_for(key, parents, problem, plan, conception, inheritance, archive)
    (own_key, first_one), inherited = candidates[0], HEREDITIES[plan.encoding.heredity].inherited
    training = plan.training.scaled(first_one.efficiency, spent=0 if inherited else spent)
    growing = Growing(conception, problem, training, plan.evolution.retries, tuple(parents), inheritance.lessons)
    if len(candidates) > 1:
        yield from select(candidates, growing, resumption=archive.resumption)
    else:
        yield from grow(own_key, first_one, growing, resume=archive.resumption(conception))


def candidates_for(
    key: Array,
    parents: Mapping[str, Organism],
    problem: Problem,
    plan: Plan,
    conception: Conception,
    inheritance: FromAncestor,
    archive: Archive,
) -> list[tuple[Array, Organism]]:
    """Return the untrained candidates for an offspring, each with its own key; one alone without `evolution.halving`.

    The first one is what the offspring would be without others.
    """
    near, heredity = placement(plan.training.devices, together=False), HEREDITIES[plan.encoding.heredity]
    species = next(iter(parents.values())).species

    def conceived(own_key: Array) -> Organism:
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
                parent,
                tuple(parents),
                problem.task,
                problem.train,
                plan.encoding,
                archive,
                over=near.over,
                prices=inheritance.prices,
            ),
            weights=weights,
            inputs=problem.task.inputs(
                jax.tree.map(jnp.asarray, first(problem.validation, at_once(problem.validation, PROVEN)))
            ),
        )
        hosts.require_same(f"masks of generation {conception.generation}", {**child.masks, ":units": child.units})
        return child

    count = max(1, plan.evolution.halving)
    own_keys = [individual_key(key, replace(conception, candidate=Candidate(one + 1, count))) for one in range(count)]
    return [(own_key, conceived(own_key)) for own_key in own_keys]


def individual_key(key: Array, conception: Conception) -> Array:
    """Return the random key of one individual, or of a candidate for it, derived from the `key` of its lineage."""
    own = derive(key, "generation", conception.generation)
    own = own if conception.number == 1 else derive(own, "offspring", conception.number)
    candidate = conception.candidate.number if conception.candidate else 1
    return own if candidate == 1 else derive(own, "candidate", candidate)


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
