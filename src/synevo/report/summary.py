"""The summary of a run: all numbers of its report, as one JSON object.

This is an interface for users' scripts: accuracies and other shares are fractions, efficiencies ratios, latencies
milliseconds, times seconds, and unknown values null.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from synevo.errors import SynevoError
from synevo.lineage import course
from synevo.lineage.allowance import allowance
from synevo.lineage.doubts import doubts
from synevo.lineage.individuals import Counts, Individual, LayerCount, Lineage, from_table, ratio
from synevo.plan.examples import BUILT_IN_TASKS, CLASSIFICATION
from synevo.plan.fields import Plan
from synevo.report import agreement, family, outcomes, recipe, survival, variation
from synevo.runs.documents import load_bench, load_prices, prices_in_words
from synevo.runs.entries import Entry, basis_in
from synevo.runs.rundir import RunDir


@dataclass
class _Found:
    """The parts of a run that could not be read, each with its problem."""

    missing: list[dict[str, str]] = field(default_factory=list)

    def attempt(self, part: str, read: Callable[[], Any], default: Any = None) -> Any:
        """Return the result of `read`; if the part cannot be read, note its problem and return `default`."""
        try:
            return read()
        except SynevoError as error:
            self.note(part, error.problem)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OSError) as error:
            self.note(part, f"It is not as synevo writes it ({type(error).__name__}: {error}).")
        return default

    def note(self, part: str, problem: str) -> None:
        self.missing.append({"part": part, "problem": problem})


def summarise(run: RunDir) -> dict[str, Any]:
    """Return the summary of the undamaged parts of a run; the others are listed under `missing`.

    Raises:
        RunError: if it is no run.
    """
    found = _Found()
    if not run.exists():
        run.load_plan()
    plan = found.attempt("plan", run.load_plan)
    entries, problems = found.attempt("lineage", run.whole_entries, ([], []))
    for problem in problems:
        found.note("lineage", problem)
    lineage = _lineage(entries, found)
    best = lineage.best(plan.evolution.max_drop) if plan and lineage.individuals else None
    for problem in _lost_weights(run, entries):
        found.note("weights", problem)
    compact, architecture = found.attempt("compact", lambda: compacted(run, best, lineage), (None, {}))
    if compact and "problem" in compact:
        found.note("compact", compact["problem"])
    alive, problems = found.attempt("survival", lambda: survival.survive(run, entries), (None, []))
    for problem in problems:
        found.note("survival", problem)
    rows = [_generation(individual, lineage, plan) for individual in _all(entries)]
    return {
        "run": run.name,
        "dataset": plan and (Path(plan.data.dataset).name if plan.task.name in BUILT_IN_TASKS else plan.task.name),
        "score": _score(lineage),
        "ancestor_name": plan and plan.ancestor.name,
        "plan": plan and plan.model_dump(),
        "state": _state(lineage, plan, entries),
        "best": best.generation if best else None,
        "generations": rows,
        "variation": variation.vary([rows]),
        "halving": agreement.agree(rows),
        "prices": found.attempt("prices", lambda: _prices(run, plan)),
        "layers": _layers(lineage, best),
        "compact": compact,
        "bench": found.attempt("bench", lambda: load_bench(run, compact["generation"]) if compact else None),
        "machine": found.attempt("machine", run.load_machine, {}),
        "floor": _floor(lineage, plan),
        "cost": _cost(entries),
        "family": [] if plan and plan.task.name != CLASSIFICATION else family.beside(plan.data.dataset if plan else ""),
        "survival": alive,
        "outcomes": found.attempt("outcomes", lambda: _outcomes(run, compact, architecture)),
        "frozen": found.attempt("frozen", lambda: architecture["frozen"] if architecture else None),
        "hashes": {from_table(entry["individual"]).name: entry["files"] for entry in entries},
        "adoption": _adoption(lineage),
        "commands": found.attempt("plan", lambda: recipe.commands(plan, run.name), []) if plan else [],
        "warnings": _warnings(lineage, plan, entries),
        "missing": found.missing,
    }


def _prices(run: RunDir, plan: Plan | None) -> dict[str, Any] | None:
    """Return what the filters of each layer cost in time, also in words (`text`); None where nothing asked for it."""
    prices = load_prices(run) if plan and "latency" in plan.encoding.cost.split("+") else None
    return {**prices, "text": prices_in_words(prices)} if prices else None


def _adoption(lineage: Lineage) -> dict[str, Any] | None:
    """Return where an adopted ancestor came from, also in words (`text`); None for one that was trained here."""
    adoption = lineage.ancestor.adoption if lineage.individuals else None
    return {**asdict(adoption), "text": recipe.origin(adoption)} if adoption else None


def _warnings(lineage: Lineage, plan: Plan | None, entries: list[Entry]) -> list[dict[str, str]]:
    """Return the reasons to doubt the numbers of a lineage, each with its kind and in words."""
    if plan is None or not lineage.individuals:
        return []
    return [asdict(one) for one in doubts(lineage, plan, basis_in(entries))]


def _all(entries: list[dict[str, Any]]) -> list[Individual]:
    return [from_table(entry["individual"]) for entry in entries]


def _lineage(entries: list[dict[str, Any]], found: _Found) -> Lineage:
    """Return the lineage, or an empty one if its ancestor is unknown, because all efficiencies refer to it."""
    individuals = _all(entries)
    if individuals and individuals[0].generation != 1:
        found.note("lineage", "The ancestor cannot be read: efficiencies and the budget are unknown.")
        return Lineage()
    return Lineage(tuple(individuals))


def _state(lineage: Lineage, plan: Plan | None, entries: list[dict[str, Any]]) -> str:
    if plan is None or (entries and not lineage.individuals):
        return "damaged"
    return course.status(lineage, plan)


def _floor(lineage: Lineage, plan: Plan | None) -> float | None:
    """Return the worst validation score within the budget, or None if it is unknown."""
    if plan is None or not lineage.individuals or lineage.ancestor.scores is None:
        return None
    scores = lineage.ancestor.scores
    return scores.validation + (-1 if scores.better == "higher" else 1) * allowance(
        plan.evolution.max_drop, scores.validation, scores.name
    )


def _score(lineage: Lineage) -> dict[str, str]:
    """Return the name of the scores and their better direction; accuracy if the ancestor is unknown."""
    scores = lineage.ancestor.scores if lineage.individuals else None
    return {"name": scores.name, "better": scores.better} if scores else {"name": "accuracy", "better": "higher"}


def _cost(entries: list[dict[str, Any]]) -> dict[str, float]:
    """Return the seconds and the epochs of training of the whole lineage."""
    individuals = _all(entries)
    return {
        "seconds": sum(individual.seconds for individual in individuals),
        "epochs": sum(individual.epochs for individual in individuals),
        "offspring_seconds": sum(individual.seconds for individual in individuals if individual.generation > 1),
    }


def _lost_weights(run: RunDir, entries: list[dict[str, Any]]) -> list[str]:
    """Return a problem for each individual whose weights file is missing; contents are checked when they are read."""
    folders = [run.path / "individuals" / one.name for one in _all(entries) if one.counts is not None]
    lost = [folder for folder in folders if run.weights_size(folder) is None]
    return [f"{folder} has no weights." for folder in lost]


def _outcomes(run: RunDir, compact: dict[str, Any] | None, architecture: dict[str, Any]) -> dict[str, Any] | None:
    if compact is None or "problem" in compact:
        return None
    generation = compact["generation"]
    said = run.load_predictions(generation)
    return (
        None
        if said is None or "labels" not in said
        else {"generation": generation, **outcomes.tally(said, _classes(architecture))}
    )


def _classes(architecture: dict[str, Any]) -> list[str]:
    """Return the names of the classes: of images, or a fact about other data."""
    return list(architecture["classes"] if "classes" in architecture else architecture["facts"]["classes"])


def _generation(individual: Individual, lineage: Lineage, plan: Plan | None) -> dict[str, Any]:
    """Return the row of an individual; without an ancestor or a plan, numbers that need them are None."""
    counts, scores = individual.counts, individual.scores
    ancestor = lineage.ancestor.counts if lineage.individuals else None
    known = plan is not None and bool(lineage.individuals)
    passed_on = {parent for one in lineage.individuals for parent in lineage.parents_of(one)}
    return {
        "generation": individual.generation,
        "name": individual.name,
        "label": individual.label,
        "parents": list(lineage.parents_of(individual)),
        "pressure": individual.pressure,
        "chosen": individual.problem is None and (not known or individual in lineage.line),
        "parent": individual.name in passed_on,
        "within_budget": lineage.within_budget(individual, plan.evolution.max_drop) if plan and known else None,
        "validation_score": scores and scores.validation,
        "test_score": scores and scores.test,
        **_efficiencies(counts, ancestor),
        "seconds": individual.seconds,
        "epochs": individual.epochs,
        "learning_rate": individual.learning_rate,
        "latency_ms": individual.latency_ms,
        "engine": individual.engine,
        "expected_synapses": individual.expected_synapses,
        "sampled_synapses": individual.sampled_synapses,
        "problem": individual.problem,
        "rungs": [asdict(rung) for rung in individual.rungs],
    }


def _efficiencies(counts: Counts | None, ancestor: Counts | None) -> dict[str, Any]:
    if counts is None or ancestor is None:
        names = ("synapses", "synaptic_efficiency", "family_synaptic_efficiency", "kernels", "cluster_efficiency")
        return dict.fromkeys((*names, "family_cluster_efficiency", "multiply_adds", "stored_weights", "parameters"))
    return {
        "synapses": counts.synapses,
        "synaptic_efficiency": ratio(ancestor.synapses, counts.synapses),
        "family_synaptic_efficiency": ratio(ancestor.family_synapses, counts.family_synapses),
        "kernels": counts.kernels,
        "cluster_efficiency": ratio(ancestor.kernels, counts.kernels),
        "family_cluster_efficiency": ratio(ancestor.family_kernels, counts.family_kernels),
        "multiply_adds": counts.multiply_adds,
        "stored_weights": counts.stored_weights,
        "parameters": counts.parameters,
    }


def _layers(lineage: Lineage, best: Individual | None) -> list[dict[str, Any]]:
    """Return the counts of each layer in the ancestor and in the best network."""
    if best is None or not lineage.individuals or best.counts is None or lineage.ancestor.counts is None:
        return []
    pairs = zip(lineage.ancestor.counts.layers, best.counts.layers, strict=True)
    return [{"name": before.name, "ancestor": _layer(before), "best": _layer(after)} for before, after in pairs]


def _layer(layer: LayerCount) -> dict[str, int]:
    return {
        "filters": layer.filters,
        "kernels": layer.kernels,
        "synapses": layer.synapses,
        "stored_weights": layer.stored_weights,
        "multiply_adds": layer.multiply_adds,
    }


def compacted(run: RunDir, best: Individual | None, lineage: Lineage) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the compacted network of the best generation, or else of the youngest one, and its architecture.

    None if there is none; with a `problem` alone if its files are damaged.
    """
    made = run.compacted()
    if not made:
        return None, {}
    generation = best.generation if best and best.generation in made else made[-1]
    try:
        _, documents = run.load_compact(generation)
    except SynevoError as error:
        return {"generation": generation, "problem": error.problem}, {}
    counts = {individual.generation: individual.counts for individual in lineage.line}
    own, first = counts.get(generation), counts.get(1)
    proof, measures = documents["proof"], documents["measures"]
    compact = {
        "generation": generation,
        **_sizes(own, documents["architecture"]),
        "bytes": run.weights_size(run.compact_folder(generation)),
        "ancestor": {
            "parameters": first and first.parameters,
            "synapses": first and first.synapses,
            "kernels": first and first.kernels,
            "multiply_adds": first and first.multiply_adds,
            "bytes": run.weights_size(run.path / "individuals" / "g01"),
        },
        "max_difference": proof["max_difference"],
        "top1_agreement": proof["top1_agreement"],
        "latency_ms": {
            name: {batch: timing["median"] for batch, timing in rows.items()}
            for name, rows in measures["latency_ms"].items()
        },
        "proof": proof,
        "measures": measures,
    }
    return compact, documents["architecture"]


def _sizes(own: Counts | None, architecture: dict[str, Any]) -> dict[str, int | None]:
    """Return the counts of a compacted network; with rounded widths, dead filters are counted too."""
    names = ("parameters", "synapses", "stored_weights", "kernels", "multiply_adds")
    if architecture.get("round_to", 1) == 1:
        return {name: getattr(own, name, None) for name in names}
    layers, shapes = architecture["layers"], architecture["arrays"].values()
    return {
        "parameters": sum(prod(shape) for shape in shapes),
        **{name: sum(layer[name] for layer in layers) for name in names[1:]},
    }
