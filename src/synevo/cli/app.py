"""The command line parses arguments, calls the library, and shows results.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done; 1 a bug of synevo's own; 2 a problem that the
user can solve; 130 interrupted. No large library is imported before a command needs it, so that help is fast.
"""

import contextlib
import errno
import functools
import os
import sys
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from synevo.cli import checking, deploying, evolving, guiding, looking, plans
from synevo.cli.options import add_plan_options, without_plan_options
from synevo.errors import SynevoError

COMMANDS: dict[str, Callable[..., None]] = {
    "train-ancestor": evolving.train_ancestor,
    "evolve": evolving.evolve,
    "compact": evolving.compact,
    "predict": deploying.predict,
    "export": deploying.export,
    "report": looking.report,
    "runs": looking.runs,
    "watch": looking.watch,
    "verify": checking.verify,
    "fields": plans.fields,
    "presets": plans.presets,
    "guide": guiding.guide,
}

_THE_USERS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM}
"""Errors of files that the user can correct: no room, or no access."""


def main() -> None:
    """Run the command line."""
    _prepare_jax()
    completing = "_SYNEVO_COMPLETE" in os.environ
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    build(None if completing else [*words, ""][0])()


def build(called: str | None) -> typer.Typer:
    """Return the command line, ready for the command `called`, or for every command if it is None.

    Options that are fields of the plan are added to that command alone, because loading the plan would make help slow.
    """
    app = typer.Typer(
        name="synevo",
        help="Evolve a trained network into a far smaller, faster one, and prove that it is that network.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(synevo)
    for name, command in COMMANDS.items():
        whole = add_plan_options(command) if called in (name, None) else without_plan_options(command)
        app.command(name)(_exit_codes(whole))
    return app


@cache
def __getattr__(name: str) -> Any:
    """Build `app`, the command line with all of its options, at its first use."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return build(None)


def _prepare_jax() -> None:
    """Set the environment of JAX before it is imported: quiet logs, and a cache of compiled programs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.5")
    with contextlib.suppress(RuntimeError):  # a user without a home directory has no cache
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "synevo" / "xla"
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))


def _exit_codes(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that turns its errors into messages and exit codes."""

    @functools.wraps(command)
    def ending(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            typer.echo(f"\nInterrupted. Nothing is lost; to go on: {_again()}", err=True)
            raise typer.Exit(130) from None
        except BrokenPipeError:  # the reader of the output, such as `head`, has ended
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Exception as error:  # noqa: BLE001  (the last resort: a bug of our own, shown whole)
            _explain(error)

    return ending


def _explain(error: Exception) -> NoReturn:
    """Print an error and exit: with 2 if the user can correct it, with 1 if it is a bug of synevo's own."""
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


def synevo(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Evolve a trained network into a far smaller, faster one, and prove that it is that network."""
    del version
