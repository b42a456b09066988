"""Scores in the report: shares such as accuracy in per cent, all others with four significant digits."""

from collections.abc import Sequence

from synevo.lineage.allowance import is_share
from synevo.report.numerals import UNKNOWN, percent

ACCURACY = "accuracy"


def write(value: float | None, name: str | None) -> str:
    """Write a score, or a difference of two, in digits; `name` is the name of the score."""
    if is_share(name):
        return percent(value)
    return UNKNOWN if value is None else f"{value:.4g}"


def unit(name: str | None) -> str:
    """Return the unit to write behind the digits of a score."""
    return " %" if is_share(name) else ""


def heading(name: str) -> str:
    """Return the name of a score as a heading begins: Accuracy; but mIoU, as it is."""
    return name if any(letter.isupper() for letter in name) else name[:1].upper() + name[1:]


def factor(name: str | None) -> float:
    """Return the factor by which a score is multiplied in figures."""
    return 100.0 if is_share(name) else 1.0


def change(value: float, before: float, name: str | None) -> str:
    """Write the difference of a score from the one `before`, with its sign."""
    if is_share(name):
        return f"{100 * (value - before):+.2f} points"
    return f"{value - before:+.4g}"


def budgets(values: Sequence[float | str], name: str | None) -> str:
    """Write a budget as `write` does, or as it was given where it has a unit; of several, the ends."""
    ends = values if len(values) == 1 else (values[0], values[-1])
    return "–".join(value if isinstance(value, str) else write(value, name) for value in ends)
