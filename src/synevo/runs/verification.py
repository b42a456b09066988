"""Verification: every number of the report, computed again from the files.

The quick part reads and hashes; the whole one also loads the networks, counts them, classifies all images again and
repeats the proof of every compacted network.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from synevo.errors import SynevoError
from synevo.runs.rundir import RunDir


@dataclass(frozen=True)
class Check:
    """Something that was checked, whether it holds, and what was found where it does not."""

    subject: str
    holds: bool
    found: str = ""


def verify_files(run: RunDir) -> Iterator[Check]:
    """Plan, lineage, and the hashes of the files of every individual and every compacted network."""
    try:
        run.check_plan(run.load_plan())
    except SynevoError as error:
        yield Check("plan and lineage", holds=False, found=error.problem)
        return
    yield Check("plan and lineage", holds=True)
    for individual in run.load_lineage().individuals:
        if individual.counts is not None:
            yield _attempt(f"generation {individual.label}: files", partial(run.load_individual, individual.name))
    for generation in run.compacted():
        yield _attempt(f"compacted generation {generation}: files", partial(run.load_compact, generation))
        yield _attempt(f"compacted generation {generation}: predictions", partial(run.load_predictions, generation))


def verify_numbers(run: RunDir) -> Iterator[Check]:
    """Counts, accuracies, heredity and proofs of a run whose files are whole."""
    from synevo import evolution  # noqa: PLC0415  (loads JAX, which the quick part does without)
    from synevo.runs import organisms  # noqa: PLC0415  (loads JAX, which the quick part does without)

    habitat, lineage = organisms.settle(run.load_plan()), run.load_lineage()
    for individual in lineage.individuals:
        if individual.counts is None:
            continue
        name = f"generation {individual.label}"
        organism = organisms.load_organism(run, habitat.species, individual.name)
        counts = evolution.count(habitat.species, organism)
        scores = evolution.score(habitat.species, organism, habitat.dataset)
        yield Check(f"{name}: counts", counts == individual.counts, f"recounted {counts.synapses} synapses")
        yield Check(f"{name}: accuracies", scores == individual.scores, f"scored again: {asdict(scores)}")
        parents = lineage.parents_of(individual)
        if parents and not habitat.plan.evolution.mutation:
            held = [organisms.load_organism(run, habitat.species, parent).masks for parent in parents]
            together = {layer: np.logical_or.reduce([masks[layer] for masks in held]) for layer in organism.masks}
            inherited = all((together[layer] | ~mask).all() for layer, mask in organism.masks.items())
            whose = "the parent's" if len(parents) == 1 else f"those of {' and '.join(parents)}"
            yield Check(f"{name}: synapses are a subset of {whose}", inherited)
    for generation in run.compacted():
        yield from _verify_compact(run, habitat, generation)


def _verify_compact(run: RunDir, habitat: Any, generation: int) -> Iterator[Check]:
    from synevo.runs import compacting, organisms  # noqa: PLC0415

    name = f"compacted generation {generation}"
    weights, documents = run.load_compact(generation)
    organism = organisms.load_organism(run, habitat.species, generation)
    organism = compacting.rounded(habitat.species, organism, documents["architecture"].get("round_to", 1))
    own, _ = organisms.dismantle(organism)
    same = all(np.array_equal(weights[array], own[array]) for array in own)
    yield Check(f"{name}: weights are the individual's", same)
    yield from _verify_predictions(run, habitat, generation, organism)
    proof, _ = compacting.prove(habitat, organism)
    yield Check(f"{name}: proof", asdict(proof) == documents["proof"], f"proven again: {asdict(proof)}")


def _verify_predictions(run: RunDir, habitat: Any, generation: int, organism: Any) -> Iterator[Check]:
    from synevo.runs import compacting, organisms  # noqa: PLC0415

    said = run.load_predictions(generation)
    if said is None:
        return  # an older version compacted it
    again = compacting.predictions(habitat, organisms.load_organism(run, habitat.species, 1), organism)
    same = set(said) == set(again) and all(np.array_equal(said[name], again[name]) for name in again)
    yield Check(f"compacted generation {generation}: predictions said again", same)


def _attempt(subject: str, load: Callable[[], object]) -> Check:
    try:
        load()
    except SynevoError as error:
        return Check(subject, holds=False, found=error.problem)
    return Check(subject, holds=True)
