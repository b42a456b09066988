"""Compose a plan from a preset, the options of the command line and `--set section.field=value`, in that order."""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from synevo.errors import PlanError, did_you_mean
from synevo.plan.fields import Plan
from synevo.plan.kinds import MANY, ONE
from synevo.plan.presets import preset_table
from synevo.plan.section import Section

_LONGEST = 200
"""The characters of a wrong value that are shown at most."""


def compose(*, preset: str | None = None, options: Mapping[str, Any] | None = None, sets: Iterable[str] = ()) -> Plan:
    """Compose a plan: a preset, changed by dotted `options`, then by `section.field=value` texts.

    Options whose value is None change nothing.

    Raises:
        PlanError: for an unknown preset or field, or a value out of range.
    """
    table = Plan().model_dump()
    if preset is not None:
        for name, value in _flatten_table(preset_table(preset)).items():
            if not name.startswith("about."):
                _put(table, name, value)
        table["preset"] = preset
    for name, value in (options or {}).items():
        if value is not None:
            _put(table, name, value)
    for text in sets:
        name, equals, value = text.partition("=")
        if not equals:
            raise PlanError(
                f"--set {text}: no '=' found.",
                remedy="Write --set section.field=value, for example --set training.epochs=5.",
            )
        if name.strip() == "format":
            raise PlanError(
                f"--set {text}: the format is that of the files of this version, and not to be set.",
                remedy="`synevo fields` lists every field that can be set.",
            )
        _put(table, name.strip(), _parse(value.strip()))
    return validate(table)


def change(plan: Plan, *, options: Mapping[str, Any] | None = None, sets: Iterable[str] = ()) -> Plan:
    """Return `plan`, changed by dotted `options` and `section.field=value` texts.

    Raises:
        PlanError: as in `compose`.
    """
    flat = {name: value for name, value in flatten(plan).items() if name != "format"}
    return compose(options={**flat, **{k: v for k, v in (options or {}).items() if v is not None}}, sets=sets)


def validate(table: Mapping[str, Any]) -> Plan:
    """Return the plan in a nested table.

    Raises:
        PlanError: names each unknown field and each value out of range.
    """
    try:
        plan = Plan.model_validate(table)
    except ValidationError as error:
        problems = list(dict.fromkeys(_describe(dict(detail)) for detail in _telling(error)))
        raise PlanError(
            "\n".join(problems), remedy="`synevo fields` lists every field with its range and meaning."
        ) from None
    _require_unicode(plan)
    return plan


def _telling(error: ValidationError) -> Iterator[ErrorDetails]:
    """Yield the errors of a plan, but that a list is too short where its items were refused, and a problem twice."""
    details, said = error.errors(), set[tuple[Any, ...]]()
    for detail in details:
        place, size = detail["loc"], len(detail["loc"])
        inner = [one for one in details if len(one["loc"]) > size and one["loc"][:size] == place]
        key = (place[:-1], detail["msg"]) if place and isinstance(place[-1], int) else place
        if not (inner and detail["type"] == "too_short") and key not in said:
            said.add(key)
            yield detail


def _require_unicode(plan: Plan) -> None:
    """Raise PlanError if a text is not UTF-8, such as a path from an old archive: plan.toml could not hold it."""
    for name, value in flatten(plan).items():
        if isinstance(value, str) and value != value.encode("utf-8", "replace").decode("utf-8"):
            raise PlanError(
                f"{name} = {value!a} is not UTF-8, in which the plan is written.",
                remedy="Rename it, then try again.",
            )


def flatten(plan: Section, prefix: str = "") -> dict[str, Any]:
    """Return every field of a plan as `section.field → value`, in the order of declaration."""
    flat: dict[str, Any] = {}
    for name in type(plan).model_fields:
        value = getattr(plan, name)
        if isinstance(value, Section):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def plan_fields(section: type[Section] = Plan, prefix: str = "") -> dict[str, FieldInfo]:
    """Return every field as `section.field → its type, range and description`, in the order of declaration."""
    found: dict[str, FieldInfo] = {}
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found |= plan_fields(field.annotation, f"{prefix}{name}.")
        else:
            found[prefix + name] = field
    return found


def describe() -> dict[str, str]:
    """Return the meaning of every field, as `section.field → description`."""
    return {name: field.description or "" for name, field in plan_fields().items()}


def _flatten_table(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flatten_table(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _put(table: dict[str, Any], dotted: str, value: Any) -> None:
    *sections, field = dotted.split(".")
    for section in sections:
        inner = table.setdefault(section, {})
        if not isinstance(inner, dict):
            raise PlanError(
                f"{dotted}: {section} is a field, not a section.", remedy="`synevo fields` lists every field."
            )
        table = inner
    table[field] = value


def _parse(text: str) -> Any:
    """Return the TOML value of a text, or the text itself where it is not TOML (so that strings need no quotes)."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):  # no TOML, a number of thousands of digits, or brackets a thousand deep
        return text


def _describe(detail: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in detail["loc"] if part not in (ONE, MANY))
    if detail["type"] == "extra_forbidden":
        return f"{name}: there is no such field.{_near_field(name)}"
    message = str(detail["msg"]).removeprefix("Value error, ")
    if name and detail["type"] == "value_error" and isinstance(detail["input"], Mapping):
        return f"{name}: {message}."
    return f"{name} = {_brief(detail['input'])}: {message}.{_near_value(detail)}" if name else f"{message}."


def _brief(value: Any) -> str:
    """Return a wrong value as Python writes it; the middle of a very long one is left out."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} beyond all bounds"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}…{text[-_LONGEST // 2 :]}"


def _near_field(name: str) -> str:
    """Return the question "Did you mean …?" for an unknown field; fields of the same section come before others."""
    section, _, word = name.rpartition(".")
    dotted = [*Plan.model_fields, *plan_fields()]
    within = [one for one in dotted if one.startswith(f"{section}.")]
    known = {one.rpartition(".")[2]: one for one in [*dotted, *within]}
    return did_you_mean(word, known, in_full=known)


def _near_value(detail: Mapping[str, Any]) -> str:
    """Return the question "Did you mean …?" for an unknown choice; empty where no choice is like the value."""
    if detail["type"] != "literal_error":
        return ""
    return did_you_mean(str(detail["input"]), re.findall("'([^']+)'", detail["ctx"]["expected"]))
