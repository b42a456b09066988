"""What is printed: no text of a user or of a file steers the terminal, is taken for markup, or ends in a traceback."""

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.table import Table
from rich.text import Text
from specimens import individual

from synevo.cli.screens import console, say
from synevo.errors import printable
from synevo.plan.fields import Plan
from synevo.runs.rundir import RunDir

pytestmark = pytest.mark.slow

STEERING = ["\x1b]0;owned\x07", "\x1b[31m", "\x9b2J", "\x08\x08", "\rover", "\x7f", "\u202e", "\x00"]
MARKUP = ["[unk]", "[/]", "[bold]b", "[link=x]y[/link]", ":smile:", "a\\[b]"]


def shown(*parts: Any, **options: Any) -> str:
    """What a console prints, to a terminal too."""
    screen = console()
    screen.file = io.StringIO()
    screen._force_terminal = options.get("terminal", False)
    screen.print(*parts)
    return screen.file.getvalue()


def table(text: Any) -> Table:
    made = Table(title=text, caption=text)
    made.add_column(text)
    made.add_row(text)
    return made


@pytest.mark.parametrize("steering", STEERING)
def test_what_would_steer_a_terminal_is_a_sign_wherever_it_is_printed(
    steering: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"a{steering}b"
    say(name)
    printed = capsys.readouterr().out + shown(name) + shown(Text(name)) + shown(table(name)) + shown(table(Text(name)))
    assert not set(printed) & {*"\x1b\x07\x9b\x08\r\x7f\u202e\x00"}
    assert "\N{REPLACEMENT CHARACTER}" in printed


def test_line_ends_tabs_and_all_scripts_stay() -> None:
    for text in ("a\tb\nc\r\nd", "naïve Größe 猫 🐈 עברית"):
        assert printable(text) == text


@pytest.mark.parametrize("name", MARKUP)
def test_a_name_in_brackets_is_a_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(name)
    assert name in capsys.readouterr().out
    assert name in shown(name)
    assert shown(table(name)).count(name) == 4


def synevo(*words: str, where: Path, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "synevo", *words]
    return subprocess.run(command, cwd=where, env={**os.environ, **environment}, capture_output=True, check=False)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_stream_of_few_letters_gets_signs_for_the_others(tmp_path: Path, encoding: str) -> None:
    run = RunDir(tmp_path / "runs/größe")
    run.save_plan(Plan())
    run.save_individual(individual(1, 40, 0.5), Plan(), weights={}, masks={})
    for words in (("fields",), ("presets", "brief"), ("guide", "method"), ("runs",), ("report", "runs/größe")):
        done = synevo(*words, where=tmp_path, PYTHONIOENCODING=encoding)
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
        assert done.stdout.decode(encoding)
    assert ("syn x" if encoding == "ascii" else "syn ×") in done.stdout.decode(encoding)
    assert ("gr??e" if encoding == "ascii" else "größe") in done.stdout.decode(encoding)
    wrong = synevo("evolve", "runs/größer", where=tmp_path, PYTHONIOENCODING=encoding)
    assert (wrong.returncode, b"Traceback" in wrong.stderr) == (2, False)
    assert b"is not a run" in wrong.stderr


ODD_PATHS = {
    "a byte that is not UTF-8": b"runs/\xff",
    "a very long name": b"r" * 300,
    "a very long path": b"r/" * 3000,
    "markup and escape codes": b"runs/[/]\x1b[31m",
    "an empty name": b"",
}


@pytest.mark.parametrize("kind", ODD_PATHS)
def test_an_odd_path_is_a_path_or_refused_by_every_command(tmp_path: Path, kind: str) -> None:
    path = os.fsdecode(ODD_PATHS[kind])
    (tmp_path / "image.png").write_bytes(b"")
    for words in (
        ["report", path],
        ["verify", path, "--quick"],
        ["runs", path],
        ["export", path, "--to", "safetensors"],
    ):
        done = synevo(*words, where=tmp_path)
        assert (done.returncode in (0, 2), b"Traceback" in done.stderr, b"\x1b" in done.stderr) == (True, False, False)


@pytest.mark.parametrize(
    "setting",
    ["seed=" + "9" * 5000, "seed=" + "[" * 50_000, "data.dataset=\udcff", "training.epochs=1e999", "seed=\x1b[31m"],
    ids=["5,000 digits", "deep brackets", "no UTF-8", "infinity", "an escape code"],
)
def test_an_odd_value_of_a_field_is_a_wrong_value(tmp_path: Path, setting: str) -> None:
    done = synevo("train-ancestor", "--run", "x", "--set", setting, where=tmp_path)
    assert (done.returncode, b"Traceback" in done.stderr, b"\x1b" in done.stderr) == (2, False, False)
    assert len(done.stderr) < 1500
    assert not (tmp_path / "x").exists()
