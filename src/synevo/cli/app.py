"""The command line: parse, call, render. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done; 1 a bug of synevo's own; 2 something that the user can mend; 130 interrupted. Nothing heavy is
imported before a command needs it, so that help is instant.
"""

import contextlib
import errno
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from synevo.cli import deploying, evolving, looking
from synevo.errors import PlanError, SynevoError

app = typer.Typer(
    name="synevo",
    help="Evolve a trained network into a far smaller, faster one, and prove that it is that network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_THE_USERS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM}
"""Troubles with files that the user can end: no room, or no access."""


def main() -> None:
    """Run the command line."""
    _prepare_jax()
    app()


def _prepare_jax() -> None:
    """Set what must stand before JAX is imported: quiet logs, and compiled programs kept between runs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    with contextlib.suppress(RuntimeError):  # who has no home keeps no compiled programs
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "synevo" / "xla"
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))


def _exit_codes(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that ends with the exit code, and the words, that its outcome deserves."""

    @functools.wraps(command)
    def ending(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            typer.echo(f"\nInterrupted. Nothing is lost; to go on: {_again()}", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # whoever read the output has seen enough, such as `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Exception as error:  # noqa: BLE001  (the last resort: a bug of our own, shown whole)
            _explain(error)

    return ending


def _explain(error: Exception) -> NoReturn:
    """Say what was wrong; exit with 2 where the user can mend it, and with 1 where it is a bug of synevo's own."""
    if isinstance(error, SynevoError):
        _fail(error.problem, error.remedy)
    if isinstance(error, OSError) and error.errno in _THE_USERS:
        where = error.filename or "the run directory"
        _fail(f"{error.strerror}: {where}.", f"Make room or give access, then go on: {_again()}")
    traceback.print_exception(error)
    typer.echo("This is a bug in synevo. Please report it with the lines above.", err=True)
    raise typer.Exit(1)


def _fail(problem: str, remedy: str) -> NoReturn:
    typer.echo(f"Error: {problem}", err=True)
    typer.echo(remedy, err=True)
    raise typer.Exit(2)


def _again() -> str:
    return " ".join(["synevo", *sys.argv[1:]])


def _print_version(wanted: bool) -> None:
    if wanted:
        from synevo import __version__

        typer.echo(f"synevo {__version__}")
        raise typer.Exit


@app.callback()
def synevo(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Evolve a trained network into a far smaller, faster one, and prove that it is that network."""
    del version


app.command("train-ancestor")(_exit_codes(evolving.train_ancestor))
app.command()(_exit_codes(evolving.evolve))
app.command()(_exit_codes(evolving.compact))
app.command()(_exit_codes(deploying.predict))
app.command()(_exit_codes(deploying.export))
app.command()(_exit_codes(looking.report))
app.command()(_exit_codes(looking.runs))
app.command()(_exit_codes(looking.watch))


@app.command()
@_exit_codes
def verify(
    run: looking.Run = None,
    quick: Annotated[bool, typer.Option("--quick", help="Check the files alone, without loading networks.")] = False,
) -> None:
    """Compute every number of the report again from the files."""
    from synevo.cli.opening import open_run
    from synevo.runs.verification import verify_files, verify_numbers

    target = open_run(run)
    checks = list(verify_files(target))
    if not quick and all(check.holds for check in checks):
        checks += verify_numbers(target)
    for check in checks:
        typer.echo(
            f"{'ok     ' if check.holds else 'DAMAGED'} {check.subject}{'' if check.holds else f': {check.found}'}"
        )
    wrong = sum(not check.holds for check in checks)
    if wrong:
        _fail(
            f"{wrong} of {len(checks)} checks of {target.path} do not hold.", "Restore the damaged files from a copy."
        )


@app.command()
@_exit_codes
def fields() -> None:
    """List every field of a plan, its default and its meaning."""
    from synevo.plan.compose import describe, flatten
    from synevo.plan.fields import Plan

    meanings = describe()
    for name, value in flatten(Plan()).items():
        typer.echo(f"{name + ' = ' + json.dumps(value):44s} {meanings[name]}")


@app.command()
@_exit_codes
def presets(
    name: Annotated[
        str | None, typer.Argument(metavar="PRESET", help="One of them: also all that was measured with it.")
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print what was measured as CSV, and nothing else.")] = False,
) -> None:
    """List the presets: their command, hardware, time and the result to expect."""
    from synevo.plan.presets import preset_names, preset_records, preset_table

    if as_csv:
        typer.echo(_records_csv(name, preset_records(name) if name else []), nl=False)
        return
    for one in [name] if name else preset_names():
        typer.echo(one)
        for title, text in preset_table(one)["about"].items():
            typer.echo(f"  {title + ':':10s}{' '.join(text.split())}")
    if name and (records := preset_records(name)):
        from synevo.report.records import record_table

        looking.console().print(record_table(records))


def _records_csv(name: str | None, records: list[dict[str, str]]) -> str:
    """What was measured with a preset, as CSV; PlanError where that is nothing."""
    if not records:
        raise PlanError(
            "No preset was named." if name is None else f"Nothing that was measured is kept for the preset {name!r}.",
            remedy="`synevo presets` lists them; try `synevo presets sharp --csv`.",
        )
    from synevo.report.sheet import write_rows

    return write_rows(records)
