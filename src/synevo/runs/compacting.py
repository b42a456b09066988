"""Compacting a generation of a run: prove it, time it beside its ancestor, and write it."""

from dataclasses import asdict
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from synevo import __version__, evolution, keys
from synevo.compaction import cutting, in_memory, proof
from synevo.data import datasets
from synevo.errors import CompactionError, RunError
from synevo.files.tensors import Tensors
from synevo.genetics.organism import Organism, Species
from synevo.model.network import Network, normalise
from synevo.plan.fields import Plan
from synevo.runs.organisms import Habitat, _runnable, dismantle, load_organism, measure, settle
from synevo.runs.rundir import ARCHITECTURE_FORMAT, RunDir
from synevo.tasks.images import Images
from synevo.training import fit
from synevo.wiring.dissection import groups_left


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
    units = cutting.round_up(wiring, organism.units, multiple)
    masked = cutting.uncut(organism.network, wiring, organism.units, species.template)
    return Organism(cutting.cut(masked, wiring, units), organism.masks, units)


def _check_removed(run: RunDir, species: Species, organism: Organism, generation: int, *, asked: bool) -> None:
    """CompactionError where nothing is removed, unless this generation was `asked` for and something could be."""
    wiring = species.anatomy.wiring
    if not wiring.units:
        raise in_memory.nothing_to_remove(f"Generation {generation} of {run.path}", wiring, wiring.frozen)
    if organism.units.all() and not asked:
        name = "the ancestor, " if generation == 1 else ""
        raise CompactionError(
            f"Generation {generation} of {run.path}, {name}the best within the budget, has nothing to remove: "
            f"all of its {wiring.units} units live.",
            remedy=f"Evolve it further with `synevo evolve {run.path}`, "
            f"or write it whole with `synevo compact {run.path} --generation {generation}`.",
        )


def prove(habitat: Habitat, organism: Organism) -> tuple[proof.Proof, Network]:
    """The proof of an organism on the test images, and the masked network in the ancestor's shapes."""
    species, dataset = habitat.species, habitat.dataset
    masked = cutting.uncut(organism.network, species.anatomy.wiring, organism.units, species.template)
    found = proof.prove(
        species.blueprint,
        species.anatomy,
        organism.units,
        masked=masked,
        compact=organism.network,
        images=normalise(jnp.asarray(dataset.test.first(1000).pixels), dataset.mean, dataset.deviation),
        shape=dataset.shape,
        key=keys.derive(keys.root(habitat.plan.seed), "proof"),
    )
    return found, masked


SHOWN_IMAGES = 24
"""How many images of each kind are kept beside the predictions, for people to look at."""


def predictions(habitat: Habitat, first: Organism, organism: Organism) -> Tensors:
    """What ancestor and organism say to each test image, and some of the images that only one of them gets right."""
    species, dataset = habitat.species, habitat.dataset
    said = {
        name: fit.predict(*_runnable(species, one), dataset.test, dataset)
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
