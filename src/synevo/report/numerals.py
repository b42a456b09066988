"""Numerals: how the report writes numbers; what is unknown is a dash."""

from collections.abc import Callable, Mapping
from typing import Any

UNKNOWN = "–"
_LONG = 600  # seconds
_HOUR = 3600  # seconds
_KILO = 1000


def percent(value: float | None) -> str:
    """A fraction as per cent, to the hundredth."""
    return UNKNOWN if value is None else f"{100 * value:.2f}"


def ratio(value: float | None) -> str:
    """An efficiency, to the tenth."""
    return UNKNOWN if value is None else f"{value:.1f}"


def hundredths(value: float | None) -> str:
    """A number, to the hundredth."""
    return UNKNOWN if value is None else f"{value:.2f}"


def times(whole: float | None, part: float | None) -> str:
    """How many times `part` goes into `whole`."""
    return UNKNOWN if not whole or not part else f"{whole / part:.1f}×"


def number(value: float | None) -> str:
    """A count, in groups of three digits."""
    return UNKNOWN if value is None else f"{value:,}"


def whole(value: float | None) -> str:
    """A count or a mean of counts, to the unit, in groups of three digits."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def around(spread: Mapping[str, float | None], write: Callable[[Any], str]) -> str:
    """A mean ± its deviation, each as `write` writes numbers."""
    return f"{write(spread['mean'])} ± {UNKNOWN if spread['deviation'] is None else write(spread['deviation'])}"


def duration(seconds: float) -> str:
    """A time in seconds, minutes or hours, whichever reads best."""
    if seconds >= 10 * _HOUR:
        return f"{seconds / _HOUR:.0f} h"
    return f"{seconds:.0f} s" if seconds < _LONG else f"{seconds / 60:.0f} min"


def size(count: float | None) -> str:
    """Bytes in the unit that reads best."""
    if count is None:
        return UNKNOWN
    for unit in ("B", "kB", "MB"):
        if count < _KILO:
            return f"{count:.3g} {unit}"
        count /= _KILO
    return f"{count:.3g} GB"
