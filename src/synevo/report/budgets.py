"""Budgets: the results of replicates within each budget, in the generations that the validation split chooses."""

from collections.abc import Sequence
from typing import Any

from synevo.lineage.individuals import within, worse_by
from synevo.report.spread import spread

Summary = dict[str, Any]
Row = dict[str, Any]

USUAL = (0.005, 0.01, 0.02, 0.03, 0.05)
"""The default budgets; only those below the plans' own are used."""

REACHED = (
    *("generation", "validation_score", "test_score", "test_change"),
    *("synapses", "synaptic_efficiency", "cluster_efficiency", "multiply_adds"),
)
COSTS = ("seconds", "epochs")
BUDGETS = (
    "budget: points of validation accuracy below the ancestor, which choose the generation; change: of the test "
    "accuracy, in points from the ancestor's; epochs, training: of whole lineages. unspent: ended within the budget, "
    "and might have gone further."
)
REPEATED = "Seeds that occur more than once: {}. Runs of one seed are no replicates; deviations are too small."
"""Explanations of the words in tables of budgets."""

ENDED = {"finished", "over budget", "failed"}


def reach(names: list[str], summaries: list[Summary], budgets: Sequence[float] = ()) -> list[Row]:
    """Return a row a budget: mean, deviation and range of the results of all ended replicates within it.

    Costs are those of whole lineages, whatever the budget. `unspent` counts the runs that ended within the budget: they
    might have gone further. By default `budgets` are the plans' own and the usual ones below them.
    """
    own = {summary["plan"]["evolution"]["max_drop"] for summary in summaries if summary["plan"]}
    usual = own | {budget for budget in USUAL if budget < max(own, default=0.0)}
    rows = []
    for budget in sorted(set(budgets) or usual):
        found = [
            choice
            for name, summary in zip(names, summaries, strict=True)
            if summary["state"] in ENDED and (choice := _choice(name, summary, budget))
        ]
        if found:
            rows.append(
                {
                    "max_drop": budget,
                    "runs": len(found),
                    "unspent": sum(choice["unspent"] for choice in found),
                    **{field: spread([choice[field] for choice in found]) for field in (*REACHED, *COSTS)},
                    "of_runs": found,
                }
            )
    return rows


def _choice(name: str, summary: Summary, budget: float) -> Row | None:
    """Return the last generation of a run within a budget; None if the ancestor or a number of it is unknown."""
    line = [row for row in summary["generations"] if row["chosen"] and row["validation_score"] is not None]
    if not line or line[0]["generation"] != 1:
        return None
    ancestor = line[0]
    better = summary["score"]["better"]

    def drop(row: Row) -> float:
        return worse_by(row["validation_score"], ancestor["validation_score"], better)

    chosen = [row for row in line if within(drop(row), budget)][-1]
    row = {**chosen, "test_change": _change(chosen["test_score"], ancestor["test_score"])}
    if any(row[field] is None for field in REACHED):
        return None
    return {
        "run": name,
        "seed": (summary["plan"] or {}).get("seed"),
        **{field: row[field] for field in REACHED},
        **{field: summary["cost"][field] for field in COSTS},
        "unspent": chosen is line[-1],
    }


def _change(score: float | None, before: float | None) -> float | None:
    """Return the difference of a score from the one before, as a report writes it of one run, too."""
    return None if score is None or before is None else score - before
