"""The commands that read runs and do not change them: report, runs, watch, verify.

They load no JAX, but verify, which computes the numbers of networks again.

They are plain functions; `synevo.cli.app` makes commands of them.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from synevo.cli.screens import console, say
from synevo.cli.values import complete_quantity, complete_run
from synevo.errors import PlanError, RunError, did_you_mean

Run = Annotated[
    Path | None,
    typer.Argument(
        metavar="RUN",
        help="Run directory; the latest run where none is given.",
        show_default=False,
        autocompletion=complete_run,
    ),
]


def _keep_word(context: typer.Context, ancestor: str | None) -> str | None:
    """Keep the name of an ancestor whose code the user trusts; a shell that completes a line is not the user."""
    if ancestor is not None and not context.resilient_parsing:
        from synevo.runs import trusted

        trusted.remember(ancestor)
    return ancestor


Ancestor = Annotated[
    str | None,
    typer.Option(
        metavar="MODULE:FACTORY",
        callback=_keep_word,
        help="The factory of the ancestor's network, where it has moved since the run was started, or where a run or "
        "a file that you received names code that you trust.",
        show_default=False,
    ),
]


def report(
    *,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="RUN",
            help="Run directories, or folders of runs; the latest run where none is given.",
            show_default=False,
            autocompletion=complete_run,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; each run is one of its `summaries`.")
    ] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print every number of every generation as CSV.")] = False,
    summary: Annotated[
        bool,
        typer.Option("--summary", help="Only what replicates reach together, a row a budget; with --json, --csv too."),
    ] = False,
    max_drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BUDGET",
            help="Summarise replicates within this budget (0.01, 5% or 1.72pt), not within usual ones and the plans' "
            "own; repeatable.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="QUANTITY",
            help="Only accuracy at equal efficiency in synapses, kernels, stored-weights or multiply-adds; repeatable; "
            "with --csv, too.",
            show_default=False,
            autocompletion=complete_quantity,
        ),
    ] = None,
    as_html: Annotated[
        bool, typer.Option("--html", help="Write a page that opens offline: RUN/report/index.html.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write the page there instead, and leave the run as it is."),
    ] = None,
    show: Annotated[bool, typer.Option("--open", help="Write the page and open it in a browser.")] = False,
) -> None:
    """Report a run, or several side by side. It shows the lineage, the layers and the compacted network."""
    from synevo.cli.opening import open_all_or_latest
    from synevo.report.comparison import compare
    from synevo.report.summary import summarise

    if as_json and as_csv:
        raise PlanError("--json and --csv both print to stdout.", remedy="Give one of them.")
    if against and (summary or as_json):
        raise PlanError(
            f"--against is a table of its own, beside --{'summary' if summary else 'json'}.",
            remedy="Give one of them; the JSON of several runs holds all levels.",
        )
    _require_quantities(against or [])
    found = open_all_or_latest(runs)
    summaries = [summarise(run) for run in found]
    numbers = compare(summaries, _budgets(max_drop or []))
    together = len(found) > 1 or summary or bool(against) or max_drop is not None
    if as_html or show or output is not None:
        from synevo.cli import pages

        pages.write(found, numbers, output or pages.place(runs, found), together=together, show=show)
        if not (as_json or as_csv):
            return
    if as_json:
        shown = {name: value for name, value in numbers.items() if not (summary and name == "summaries")}
        say(json.dumps(shown, indent=2))
    elif as_csv:
        say(_sheet(numbers, against or [], briefly=summary), nl=False)
    else:
        _print(numbers, against or [], together=together, briefly=summary)


def runs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of runs.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """List the runs of a folder, with state, best and age."""
    from synevo.runs.several.run_list import find_runs, overview

    overviews = [overview(run) for run in find_runs(folder)]
    if as_json:
        for one in overviews:
            say(json.dumps(asdict(one)))
        return
    if not overviews:
        say(f"There is no run in {folder}/.", err=True)
        return
    from synevo.report.terminal.listing import runs_table

    console().print(runs_table(overviews))


def watch(
    run: Run = None,
    every: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="The time between two looks.")] = 2.0,
) -> None:
    """Watch a run that another process is working on. It ends when nobody is."""
    from synevo.cli.live import watching
    from synevo.cli.opening import open_run

    watching.watch(open_run(run), console(), every=every)


def verify(
    run: Run = None,
    quick: Annotated[bool, typer.Option("--quick", help="Check the files alone, without loading networks.")] = False,
    ancestor: Ancestor = None,
) -> None:
    """Compute every number of the report again from the files."""
    from synevo.cli.opening import open_run
    from synevo.runs.verification import verify_files, verify_numbers

    target = open_run(run)
    checks = list(verify_files(target))
    if not quick and all(check.holds for check in checks):
        checks += verify_numbers(target, ancestor)
    for check in checks:
        say(f"{'ok     ' if check.holds else 'DAMAGED'} {check.subject}{'' if check.holds else f': {check.found}'}")
    wrong = sum(not check.holds for check in checks)
    if wrong:
        raise RunError(
            f"{wrong} of {len(checks)} checks of {target.path} do not hold.",
            remedy="Restore the damaged files from a copy.",
        )


def _budgets(texts: list[str]) -> list[float | str]:
    """Return budgets as a plan has them; raise PlanError if one is none."""
    from synevo.plan.compose import compose

    return [compose(options={"evolution.max_drop": text}).evolution.max_drop for text in texts]


def _require_quantities(names: list[str]) -> None:
    """Raise PlanError if a name is none of the quantities."""
    from synevo.report.levels import QUANTITIES

    for name in names:
        if name not in QUANTITIES:
            raise PlanError(
                f"--against {name}: there is no such quantity.{did_you_mean(name, QUANTITIES)}",
                remedy=f"Quantities: {', '.join(QUANTITIES)}.",
            )


def _sheet(numbers: dict[str, Any], against: list[str], *, briefly: bool) -> str:
    from synevo.report.sheet import write_budgets, write_levels, write_sheet

    if against:
        return write_levels(numbers["groups"], against)
    return write_budgets(numbers["groups"]) if briefly else write_sheet(numbers["summaries"])


def _print(numbers: dict[str, Any], against: list[str], *, together: bool, briefly: bool) -> None:
    from synevo.report.terminal.run import print_report
    from synevo.report.terminal.several import print_comparison, print_levels, print_summary

    if against:
        print_levels(console(), numbers, against)
        return
    if not together:
        print_report(console(), numbers["summaries"][0])
        return
    show = print_summary if briefly else print_comparison
    show(console(), numbers)
