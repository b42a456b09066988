"""Levels: the accuracy of replicates at equal efficiency, read off the curve of each run.

Generations of two runs rarely have the same efficiency. Between the generations of a run, accuracy is interpolated
linearly in the logarithm of the efficiency; beyond its last generation it is unknown.
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
"""The quantities of which a network can have fewer, and their meanings."""

LEVELS = (
    "mean test accuracy, %, ± s.d., at so many times fewer {} than the ancestor; between the generations of a run "
    "linear in the logarithm; (n): of n runs, the others ended before."
)
"""The explanation of the words in a table of levels."""


def efficiency(row: Row, ancestor: Row, quantity: str) -> float | None:
    """Return the ancestor's quantity divided by that of a generation, or None if either is unknown or zero."""
    field = quantity.replace("-", "_")
    return ratio(ancestor[field], row[field]) if ancestor[field] and row[field] else None


def levels(summaries: list[Row]) -> dict[str, list[Row]]:
    """Return for each quantity a row a level (1, 2, 4, … times fewer): the test accuracy of the runs that reach it."""
    return {quantity: _rows([_curve(summary, quantity) for summary in summaries]) for quantity in QUANTITIES}


def _curve(summary: Row, quantity: str) -> Curve:
    """Return efficiency and test accuracy of a lineage's generations, by efficiency; empty without the ancestor."""
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
    """Return the accuracy at the place where a curve first reaches an efficiency, or None if it never does."""
    if curve and curve[0][0] == level:
        return curve[0][1]
    for (before, high), (after, low) in pairwise(curve):
        if before < level <= after:
            return high + (low - high) * log(level / before) / log(after / before)
    return None
