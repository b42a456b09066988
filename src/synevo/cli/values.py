"""The values that a field of the plan allows, in words: choices, and ranges."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin

FieldInfo: TypeAlias = Any
"""pydantic's `FieldInfo`; pydantic is loaded only with the plan."""


def allowed(field: FieldInfo) -> str:
    """Return the allowed values of a field, such as `0 to 8`, `above 0, at most 1` or `max or rms`; "" if any text."""
    if choices := list(dict.fromkeys(_choices(field.annotation))):
        return " or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))
    limits = {
        name: getattr(mark, name)
        for mark in (*_marks(field.annotation), *field.metadata)
        for name in ("ge", "gt", "le", "lt")
        if getattr(mark, name, None) is not None
    }
    if {"ge", "le"} <= limits.keys():
        return f"{limits['ge']} to {limits['le']}"
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return ", ".join(f"{word} {limits[name]}" for name, word in words.items() if name in limits)


def _choices(annotation: Any) -> Iterator[str]:
    """Yield the choices in a type, wherever in it they are."""
    if annotation is bool:
        yield from ("true", "false")
    elif get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif get_origin(annotation) is not None:
        for part in get_args(annotation):
            yield from _choices(part)


def _marks(annotation: Any) -> Iterator[Any]:
    """Yield what limits the parts of a type."""
    for part in get_args(annotation) if get_origin(annotation) is not None else ():
        yield from getattr(part, "metadata", ()) if get_origin(part) is not Annotated else ()
        yield from _marks(part)
