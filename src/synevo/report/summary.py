"""Summary: all that is reported of a run, as one JSON object.

This is an interface that others script against: accuracies are fractions, efficiencies ratios, latencies milliseconds,
times seconds, and what is unknown is null.
"""

from typing import Any

from synevo.errors import SynevoError
from synevo.lineage import Counts, Individual, LayerCount, Lineage, ratio
from synevo.plan import Plan
from synevo.rundir import RunDir


def summarise(run: RunDir) -> dict[str, Any]:
    """The summary of a run; SynevoError where its plan or lineage cannot be read."""
    plan, lineage = run.load_plan(), run.load_lineage()
    limits = plan.evolution
    best = lineage.best(limits.max_drop)
    return {
        "run": run.name,
        "dataset": plan.data.dataset,
        "ancestor_name": plan.ancestor.name,
        "plan": plan.model_dump(),
        "state": lineage.state(generations=limits.generations, max_drop=limits.max_drop),
        "best": best.generation if best else None,
        "generations": [_generation(individual, lineage, plan) for individual in lineage.individuals],
        "layers": _layers(lineage, best),
        "compact": _compact(run, best, lineage),
        "machine": run.load_machine(),
    }


def _generation(individual: Individual, lineage: Lineage, plan: Plan) -> dict[str, Any]:
    counts, scores, ancestor = individual.counts, individual.scores, lineage.ancestor.counts
    return {
        "generation": individual.generation,
        "chosen": individual.chosen,
        "within_budget": lineage.within_budget(individual, plan.evolution.max_drop),
        "validation_accuracy": scores and scores.validation_accuracy,
        "test_accuracy": scores and scores.test_accuracy,
        **_efficiencies(counts, ancestor),
        "seconds": individual.seconds,
        "epochs": individual.epochs,
        "learning_rate": individual.learning_rate,
        "latency_ms": individual.latency_ms,
        "expected_synapses": individual.expected_synapses,
        "sampled_synapses": individual.sampled_synapses,
        "problem": individual.problem,
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
    """Each layer of the ancestor beside that of the best network."""
    if best is None or best.counts is None or lineage.ancestor.counts is None:
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


def _compact(run: RunDir, best: Individual | None, lineage: Lineage) -> dict[str, Any] | None:
    """The compacted network: of the best generation, or the youngest that there is; None where there is none."""
    made = run.compacted()
    if not made:
        return None
    generation = best.generation if best and best.generation in made else made[-1]
    try:
        _, documents = run.load_compact(generation)
    except SynevoError as error:
        return {"generation": generation, "problem": error.problem}
    counts = {individual.generation: individual.counts for individual in lineage.individuals}
    own = counts.get(generation)
    proof, measures = documents["proof"], documents["measures"]
    return {
        "generation": generation,
        "parameters": own and own.parameters,
        "synapses": own and own.synapses,
        "stored_weights": own and own.stored_weights,
        "kernels": own and own.kernels,
        "multiply_adds": own and own.multiply_adds,
        "bytes": run.weights_size(run.compact_folder(generation)),
        "ancestor": {
            "parameters": counts[1] and counts[1].parameters,
            "synapses": counts[1] and counts[1].synapses,
            "kernels": counts[1] and counts[1].kernels,
            "multiply_adds": counts[1] and counts[1].multiply_adds,
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
