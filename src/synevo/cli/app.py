"""The command line: parse, call, render. Results go to stdout, progress and errors to stderr.

Exit codes: 0 done; 1 a bug of synevo's own; 2 something that the user can mend; 130 interrupted. Nothing heavy is
imported before a command needs it, so that help is instant.
"""

import errno
import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from synevo.cli import deploying, evolving, guiding, looking
from synevo.errors import PlanError, SynevoError

app = typer.Typer(
    name="synevo",
    help="Evolve a trained network into a far smaller, faster one, and prove that it is that network.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run the command line."""
    app()


def _answering(command: Callable[..., None]) -> Callable[..., None]:
    """A command that ends with the exit code and the words that its outcome deserves."""

    @functools.wraps(command)
    def answering(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except SynevoError as error:
            _fail(error.problem, error.remedy)
        except KeyboardInterrupt:
            typer.echo(f"\nInterrupted. Nothing is lost; to go on: {_again()}", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # whoever read the output has seen enough, such as `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM):
                raise
            _fail(
                f"{error.strerror}: {error.filename or 'the run directory'}.",
                f"Make room or give access, then go on: {_again()}",
            )

    @functools.wraps(answering)
    def honest(*args: Any, **kwargs: Any) -> None:
        try:
            answering(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except Exception:  # noqa: BLE001  (the last resort: a bug of our own, shown whole)
            traceback.print_exc()
            typer.echo("This is a bug in synevo. Please report it with the lines above.", err=True)
            raise typer.Exit(1) from None

    return honest


def _with_jax(command: Callable[..., None]) -> Callable[..., None]:
    """A command before which JAX is prepared."""

    @functools.wraps(command)
    def prepared(*args: Any, **kwargs: Any) -> None:
        _prepare_jax()
        command(*args, **kwargs)

    return prepared


def _fail(problem: str, remedy: str) -> None:
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


app.command("train-ancestor")(_answering(_with_jax(evolving.train_ancestor)))
app.command()(_answering(_with_jax(evolving.evolve)))
app.command()(_answering(_with_jax(evolving.compact)))
app.command()(_answering(_with_jax(deploying.predict)))
app.command()(_answering(_with_jax(deploying.export)))
app.command()(_answering(looking.report))
app.command()(_answering(looking.runs))
app.command()(_answering(looking.watch))
app.command()(_answering(guiding.guide))


@app.command()
@_answering
def verify(
    run: looking.Run = None,
    quick: Annotated[bool, typer.Option("--quick", help="Check the files alone, without loading networks.")] = False,
) -> None:
    """Compute every number of the report again from the files."""
    from synevo.runs.verification import verify_files, verify_numbers

    target = looking.open_run(run)
    checks = list(verify_files(target))
    if not quick and all(check.holds for check in checks):
        _prepare_jax()
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
@_answering
def fields() -> None:
    """List every field of a plan, its default and its meaning."""
    from synevo.plan.compose import describe, flatten
    from synevo.plan.fields import Plan

    meanings = describe()
    for name, value in flatten(Plan()).items():
        typer.echo(f"{name + ' = ' + json.dumps(value):44s} {meanings[name]}")


@app.command()
@_answering
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


def _prepare_jax() -> None:
    """Settings that must stand before JAX is imported: quiet logs, and compiled programs kept between runs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "synevo" / "xla"
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
