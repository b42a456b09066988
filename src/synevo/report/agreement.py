"""Agreement: how well a short training tells which candidates are good after a longer one.

Successive halving drops candidates by their scores after a short training. What a dropped one would have become is not
known, so the ranks are compared among those that were left: Spearman's rho of their validation scores after a rung and
after the next one. That is lower than among all candidates, since only the better half is compared.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import StatisticsError, correlation, fmean
from typing import Any

Row = dict[str, Any]


def agree(rows: Sequence[Row]) -> Row | None:
    """Return the agreement of the rungs of all offspring in a run, and the same in words; None where there are none.

    `rows` are those of the individuals in a summary. A rung has `groups` of two or more candidates with scores that
    differ, one an offspring, and the mean `rho` of those.
    """
    found: dict[tuple[int, int, int], list[float]] = defaultdict(list)
    for row in rows:
        for place, (short, longer) in enumerate(zip(row["rungs"], row["rungs"][1:], strict=False)):
            before, after = (dict(zip(one["candidates"], one["scores"], strict=True)) for one in (short, longer))
            pairs = [(before[one], score) for one, score in after.items() if None not in (before[one], score)]
            rho = spearman(*zip(*pairs, strict=True)) if len(pairs) > 1 else None
            if rho is not None:
                found[place, short["epochs"], longer["epochs"]].append(rho)
    rungs = [
        {"rung": place + 1, "epochs": short, "next_epochs": longer, "groups": len(values), "rho": fmean(values)}
        for (place, short, longer), values in sorted(found.items())
    ]
    return {"rungs": rungs, "text": _in_words(rungs)} if rungs else None


def _in_words(rungs: Sequence[Row]) -> str:
    said = ", ".join(
        f"{one['rho']:.2f} after {one['epochs']} and then {one['next_epochs']} epochs (mean of {one['groups']})"
        for one in rungs
    )
    return f"Candidates that were left, Spearman's rho of validation after a rung and after the next one: {said}."


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Spearman's rho of two sequences, the correlation of their ranks; None where all of one are equal.

    SciPy has it, too, but takes longer to load than a report to print.
    """
    try:
        return correlation(_ranks(one), _ranks(other))
    except StatisticsError:
        return None


def _ranks(values: Sequence[float]) -> list[float]:
    """Return the rank of each value; equal ones share the mean of their ranks."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) - 1) / 2 for value in values]
