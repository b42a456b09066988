"""How a command ends: the exit code and the words for every kind of outcome."""

import errno

import pytest
import typer
from typer.testing import CliRunner

from synevo.cli.app import _exit_codes
from synevo.errors import RunError

OUTCOMES = {
    "what the user can mend": (RunError("No run.", remedy="Start one."), 2, ["Error: No run.", "Start one."]),
    "an interrupt": (KeyboardInterrupt(), 130, ["Nothing is lost; to go on: synevo"]),
    "a full disk": (
        OSError(errno.ENOSPC, "No space left", "r/plan.toml"),
        2,
        ["No space left: r/plan.toml", "Make room"],
    ),
    "no access": (PermissionError(errno.EACCES, "Permission denied"), 2, ["Permission denied: the run directory"]),
    "too many open files": (OSError(errno.EMFILE, "Too many open files", "r/plan.toml"), 2, ["open files", "ulimit"]),
    "a file that is too large": (OSError(errno.EFBIG, "File too large"), 2, ["File too large: the run", "ulimit"]),
    "a name that is too long": (
        OSError(errno.ENAMETOOLONG, "File name too long", "x"),
        2,
        ["too long: x", "Name another"],
    ),
    "a missing file of our own": (FileNotFoundError(errno.ENOENT, "No such file"), 1, ["Traceback", "a bug in synevo"]),
    "a bug": (ZeroDivisionError("division"), 1, ["Traceback", "ZeroDivisionError: division", "Please report"]),
    "an exit that was chosen": (typer.Exit(7), 7, []),
}


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_command_ends_with_the_code_and_the_words_of_its_outcome(outcome: str) -> None:
    error, code, words = OUTCOMES[outcome]

    def command() -> None:
        raise error

    shell = typer.Typer()
    shell.command()(_exit_codes(command))
    done = CliRunner().invoke(shell)
    assert done.exit_code == code
    assert all(part in done.stderr for part in words)
    assert ("Traceback" in done.stderr) == (code == 1)
    assert not done.stdout


def test_a_command_that_succeeds_ends_with_0_and_says_nothing_of_its_own() -> None:
    shell = typer.Typer()
    shell.command()(_exit_codes(lambda: typer.echo("done")))
    done = CliRunner().invoke(shell)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "done\n", "")
