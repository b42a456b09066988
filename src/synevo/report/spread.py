"""Spread: mean, deviation and range of a few numbers, and their deviation within groups."""

import statistics
from collections.abc import Sequence
from math import sqrt


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Return mean, sample deviation (n - 1; None for a single value), minimum and maximum."""
    return {
        "mean": statistics.fmean(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
    }


def pooled(groups: Sequence[Sequence[float]]) -> float | None:
    """Return the deviation within groups: √(Σ Σ (x - mean of its group)² / Σ (n - 1)).

    None if no group has two values.
    """
    freedom = sum(len(group) - 1 for group in groups if group)
    if freedom == 0:
        return None
    return sqrt(sum((value - statistics.fmean(group)) ** 2 for group in groups for value in group) / freedom)
