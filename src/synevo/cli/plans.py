"""The commands that show the fields of a plan and the presets: fields, presets. They load no JAX.

They are plain functions; `synevo.cli.app` makes commands of them.
"""

import json
from typing import Annotated

import typer

from synevo.cli.screens import console, say
from synevo.errors import PlanError


def fields() -> None:
    """List every field of a plan, its default and its meaning."""
    from synevo.plan.compose import describe, flatten
    from synevo.plan.fields import Plan

    meanings = describe()
    for name, value in flatten(Plan()).items():
        say(f"{name + ' = ' + json.dumps(value):44s} {meanings[name]}")


def presets(
    name: Annotated[
        str | None, typer.Argument(metavar="PRESET", help="One of them: also all that was measured with it.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print what was measured as CSV, and nothing else.")] = False,
) -> None:
    """List the presets: their command, hardware, time and the result to expect."""
    from synevo.plan.presets import preset_names, preset_records, preset_table

    if as_csv:
        say(_records_csv(name, preset_records(name) if name else []), nl=False)
        return
    for one in [name] if name else preset_names():
        say(one)
        for title, text in preset_table(one)["about"].items():
            say(f"  {title + ':':10s}{' '.join(text.split())}")
    if name and (records := preset_records(name)):
        from synevo.report.terminal.records import record_table

        console().print(record_table(records))


def _records_csv(name: str | None, records: list[dict[str, str]]) -> str:
    """Return the measurements of a preset as CSV; raise PlanError if there are none."""
    if not records:
        raise PlanError(
            "No preset was named." if name is None else f"Nothing that was measured is kept for the preset {name!r}.",
            remedy="`synevo presets` lists them; try `synevo presets sharp --csv`.",
        )
    from synevo.report.sheet import write_rows

    return write_rows(records)
