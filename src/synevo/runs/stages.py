"""The stages of a run: each reads the files of the stage before it, does the remaining work, and writes the result.

A finished stage does nothing, so a run is resumed by the same command. Stages yield events and print nothing. They make
no decisions about evolution; they add files and times to it. Parents are read from disk even if they are still in
memory, so that an interrupted lineage and an uninterrupted one take the same path.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from synevo import evolution, keys
from synevo.adoption.adopting import adopted
from synevo.data.findings import as_table, in_words
from synevo.errors import DivergenceError, ExportError, RunError
from synevo.genetics.archive import Birth, Resumption
from synevo.genetics.heredity import HEREDITIES, Worth
from synevo.genetics.organism import Organism
from synevo.growing import Event, Training
from synevo.lineage.allowance import question
from synevo.lineage.course import Conception, next_conception
from synevo.lineage.doubts import Basis, doubts
from synevo.lineage.happenings import Doubted, Epoch, Found, Grown, Happening, Within
from synevo.lineage.hints import of_batches, of_few_images
from synevo.lineage.individuals import Adoption, Individual, Lineage
from synevo.plan.fields import Plan, TrainingPlan
from synevo.runs import checkpoints, prices, trusted
from synevo.runs.documents import prices_in_words
from synevo.runs.entries import basis_in
from synevo.runs.lock import require_folder
from synevo.runs.measuring import describe
from synevo.runs.organisms import (
    IN_JAX,
    Context,
    Stopwatch,
    basis_of,
    copy_worth,
    load_organism,
    load_worth,
    prepare,
    resolve,
    save_worth,
    to_tensors,
)
from synevo.runs.rundir import RunDir
from synevo.runs.several.broods import Born, Side, bearing
from synevo.runs.several.hosts import seen_by_all
from synevo.training.fit import placed, rehearse
from synevo.training.hosts import writes

CHECKPOINT_EVERY = 2.0
"""The least time between two checkpoints after epochs, in seconds."""

CHECKPOINT_WITHIN = 60.0
"""The least time between two checkpoints within an epoch, in seconds."""


def train_ancestor(
    run: RunDir, plan: Plan, *, expect: Path | None = None, stopwatch: Stopwatch = IN_JAX
) -> Iterator[Happening]:
    """Train generation 1 of a new run, or go on training it; do nothing if it is trained.

    It starts from the plan's weights, if there are any. Their outputs are compared with those in a file to `expect`.
    `stopwatch` measures its latency.

    Raises:
        ExportError: if the stopwatch cannot run networks of this kind.
        AdoptionError: if the weights cannot be read, do not fit the network, or give other outputs.
        DivergenceError: if the ancestor could not be trained.
        TrainingError: if an optimiser or an augmentation of the user's own cannot be used.
        RunError: if another process writes the run, or its files are damaged.
    """
    run = seen_by_all(run)
    require_folder(run.path)
    if run.load_lineage().individuals:
        return
    if not run.exists() or plan != run.load_plan():  # that one is resolved, by the version that began the run
        plan = resolve(plan)
    context = prepare(plan)  # before anything is written, so that an error leaves no run
    stopwatch.require(context)
    species, task = context.species, context.problem.task
    network, adoption = adopted(
        species.template,
        species.anatomy.inputs,
        plan,
        expect=expect,
        prepare=(lambda pixels: task.inputs({"image": pixels})[0]) if context.dataset else None,
    )
    basis, train = basis_of(context), len(context.problem.train)
    early = [*doubts(Lineage(), plan, basis), *of_batches(plan, train)]
    for training in (plan.ancestor_training, plan.training):
        rehearse(context.species.template, context.problem.task, context.problem.train, training)
    with run.writing():
        if run.load_lineage().individuals:
            return
        run.require_all_listed()
        if not run.exists():
            trusted.remember(plan.ancestor.name)
        run.save_plan(plan)
        run.save_machine({**describe(), **_data_of(context)})
        yield Found(in_words(context.problem[1:], context.dataset.findings if context.dataset else None))
        if hint := of_few_images(plan, train) if context.dataset else "":
            yield Found(hint)
        yield from (Doubted(one.text) for one in early)
        said = {one.kind for one in early}
        archive = RunArchive(run, context, basis, said=said, adoption=adoption, stopwatch=stopwatch)
        resume = archive.resumption(Conception(1, 1, 1.0))
        events = evolution.trained_ancestor(
            keys.root(plan.seed), species, context.problem, plan, network=network, resume=resume
        )
        yield from archive.follow(archive.keep(event) if isinstance(event, Birth) else event for event in events)


def _data_of(context: Context) -> dict[str, Any]:
    """Return how the images of a run are kept, to be written beside the description of the machine."""
    found = context.dataset.findings if context.dataset else None
    return {} if found is None else {"data": as_table(found)}


def take_ancestor(run: RunDir, plan: Plan, source: RunDir) -> Iterator[Happening]:
    """Start a run with the trained ancestor of another run, and take the fields of its plan that made it.

    Raises:
        RunError: if the other run has no ancestor yet, or the files of a run are damaged.
    """
    first = source.load_lineage()
    if not first.individuals:
        raise RunError(
            f"{source.path} has no ancestor yet.", remedy="Run `synevo train-ancestor` there to its end first."
        )
    origin = source.load_plan()
    shared = {name: getattr(origin, name) for name in ("seed", "task", "data", "ancestor", "ancestor_training")}
    plan = plan.model_copy(update=shared)
    with run.writing():
        if run.load_lineage().individuals:
            return
        run.require_all_listed()
        weights, bits = source.load_individual(1)
        run.save_plan(plan)
        run.save_machine(source.load_machine() or describe())
        basis = basis_in(source.entries())
        run.save_individual(first.ancestor, plan, weights=weights, masks=bits, basis=basis)
        copy_worth(source, run, first.ancestor.name)
        prices.copy(source, run)
        yield Grown(first.ancestor, run.load_lineage())
        yield from (Doubted(one.text) for one in doubts(run.load_lineage(), plan, basis))


def evolve(
    run: RunDir,
    plan: Plan,
    *,
    ancestor: str | None = None,
    stopwatch: Stopwatch = IN_JAX,
    side_by_side: Side | None = None,
) -> Iterator[Happening]:
    """Evolve a run from its youngest generation to the plan's last one.

    `ancestor` is the name of the ancestor's factory, where that has moved; the plan keeps its own. `stopwatch` measures
    the latencies of offspring. The offspring of a brood are trained `side_by_side` on devices or by Ray, or in turn.

    Raises:
        ExportError: if the stopwatch cannot run networks of this kind.
        RunError: if there is no ancestor yet, the lineage has another plan, or a file is damaged.
    """
    run = seen_by_all(run)
    with run.writing():
        lineage = run.load_lineage()
        if not lineage.individuals:
            raise RunError(f"{run.path} has no ancestor yet.", remedy="Run `synevo train-ancestor` to its end first.")
        run.check_plan(plan)
        run.require_all_listed()
        scores = lineage.ancestor.scores
        asked = question(plan.evolution.max_drop, scores.name) if scores else None
        if asked is not None:
            yield Doubted(asked)
        if next_conception(lineage, plan) is None:
            _save_changed(run, plan)
            return
        basis = basis_in(run.entries())
        said = {one.kind for one in doubts(lineage, plan, basis)}
        table = prices.require(run, plan)
        context = prepare(plan, ancestor, initialised=_starts_anew(plan))
        stopwatch.require(context)
        placed(plan.training, context.problem.train)
        bear = bearing(side_by_side, context, partial(born, run, plan, ancestor))
        archive = RunArchive(run, context, basis, said=said, stopwatch=stopwatch, side_by_side=side_by_side is not None)
        first, problem = archive.organism(lineage.ancestor.name), archive.context.problem
        if prices.wanted(plan) and table is None:
            table = prices.measure(run, context, first, stopwatch)
            yield Found(prices_in_words(table))
            archive.began = time.monotonic()
        costs = prices.prices_of(table)
        events = evolution.evolve(keys.root(plan.seed), first, problem, plan, archive=archive, bear=bear, prices=costs)
        yield from archive.follow(events)


def born(run: RunDir, plan: Plan, ancestor: str | None, conception: Conception) -> Born:
    """Train an offspring of a run which another process writes; what is kept of its training is in the run."""
    context = prepare(plan, ancestor, initialised=_starts_anew(plan))
    archive = _Lent(run, context, None)
    first, costs = archive.organism(archive.lineage().ancestor.name), prices.prices_of(prices.require(run, plan))
    one_of = partial(evolution.evolve, archive=archive, bear=lambda _, one: one(conception), prices=costs)
    for event in one_of(keys.root(plan.seed), first, context.problem, plan):
        if isinstance(event, Birth):
            return event.individual, None if event.organism is None else to_tensors(event.organism)
        archive.checkpoint(event)
    raise AssertionError("an offspring is born or fails")


def _starts_anew(plan: Plan) -> bool:
    """Return whether offspring need the untrained network of the species, and not only what was trained."""
    rewinds = plan.evolution.rewind not in (None, plan.ancestor_training.epochs)
    return rewinds or not HEREDITIES[plan.encoding.heredity].inherited


def _save_changed(run: RunDir, plan: Plan) -> None:
    """Write the plan if it is another than the run has."""
    if plan != run.load_plan():
        run.save_plan(plan)


@dataclass
class RunArchive:
    """The archive of a lineage on disk; it also measures times.

    A changed plan is written when there is a first result: until then, what is damaged or unfit leaves all as it was.
    `said` are the kinds of doubts that need not be said again. Where a brood is trained `side_by_side`, the time of
    each of its offspring counts from where all of them began. `saved` are the times of checkpoints, by number.
    """

    run: RunDir
    context: Context
    basis: Basis | None
    said: set[str] = field(default_factory=set)
    adoption: Adoption | None = None
    stopwatch: Stopwatch = IN_JAX
    side_by_side: bool = False
    saved: dict[int, float] = field(default_factory=dict)
    began: float = field(default_factory=time.monotonic)

    def lineage(self) -> Lineage:
        """Return the individuals on disk."""
        return self.run.load_lineage()

    def organism(self, name: str) -> Organism:
        """Return an individual's organism; raise RunError if its files are damaged or belong to another model."""
        return load_organism(self.run, self.context.species, name)

    def resumption(self, conception: Conception) -> Resumption | None:
        """Return the state of an individual's interrupted training, or None if there is none."""
        return checkpoints.load(
            self.run.training_folder,
            generation=conception.generation,
            number=conception.number,
            candidate=conception.candidate,
        )

    def keep(self, birth: Birth) -> Birth:
        """Write an individual with its time and latency; raise DivergenceError if the ancestor could not be trained."""
        individual = replace(
            birth.individual, seconds=time.monotonic() - self.began, adoption=birth.individual.adoption or self.adoption
        )
        if birth.organism is None and individual.generation == 1:
            raise DivergenceError(
                f"The ancestor could not be trained. {individual.problem}",
                remedy="Nothing was kept. Start a new run with a smaller --set ancestor_training.learning_rate=…",
            )
        weights, bits = ({}, {}) if birth.organism is None else to_tensors(birth.organism)
        if birth.organism is not None and writes():
            individual = self._timed(individual, birth.organism)
        _save_changed(self.run, self.context.plan)
        self.run.save_individual(individual, self.context.plan, weights=weights, masks=bits, basis=self.basis)
        if writes():
            place = {"generation": individual.generation, "number": individual.number}
            checkpoints.clear(self.run.training_folder, **place)
        if not self.side_by_side or individual.number % self.context.plan.evolution.population == 0:
            self.began = time.monotonic()
        return Birth(individual, birth.organism)

    def _timed(self, individual: Individual, organism: Organism) -> Individual:
        """Return an individual with its latency; without one where its engine failed, so that no training is lost."""
        try:
            timings, engine = self.stopwatch.time(self.context, {"": organism.network}, 1, rounds=20)
        except ExportError:
            return individual
        return replace(individual, latency_ms={"1": timings[""].median}, engine=engine["words"])

    def _training(self, event: Training) -> TrainingPlan:
        plan = self.context.plan
        return plan.ancestor_training if event.generation == 1 else plan.training

    def recall(self, names: Sequence[str], basis: str) -> Worth | None:
        """Return what was measured of a parent, in the folder of the best individual that it is made of."""
        return load_worth(self.run, names[0], basis)

    def remember(self, names: Sequence[str], basis: str, worth: Worth) -> None:
        """Write what was measured of a parent, in place of what was measured before."""
        if writes():
            save_worth(self.run, names[0], basis, worth)

    def doubted(self) -> Iterator[Doubted]:
        """Yield each doubt about the lineage so far that was not said before."""
        for one in doubts(self.lineage(), self.context.plan, self.basis):
            if one.kind not in self.said:
                self.said.add(one.kind)
                yield Doubted(one.text)

    def follow(self, events: Iterator[Event]) -> Iterator[Happening]:
        """Yield a happening for each event, and write a checkpoint of the training from time to time."""
        ended: dict[int, float] = {}  # when the last epoch of each individual ended, by its number
        for place, event in enumerate(events):
            now = time.monotonic()
            if place == 0:
                _save_changed(self.run, self.context.plan)
            if isinstance(event, Training):
                within = event.state.step > 0
                self.checkpoint(event)
                state, examples = event.state, len(self.context.problem.train)
                seconds = now - max(ended.get(event.number, 0.0), self.began)
                if within:
                    steps = examples // min(self._training(event).batch_size, examples)
                    begun = (state.epoch + 1, event.epochs, state.step, steps, seconds)
                    yield Within(event.generation, event.number, *begun, event.candidate)
                    continue
                went = (state.epoch, event.epochs, state.loss, examples, seconds)
                yield Epoch(event.generation, event.number, *went, event.candidate)
                ended[event.number] = time.monotonic()
            else:
                yield Grown(event.individual, self.lineage())
                yield from self.doubted()

    def checkpoint(self, event: Training) -> None:
        """Write a checkpoint of a training, if some time has passed since the last one, or a candidate has ended it."""
        since = time.monotonic() - max(self.saved.get(event.number, 0.0), self.began)
        ended = event.candidate is not None and event.state.epoch == event.epochs
        if writes() and (ended or since > (CHECKPOINT_WITHIN if event.state.step else CHECKPOINT_EVERY)):
            checkpoints.save(self.run.training_folder, event)
            self.saved[event.number] = time.monotonic()


class _Lent(RunArchive):
    """The archive of a lineage that another process writes."""

    def keep(self, birth: Birth) -> Birth:
        """Return the individual as it is."""
        return birth
