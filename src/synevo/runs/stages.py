"""The stages of a run: each reads what the one before it left, does what is still to do, and leaves the result.

A stage that has nothing left to do does nothing, so resuming is running the same command again. Stages yield what
happens and print nothing. Whatever decides is in the science; this is where it meets the disk and the clock.
"""

import time
from collections.abc import Iterator

from synevo import evolution, keys
from synevo.errors import DivergenceError, RunError
from synevo.evolution import Birth, Event, Legacy, Training
from synevo.lineage.course import Conception, choose_parents, next_conception
from synevo.lineage.happenings import Epoch, Grown, Happening
from synevo.lineage.individuals import Individual
from synevo.plan.fields import Plan
from synevo.runs import checkpoints, stopwatch
from synevo.runs.machine import describe
from synevo.runs.organisms import Habitat, _calls, _runnable, dismantle, load_organism, resolve, settle
from synevo.runs.rundir import RunDir

CHECKPOINT_EVERY = 2.0
"""Seconds: epochs shorter than this are not worth a checkpoint each."""


def train_ancestor(run: RunDir, plan: Plan) -> Iterator[Happening]:
    """Train generation 1 of a new run, or go on training it; nothing where it is trained."""
    plan = resolve(plan)
    with run.writing():
        if run.load_lineage().individuals:
            return
        run.save_plan(plan)
        run.save_machine(describe())
        habitat = settle(plan)
        resume = checkpoints.load(run.training_folder, generation=1)
        events = evolution.ancestor(keys.root(plan.seed), habitat.species, habitat.dataset, plan, resume=resume)
        yield from _keep(run, habitat, events)


def adopt_ancestor(run: RunDir, plan: Plan, source: RunDir) -> Iterator[Happening]:
    """Start a run with the ancestor of another one, trained as that run's plan says."""
    first = source.load_lineage()
    if not first.individuals:
        raise RunError(
            f"{source.path} has no ancestor yet.", remedy="Run `synevo train-ancestor` there to its end first."
        )
    origin = source.load_plan()
    shared = {name: getattr(origin, name) for name in ("seed", "data", "ancestor", "ancestor_training")}
    plan = plan.model_copy(update=shared)
    with run.writing():
        if run.load_lineage().individuals:
            return
        run.save_plan(plan)
        run.save_machine(source.load_machine())
        weights, bits = source.load_individual(1)
        run.save_individual(first.ancestor, plan, weights=weights, masks=bits)
        yield Grown(first.ancestor, run.load_lineage())


def evolve(run: RunDir, plan: Plan) -> Iterator[Happening]:
    """Evolve a run up to the plan's last generation, from wherever it is."""
    with run.writing():
        lineage = run.load_lineage()
        if not lineage.individuals:
            raise RunError(f"{run.path} has no ancestor yet.", remedy="Run `synevo train-ancestor` to its end first.")
        run.check_plan(plan)
        if plan != run.load_plan():
            run.save_plan(plan)
        conception = next_conception(lineage, plan)
        if conception is None:
            return
        habitat = settle(plan)
        legacy = _legacy(run, habitat)
        while conception is not None:
            yield from _bear(run, habitat, legacy, conception, choose_parents(lineage, conception.generation, plan))
            conception = next_conception(lineage := run.load_lineage(), plan)


def _legacy(run: RunDir, habitat: Habitat) -> Legacy:
    """What the ancestor on disk leaves to all; it is loaded where the plan asks for any of it."""
    plan = habitat.plan
    if not plan.training.distillation and plan.evolution.rewind is None:
        return evolution.NOTHING
    first = load_organism(run, habitat.species, 1)
    return evolution.bequeath(keys.root(plan.seed), habitat.species, first, habitat.dataset, plan)


def _bear(
    run: RunDir, habitat: Habitat, legacy: Legacy, conception: Conception, parents: tuple[Individual, ...]
) -> Iterator[Happening]:
    """One offspring of parents that are on disk, conceived, grown and kept."""
    events = evolution.offspring(
        keys.root(habitat.plan.seed),
        habitat.species,
        [load_organism(run, habitat.species, parent.name) for parent in parents],
        habitat.dataset,
        habitat.plan,
        conception,
        spent=max(parent.epochs for parent in parents),
        legacy=legacy,
        resume=checkpoints.load(run.training_folder, generation=conception.generation, number=conception.number),
    )
    yield from _keep(run, habitat, events, parents=tuple(parent.name for parent in parents))


def _keep(
    run: RunDir, habitat: Habitat, events: Iterator[Event], *, parents: tuple[str, ...] = ()
) -> Iterator[Happening]:
    """Keep on disk what happens, and say so."""
    began = epoch_began = saved = time.monotonic()
    for event in events:
        now = time.monotonic()
        if isinstance(event, Training):
            if now - saved > CHECKPOINT_EVERY:
                checkpoints.save(run.training_folder, event)
                saved = time.monotonic()
            state, images = event.state, len(habitat.dataset.train)
            yield Epoch(
                event.generation, event.number, state.epoch, event.epochs, state.loss, images, now - epoch_began
            )
            epoch_began = time.monotonic()
        else:
            if event.organism is None and event.generation == 1:
                raise DivergenceError(
                    f"The ancestor could not be trained. {event.problem}",
                    remedy="Nothing was kept. Start a new run with a smaller --set ancestor_training.learning_rate=…",
                )
            individual = _individual(event, habitat, parents, now - began)
            weights, bits = ({}, {}) if event.organism is None else dismantle(event.organism)
            run.save_individual(individual, habitat.plan, weights=weights, masks=bits)
            checkpoints.clear(run.training_folder)
            yield Grown(individual, run.load_lineage())
            began = epoch_began = saved = time.monotonic()


def _individual(birth: Birth, habitat: Habitat, parents: tuple[str, ...], seconds: float) -> Individual:
    latency = None
    if birth.organism is not None:
        calls = _calls({"": _runnable(habitat.species, birth.organism)}, habitat.dataset, 1)
        latency = {"1": stopwatch.race(calls, rounds=20)[""].median}
    return Individual(
        generation=birth.generation,
        parents=parents,
        counts=birth.counts,
        scores=birth.scores,
        expected_synapses=birth.expected_synapses,
        sampled_synapses=birth.sampled_synapses,
        learning_rate=birth.learning_rate,
        epochs=birth.epochs,
        seconds=seconds,
        latency_ms=latency,
        problem=birth.problem,
        number=birth.number,
        pressure=birth.pressure,
    )
