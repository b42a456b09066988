"""The command line parses arguments, calls the library, and shows results.

Results go to stdout, progress and errors to stderr. Exit codes: 0 done; 1 a bug of synevo's own; 2 a problem that the
user can solve; 130 interrupted, 143 terminated, 129 hung up. No large library is imported before a command needs it, so
that help is fast.
"""

import contextlib
import errno
import functools
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, NoReturn

import typer
from typer import _completion_shared
from typer.core import TyperCommand

from synevo.cli import deploying, doctoring, evolving, guiding, looking, plans, stopping
from synevo.cli.options import add_plan_options, without_plan_options
from synevo.cli.screens import hush, say, write_anything
from synevo.errors import AdoptionError, SynevoError
from synevo.files.caches import of_programs

COMMANDS: dict[str, Callable[..., None]] = {
    "train-ancestor": evolving.train_ancestor,
    "adopt": evolving.adopt,
    "evolve": evolving.evolve,
    "compact": evolving.compact,
    "predict": deploying.predict,
    "export": deploying.export,
    "bench": deploying.bench,
    "report": looking.report,
    "runs": looking.runs,
    "watch": looking.watch,
    "verify": looking.verify,
    "fields": plans.fields,
    "presets": plans.presets,
    "doctor": doctoring.doctor,
    "guide": guiding.guide,
    "cache": guiding.cache,
}

EXAMPLES: dict[str, tuple[str, ...]] = {
    "train-ancestor": (
        "synevo train-ancestor --preset demo --run runs/demo",
        "synevo train-ancestor --dataset photos/ --ancestor mobilenet",
        "synevo train-ancestor --dataset mnist --data-dir DIR --seeds 0..2",
        "synevo train-ancestor --set ancestor_training.epochs=20",
    ),
    "adopt": ("synevo adopt --dataset photos/ --ancestor mine:network --weights net.pt",),
    "evolve": (
        "synevo evolve                           the latest run, as planned",
        "synevo evolve runs/demo --max-drop 2pt  two points of accuracy",
        "synevo evolve runs/demo --adaptive --target-macs 1000000",
    ),
    "compact": (
        "synevo compact runs/demo                the best within the budget",
        "synevo compact runs/demo --generation 4",
        "synevo compact runs/demo --engine c     timed in C, with widths for it",
    ),
    "predict": (
        "synevo predict runs/demo seven.png --top 2",
        "synevo predict runs/demo photos/*.jpg --json",
    ),
    "export": (
        "synevo export runs/demo --to onnx",
        "synevo export runs/demo --to c --output network.c",
    ),
    "bench": (
        "synevo bench runs/demo                  all that is installed",
        "synevo bench runs/a runs/b --forms jax,onnx,c --csv",
    ),
    "report": (
        "synevo report runs/demo",
        "synevo report runs/demo --html --open   a page that opens offline",
        "synevo report runs/ --summary           what replicates reach",
        "synevo report runs/a runs/b --csv       every number, as a sheet",
    ),
    "runs": ("synevo runs", "synevo runs elsewhere/ --json"),
    "watch": ("synevo watch runs/demo",),
    "verify": ("synevo verify runs/demo", "synevo verify runs/demo --quick"),
    "fields": ("synevo fields", "synevo fields training", "synevo fields data.fit"),
    "presets": ("synevo presets", "synevo presets sharp", "synevo presets sharp --csv"),
    "doctor": ("synevo doctor", "synevo doctor --json"),
    "guide": ("synevo guide", "synevo guide own-data"),
    "cache": ("synevo cache", "synevo cache --clear"),
}
"""What a user types, and what that is where it does not say itself, for each command; shown behind its options."""

_ROOM, _LIMIT = "Make room or give access", "Raise the limit with `ulimit`"
_PATH = "Name another file or folder"

_THE_USERS = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EPERM), _ROOM),
    **dict.fromkeys((errno.EMFILE, errno.EFBIG), _LIMIT),
    errno.ENFILE: "Close other programs",
    **dict.fromkeys((errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP, errno.EILSEQ), _PATH),
}
"""What to do about the errors of files that the user can correct: no room, no access, a limit, an impossible path."""


class Explained(TyperCommand):
    """A command whose help has examples, and names its arguments as a user does, without their types in Python."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the words of the line of usage: RUN is required, [RUN] is not."""
        return [piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, the options and the examples."""
        found: dict[str, list[tuple[str, str]]] = {"argument": [], "option": []}
        for parameter in self.get_params(ctx):
            if record := parameter.get_help_record(ctx):
                kind = parameter.param_type_name
                name = record[0].partition(" <")[0] if kind == "argument" else record[0]
                found[kind].append((name, record[1]))
        for kind, records in found.items():
            if records:
                with formatter.section(f"{kind.capitalize()}s"):
                    formatter.write_dl(records)
        if lines := EXAMPLES.get(str(self.name)):
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in lines))


def main() -> None:
    """Run the command line."""
    write_anything()
    stopping.listen()
    _prepare_jax()
    completing = "_SYNEVO_COMPLETE" in os.environ
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    try:
        build(None if completing else [*words, ""][0])()
    except SystemExit:
        stopping.end()
        raise


_ZSH = """\
#compdef %(prog_name)s

%(complete_func)s() {
  eval $(env _TYPER_COMPLETE_ARGS="${words[1,$CURRENT]}" %(autocomplete_var)s=complete_zsh %(prog_name)s)
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  %(complete_func)s "$@"
else
  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
  compdef %(complete_func)s %(prog_name)s
fi
"""
"""What zsh reads to complete: Typer's own completes nothing at the first Tab, and needs `compinit` before it."""


def build(called: str | None) -> typer.Typer:
    """Return the command line, ready for the command `called`, or for every command if it is None.

    Options that are fields of the plan are added to that command alone, because loading the plan would make help slow.
    """
    _completion_shared._completion_scripts["zsh"] = _ZSH  # noqa: SLF001 (Typer has no other way)
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
        app.command(name, cls=Explained)(_exit_codes(whole))
    return app


@cache
def __getattr__(name: str) -> Any:
    """Build `app`, the command line with all of its options, at its first use."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return build(None)


def _prepare_jax() -> None:
    """Set the environment of JAX before it is imported: quiet logs, and a cache of compiled programs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # its errors arrive as exceptions
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")  # most programs are small
    with contextlib.suppress(RuntimeError):  # a user without a home directory has no cache
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(of_programs()))


def _exit_codes(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that turns its errors into messages and exit codes."""

    @functools.wraps(command)
    def ending(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            hush(silent=False)
            say(f"\nInterrupted{stopping.by()}. Nothing is lost; to go on: {_again()}", err=True)
            raise typer.Exit(stopping.exit_code()) from None
        except BrokenPipeError:  # the reader of the output, such as `head`, has ended
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except Exception as error:  # noqa: BLE001  (the last resort: a bug of our own, shown whole)
            _explain(error)

    return ending


def _explain(error: Exception) -> NoReturn:
    """Print an error and exit: with 2 if the user can correct it, with 1 if it is a bug of synevo's own."""
    hush(silent=False)
    if isinstance(error, AdoptionError) and error.proposal:
        say(error.proposal)
    if isinstance(error, SynevoError):
        _fail(error.problem, error.remedy)
    if isinstance(error, OSError) and error.errno in _THE_USERS:
        where = error.filename or "the run directory"
        _fail(f"{error.strerror}: {where}.", f"{_THE_USERS[error.errno]}, then go on: {_again()}")
    traceback.print_exception(error)
    say("This is a bug in synevo. Please report it with the lines above.", err=True)
    raise typer.Exit(1)


def _fail(problem: str, remedy: str) -> NoReturn:
    say(f"Error: {problem}", err=True)
    say(remedy, err=True)
    raise typer.Exit(2)


def _again() -> str:
    return shlex.join(["synevo", *sys.argv[1:]])


def _print_version(wanted: bool) -> None:
    if wanted:
        from synevo import __version__

        say(f"synevo {__version__}")
        raise typer.Exit


def synevo(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Evolve a trained network into a far smaller, faster one, and prove that it is that network."""
    del version
