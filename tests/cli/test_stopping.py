"""Stopping: whatever ends a command ends it alike, with the line that resumes; nothing that ends it is lost."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

LONG = ["train-ancestor", "--run", "x", "--ancestor", "lenet-300-100", "--set", "ancestor_training.epochs=100000"]

COMMAND = """
import gc, os, signal, sys
from synevo.cli import app, stopping

class Late:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000): pass

def collected(phase, _):
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000): pass

def command():
    if sys.argv[1] == "collection":
        gc.callbacks.append(collected)
        gc.collect()
        gc.callbacks.clear()
    else:
        Late()
    for _ in range(200):
        import time; time.sleep(0.05)
    print("to its end")

stopping.listen()
import typer
shell = typer.Typer()
shell.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(app._exit_codes(command))
shell(args=[])
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_each_signal_ends_a_training_with_the_line_that_resumes(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "synevo", *LONG]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        began = time.monotonic()
        while not (tmp_path / "x" / "training").exists() and time.monotonic() - began < 120:
            time.sleep(0.05)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"Nothing is lost; to go on: synevo {' '.join(LONG)}" in said
    assert "Traceback" not in said
    assert not (tmp_path / "x" / ".holder.json").exists()


@pytest.mark.parametrize("where", ["collection", "deletion"])
def test_what_python_swallows_is_heard_a_moment_later(tmp_path: Path, where: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, where], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert "Exception ignored" not in done.stderr


FREED = """
import atexit, os, signal, threading, time, typer
from synevo.cli import app
class Freed:
    def __del__(self):
        os.abort()  # as XLA does that was interrupted while it compiled
freed = Freed()
def command():
    atexit.register(print, "handler")
    threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
shell = typer.Typer()
shell.command()(app._exit_codes(command))
app.build = lambda _: shell
app.main()
"""


def test_an_interrupted_process_ends_without_taking_itself_apart() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.split()) == (130, ["thread", "handler"])


def test_what_the_process_was_started_to_ignore_stays_ignored(tmp_path: Path) -> None:
    code = "import signal; from synevo.cli import stopping; stopping.listen(); print(signal.getsignal(signal.SIGHUP))"
    ignore = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
    ignoring = f"{ignore} os.execv(sys.executable, [sys.executable, '-c', {code!r}])"
    done = subprocess.run([sys.executable, "-c", ignoring], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(signal.SIG_IGN)
