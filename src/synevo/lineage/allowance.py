"""The budget of a lineage in the units of its score: by how much a validation score may be worse than the ancestor's.

A plan gives it as a number in the score's own units (0.01), as a share of the ancestor's score ("5%"), or in points of
a score that is itself a share, such as accuracy ("1.72pt": 0.0172). For a score that falls it is a rise.
"""

import re

from synevo.errors import PlanError

SHARES = frozenset(
    {"accuracy", "miou", "iou", "dice", "f1", "micro-f1", "macro-f1", "map", "precision", "recall", "auc"}
)
"""The names of scores that are shares of 1, in small letters and without what is behind an @; shown in per cent."""

LARGE = 0.2
"""A bare number above this is a large budget for a score that is a share: 5 or 0.5 was meant for points."""


def is_share(name: str | None) -> bool:
    """Return whether the score of this `name` is a share of 1; one without a name is an accuracy, as it once was."""
    return name is None or name.partition("@")[0].strip().lower() in SHARES


def allowance(budget: float | str, score: float, name: str) -> float:
    """Return by how much a score may be worse than the ancestor's `score`, in its own units.

    Raises:
        PlanError: for points of a score that is no share, or a bare number above 1 for one that is.
    """
    if not isinstance(budget, str):
        if budget > 1 and is_share(name):
            raise PlanError(
                f"A budget of {budget:g} allows everything: {name} is a share, and at most 1.",
                remedy=f"For points write --max-drop {budget:g}pt, for a share of the ancestor's {name} "
                f"--max-drop {budget:g}%.",
            )
        return budget
    number, unit = re.split("(?=%|pt)", budget)
    if unit == "%":
        return float(number) / 100 * abs(score)
    if not is_share(name):
        raise PlanError(
            f"A budget of {budget} is in points of a share, and {name} is none.",
            remedy=f"Give it in units of {name} (--max-drop 0.01), or as a share of the ancestor's (--max-drop 5%).",
        )
    return float(number) / 100


def question(budget: float | str, name: str) -> str | None:
    """Return a warning about a bare number that probably was meant otherwise; None where there is nothing to ask."""
    if isinstance(budget, str) or budget <= LARGE or not is_share(name):
        return None
    return (
        f"The budget of {budget:g} lets {name} fall by {100 * budget:g} points. Where that is meant, write it so: "
        f"--max-drop {100 * budget:g}pt; {budget:g} points are {budget:g}pt, and {budget:g} % of the ancestor's {name} "
        f"{budget:g}%."
    )
