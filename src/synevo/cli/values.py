"""The values of fields and arguments: those that a field allows in words, and those that a shell completes.

A shell waits for completions, so none of them loads JAX: names whose owners do are written down here, and a test holds
them to be the same.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
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


Complete = Callable[[str], list[str]]
"""A function from the beginning of a word to the words that it may become."""

ANCESTORS = (
    *("lenet5", "lenet5-caffe", "lenet-300-100", "alexnet", "vgg16", "resnet20", "resnet56", "resnet20-zeros"),
    *("resnet56-zeros", "resnet8", "mobilenet"),
)
COSTS = ("synapses", "macs", "bytes", "latency")
FORMATS = ("safetensors", "stablehlo", "onnx", "onnx-int8", "tflite", "tflite-int8", "c", "c-int8")
_VERSION = re.compile(r"\d+\.\d+\.\d+")


def one_of(words: Iterable[str]) -> Complete:
    """Return the completion of a word that is one of these."""
    known = tuple(words)
    return lambda incomplete: [word for word in known if word.startswith(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    """Return the runs that begin with `incomplete`, in runs/ and in the typed folder."""
    from synevo.runs.several.run_list import find_runs

    typed = Path(incomplete)
    folders = {Path("runs"), typed if incomplete.endswith("/") else typed.parent}
    found = {str(run.path) for folder in folders for run in find_runs(folder)}
    return sorted(path for path in found if path.startswith(incomplete) or Path(path).name.startswith(incomplete))


def complete_preset(incomplete: str) -> list[str]:
    """Return the presets that begin with `incomplete`."""
    from synevo.plan.presets import preset_names

    return one_of(preset_names())(incomplete)


def complete_section(incomplete: str) -> list[str]:
    """Return the sections of a plan that begin with `incomplete`."""
    from synevo.plan.compose import plan_fields

    return one_of(dict.fromkeys(name.partition(".")[0] for name in plan_fields()))(incomplete)


def complete_set(incomplete: str) -> list[str]:
    """Return the fields of a plan that begin with `incomplete`, each with an `=`; behind it, the field's choices."""
    from synevo.plan.compose import plan_fields

    fields = {name: field for name, field in plan_fields().items() if name != "format"}
    name, equals, value = incomplete.partition("=")
    if not equals:
        return one_of(f"{field}=" for field in fields)(incomplete)
    found = fields[name].annotation if name in fields else None
    return [f"{name}={choice}" for choice in dict.fromkeys(_choices(found)) if choice.startswith(value)]


def complete_dataset(incomplete: str) -> list[str]:
    """Return the data sets that begin with `incomplete`: digits, and those that are prepared in TFDS_DATA_DIR."""
    folder = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    try:
        prepared = sorted(one.name for one in folder.iterdir() if one.is_dir() and _is_prepared(one))
    except OSError:
        prepared = []
    return one_of(["digits", *prepared])(incomplete)


def _is_prepared(folder: Path) -> bool:
    """Return whether a folder is that of a TFDS data set: it has versions, or configurations with versions."""
    inner = [one for one in folder.iterdir() if one.is_dir()]
    return any(
        _VERSION.fullmatch(one.name) or any(_VERSION.fullmatch(deeper.name) for deeper in one.iterdir())
        for one in inner
    )


def complete_task(incomplete: str) -> list[str]:
    """Return the built-in tasks that begin with `incomplete`."""
    from synevo.plan.examples import BUILT_IN_TASKS

    return one_of(BUILT_IN_TASKS)(incomplete)


def complete_quantity(incomplete: str) -> list[str]:
    """Return the quantities that begin with `incomplete`, at which networks are compared."""
    from synevo.report.levels import QUANTITIES

    return one_of(QUANTITIES)(incomplete)


def complete_cost(incomplete: str) -> list[str]:
    """Return the costs that begin with `incomplete`; behind a +, those that can be mixed with the ones before it."""
    before, plus, last = incomplete.rpartition("+")
    return [f"{before}{plus}{cost}" for cost in COSTS if cost.startswith(last) and cost not in before.split("+")]


COMPLETED: dict[str, Complete] = {
    "encoding.cost": complete_cost,
    "evolution.halving": one_of(("0", "2", "4", "8", "16", "32", "64")),
    "ancestor.name": one_of(ANCESTORS),
    "data.dataset": complete_dataset,
    "task.name": complete_task,
}
"""The completions of fields that have no choices of their own."""


def completion(name: str, field: FieldInfo) -> Complete | None:
    """Return the completion of a field's values, or None if it has no choices."""
    choices = [*_choices(field.annotation)]
    return COMPLETED.get(name) or (one_of(choices) if choices else None)
