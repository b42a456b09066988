"""What a user sees: commands, exit codes, errors that name the remedy, and lineages that survive being killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow

FAST = [
    "ancestor_training.epochs=4",
    "ancestor_training.learning_rate=0.003",
    "training.epochs=3",
    "training.learning_rate=0.003",
    "evolution.generations=4",
    "evolution.max_drop=0.5",
]
START = ["train-ancestor", "--ancestor", "lenet-300-100", "--set", "data.image_size=8"]
START += [part for field in FAST for part in ("--set", field)]

# The command line as it is, but with a checkpoint after every epoch, however short.
EAGER = "import sys, synevo.runs.stages as s; s.CHECKPOINT_EVERY = 0.0; from synevo.cli.app import main; main()"


def command(*words: str, eager: bool = False) -> list[str]:
    return [sys.executable, *(["-c", EAGER] if eager else ["-m", "synevo"]), *words]


def synevo(*words: str, where: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*words), cwd=where, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one finished, compacted run."""
    home = tmp_path_factory.mktemp("home")
    synevo(*START, where=home)
    synevo("evolve", where=home)
    synevo("compact", "--round-to", "none", where=home)
    return home


RUN = "runs/digits-lenet-300-100"


@pytest.fixture
def copy(home: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    shutil.copytree(home / "runs", tmp_path / "runs", symlinks=True)
    return tmp_path


def heredity(run: Path) -> list[dict[str, Any]]:
    """What a lineage is, without how long it took."""
    entries = [json.loads(line) for line in (run / "lineage.jsonl").read_text().splitlines()]
    for entry in entries:
        for timing in ("seconds", "latency_ms"):
            del entry["individual"][timing]
        del entry["check"], entry["files"]["scores.json"]
    return entries


def test_a_newcomer_gets_from_ancestor_to_report(home: Path) -> None:
    (report,) = json.loads(synevo("report", "--json", where=home).stdout)["summaries"]
    assert report["run"] == "digits-lenet-300-100"
    assert report["dataset"] == "digits"
    assert report["ancestor_name"] == "lenet-300-100"
    assert report["state"] == "finished"
    assert report["plan"]["training"]["epochs"] == 3
    assert [row["generation"] for row in report["generations"]] == [1, 2, 3, 4]
    ancestor, best = report["generations"][0], report["generations"][report["best"] - 1]
    assert ancestor["synapses"] == 64 * 300 + 300 * 100 + 100 * 10
    assert ancestor["synaptic_efficiency"] == ancestor["cluster_efficiency"] == 1
    assert best["synaptic_efficiency"] == ancestor["synapses"] / best["synapses"]
    assert best["within_budget"]
    assert best["chosen"]
    assert 0.5 < best["test_score"] <= 1
    for field in (
        "validation_score",
        "family_synaptic_efficiency",
        "kernels",
        "multiply_adds",
        "stored_weights",
        "seconds",
    ):
        assert best[field] > 0
    compact = report["compact"]
    assert compact["generation"] == report["best"]
    assert compact["synapses"] == best["synapses"]
    assert compact["multiply_adds"] == best["multiply_adds"]
    assert compact["bytes"] == (home / RUN / "compact/g04/weights.safetensors").stat().st_size
    assert compact["max_difference"] < 1e-3
    assert compact["top1_agreement"] == 1
    outcomes = report["outcomes"]
    assert (outcomes["both_right"] + outcomes["won"]) / outcomes["images"] == best["test_score"]
    assert (outcomes["both_right"] + outcomes["lost"]) / outcomes["images"] == ancestor["test_score"]
    assert set(compact["latency_ms"]) == {"ancestor", "masked", "compact"}
    assert set(compact["latency_ms"]["compact"]) == {"1", "256"}


def test_the_report_on_a_terminal_shows_the_lineage_the_layers_and_the_proof(home: Path) -> None:
    text = synevo("report", RUN, where=home).stdout
    for part in ("Lineage", "Layers: ancestor → generation 4", "hidden2/kernel", "Compacted generation 4", "Proven"):
        assert part in text


def test_reporting_and_quick_verification_load_no_jax(home: Path) -> None:
    for words in (["report", "--json"], ["verify", "--quick"], ["presets"], ["fields"], ["--help"]):
        code = (
            f"import sys; sys.argv = ['synevo', *{words!r}]\n"
            "from synevo.cli.app import main\n"
            "try: main()\n"
            "finally: assert 'jax' not in sys.modules"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_every_number_is_verified(home: Path) -> None:
    lines = synevo("verify", where=home).stdout.splitlines()
    assert len(lines) > 15
    assert all(line.startswith("ok ") for line in lines)


def test_verify_finds_a_number_that_was_invented(copy: Path) -> None:
    run = copy / RUN
    code = (
        "from pathlib import Path; from dataclasses import replace; from synevo.runs.rundir import RunDir; import sys\n"
        "from synevo.lineage.individuals import Scores, to_table\n"
        "run = RunDir(Path(sys.argv[1])); plan = run.load_plan(); lineage = run.load_lineage(); last = lineage.last\n"
        "weights, masks = run.load_individual(4)\n"
        "file = run.path / 'lineage.jsonl'; lines = file.read_text().splitlines()[:-1]\n"
        "file.write_text('\\n'.join(lines) + '\\n')\n"
        "run.save_individual(replace(last, scores=Scores(0.99, 0.99)), plan, weights=weights, masks=masks)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(run)], check=True)
    done = synevo("verify", where=copy, code=2)
    assert "DAMAGED generation 4: scores" in done.stdout


def test_what_is_finished_is_not_done_again(home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (home / RUN).rglob("*") if path.name == "lineage.jsonl"}
    assert "has its ancestor already" in synevo(*START, where=home).stderr
    assert "nothing is left to evolve" in synevo("evolve", "--generations", "4", where=home).stderr
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_a_lineage_goes_on_to_a_later_generation_and_is_the_one_that_went_there_at_once(
    copy: Path, tmp_path: Path
) -> None:
    synevo("evolve", "--generations", "5", where=copy)
    other = tmp_path / "other"
    other.mkdir()
    synevo(*START, "--set", "evolution.generations=5", where=other)
    synevo("evolve", where=other)
    assert heredity(copy / RUN) == heredity(other / RUN)


def appears(folder: Path, pattern: str) -> Callable[[], bool]:
    return lambda: any(re.fullmatch(pattern, path.name) for path in folder.glob("*"))


def interrupt(words: list[str], where: Path, when: Callable[[], bool], how: signal.Signals) -> int:
    """Run a command until `when`, stop it, and return its exit code."""
    process = subprocess.Popen(
        command(*words, eager=True), cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 1200  # never met where the command works, however slow the machine
    while process.poll() is None and not when():
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(how)
    return process.wait()


def test_a_lineage_that_is_killed_again_and_again_ends_as_if_it_never_was(home: Path, tmp_path: Path) -> None:
    run = tmp_path / RUN
    training, individuals = run / "training", run / "individuals"
    kill, ctrl_c = signal.SIGKILL, signal.SIGINT
    ends = [
        (START, appears(training, "g01-1-a0-e002"), kill),
        (START, (run / "lineage.jsonl").exists, kill),
        (["evolve"], appears(training, "g02-1-a0-e002.*"), kill),
        (["evolve"], appears(individuals, r"\.g02.*"), kill),
        (["evolve"], appears(training, "g03-1-a0-e002"), ctrl_c),
    ]
    codes = [interrupt(words, tmp_path, when, how) for words, when, how in ends]
    assert codes.count(-kill) >= 3
    synevo(*START, where=tmp_path)
    synevo("evolve", where=tmp_path)
    assert heredity(run) == heredity(home / RUN)


def test_an_interrupted_command_says_how_to_go_on(tmp_path: Path) -> None:
    process = subprocess.Popen(command(*START, eager=True), cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    seen = appears(tmp_path / RUN / "training", "g01-1-a0-e.*")
    while not seen() and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate()
    assert process.returncode == 130, stderr
    assert "to go on: synevo train-ancestor --ancestor lenet-300-100" in stderr
    assert "Traceback" not in stderr


MISTAKES = {
    "an unknown field": (
        [*START, "--run", "new", "--set", "training.epoch=3"],
        "training.epoch: there is no such field",
    ),
    "a value out of range": ([*START, "--run", "new", "--set", "training.epochs=-1"], "training.epochs = -1"),
    "no value": ([*START, "--run", "new", "--set", "training.epochs"], "no '=' found"),
    "an unknown preset": (["train-ancestor", "--preset", "none"], "There is no preset 'none'"),
    "an unknown ancestor": (["train-ancestor", "--ancestor", "lenet6"], "There is no ancestor 'lenet6'"),
    "a module that is not there": (["train-ancestor", "--ancestor", "nowhere:net"], "'nowhere'"),
    "another plan for the same run": ([*START, "--seed", "7"], "seed is 0, not 7"),
    "another environment for an old lineage": (["evolve", "--keep-synapses", "0.5"], "made with another plan"),
    "more parents than siblings": (["evolve", "--parents", "3", "--population", "2"], "--population 3"),
    "a run that is none": (["evolve", "runs/none"], "not a run"),
    "a generation that is none": (["compact", "--generation", "9"], "no network of generation 9"),
    "a folder of data that is none": (
        ["train-ancestor", "--dataset", "mnist", "--data-dir", "none", "--run", "m"],
        "mnist",
    ),
    "more synapses than clusters": ([*START, "--run", "n", "--set", "environment.keep_synapses=1"], "keep_clusters"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained_without_a_traceback(home: Path, mistake: str) -> None:
    words, expected = MISTAKES[mistake]
    done = synevo(*words, where=home, code=2)
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) >= 2
    assert not done.stdout


def test_a_command_in_an_empty_folder_says_how_to_start(tmp_path: Path) -> None:
    for words in (["evolve"], ["compact"], ["report"], ["verify"]):
        assert "synevo train-ancestor" in synevo(*words, where=tmp_path, code=2).stderr


def test_a_run_without_its_ancestor_says_so(copy: Path) -> None:
    (copy / RUN / "lineage.jsonl").unlink()
    assert "has no ancestor yet" in synevo("evolve", where=copy, code=2).stderr


def test_a_damaged_parent_stops_the_lineage_and_changes_nothing(copy: Path) -> None:
    weights = copy / RUN / "individuals/g04/weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    before = {path: path.read_bytes() for path in (copy / RUN).rglob("*") if path.is_file()}
    assert "weights.safetensors is damaged" in synevo("evolve", "--generations", "6", where=copy, code=2).stderr
    before[copy / RUN / "plan.toml"] = (copy / RUN / "plan.toml").read_bytes()
    assert before == {path: path.read_bytes() for path in (copy / RUN).rglob("*") if path.is_file()}
    assert "DAMAGED generation 4: files" in synevo("verify", "--quick", where=copy, code=2).stdout


def test_a_run_can_start_with_the_ancestor_of_another(copy: Path) -> None:
    synevo("train-ancestor", "--ancestor-of", RUN, "--run", "runs/second", where=copy)
    first, second = (
        json.loads(synevo("report", run, "--json", where=copy).stdout)["summaries"][0] for run in (RUN, "runs/second")
    )
    assert second["generations"] == [{**first["generations"][0], "parent": False}]  # it has no offspring yet
    assert second["plan"]["ancestor_training"] == first["plan"]["ancestor_training"]


def test_a_users_own_ancestor_and_images_evolve_and_compact(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from flax import nnx\n"
        "class Net(nnx.Module):\n"
        "    def __init__(self, shape, classes, rngs):\n"
        "        self.conv = nnx.Conv(shape[2], 8, (3, 3), rngs=rngs)\n"
        "        self.norm = nnx.BatchNorm(8, rngs=rngs)\n"
        "        self.out = nnx.Linear(8, classes, rngs=rngs)\n"
        "    def __call__(self, x):\n"
        "        return self.out(nnx.relu(self.norm(self.conv(x))).mean(axis=(1, 2)))\n"
    )
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    images = np.clip(rng.normal(60 + 60 * labels[:, None, None, None], 10, (300, 9, 9, 3)), 0, 255).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    words = ["--dataset", "mine.npz", "--ancestor", "mine:Net", "--set", "ancestor_training.epochs=5"]
    words += ["--set", "training.epochs=2", "--set", "evolution.max_drop=1", "--set", "environment.keep_synapses=0.5"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    for step in (["train-ancestor", *words], ["evolve", "--generations", "4"], ["compact"], ["verify"]):
        done = subprocess.run(
            command(*step), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    (report,) = json.loads(synevo("report", "--json", where=tmp_path).stdout)["summaries"]
    assert report["compact"]["parameters"] < report["compact"]["ancestor"]["parameters"]


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    words = " ".join(f"'{word}'" for word in command("fields"))
    done = subprocess.run(
        ["bash", "-c", f"{words} | true; echo ${{PIPESTATUS[0]}}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0"
    assert done.stderr == ""


def test_every_command_and_option_has_help(tmp_path: Path) -> None:
    import typer

    from synevo.cli.app import app

    group = typer.main.get_command(app)
    for name, entry in group.commands.items():  # type: ignore[attr-defined]
        assert entry.help, name
        assert all(getattr(parameter, "help", None) for parameter in entry.params), name
    assert "train-ancestor" in synevo("--help", where=tmp_path).stdout


def test_what_was_measured_with_a_preset_is_shown_and_given_as_it_is_kept(tmp_path: Path) -> None:
    shown = synevo("presets", "sharp", where=tmp_path).stdout
    assert "synevo train-ancestor --preset sharp, then synevo evolve" in shown
    assert "135.8" in shown
    assert re.search(r"^ +2-3 ", synevo("presets", "brief", where=tmp_path).stdout, re.MULTILINE), (
        "siblings have names of their own"
    )
    kept = (resources.files("synevo.plan") / "tables" / "sharp.csv").read_text("utf-8")
    assert synevo("presets", "sharp", "--csv", where=tmp_path).stdout == kept


@pytest.mark.parametrize(("words", "problem"), [([], "No preset"), (["no-such"], "'no-such'")])
def test_measurements_that_nobody_kept_are_asked_for_in_vain(words: list[str], problem: str, tmp_path: Path) -> None:
    assert problem in synevo("presets", *words, "--csv", where=tmp_path, code=2).stderr
