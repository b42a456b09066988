"""The kinds of values that fields of a plan have: ranges, lists, units of pixels, budgets, names of own functions."""

import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

ADAM = "adam"
"""The optimiser that is built in."""

SMALLEST_DIVISOR = 1e-6
"""The smallest number by which pixels may be divided."""

ALL = "all"
"""In place of a number of devices: as many as there are."""

ONE, MANY = "one value", "list of values"


def _listed(value: Any) -> Any:
    """Return the parts of a text such as "0.8,0.9" as a list, and anything else as it is."""
    return value.split(",") if isinstance(value, str) and "," in value else value


def _of_pixels(value: float) -> float:
    """Return a number about pixels; raise ValueError if it cannot be in units of pixels scaled to 0 … 1."""
    if 0 <= value <= 1:
        return value
    raise ValueError("it is in units of pixels scaled to 0 … 1; divide a number for pixels of 0 … 255 by 255")


def _divisor(value: float) -> float:
    """Return a number by which scaled pixels are divided; raise ValueError if it is not above 0, or of other units."""
    if value >= SMALLEST_DIVISOR:
        return _of_pixels(value)
    raise ValueError(f"pixels are divided by it, so it is {SMALLEST_DIVISOR:g} or more; 1 leaves them as they are")


def _own(name: str) -> str:
    """Return the name of a user's function; raise ValueError if it is not package.module:function."""
    module, _, function = name.partition(":")
    if function.isidentifier() and all(map(str.isidentifier, module.split("."))):
        return name
    raise ValueError("a function of your own is named as package.module:function")


def _optimiser(name: str) -> str:
    """Return the name of an optimiser; raise ValueError if it is neither built in nor a user's function."""
    if ":" in name:
        return _own(name)
    if name == ADAM:
        return name
    raise ValueError(f"{ADAM} is built in; one of your own is named as package.module:function")


def _budget(value: Any) -> Any:
    """Return a budget: a number of 0 or more, or a text of one and its unit, "5%" or "1.72pt"; else ValueError."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0:
        return float(value)
    found = re.fullmatch(r"\s*(\d+\.?\d*(?:e-?\d+)?|\.\d+)\s*(%|pt|)\s*", value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(
            "a budget is a number in units of the score (0.01), a share of the ancestor's score (5%), or points of a "
            "score that is a share (1.72pt); none is below 0"
        )
    number, unit = found.groups()
    return f"{float(number):g}{unit}" if unit else float(number)


def _devices(value: Any) -> Any:
    """Return a number of devices, 1 or more, or "all"; else ValueError."""
    if value == ALL or (isinstance(value, str) and value.isdecimal() and int(value) >= 1):
        return value if value == ALL else int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ValueError(f"a number of devices is 1 or more, or {ALL}")


_Value = TypeVar("_Value")

OneOrMany = Annotated[
    Annotated[_Value, Tag(ONE)] | Annotated[tuple[_Value, ...], Field(min_length=1), Tag(MANY)],
    Discriminator(lambda value: MANY if isinstance(value, (list, tuple)) else ONE),
    BeforeValidator(_listed),
]

Weights = Annotated[
    Annotated[Literal["balanced"], Tag(ONE)]
    | Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=2), Tag(MANY)],
    Discriminator(lambda value: MANY if isinstance(value, (list, tuple)) else ONE),
    BeforeValidator(_listed),
]
"""Weights of classes: one for each, or "balanced"."""

Budget = Annotated[float | str, BeforeValidator(_budget)]
"""How much worse than the ancestor: a number in units of the score, or a text such as "5%" or "1.72pt"."""

Devices = Annotated[int | str, BeforeValidator(_devices)]
"""A number of devices, or "all"."""

Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: value.split(",") if isinstance(value, str) else value)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Mean = Annotated[float, AfterValidator(_of_pixels)]
Deviation = Annotated[float, AfterValidator(_divisor)]
OwnName = Annotated[str, AfterValidator(_own)]
OptimiserName = Annotated[str, AfterValidator(_optimiser)]
