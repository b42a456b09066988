"""Levels: the accuracy of replicates at equal efficiency, read off the curve of each run.

Generations of two runs rarely have the same efficiency. Between those of one run, accuracy is taken to be linear in the
logarithm of the efficiency; beyond its last generation nothing is said of it.
"""

from itertools import pairwise
from math import log
from operator import itemgetter
from typing import Any

from synevo.lineage.individuals import ratio
from synevo.report.spread import spread

Row = dict[str, Any]
Curve = list[tuple[float, float]]

QUANTITIES = {
    "synapses": "living synapses",
    "kernels": "kernels with a living synapse",
    "stored-weights": "weights that a dense network stores",
    "multiply-adds": "multiply-adds of an image",
}
"""What a network can have less of, and what that is."""

LEVELS = (
    "mean test accuracy, %, ± s.d., at so many times fewer {} than the ancestor; between the generations of a run "
    "linear in the logarithm; (n): of n runs, the others ended before."
)
"""What a table of levels means by its words."""


def efficiency(row: Row, ancestor: Row, quantity: str) -> float | None:
    """How many times less of a quantity a generation has than its ancestor; None where either is unknown."""
    field = quantity.replace("-", "_")
    return ratio(ancestor[field], row[field]) if ancestor[field] and row[field] else None


def levels(summaries: list[Row]) -> dict[str, list[Row]]:
    """For each quantity, a row a level that a run has reached, 1, 2, 4, … times fewer: test accuracy of those there."""
    return {quantity: _rows([_curve(summary, quantity) for summary in summaries]) for quantity in QUANTITIES}


def _curve(summary: Row, quantity: str) -> Curve:
    """Efficiency and test accuracy of a lineage's generations, the largest first; empty without its ancestor."""
    line = [row for row in summary["generations"] if row["chosen"] and row["test_score"] is not None]
    if not line or line[0]["generation"] != 1:
        return []
    found = [(efficiency(row, line[0], quantity), row["test_score"]) for row in line]
    return sorted(((times, accuracy) for times, accuracy in found if times is not None), key=itemgetter(0))


def _rows(curves: list[Curve]) -> list[Row]:
    rows: list[Row] = []
    while found := [accuracy for curve in curves if (accuracy := _at(curve, 2 ** len(rows))) is not None]:
        rows.append({"efficiency": 2 ** len(rows), "runs": len(found), "test_score": spread(found)})
    return rows


def _at(curve: Curve, level: float) -> float | None:
    """The accuracy where a curve first reaches an efficiency; None where it never does."""
    if curve and curve[0][0] == level:
        return curve[0][1]
    for (before, high), (after, low) in pairwise(curve):
        if before < level <= after:
            return high + (low - high) * log(level / before) / log(after / before)
    return None
