"""Scores in the report: accuracies in per cent, the scores of other tasks with four significant digits."""

from synevo.report.numerals import UNKNOWN, percent

ACCURACY = "accuracy"


def write(value: float | None, name: str | None) -> str:
    """Write a score, or a difference of two, in digits; `name` is the name of the score."""
    if name in (ACCURACY, None):
        return percent(value)
    return UNKNOWN if value is None else f"{value:.4g}"


def unit(name: str | None) -> str:
    """Return the unit to write behind the digits of a score."""
    return " %" if name in (ACCURACY, None) else ""


def factor(name: str | None) -> float:
    """Return the factor by which a score is multiplied in figures."""
    return 100.0 if name in (ACCURACY, None) else 1.0


def change(value: float, before: float, name: str | None) -> str:
    """Write the difference of a score from the one `before`, with its sign."""
    if name in (ACCURACY, None):
        return f"{100 * (value - before):+.2f} points"
    return f"{value - before:+.4g}"
