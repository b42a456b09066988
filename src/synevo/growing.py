"""Growing: an organism is trained, scored and recorded; of several candidates, the best one is grown to the end.

Candidates for one offspring are selected by successive halving (Jamieson & Talwalkar, 1502.07943), with a budget that
grows: all are trained briefly, the worse half by validation is dropped, the rest is trained twice as long, and so on,
until one is left. Each rung goes on from the weights of the one before, with a fresh optimiser and a learning-rate
schedule of its own that ends with it (1608.03983), so that what is compared was trained to an end. With N candidates
and a training of E epochs, a rung costs E epochs, and all of them E · (1 + log2 N); the last one is the whole training.

`grow` and `select` are generators: they yield every epoch and then the individual.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite

import jax
import jax.numpy as jnp
from jax import Array

from synevo.errors import DivergenceError, TrainingError
from synevo.genetics import census
from synevo.genetics.archive import Birth, Resumption
from synevo.genetics.organism import Organism
from synevo.keys import derive
from synevo.lineage.course import Candidate, Conception, halving
from synevo.lineage.individuals import Individual, Rung, Scores, worse_by
from synevo.model.network import Network
from synevo.plan.fields import TrainingPlan
from synevo.tasks.task import Problem
from synevo.training.evaluation import evaluate
from synevo.training.fit import State, fit, start
from synevo.training.placement import ALONE, Placement, here, placement
from synevo.training.teaching import Lessons, as_trained

PAUSE = 100
"""The number of steps after which a training within an epoch may be kept, so that a long epoch is not lost."""


@dataclass(frozen=True)
class Training:
    """The event that one of `epochs` epochs has ended: whose, on which attempt, and the state after it.

    Within a long epoch it comes every `PAUSE` steps; `state.step` is 0 at the end of an epoch alone. `candidate` says
    which of several candidates for the offspring it is, and its rung.
    """

    generation: int
    number: int
    attempt: int
    epochs: int
    state: State
    candidate: Candidate | None = None


Event = Training | Birth


@dataclass(frozen=True)
class Growing:
    """The training of one individual: its place in the lineage, its problem and plan, and its parents' names."""

    conception: Conception
    problem: Problem
    training: TrainingPlan
    retries: int
    parents: tuple[str, ...] = ()
    lessons: Lessons | None = None


def grow(key: Array, organism: Organism, growing: Growing, *, resume: Resumption | None) -> Iterator[Event]:
    """Train an individual; if that diverges, try again with a quarter of the learning rate, up to `retries` times."""
    trained = yield from _train(key, organism, growing, resume)
    yield _born(organism, growing, trained)


def select(
    candidates: Sequence[tuple[Array, Organism]],
    growing: Growing,
    *,
    resumption: Callable[[Conception], Resumption | None],
    drop: bool = True,
) -> Iterator[Event]:
    """Train candidates in rungs of which each drops the worse half, and yield the individual that is left.

    Each candidate comes with a key of its own. One whose training diverged, on every attempt, is dropped. `resumption`
    gives what is kept of the training of a candidate in a rung; what has ended is not trained again. Without `drop`,
    all candidates are trained in all rungs, so that the scores of those that would have been dropped are known, too.
    """
    keys = {number: key for number, (key, _) in enumerate(candidates, 1)}
    left = {number: organism for number, (_, organism) in enumerate(candidates, 1)}
    rungs, spent, count = tuple[Rung, ...](), 0, len(candidates)
    for number, (most, epochs) in enumerate(halving(count, growing.training.epochs)):
        left = dict(list(left.items())[: most if drop else count])
        training, found = growing.training.model_copy(update={"epochs": epochs}), dict[int, _Trained]()
        for one, organism in left.items():
            place = replace(growing.conception, candidate=Candidate(one, count, number, len(left), spent))
            own = replace(growing, conception=place, training=training)
            key = derive(keys[one], "rung", number) if number else keys[one]
            found[one] = yield from _train(key, organism, own, resumption(place))
            spent += epochs
        scores = {one: _validation(trained, growing) for one, trained in found.items()}
        rungs = (*rungs, Rung(epochs, tuple(scores), tuple(scores.values())))
        ranked = sorted(left, key=lambda one: _rank(scores[one], growing.problem))
        if most == 1 or all(score is None for score in scores.values()):
            yield _born(left[ranked[0]], growing, found[ranked[0]], rungs)
            return
        left = {one: _after(left[one], found[one]) for one in ranked if scores[one] is not None}


def _after(organism: Organism, trained: "_Trained") -> Organism:
    """Return an organism as it was trained."""
    return organism if trained.network is None else replace(organism, network=trained.network)


def _validation(trained: "_Trained", growing: Growing) -> float | None:
    """Return the score of a trained network on the validation examples; None where it has none."""
    if trained.network is None:
        return None
    place = placement(trained.plan.devices, shard=trained.plan.shard)
    found = evaluate(trained.network, growing.problem.task, growing.problem.validation, place)
    return found if isfinite(found) else None


def _rank(score: float | None, problem: Problem) -> float:
    """Return the number by which candidates are sorted, the best first; those without a score come last."""
    return inf if score is None else worse_by(score, 0.0, problem.task.better)


@dataclass(frozen=True)
class _Trained:
    """What became of a training after some attempts: the network, or None and the reason, and the plan of the last."""

    network: Network | None
    plan: TrainingPlan
    attempts: int
    reason: str = ""


def _train(
    key: Array, organism: Organism, growing: Growing, resume: Resumption | None
) -> Generator[Training, None, _Trained]:
    """Train a network, more gently where that diverges; yield each epoch, and return what became of it."""
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
                yield Training(
                    conception.generation, conception.number, attempt, gentler.epochs, after, conception.candidate
                )
                state = after
        except DivergenceError as error:
            reason = error.problem
            continue
        return _Trained(here(state.network), gentler, attempt + 1)
    return _Trained(None, gentler, attempt + 1, reason)


def _born(organism: Organism, growing: Growing, trained: _Trained, rungs: tuple[Rung, ...] = ()) -> Birth:
    """Return the individual that was trained, with its record; without an organism where every attempt diverged."""
    grown = None if trained.network is None else replace(organism, network=trained.network)
    recorded = record(growing.conception, grown, growing.problem, trained.plan, growing.parents, rungs)
    if grown is not None:
        return Birth(recorded, grown)
    reason = f"Training diverged {trained.attempts} times, each with a quarter of the learning rate: {trained.reason}"
    synthesis = {name: getattr(organism, name) for name in ("expected_synapses", "sampled_synapses")}
    return Birth(replace(recorded, problem=reason, epochs=recorded.epochs if rungs else 0, **synthesis), None)


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
    rungs: tuple[Rung, ...] = (),
) -> Individual:
    """Return the record of an individual trained by a `plan`, with its counts and scores.

    The archive adds the seconds that it took. An individual without an organism has neither counts nor scores. `rungs`
    are those in which it was selected; their epochs are among its own.
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
        epochs=sum(rung.epochs * len(rung.candidates) for rung in rungs) if rungs else plan.epochs,
        seconds=0.0,
        rungs=rungs,
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
