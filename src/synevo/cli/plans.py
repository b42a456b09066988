"""The commands that show the fields of a plan and the presets: fields, presets. They load no JAX.

They are plain functions; `synevo.cli.app` makes commands of them.
"""

import json
import textwrap
from typing import Annotated

import typer

from synevo.cli.screens import console, say
from synevo.cli.values import allowed, complete_preset, complete_section
from synevo.errors import PlanError, did_you_mean


def fields(
    section: Annotated[
        str | None,
        typer.Argument(
            metavar="SECTION",
            help="Only these: a section such as training, or a field such as training.epochs.",
            show_default=False,
            autocompletion=complete_section,
        ),
    ] = None,
) -> None:
    """List the fields of a plan: defaults, values, meanings."""
    from synevo.plan.compose import flatten, plan_fields
    from synevo.plan.fields import Plan

    known = plan_fields()
    shown = [name for name in known if section is None or f"{name}.".startswith(f"{section}.")]
    if not shown:
        names = [*dict.fromkeys(name.partition(".")[0] for name in known), *known]
        raise PlanError(
            f"There is no section or field {section!r}.{did_you_mean(str(section), names)}",
            remedy="`synevo fields` lists all.",
        )
    defaults, screen = flatten(Plan()), console()
    for name in shown:
        range_ = allowed(known[name])
        line = f"{name + ' = ' + json.dumps(defaults[name]):44s} {known[name].description}"
        line += f" [{range_}]" if range_ else ""
        wrapped = textwrap.wrap(line, screen.width, subsequent_indent=" " * 4) if screen.is_terminal else [line]
        say("\n".join(wrapped))


def presets(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="PRESET",
            help="One of them: also all that was measured with it.",
            show_default=False,
            autocompletion=complete_preset,
        ),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print what was measured as CSV, and nothing else.")] = False,
) -> None:
    """List the presets, with command, hardware and result."""
    from synevo.plan.presets import preset_names, preset_records, preset_table

    if as_csv:
        say(_records_csv(name, preset_records(name) if name else []), nl=False)
        return
    for one in [name] if name else preset_names():
        say(one)
        screen = console()
        for title, text in preset_table(one)["about"].items():
            line = f"  {title + ':':10s}{' '.join(text.split())}"
            lines = textwrap.wrap(line, screen.width, subsequent_indent=" " * 12) if screen.is_terminal else [line]
            say("\n".join(lines))
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
