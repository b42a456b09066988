"""Budgets: the results of replicates within each budget, in the generations that the validation split chooses."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from synevo.lineage.allowance import allowance, is_share
from synevo.lineage.individuals import within, worse_by
from synevo.report.spread import spread

Summary = dict[str, Any]
Row = dict[str, Any]

USUAL = (0.005, 0.01, 0.02, 0.03, 0.05)
"""The default budgets of scores that are shares; only those below the plans' own are used."""

USUAL_OF_OTHERS = ("1%", "2%", "5%", "10%")
"""The default budgets of other scores, in shares of the ancestor's."""

REACHED = (
    *("generation", "validation_score", "test_score", "test_change"),
    *("synapses", "synaptic_efficiency", "cluster_efficiency", "multiply_adds"),
)
COSTS = ("seconds", "epochs")
BUDGETS = (
    "budget: how much worse than the ancestor's the validation score may be, which chooses the generation; "
    "change: of the test score, from the ancestor's; epochs, training: of whole lineages. unspent: ended within the "
    "budget, and might have gone further. Budgets that choose the same generations share a row."
)
REPEATED = "Seeds that occur more than once: {}. Runs of one seed are no replicates; deviations are too small."
"""Explanations of the words in tables of budgets."""

ENDED = {"finished", "over budget", "failed"}


def reach(names: list[str], summaries: list[Summary], budgets: Sequence[float | str] = ()) -> list[Row]:
    """Return mean, deviation and range of the results of all ended replicates within each budget, a row a budget.

    Budgets, one after the other, that choose the same generations share a row: `budgets` are all of them, and
    `max_drop` is the largest. Costs are those of whole lineages, whatever the budget. `unspent` counts the runs that
    ended within the budget: they might have gone further. By default `budgets` are the plans' own and the usual ones
    below them.
    """
    rows = []
    for budget in _sorted(set(budgets) or _usual(summaries), summaries):
        found = [
            choice
            for name, summary in zip(names, summaries, strict=True)
            if summary["state"] in ENDED and (choice := _choice(name, summary, budget))
        ]
        if found:
            rows.append(
                {
                    "max_drop": budget,
                    "budgets": [budget],
                    "runs": len(found),
                    "unspent": sum(choice["unspent"] for choice in found),
                    **{field: spread([choice[field] for choice in found]) for field in (*REACHED, *COSTS)},
                    "of_runs": found,
                }
            )
    return _folded(rows)


def _folded(rows: Sequence[Row]) -> list[Row]:
    """Return rows, those one after the other of the same choices as one with the budgets of all of them."""
    found: list[Row] = []
    for row in rows:
        if found and found[-1]["of_runs"] == row["of_runs"]:
            found[-1] |= {"max_drop": row["max_drop"], "budgets": [*found[-1]["budgets"], *row["budgets"]]}
        else:
            found.append(row)
    return found


def _usual(summaries: list[Summary]) -> set[float | str]:
    """Return the plans' own budgets, and the usual ones below the largest of them."""
    own = {summary["plan"]["evolution"]["max_drop"] for summary in summaries if summary["plan"]}
    usual = USUAL if all(is_share(summary["score"]["name"]) for summary in summaries) else USUAL_OF_OTHERS
    most = max((_mean_size(budget, summaries) for budget in own), default=0.0)
    return own | {budget for budget in usual if _mean_size(budget, summaries) < most - 1e-12}


def _sorted(budgets: set[float | str], summaries: list[Summary]) -> list[float | str]:
    """Return budgets, the smallest first, and of equal ones (0.01 and "1pt") only one."""
    sizes: dict[float, float | str] = {}
    for budget in sorted(budgets, key=str):
        sizes.setdefault(round(_mean_size(budget, summaries), 12), budget)
    return [sizes[size] for size in sorted(sizes)]


def _mean_size(budget: float | str, summaries: list[Summary]) -> float:
    """Return the mean over runs of what a budget allows, in units of the score."""
    known = [summary for summary in summaries if _first(summary) is not None]
    sizes = [allowance(budget, _first(one)["validation_score"], one["score"]["name"]) for one in known]  # type: ignore[index]
    return fmean(sizes) if sizes else 0.0


def _first(summary: Summary) -> Row | None:
    """Return the ancestor's row of a summary; None if it or its score is unknown."""
    line = [row for row in summary["generations"] if row["chosen"] and row["validation_score"] is not None]
    return line[0] if line and line[0]["generation"] == 1 else None


def _choice(name: str, summary: Summary, budget: float | str) -> Row | None:
    """Return the last generation of a run within a budget; None if the ancestor or a number of it is unknown."""
    ancestor = _first(summary)
    if ancestor is None:
        return None
    line = [row for row in summary["generations"] if row["chosen"] and row["validation_score"] is not None]
    better = summary["score"]["better"]
    most = allowance(budget, ancestor["validation_score"], summary["score"]["name"])

    def drop(row: Row) -> float:
        return worse_by(row["validation_score"], ancestor["validation_score"], better)

    chosen = [row for row in line if within(drop(row), most)][-1]
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
