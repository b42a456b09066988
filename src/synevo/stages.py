"""The stages of a run: each reads what the one before it left, does what is still to do, and leaves the result.

A stage that has nothing left to do does nothing, so resuming is running the same command again. Stages yield what
happens and print nothing. Whatever decides is in the science; this is where it meets the disk and the clock.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from synevo import __version__, ancestors, checkpoints, compaction, datasets, evolution, keys, stopwatch, training
from synevo.course import Conception, choose_parents, next_conception
from synevo.errors import CompactionError, DivergenceError, RunError
from synevo.evolution import Birth, Event, Legacy, Organism, Species, Training
from synevo.happenings import Epoch, Grown, Happening
from synevo.images import Dataset, Images
from synevo.lineage import Individual
from synevo.machine import describe
from synevo.network import Blueprint, Network, build, forward, normalise
from synevo.plan import Plan
from synevo.rundir import ARCHITECTURE_FORMAT, RunDir
from synevo.tensors import Tensors
from synevo.wiring import dissect, groups_left

LATENCY_BATCHES = (1, 256)
CHECKPOINT_EVERY = 2.0
"""Seconds: epochs shorter than this are not worth a checkpoint each."""

_UNITS = ":units"


@dataclass(frozen=True)
class Habitat:
    """What a run's individuals live in: the plan, the images and the species."""

    plan: Plan
    dataset: Dataset
    species: Species


def resolve(plan: Plan) -> Plan:
    """The plan with all that depends on the ancestor and the data filled in."""
    data = datasets.resolve(plan.data, native_size=ancestors.native_size(plan.ancestor.name))
    return plan.model_copy(update={"data": data})


def settle(plan: Plan) -> Habitat:
    """Load the images and build the species of a plan."""
    dataset = datasets.load(plan.data, seed=plan.seed)
    key = keys.derive(keys.root(plan.seed), "initialisation")
    blueprint, template = build(ancestors.find(plan.ancestor.name), dataset.shape, len(dataset.classes), key)
    return Habitat(plan, dataset, Species(blueprint, dissect(blueprint, template, dataset.shape), template))


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


def dismantle(organism: Organism) -> tuple[Tensors, Tensors]:
    """The weights and the masks of an organism as files hold them."""
    weights = {name: np.asarray(array) for name, array in organism.network.arrays.items()}
    return weights, {**organism.masks, _UNITS: organism.units}


def load_organism(run: RunDir, species: Species, which: int | str) -> Organism:
    """An individual's organism, by name or as the head of a generation.

    Raises:
        RunError: where there is none, or its files are damaged or are those of another model.
    """
    weights, bits = run.load_individual(which)
    if set(weights) != set(species.template.arrays):
        raise RunError(
            f"The ancestor's model has changed since {which} of {run.path} was made.",
            remedy="Give the model back its layers, or start another run.",
        )
    units = bits.pop(_UNITS)
    return Organism(assembled(species.template, weights), bits, units)


def assembled(template: Network, weights: Tensors) -> Network:
    """The network with the arrays of a file."""
    return Network(
        {name: jnp.asarray(weights[name]) for name in template.parameters},
        {name: jnp.asarray(weights[name]) for name in template.statistics},
    )


def compact(run: RunDir, plan: Plan, *, generation: int | None = None, round_to: int = 1) -> dict[str, Any]:
    """Compact a generation (the best one where unsaid), prove it, time it beside its ancestor, and write it.

    Each layer keeps a multiple of `round_to` filters, dead ones among them, or all that the ancestor has. Returns the
    documents that were written: `architecture`, `proof`, `measures`.
    """
    with run.writing():
        lineage = run.load_lineage()
        best = lineage.best(plan.evolution.max_drop) if generation is None else None
        generation = best.generation if best else generation
        if generation is None:
            raise RunError(f"{run.path} has no ancestor yet.", remedy="Run `synevo train-ancestor` to its end first.")
        habitat = settle(plan)
        organism, first = (load_organism(run, habitat.species, number) for number in (generation, 1))
        _check_removed(run, habitat.species, organism, generation, asked=best is None)
        organism = rounded(habitat.species, organism, round_to)
        proof, masked = prove(habitat, organism)
        blueprint = habitat.species.blueprint
        networks = {
            "ancestor": (blueprint, first.network),
            "masked": (blueprint, masked),
            "compact": _runnable(habitat.species, organism),
        }
        documents = {
            "architecture": {**architecture(habitat, organism, generation), "round_to": round_to},
            "proof": asdict(proof),
            "measures": measure(habitat, networks),
        }
        weights, _ = dismantle(organism)
        said = predictions(habitat, first, organism)
        run.save_compact(generation, weights=weights, documents=documents, predictions=said)
        return documents


def rounded(species: Species, organism: Organism, multiple: int) -> Organism:
    """The organism with dead units among its living ones, so that the widths of its layers are multiples."""
    wiring = species.anatomy.wiring
    units = compaction.round_up(wiring, organism.units, multiple)
    masked = compaction.uncut(organism.network, wiring, organism.units, species.template)
    return Organism(compaction.cut(masked, wiring, units), organism.masks, units)


def _check_removed(run: RunDir, species: Species, organism: Organism, generation: int, *, asked: bool) -> None:
    """CompactionError where nothing is removed, unless this generation was `asked` for and something could be."""
    wiring = species.anatomy.wiring
    if not wiring.units:
        raise compaction.nothing_to_remove(f"Generation {generation} of {run.path}", wiring, wiring.frozen)
    if organism.units.all() and not asked:
        name = "the ancestor, " if generation == 1 else ""
        raise CompactionError(
            f"Generation {generation} of {run.path}, {name}the best within the budget, has nothing to remove: "
            f"all of its {wiring.units} units live.",
            remedy=f"Evolve it further with `synevo evolve {run.path}`, "
            f"or write it whole with `synevo compact {run.path} --generation {generation}`.",
        )


def prove(habitat: Habitat, organism: Organism) -> tuple[compaction.Proof, Network]:
    """The proof of an organism on the test images, and the masked network in the ancestor's shapes."""
    species, dataset = habitat.species, habitat.dataset
    masked = compaction.uncut(organism.network, species.anatomy.wiring, organism.units, species.template)
    proof = compaction.prove(
        species.blueprint,
        species.anatomy,
        organism.units,
        masked=masked,
        compact=organism.network,
        images=normalise(jnp.asarray(dataset.test.first(1000).pixels), dataset.mean, dataset.deviation),
        shape=dataset.shape,
        key=keys.derive(keys.root(habitat.plan.seed), "proof"),
    )
    return proof, masked


SHOWN_IMAGES = 24
"""How many images of each kind are kept beside the predictions, for people to look at."""


def predictions(habitat: Habitat, first: Organism, organism: Organism) -> Tensors:
    """What ancestor and organism say to each test image, and some of the images that only one of them gets right."""
    species, dataset = habitat.species, habitat.dataset
    said = {
        name: training.predict(*_runnable(species, one), dataset.test, dataset)
        for name, one in (("ancestor", first), ("best", organism))
    }
    right = {name: classes == dataset.test.labels for name, classes in said.items()}
    lost = np.flatnonzero(right["ancestor"] & ~right["best"])
    won = np.flatnonzero(~right["ancestor"] & right["best"])
    return {
        "labels": dataset.test.labels,
        **said,
        **_examples("lost", lost, dataset.test),
        **_examples("won", won, dataset.test),
    }


def _examples(name: str, places: NDArray[np.int64], images: Images) -> Tensors:
    shown = places[:SHOWN_IMAGES]
    return {f"{name}:places": shown.astype(np.int32), f"{name}:pixels": images.pixels[shown]}


def architecture(habitat: Habitat, organism: Organism, generation: int) -> dict[str, Any]:
    """All that is needed, beside the weights, to run a compacted network."""
    dataset = habitat.dataset
    return {
        "format": ARCHITECTURE_FORMAT,
        "synevo": __version__,
        "generation": generation,
        "ancestor": habitat.plan.ancestor.name,
        "input": {
            "shape": dataset.shape,
            "mean": dataset.mean,
            "deviation": dataset.deviation,
            "source_shape": datasets.native_shape(habitat.plan.data),
            "fit": habitat.plan.data.fit,
        },
        "classes": dataset.classes,
        "arrays": {name: list(array.shape) for name, array in organism.network.arrays.items()},
        "units": {"all": len(organism.units), "alive": int(organism.units.sum())},
        "groups": groups_left(habitat.species.anatomy.wiring, organism.units),
        "layers": [asdict(layer) for layer in evolution.count(habitat.species, organism).layers],
        "frozen": [asdict(frozen) for frozen in habitat.species.anatomy.wiring.frozen],
    }


def measure(habitat: Habitat, networks: dict[str, tuple[Blueprint, Network]]) -> dict[str, Any]:
    """Latency in milliseconds of networks side by side, by batch size: median, quartiles and rounds."""
    dataset = habitat.dataset
    rows: dict[str, Any] = {name: {} for name in networks}
    for batch in LATENCY_BATCHES:
        calls = _calls(networks, dataset, batch)
        for name, timing in stopwatch.race(calls, rounds=50).items():
            rows[name][str(batch)] = asdict(timing)
    return {"latency_ms": rows, "machine": describe()}


def _runnable(species: Species, organism: Organism) -> tuple[Blueprint, Network]:
    """How an organism runs, and its arrays."""
    return species.blueprint_of(organism.units), organism.network


def _calls(networks: dict[str, tuple[Blueprint, Network]], dataset: Dataset, batch: int) -> dict[str, Any]:
    """A compiled forward pass of each network on one batch of images."""
    pixels = np.resize(dataset.validation.pixels, (batch, *dataset.shape))
    images = normalise(jnp.asarray(pixels), dataset.mean, dataset.deviation)
    run = jax.jit(forward, static_argnums=0)
    return {
        name: (lambda blueprint=blueprint, network=network: run(blueprint, network, images))
        for name, (blueprint, network) in networks.items()
    }
