"""Options for fields of the plan: name, type, range and help come from the field, and the plan checks the values."""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin

import typer

from synevo.cli.values import completion

FieldInfo: TypeAlias = Any
"""pydantic's `FieldInfo`; pydantic is loaded only with the plan."""

Option: TypeAlias = Any
"""`synevo.plan.section.Option`; it is loaded only with the plan."""

Command = Callable[..., None]

Options = dict[str, Any]
"""The plan options that were given: `section.field → value`."""

_WORDS: dict[type, str | None] = {str: "NAME", int: "N", float: "NUMBER", bool: None}
"""What stands for a value in the help, by its type; a flag has none."""

_PARTS: dict[Command, tuple[str, ...]] = {}


def plan_options(*parts: str) -> Callable[[Command], Command]:
    """Mark a command: its parameter `options` stands for every option of these sections or fields of the plan."""

    def mark(command: Command) -> Command:
        _PARTS[command] = parts
        return command

    return mark


def add_plan_options(command: Command) -> Command:
    """Return a command with the options of its parts of the plan in place of its parameter `options`.

    The command then receives, as `options`, the given values by the dotted names of their fields. A command without a
    mark is returned as it is.
    """
    if command not in _PARTS:
        return command
    named = {_parameter_name(option): (dotted, field, option) for dotted, field, option in _find(_PARTS[command])}

    @functools.wraps(command)
    def with_options(**given: Any) -> None:
        values = {dotted: given.pop(name) for name, (dotted, _, _) in named.items()}
        command(**given, options={dotted: value for dotted, value in values.items() if value is not None})

    added = [_parameter(name, *found) for name, found in named.items()]
    _sign(with_options, _replace_options(inspect.signature(command), added))
    return with_options


def without_plan_options(command: Command) -> Command:
    """Return a command without its parameter `options`, for the list of commands."""
    if command not in _PARTS:
        return command

    @functools.wraps(command)
    def listed(**given: Any) -> None:
        command(**given, options={})

    _sign(listed, _replace_options(inspect.signature(command), []))
    return listed


def _sign(command: Command, signature: inspect.Signature) -> None:
    """Give a command the signature from which Typer makes its options."""
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in signature.parameters.values()}


def _find(parts: tuple[str, ...]) -> Iterator[tuple[str, FieldInfo, Option]]:
    """Yield the fields with an option in these parts of the plan, part by part."""
    from synevo.plan import section
    from synevo.plan.compose import plan_fields

    for part in parts:
        within = {dotted: field for dotted, field in plan_fields().items() if f"{dotted}.".startswith(f"{part}.")}
        for dotted, field in within.items():
            yield from ((dotted, field, mark) for mark in field.metadata if isinstance(mark, section.Option))


def _parameter_name(option: Option) -> str:
    """Return the name of an option in Python, such as `adaptive` for `--adaptive/--constant`."""
    return option.name.partition("/")[0].removeprefix("--").replace("-", "_")


def _parameter(name: str, dotted: str, field: FieldInfo, option: Option) -> inspect.Parameter:
    """Return the parameter from which Typer makes the option; its default None means that it was not given."""
    shown = typer.Option(
        option.name,
        metavar=option.metavar or _WORDS[_kind(field)],
        min=_bound(field, "ge"),
        max=_bound(field, "le"),
        help=_help(field),
        show_default=False,
        autocompletion=completion(dotted, field),
    )
    kind: Any = _kind(field)
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, shown]
    )


def _kind(field: FieldInfo) -> type:
    """Return the type of one value on the command line: a flag, a number, or a text for the plan to read."""
    kinds = get_args(field.annotation) or (field.annotation,)
    return next((kind for kind in (str, bool, int, float) if kind in kinds), str)


def _bound(field: FieldInfo, name: str) -> float | None:
    """Return the lower limit (`ge`) or the upper limit (`le`) of a field, or None if it has none."""
    return next((getattr(mark, name) for mark in field.metadata if hasattr(mark, name)), None)


def _help(field: FieldInfo) -> str:
    """Return the meaning of a field as a sentence, and its choices."""
    meaning = field.description or ""
    symbol = meaning.partition(" ")[0].endswith(":")
    text = f"{meaning if symbol else meaning[:1].upper() + meaning[1:]}."
    if get_origin(field.annotation) is not Literal:
        return text
    return f"{text} One of {', '.join(get_args(field.annotation))}."


def _replace_options(signature: inspect.Signature, added: list[inspect.Parameter]) -> inspect.Signature:
    """Return a signature with these parameters in place of the one named `options`."""
    before = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in signature.parameters.values()]
    place = [one.name for one in before].index("options")
    return signature.replace(parameters=[*before[:place], *added, *before[place + 1 :]])
