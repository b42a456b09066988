"""Replicates: which seeds a text names, runs that equal those made alone, and failures that do not stop the others."""

import errno
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import appears, heredity, interrupt
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.cli.replicates import MOST, check_seeds, in_turn, parse_seeds, replicate
from synevo.errors import PlanError, RunError
from synevo.runs.rundir import RunDir

pytestmark = pytest.mark.slow

SEED = st.integers(0, 2**32 - 1)


@given(st.lists(SEED, min_size=1, max_size=20), st.sampled_from([",", ", ", " ", " , "]))
def test_seeds_are_read_one_by_one_each_once_and_in_their_order(seeds: list[int], between: str) -> None:
    assert parse_seeds(between.join(map(str, seeds))) == tuple(dict.fromkeys(seeds))


@given(st.lists(st.tuples(st.integers(0, 2**32 - 50), st.integers(0, 49)), min_size=1, max_size=5))
def test_a_range_names_its_ends_and_all_between(ranges: list[tuple[int, int]]) -> None:
    text = ",".join(f"{first}..{first + more}" for first, more in ranges)
    expected = [seed for first, more in ranges for seed in range(first, first + more + 1)]
    assert parse_seeds(text) == tuple(dict.fromkeys(expected))


def test_a_seed_a_list_a_range_and_a_mixture_are_read() -> None:
    found = [parse_seeds(text) for text in ("3", "0,2", "0..4", "7,1..3", "2..2", " 0 1 2 ")]
    assert found == [(3,), (0, 2), (0, 1, 2, 3, 4), (7, 1, 2, 3), (2,), (0, 1, 2)]


@given(st.text("0123456789.,- x\t", max_size=12))
def test_a_text_is_read_as_seeds_or_refused_with_a_remedy(text: str) -> None:
    try:
        seeds = parse_seeds(text)
    except PlanError as error:
        assert "0..4" in error.remedy  # noqa: PT017  (most texts are refused, some are not)
    else:
        assert 0 < len(seeds) <= MOST
        assert all(0 <= seed < 2**32 for seed in seeds)


WRONG = {
    "": "a seed is missing",
    "0,,2": "a seed is missing",
    "0..4,": "a seed is missing",
    "one": "'one' is no seed",
    "-1": "'-1' is no seed",
    "0...4": "no range",
    "0.5": "'0.5' is no seed",
    "٣": "is no seed",
    "4..0": "4..0 runs backwards",
    "4294967296": "more than 4294967295",
    "0..1000": "more than 1000 seeds",
    "0..999,2000": "more than 1000 seeds",
    "0..4294967295": "more than 1000 seeds",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_seed_is_a_mistake_that_is_explained(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["train-ancestor", "--seeds", text])
    assert done.exit_code == 2
    assert WRONG[text] in done.stderr
    assert "such as 0..4" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_two_ways_to_say_the_seed_contradict_each_other() -> None:
    check_seeds((0, 1), (0, 1), None)
    with pytest.raises(PlanError, match="--seed 0 and --seeds contradict"):
        check_seeds((0, 1), (0, 1), 0)
    with pytest.raises(PlanError, match="--set seed=7 and --seeds contradict"):
        check_seeds((0, 1), (7, 7), None)


def runs(*names: str) -> list[RunDir]:
    return [RunDir(Path(name)) for name in names]


def test_where_one_run_fails_the_others_are_worked_on_and_the_end_says_which_failed_and_why() -> None:
    done = []

    def work(run: RunDir) -> None:
        if run.name in {"b", "d"}:
            raise RunError("It is damaged.", remedy="Restore it.")
        if run.name == "e":
            raise PermissionError(errno.EACCES, "Permission denied", "e/plan.toml")
        done.append(run.name)

    with pytest.raises(RunError) as caught:
        in_turn(runs("a", "b", "c", "d", "e", "f"), work)
    assert done == ["a", "c", "f"]
    assert caught.value.problem.splitlines() == [
        "3 of 6 runs failed.",
        "b, d: It is damaged.",
        "  Restore it.",
        "e: Permission denied: e/plan.toml.",
        "  Give access to it.",
    ]


def test_programs_of_one_run_take_no_memory_in_the_next() -> None:
    double = jax.jit(lambda x: 2 * x)
    kept = []

    def work(_: RunDir) -> None:
        kept.append(double._cache_size())
        double(jnp.ones(2))

    in_turn(runs("a", "b", "c"), work)
    assert kept == [0, 0, 0]


def test_a_bug_in_one_run_is_shown_whole_in_the_end() -> None:
    done = []

    def work(run: RunDir) -> None:
        if run.name == "a":
            raise RunError("It is damaged.", remedy="Restore it.")
        if run.name == "b":
            raise ZeroDivisionError
        done.append(run.name)

    with pytest.raises(ExceptionGroup) as caught:
        in_turn(runs("a", "b", "c"), work)
    assert done == ["c"]
    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]


@pytest.mark.parametrize("trouble", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_what_the_next_run_would_meet_as_well_ends_them_all(trouble: BaseException) -> None:
    done = []

    def work(run: RunDir) -> None:
        done.append(run.name)
        raise trouble

    with pytest.raises(type(trouble)):
        in_turn(runs("a", "b"), work)
    assert done == ["a"]


def test_a_single_run_fails_as_it_always_did() -> None:
    def work(run: RunDir) -> None:
        raise RunError(f"{run.path} is damaged.", remedy="Restore it.")

    with pytest.raises(RunError) as caught:
        in_turn(runs("a"), work)
    assert (caught.value.problem, caught.value.remedy) == ("a is damaged.", "Restore it.")


PLAN = ["train-ancestor", "--ancestor", "lenet-300-100"]
for field in (
    *("data.image_size=8", "ancestor_training.epochs=2", "ancestor_training.learning_rate=0.003"),
    *("training.epochs=1", "training.learning_rate=0.003"),
    *("evolution.generations=2", "evolution.max_drop=0.5", "evolution.population=2"),
):
    PLAN += ["--set", field]

# The commands as they are, in one process, so that JAX is loaded once.
IN_TURN = "import sys, json\nfrom synevo.cli.app import app\n"
IN_TURN += "for words in json.load(sys.stdin): assert not app(words, standalone_mode=False), words"


def synevo(*commands: list[str], where: Path) -> str:
    """What commands say on stderr that all end well."""
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN],
        input=json.dumps(commands),
        cwd=where,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two replicates whose ancestors were interrupted in the second, and a third that was made alone."""
    home = tmp_path_factory.mktemp("replicates")
    start = [*PLAN, "--seeds", "4..5", "--run", "r"]
    interrupt(start, home, appears(home / "r-5" / "training", "g01-1-a0-e001"), signal.SIGKILL)
    assert not (home / "r-5" / "lineage.jsonl").exists()
    before = (home / "r-4" / "lineage.jsonl").stat().st_mtime_ns
    said = synevo(start, ["evolve", "r-4", "r-5"], where=home)
    assert "r-4 has its ancestor already." in said
    assert "The ancestors of 2 runs are ready. Next: synevo evolve r-4 r-5" in said
    assert len((home / "r-4" / "lineage.jsonl").read_text().splitlines()) == 3
    assert before < (home / "r-4" / "lineage.jsonl").stat().st_mtime_ns
    synevo([*PLAN, "--seed", "5", "--run", "alone"], ["evolve", "alone"], where=home)
    return home


def test_replicates_equal_runs_that_were_made_alone_bit_for_bit(home: Path) -> None:
    assert heredity(home / "r-5") == heredity(home / "alone")
    assert (home / "r-5/plan.toml").read_bytes() == (home / "alone/plan.toml").read_bytes()
    first, second = (RunDir(home / name).load_plan() for name in ("r-4", "r-5"))
    assert first.model_copy(update={"seed": 5}) == second
    assert heredity(home / "r-4") != heredity(home / "r-5")


@pytest.fixture
def copy(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the replicates, to be changed, as the folder that commands run in."""
    for name in ("r-4", "r-5"):
        shutil.copytree(home / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_damaged_replicate_does_not_keep_the_others_from_evolving(copy: Path) -> None:
    weights = [copy / "r-4/individuals" / name / "weights.safetensors" for name in ("g02", "g02-2")]
    for path in weights:
        path.write_bytes(path.read_bytes()[:-3])
    done = CliRunner().invoke(app, ["evolve", "r-4", "r-5", "--set", "evolution.generations=3"])
    assert done.exit_code == 2
    assert "Error: 1 of 2 runs failed." in done.stderr
    assert "r-4: " in done.stderr
    assert "weights.safetensors is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert [len(RunDir(copy / name).load_lineage().line) for name in ("r-4", "r-5")] == [2, 3]


def test_a_name_that_is_no_run_is_refused_before_any_work(copy: Path) -> None:
    before = (copy / "r-4/lineage.jsonl").read_bytes()
    done = CliRunner().invoke(app, ["evolve", "r-4", "r-6", "--set", "evolution.generations=3"])
    assert done.exit_code == 2
    assert "r-6 is not a run" in done.stderr
    assert (copy / "r-4/lineage.jsonl").read_bytes() == before


def test_replicates_of_another_method_take_the_ancestors_of_the_first_and_their_seeds(copy: Path) -> None:
    words = ["train-ancestor", "--ancestor-of", "r", "--set", "encoding.heredity=magnitude", "--run", "m"]
    assert CliRunner().invoke(app, [*words, "--seeds", "4,5"]).exit_code == 0
    for seed in (4, 5):
        ours, theirs = (RunDir(copy / f"{stem}-{seed}") for stem in ("m", "r"))
        assert ours.load_plan().seed == seed
        assert ours.entries()[0]["files"] == theirs.entries()[0]["files"]
    shutil.copytree(copy / "r-4", copy / "r-6")
    done = CliRunner().invoke(app, [*words, "--seeds", "6"])
    assert done.exit_code == 2
    assert "The ancestor of r-6 has seed 4, not 6." in done.stderr


def test_a_replicate_is_named_by_its_stem_and_its_seed() -> None:
    assert replicate(Path("runs/sharp"), 3).path == Path("runs/sharp-3")
