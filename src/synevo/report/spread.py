"""Spread: what is said of a few numbers, and how far they lie apart within groups of them."""

import statistics
from collections.abc import Sequence
from math import sqrt


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, sample deviation (n - 1; unknown of a single value) and range."""
    return {
        "mean": statistics.fmean(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
    }


def pooled(groups: Sequence[Sequence[float]]) -> float | None:
    """The deviation within groups: √(Σ Σ (x - mean of its group)² / Σ (n - 1)); None where no group has two values."""
    freedom = sum(len(group) - 1 for group in groups if group)
    if freedom == 0:
        return None
    return sqrt(sum((value - statistics.fmean(group)) ** 2 for group in groups for value in group) / freedom)
