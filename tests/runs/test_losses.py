"""Nothing in a run is lost: not where a writer is killed, nor where the lineage or a folder is not as it was."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synevo.errors import PlanError, RunError
from synevo.lineage.individuals import Counts, Individual, LayerCount, Scores
from synevo.plan.compose import change, compose
from synevo.plan.fields import Plan
from synevo.runs import checkpoints, stages
from synevo.runs.rundir import RunDir

pytestmark = pytest.mark.slow

KILLED = '''
import os, signal, shutil, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from runs.test_losses import add, add_failed, grown, WEIGHTS
from synevo.runs.rundir import RunDir

EVENTS = {{"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree", "tempfile.mkstemp", "tempfile.mkdtemp"}}
os.chdir({place!r})

def work(run):
    with run.writing():
        {work}

def killed_at(number):
    """Whether a fork was killed at this file operation, before it was at its end."""
    shutil.rmtree("a", ignore_errors=True)
    run = grown(Path("a"))
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    seen = []
    def count(event, _):
        if event in EVENTS:
            seen.append(event)
            if len(seen) == number:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    work(run)
    os._exit(0)

number = 1
while killed_at(number):
    run = RunDir(Path("a"))
    assert run.load_compact(2)[0]["full/bias"].tolist() == [2, 2], number
    assert run.compacted() == [2], number
    with run.writing():
        run.require_all_listed()
        names = [one.name for one in run.load_lineage().individuals]
        assert names in (["g01", "g02"], ["g01", "g02", "g03"]), (number, names)
        for entry in run.entries():
            run.require_files(entry)
        if len(names) == 2:
            add(run, 3)
    left = sorted(str(path) for path in run.path.rglob(".*") if path.name != ".lock")
    assert not left, (number, left)
    number += 1
assert number > 15, number
'''


def individual(generation: int) -> Individual:
    layer = LayerCount("full/kernel", inputs=3, filters=2, kernels=6, synapses=5, stored_weights=6, multiply_adds=6)
    parents = () if generation == 1 else (f"g{generation - 1:02d}",)
    return Individual(generation, parents, Counts((layer,), 8), Scores(0.9, 0.875), 5.5, 5, 1e-3, 2, 1.5, {"1": 0.1})


WEIGHTS = {"full/kernel": np.arange(6, dtype=np.float32).reshape(3, 2), "full/bias": np.full(2, 2, np.float32)}
MASKS = {"full/kernel": np.array([[1, 0], [1, 1], [0, 1]], bool), ":units": np.array([True, False, True])}


def add(run: RunDir, generation: int) -> None:
    run.save_individual(individual(generation), Plan(), weights=WEIGHTS, masks=MASKS)


def failed(generation: int) -> Individual:
    parents = (f"g{generation - 1:02d}",)
    return Individual(generation, parents, None, None, None, None, 1e-3, 0, 1.5, problem="Training diverged.")


def add_failed(run: RunDir, generation: int) -> None:
    run.save_individual(failed(generation), Plan(), weights={}, masks={})


def grown(path: Path, generations: int = 2) -> RunDir:
    """A run of some generations, the second of them compacted."""
    run = RunDir(path)
    with run.writing():
        run.save_plan(Plan())
        run.save_machine({"device": "cpu"})
        for generation in range(1, generations + 1):
            add(run, generation)
        run.save_compact(2, weights=WEIGHTS, documents={"proof": {}})
    return run


def contents(run: RunDir) -> dict[str, bytes]:
    return {
        str(path.relative_to(run.path)): path.read_bytes()
        for path in run.path.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_a_lineage_without_its_last_line_end_keeps_all_that_is_whole(tmp_path: Path) -> None:
    run = grown(tmp_path / "a")
    path = run.path / "lineage.jsonl"
    path.write_bytes(path.read_bytes().rstrip(b"\n"))
    add(run, 3)
    assert [one.generation for one in run.load_lineage().individuals] == [1, 2, 3]


@pytest.mark.parametrize(
    "work",
    ["add(run, 3)", "add_failed(run, 3)", "run.save_compact(2, weights=WEIGHTS, documents={'proof': {}})"],
    ids=["a new individual", "a failed individual", "a network that is compacted again"],
)
def test_a_writer_killed_at_any_moment_loses_nothing_and_leaves_nothing(tmp_path: Path, work: str) -> None:
    tests = str(Path(__file__).parent.parent)
    code = KILLED.format(tests=tests, place=str(tmp_path), work=work)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_files_of_users_that_look_hidden_are_no_temporaries(tmp_path: Path) -> None:
    run = grown(tmp_path / "a")
    mine = [
        run.path / ".my-settings",
        run.path / "individuals" / ".notes-for_me12",
        run.path / "exports" / ".x-abcdefgh",
    ]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    with run.writing():
        pass
    assert all(path.read_text() == "mine" for path in mine)


def test_a_lineage_that_lost_a_failed_generation_goes_not_on(finished: RunDir, tmp_path: Path) -> None:
    run = RunDir(shutil.copytree(finished.path, tmp_path / "a"))
    path = run.path / "lineage.jsonl"
    whole = path.read_text()
    plan = run.load_plan()
    run.save_individual(failed(3), plan, weights={}, masks={})
    path.write_text(whole)
    before = contents(run)
    with pytest.raises(RunError, match=r"holds g03, of which .*lineage\.jsonl says nothing"):
        list(stages.evolve(run, change(plan, options={"evolution.generations": 3})))
    assert contents(run) == before


@pytest.mark.parametrize("lines", [0, 1])
def test_a_lineage_that_lost_lines_replaces_no_individual(finished: RunDir, tmp_path: Path, lines: int) -> None:
    run = RunDir(shutil.copytree(finished.path, tmp_path / "a"))
    path = run.path / "lineage.jsonl"
    kept = path.read_text().splitlines(keepends=True)[:lines]
    path.write_text("".join(kept))
    before = contents(run)
    plan = change(run.load_plan(), options={"evolution.generations": 3})
    work = stages.evolve(run, plan) if lines else stages.train_ancestor(run, run.load_plan())
    with pytest.raises(RunError, match=r"holds .*g02, of which .*lineage\.jsonl says nothing"):
        list(work)
    assert contents(run) == before


def test_the_plan_is_as_it_was_where_evolving_changed_nothing(finished: RunDir, tmp_path: Path) -> None:
    run = RunDir(shutil.copytree(finished.path, tmp_path / "a"))
    weights = run.path / "individuals" / "g02" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    before = contents(run)
    with pytest.raises(RunError) as error:
        list(stages.evolve(run, change(run.load_plan(), options={"evolution.generations": 5})))
    assert "Nothing was changed" in error.value.remedy
    assert contents(run) == before


def test_checkpoints_delete_nothing_behind_a_link(tmp_path: Path) -> None:
    thesis = tmp_path / "mine" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("years of work")
    link = tmp_path / "training"
    link.symlink_to(thesis.parent)
    with pytest.raises(RunError, match="is a link"):
        checkpoints.load(link, generation=1)
    with pytest.raises(RunError, match="is a link"):
        checkpoints.save(link, None)  # type: ignore[arg-type]
    checkpoints.clear(link, generation=1, number=1)
    assert thesis.read_text() == "years of work"


def test_what_a_link_in_a_run_points_to_is_not_cleared(tmp_path: Path) -> None:
    run = grown(tmp_path / "a")
    elsewhere = tmp_path / "elsewhere"
    shutil.move(run.path / "individuals", elsewhere)
    (run.path / "individuals").symlink_to(elsewhere)
    (elsewhere / ".g09-abcdefgh").mkdir()
    with run.writing():
        add(run, 3)
    assert (elsewhere / ".g09-abcdefgh").is_dir()
    assert run.unlisted() == []


@pytest.mark.parametrize("text", ["format=2", " format = 1"])
def test_the_format_is_not_the_users_to_set(text: str) -> None:
    with pytest.raises(PlanError, match="format"):
        compose(sets=[text])
    with pytest.raises(PlanError, match="format"):
        change(Plan(), sets=[text])


@pytest.mark.parametrize("name", ["a file", "a file/below"])
def test_a_run_that_would_be_a_file_is_refused_and_the_file_stays(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a file").write_text("x")
    for work in (lambda run: list(stages.train_ancestor(run, Plan())), lambda run: run.writing().__enter__()):
        with pytest.raises(RunError, match="a file is not a folder"):
            work(RunDir(Path(name)))
    assert Path("a file").read_text() == "x"


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    run = grown(tmp_path / "a")
    mine = tmp_path / "mine"
    mine.write_text("mine")
    (run.path / ".lock").unlink()
    (run.path / ".lock").symlink_to(mine)
    with pytest.raises(RunError, match="no regular file"), run.writing():
        pass
    assert mine.read_text() == "mine"
