"""Compacting a generation of a run: the network is proven, timed beside its ancestor, and written.

Engines compute filters in groups of 4, 8 or 16, and a layer of 13 may take longer than one of 16. So widths are tried:
as they are, and with dead filters as padding, which compute exactly nothing: first with one multiple for all layers,
then with another for a layer. The fastest are kept.
"""

from collections.abc import Mapping
from dataclasses import asdict
from math import prod
from typing import Any, TypeAlias

import jax
import numpy as np

from synevo import __version__, keys
from synevo.compaction import in_memory, proof
from synevo.data import datasets
from synevo.data.moments import brightness
from synevo.errors import CompactionError, RunError
from synevo.genetics import census
from synevo.genetics.organism import Organism
from synevo.model.arguments import structure_of
from synevo.plan.fields import Plan
from synevo.runs import sameness
from synevo.runs.answers import predictions
from synevo.runs.organisms import IN_JAX, Context, Stopwatch, batches, load_organism, measure, prepare, to_tensors
from synevo.runs.rundir import ARCHITECTURE_FORMAT, RunDir
from synevo.wiring.cutting import round_up

Widths: TypeAlias = int | Mapping[str, int]
"""The multiple of the width of every layer, or of those layers that it names."""

WIDTHS = (1, 4, 8, 16)
"""The multiples that are tried for the width of each layer."""

CLEARLY = 0.95
"""The share of a time below which another is clearly less: more is noise, and padding takes room."""

ROUGH, TRIED, NEAR = 6, 24, 0.8
"""The rounds of timing of all widths, and then of those whose time, times NEAR, is not above the least."""

SECONDS = 0.5
"""The seconds after which ROUGH rounds of one size of batch are enough."""

MOST_TRIALS = 6
"""The most widths of single layers that are tried."""

PROVEN = 1000
"""The number of test examples for the proof of a compacted network."""


def compact(
    run: RunDir,
    plan: Plan,
    *,
    generation: int | None = None,
    round_to: Widths | None = 1,
    ancestor: str | None = None,
    stopwatch: Stopwatch = IN_JAX,
) -> dict[str, Any]:
    """Compact a generation (by default the best one), prove it, time it beside its ancestor, and write it.

    Each layer keeps a multiple of `round_to` filters, dead ones included, or all of the ancestor's; where `round_to` is
    None, that which runs fastest (`fastest`). `ancestor` is the name of its factory, where that has
    moved. `stopwatch` measures times. Return the documents that were written: `architecture`, `proof`, `measures`.

    Raises:
        ExportError: if the stopwatch cannot run the networks.
        RunError: if the run has no ancestor yet, another process writes it, or its files are damaged.
        CompactionError: if there is nothing to remove.
        ProofError: if the small network does not compute the same as the large one.
    """
    with run.writing():
        lineage = run.load_lineage()
        best = lineage.best(plan.evolution.max_drop) if generation is None else None
        generation = best.generation if best else generation
        if generation is None:
            raise RunError(f"{run.path} has no ancestor yet.", remedy="Run `synevo train-ancestor` to its end first.")
        context = prepare(plan, ancestor, initialised=False)
        organism, first = (load_organism(run, context.species, number) for number in (generation, 1))
        _check_removed(run, organism, generation, asked=best is None)
        tried: list[dict[str, Any]] = []
        if round_to is None:
            round_to, organism, tried = fastest(context, organism, stopwatch)
        else:
            organism = rounded(organism, round_to)
        networks = {"ancestor": first.network, "masked": organism.whole, "compact": organism.network}
        documents = {
            "architecture": {**architecture(context, organism, generation), "round_to": round_to},
            "proof": asdict(prove(context, organism)),
            "measures": {**measure(context, networks, stopwatch), "widths": tried},
        }
        weights, _ = to_tensors(organism)
        said = predictions(context, first, organism)
        run.save_compact(generation, weights=weights, documents=documents, predictions=said)
        return documents


def rounded(organism: Organism, widths: Widths) -> Organism:
    """Return an organism that keeps dead units until the width of each layer is the multiple that `widths` says."""
    units = round_up(organism.species.anatomy.wiring, organism.units, widths)
    return Organism.left(organism.species, organism.whole, organism.masks, units)


def fastest(
    context: Context, organism: Organism, stopwatch: Stopwatch
) -> tuple[Widths, Organism, list[dict[str, Any]]]:
    """Return the widths with which an organism runs fastest, the organism with them, and what each trial took.

    Times are compared by their geometric mean over the sizes of batches; of those that take about as long as the
    fastest, it is the smallest. What changes nothing is left out. If a multiple makes it faster, others are tried for
    single layers, those of most multiply-adds first, and kept if all of them together are clearly faster.
    """
    trials = _Trials(context, organism, stopwatch)
    for multiple in WIDTHS:
        trials.add(str(multiple), multiple)
    if len(trials.padded) == 1:
        return 1, organism, []
    shares = trials.race(list(trials.padded), "1")
    best = min((name for name in shares if CLEARLY * shares[name] <= min(shares.values())), key=int)
    if best != "1":
        best = _by_layer(trials, best)
    widths, padded = trials.padded[best]
    return widths, padded, list(trials.found.values())


def _by_layer(trials: "_Trials", best: str) -> str:
    """Try other multiples than the best one for single layers; return the name of the fastest widths."""
    layers = sorted(census.count(trials.organism).layers, key=lambda layer: -layer.multiply_adds)
    every = {layer.name: int(best) for layer in layers}
    ways = [(layer.name, multiple) for layer in layers for multiple in WIDTHS if multiple != int(best)]
    singles = {
        name: way
        for way in ways
        if len(trials.padded) < len(WIDTHS) + MOST_TRIALS
        and trials.add(name := f"{best}, {way[0]} {way[1]}", {**every, way[0]: way[1]})
    }
    if not singles:
        return best
    shares = trials.race([best, *singles], best, roughly=True)
    changed = dict(singles[name] for name in sorted(singles, key=lambda name: -shares[name]) if shares[name] < 1)
    together = f"{best}, {', '.join(f'{layer} {multiple}' for layer, multiple in changed.items())}"
    if not changed or (together not in trials.padded and not trials.add(together, {**every, **changed})):
        return best
    return together if trials.race([best, together], best)[together] <= CLEARLY else best


class _Trials:
    """Widths that are tried, by name: each as an organism, and what it took, as a share of the widths as they are."""

    def __init__(self, context: Context, organism: Organism, stopwatch: Stopwatch) -> None:
        self.context, self.organism, self.stopwatch = context, organism, stopwatch
        self.padded: dict[str, tuple[Widths, Organism]] = {}
        self.found: dict[str, dict[str, Any]] = {}

    def add(self, name: str, widths: Widths) -> bool:
        """Add widths, unless others come to the same; return whether they were added."""
        wider = rounded(self.organism, widths)
        if any((wider.units == other.units).all() for _, other in self.padded.values()):
            return False
        self.padded[name] = widths, wider
        return True

    def race(self, names: list[str], base: str, *, roughly: bool = False) -> dict[str, float]:
        """Return the times of widths in turns, as shares of those of `base`; fewer rounds for what is far slower."""
        shares: dict[str, float] = {}
        known = self.found[base]["share"] if base in self.found else 1.0
        rounds = dict.fromkeys(batches(self.context), ROUGH)
        for _ in range(1 if roughly else 2):
            networks = {name: self.padded[name][1].network for name in names}
            found = {
                batch: self.stopwatch.time(self.context, networks, batch, rounds=count).timings
                for batch, count in rounds.items()
            }
            for name in names:
                ratios = [times[name].median / times[base].median for times in found.values()]
                shares[name] = prod(ratios) ** (1 / len(ratios))
            for name in names:
                self.found[name] = {
                    "round_to": self.padded[name][0],
                    "share": shares[name] * known,
                    "latency_ms": {str(batch): asdict(times[name]) for batch, times in found.items()},
                }
            near = [name for name in names if NEAR * shares[name] <= min(shares.values())]
            if len(near) == 1:
                break
            names = list(dict.fromkeys([base, *near]))
            for batch, times in found.items():
                once = sum(times[name].median for name in names) / 1000
                rounds[batch] = int(np.clip(SECONDS / max(once, 1e-9), ROUGH, TRIED))
        return shares


def _check_removed(run: RunDir, organism: Organism, generation: int, *, asked: bool) -> None:
    """Raise CompactionError if nothing is removed, unless units could be and this generation was `asked` for."""
    wiring = organism.species.anatomy.wiring
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


def prove(context: Context, organism: Organism) -> proof.Proof:
    """Return the proof of an organism on the first test examples; raise ProofError if it fails."""
    key = keys.derive(keys.root(context.plan.seed), "proof")
    anatomy, inputs = organism.species.anatomy, context.inputs(PROVEN, test=True)
    return proof.prove(key, anatomy, organism.units, masked=organism.whole, compact=organism.network, inputs=inputs)


def architecture(context: Context, organism: Organism, generation: int) -> dict[str, Any]:
    """Return the document that is needed, beside the weights, to run a compacted network."""
    wiring = organism.species.anatomy.wiring
    return {
        "format": ARCHITECTURE_FORMAT,
        "synevo": __version__,
        "generation": generation,
        **interface(context),
        "arrays": {name: list(array.shape) for name, array in organism.network.arrays.items()},
        "units": {"all": len(organism.units), "alive": int(organism.units.sum())},
        "groups": wiring.groups_left(organism.units),
        "layers": [asdict(layer) for layer in census.count(organism).layers],
        "frozen": [asdict(frozen) for frozen in wiring.frozen],
        **_program(organism),
    }


def _made_with(context: Context) -> dict[str, Any]:
    """Return what the factory of a built-in task was called with, and the facts about its data."""
    if context.described is None:
        return {}
    return {
        "made_with": {"shape": list(context.described.shape), "outputs": context.described.outputs},
        "facts": dict(context.described.facts),
    }


def _program(organism: Organism) -> dict[str, Any]:
    """Return what the network computes, for `synevo.load` to compare; nothing where its arguments cannot be named."""
    inputs = organism.species.anatomy.inputs
    if structure_of(inputs) is None:
        return {}
    return {"program": sameness.describe(organism.network, inputs)}


def interface(context: Context) -> dict[str, Any]:
    """Return what the networks of a run are: their ancestor, their task, and the form of their input.

    The form is that of images and their normalisation, or each argument's shape and dtype.
    """
    named = {"ancestor": context.plan.ancestor.name, "task": context.plan.task.name}
    dataset = context.dataset
    if dataset is None:
        inputs = context.species.anatomy.inputs
        leaves, structure = jax.tree.leaves(inputs), structure_of(inputs)
        arguments = [{"shape": list(leaf.shape[1:]), "dtype": str(leaf.dtype)} for leaf in leaves]
        return (
            named
            | {"arguments": arguments}
            | ({} if structure is None else {"structure": structure})
            | _made_with(context)
        )
    return named | {
        "input": {
            "shape": dataset.shape,
            "mean": dataset.mean,
            "deviation": dataset.deviation,
            "source_shape": datasets.native_shape(context.plan.data),
            "fit": context.plan.data.fit,
            "brightness": brightness(dataset.train.pixels),
        },
        "classes": dataset.classes,
    }
