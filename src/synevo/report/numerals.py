"""Numerals: functions that write the numbers of the report; an unknown number is a dash."""

from collections.abc import Callable, Mapping
from typing import Any

UNKNOWN = "–"
_LONG = 600  # seconds
_HOUR = 3600  # seconds
_KILO = 1000


def percent(value: float | None) -> str:
    """Write a fraction in per cent, with two decimals."""
    return UNKNOWN if value is None else f"{100 * value:.2f}"


def ratio(value: float | None) -> str:
    """Write an efficiency with one decimal."""
    return UNKNOWN if value is None else f"{value:.1f}"


def hundredths(value: float | None) -> str:
    """Write a number with two decimals."""
    return UNKNOWN if value is None else f"{value:.2f}"


def milliseconds(value: float | None) -> str:
    """Write milliseconds with three significant digits."""
    if value is None:
        return UNKNOWN
    return f"{value:.0f}" if value >= _KILO else f"{value:.3g}"


def whole_percent(value: float | None) -> str:
    """Write a fraction in per cent, without decimals and with its unit."""
    return UNKNOWN if value is None else f"{100 * value:.0f} %"


def times(whole: float | None, part: float | None) -> str:
    """Write `whole` divided by `part`, with one decimal and the sign ×."""
    return UNKNOWN if not whole or not part else f"{whole / part:.1f}×"


def number(value: float | None) -> str:
    """Write a count in groups of three digits."""
    return UNKNOWN if value is None else f"{value:,}"


def brief(value: float | None) -> str:
    """Write a count with three significant digits, in k, M, G or T from a thousand on."""
    if value is None:
        return UNKNOWN
    if abs(value) < _KILO - 0.5:
        return f"{value:,.0f}"
    for unit in ("k", "M", "G"):
        value /= _KILO
        if abs(value) < _KILO - 0.5:
            return f"{_three_digits(value)}{unit}"
    return f"{_three_digits(value / _KILO)}T"


def _three_digits(value: float) -> str:
    decimals = next((digits for digits, least in ((0, 99.95), (1, 9.995)) if abs(value) >= least), 2)
    return f"{value:.{decimals}f}"


def whole(value: float | None) -> str:
    """Write a count or a mean of counts without decimals, in groups of three digits."""
    return UNKNOWN if value is None else f"{value:,.0f}"


def around(spread: Mapping[str, float | None], write: Callable[[Any], str]) -> str:
    """Write a mean ± its deviation, both with the function `write`."""
    return f"{write(spread['mean'])} ± {UNKNOWN if spread['deviation'] is None else write(spread['deviation'])}"


def moved(spread: Mapping[str, float | None], write: Callable[[Any], str]) -> str:
    """Write a mean change ± its deviation; the change has its sign, `+` too."""
    return ("+" if (spread["mean"] or 0) >= 0 else "") + around(spread, write)


def duration(seconds: float) -> str:
    """Write a time, given in seconds, in seconds, minutes or hours, according to its length."""
    if seconds >= 10 * _HOUR:
        return f"{seconds / _HOUR:.0f} h"
    return f"{seconds:.0f} s" if seconds < _LONG else f"{seconds / 60:.0f} min"


def size(count: float | None) -> str:
    """Write a number of bytes in B, kB, MB or GB, according to its size."""
    if count is None:
        return UNKNOWN
    for unit in ("B", "kB", "MB"):
        if count < _KILO:
            return f"{count:.3g} {unit}"
        count /= _KILO
    return f"{count:.3g} GB"
