"""The files of a run are read to an end, whatever stands in their place: a pipe, a device, brackets without end."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from synevo.errors import RunError
from synevo.files.writing import read
from synevo.report.summary import summarise
from synevo.runs.rundir import RunDir
from synevo.runs.several.run_list import find_runs, overview
from synevo.runs.verification import verify_files

pytestmark = pytest.mark.slow


def replaced(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Something else in the place of a file."""

    def odd(path: Path) -> None:
        path.unlink(missing_ok=True)
        make(path)

    return odd


ODD: dict[str, Callable[[Path], None]] = {
    "a named pipe": replaced(os.mkfifo),
    "an endless device": replaced(lambda path: path.symlink_to("/dev/zero")),
    "a device of chance": replaced(lambda path: path.symlink_to("/dev/urandom")),
    "a folder": replaced(Path.mkdir),
    "a link to itself": replaced(lambda path: path.symlink_to(path.name)),
    "a file larger than memory": replaced(lambda path: (path.touch(), os.truncate(path, 2**43))),
    "brackets": lambda path: path.write_text("[" * 100_000) and None,
    "a value in brackets": lambda path: path.write_text('{"a": ' + "[" * 50_000 + "]" * 50_000 + "}") and None,
    "a table of brackets": lambda path: path.write_text("a = " + "[" * 50_000 + "]" * 50_000) and None,
    "a number of 5,000 digits": lambda path: path.write_text('{"a": ' + "9" * 5000 + "}") and None,
    "a field of 5,000 digits": lambda path: path.write_text("seed = " + "9" * 5000) and None,
    "bytes that are no text": lambda path: path.write_bytes(bytes(range(256)) * 9) and None,
    "a text": lambda path: path.write_text('"x"') and None,
    "nothing": lambda path: path.write_bytes(b"") and None,
}

FILES = (
    *("plan.toml", "machine.json", "lineage.jsonl", "individuals/g01/weights.safetensors"),
    *("individuals/g02/masks.safetensors", "compact/g02/hashes.json", "compact/g02/proof.json"),
    *("compact/g02/weights.safetensors", "compact/g02/predictions.safetensors", ".holder.json"),
)


@pytest.fixture
def run(finished: RunDir, tmp_path: Path) -> RunDir:
    return RunDir(shutil.copytree(finished.path, tmp_path / "runs" / "a"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ODD)
def test_whatever_stands_in_the_place_of_a_file_is_found_damaged(run: RunDir, name: str, kind: str) -> None:
    ODD[kind](run.path / name)
    run.writer()
    failed = [check for check in verify_files(run) if not check.holds]
    assert bool(failed) == (name != ".holder.json")
    for one in find_runs(run.path.parent):
        assert overview(one).name == "a"
    try:
        summarise(run)
    except RunError:
        assert name in ("plan.toml", "lineage.jsonl")


def test_one_odd_run_hides_no_other(run: RunDir) -> None:
    bad = RunDir(shutil.copytree(run.path, run.path.parent / "b"))
    (bad.path / "lineage.jsonl").write_text('{"a": ' + "9" * 5000 + "}\n")
    assert [overview(one).state for one in find_runs(run.path.parent)] == ["evolving", "damaged"]


def test_a_file_without_access_and_one_that_is_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"gone is damaged: it is missing"):
        read(tmp_path / "gone")
    with pytest.raises(RunError, match="too long"):
        read(tmp_path / ("x" * 300))


def test_too_many_open_files_are_no_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"whole")

    def full(*_: object) -> int:
        raise OSError(24, "Too many open files", str(path))

    assert read(path) == b"whole"
    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="Too many open files"):
        read(path)
