"""Scores as the report writes them: accuracies as per cent, those of other tasks as they are, to four figures."""

from synevo.report.numerals import UNKNOWN, percent

ACCURACY = "accuracy"


def write(value: float | None, name: str | None) -> str:
    """Return a score, or a difference of two, in digits."""
    if name in (ACCURACY, None):
        return percent(value)
    return UNKNOWN if value is None else f"{value:.4g}"


def unit(name: str | None) -> str:
    """Return what stands behind the digits of a score."""
    return " %" if name in (ACCURACY, None) else ""


def factor(name: str | None) -> float:
    """Return by what a score is multiplied where it is drawn."""
    return 100.0 if name in (ACCURACY, None) else 1.0


def change(value: float, before: float, name: str | None) -> str:
    """Return by how much a score differs from another one, with its sign."""
    if name in (ACCURACY, None):
        return f"{100 * (value - before):+.2f} points"
    return f"{value - before:+.4g}"
