"""Verification: whatever is damaged in a run becomes a check that fails, and a run as it was written passes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from synevo.files.writing import canonical, hash_of
from synevo.lineage.individuals import Individual
from synevo.runs.rundir import RunDir
from synevo.runs.verification import verify_files

pytestmark = pytest.mark.slow


@pytest.fixture
def run(finished: RunDir, tmp_path: Path) -> RunDir:
    """A copy of a run of two generations, compacted, with an exported file; it is to be damaged."""
    run = RunDir(shutil.copytree(finished.path, tmp_path / "a"))
    architecture = run.load_compact(2)[1]["architecture"]
    contract = {"generation": 2, "sha256": hash_of(b"network"), "input": architecture["input"]}
    (run.path / "exports").mkdir()
    (run.path / "exports" / "g02.onnx").write_bytes(b"network")
    beside = run.path / "exports" / "g02.onnx.json"
    beside.write_text(json.dumps({**contract, "classes": architecture["classes"], "architecture": architecture}))
    return run


def lines(change: Callable[[list[str]], list[str]]) -> Callable[[RunDir], None]:
    """Damage to the lines of a lineage."""

    def damage(run: RunDir) -> None:
        path = run.path / "lineage.jsonl"
        path.write_text("".join(change(path.read_text().splitlines(keepends=True))))

    return damage


def unlist(run: RunDir) -> None:
    """The last line is lost, and the individual with it; what was compacted of it is there."""
    lines(lambda found: found[:-1])(run)
    shutil.rmtree(run.path / "individuals" / "g02")


def fail(run: RunDir) -> None:
    """A third generation, whose training failed."""
    failed = Individual(3, ("g02",), None, None, None, None, 1e-3, 0, 1.5, problem="Training diverged 3 times.")
    run.save_individual(failed, run.load_plan(), weights={}, masks={})


def lose_the_failed(run: RunDir) -> None:
    """The last line is lost, of a generation without a network."""
    fail(run)
    lines(lambda found: found[:-1])(run)


def rewrite_the_failed(run: RunDir) -> None:
    """The reason of a failure is another."""
    fail(run)
    path = run.path / "individuals" / "g03" / "scores.json"
    path.write_text(path.read_text().replace("diverged", "was stopped"))


def another_machine(run: RunDir) -> None:
    """A machine that may well be, and is not the run's."""
    run.save_machine({**run.load_machine(), "threads": 128})


def renumber(run: RunDir) -> None:
    """The second generation calls itself the fourth, in a line whose hash is right."""
    path = run.path / "lineage.jsonl"
    first, second = path.read_text().splitlines()
    entry = json.loads(second)
    del entry["check"]
    entry["individual"]["generation"] = 4
    path.write_text(f"{first}\n{json.dumps({**entry, 'check': hash_of(canonical(entry))})}\n")


def said(name: str, text: str | None) -> Callable[[RunDir], None]:
    """Another content of a file, or none."""
    return lambda run: (run.path / name).unlink() if text is None else (run.path / name).write_text(text) and None


def contract(*keys: str, value: object) -> Callable[[RunDir], None]:
    """Another value in the contract of the export."""

    def damage(run: RunDir) -> None:
        path = run.path / "exports" / "g02.onnx.json"
        table = json.loads(path.read_text())
        inner = table
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value
        path.write_text(json.dumps(table))

    return damage


DAMAGES: dict[str, Callable[[RunDir], None]] = {
    "a lineage that is gone": said("lineage.jsonl", None),
    "an empty lineage": lines(lambda _: []),
    "a lineage without its last line": lines(lambda found: found[:-1]),
    "a lineage without its first line": lines(lambda found: found[1:]),
    "a lineage cut in a line": lines(lambda found: [found[0], found[1][:40]]),
    "a doubled lineage": lines(lambda found: found * 2),
    "a doubled last line": lines(lambda found: [*found, found[-1]]),
    "a lineage upside down": lines(lambda found: found[::-1]),
    "a compacted network without its generation": unlist,
    "a generation of another number": renumber,
    "a lineage without the line of a failed generation": lose_the_failed,
    "a failed generation of another reason": rewrite_the_failed,
    "another machine": another_machine,
    "no machine": said("machine.json", None),
    "a machine that is none": said("machine.json", "[1]"),
    "a machine without a device": said("machine.json", "{}"),
    "a machine of another form": said("machine.json", '{"device": 3}'),
    "a machine with more than a machine": said("machine.json", '{"device": "cpu", "speed": "high"}'),
    "an export of other bytes": said("exports/g02.onnx", "netw0rk"),
    "an export that is gone": said("exports/g02.onnx", None),
    "a contract that is gone": said("exports/g02.onnx.json", None),
    "a contract that is no JSON": said("exports/g02.onnx.json", "{"),
    "a contract of other classes": contract("classes", value=["a", "b"]),
    "a contract of another mean": contract("input", "mean", value=[0.9]),
    "a contract of another deviation": contract("input", "deviation", value=[0.9]),
    "a contract of another architecture": contract("architecture", "classes", value=["a"]),
    "a contract of another generation": contract("generation", value=1),
    "a contract without a hash": contract("sha256", value=None),
}


def test_a_run_as_it_was_written_passes(run: RunDir) -> None:
    assert [check for check in verify_files(run) if not check.holds] == []


def test_a_run_with_a_failed_generation_passes(run: RunDir) -> None:
    fail(run)
    assert [check for check in verify_files(run) if not check.holds] == []


def test_a_run_of_an_older_version_is_whole_and_its_machine_is_said_to_be_unbound(run: RunDir) -> None:
    fail(run)
    path = run.path / "lineage.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    for entry in entries:
        for later in ("check", "machine", "basis"):
            entry.pop(later, None)
    entries[2]["files"] = {}
    shutil.rmtree(run.path / "individuals" / "g03")
    path.write_text("".join(f"{json.dumps({**one, 'check': hash_of(canonical(one))})}\n" for one in entries))
    checks = list(verify_files(run))
    assert [check for check in checks if not check.holds] == []
    assert [check.subject for check in checks if "not bound" in check.subject]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_a_check_that_fails(run: RunDir, damage: str) -> None:
    DAMAGES[damage](run)
    assert [check.subject for check in verify_files(run) if not check.holds]
