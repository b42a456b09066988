"""A run with the optimiser and the augmentation of the guide, by its commands, and what comes of it needs neither."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import synevo
from synevo.cli.app import app
from synevo.errors import TrainingError
from synevo.growing import Training
from synevo.plan.compose import change
from synevo.runs import checkpoints, stages
from synevo.runs.rundir import RunDir

pytestmark = pytest.mark.slow

PAGE = (Path(synevo.__file__).parent / "guide/own-training.md").read_text("utf-8")
(SCRIPT,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = next(block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "mine:" in block)
START, EVOLVE = [shlex.split(line) for line in COMMANDS.replace("\\\n", " ").splitlines()]

SMALL = (
    *(
        "--ancestor",
        "lenet-300-100",
        "--set",
        "data.image_size=8",
        "--set",
        "ancestor_training.epochs=3",
        "--set",
        "training.epochs=3",
    ),
    *("--set", "evolution.generations=2", "--set", "evolution.max_drop=1", "--set", "encoding.cluster=filter"),
    *("--set", "environment.keep_clusters=0.8", "--set", "environment.keep_synapses=0.5"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a user with the script of the guide, and a run by its commands; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        home = tmp_path_factory.mktemp("own")
        patch.chdir(home)
        (home / "mine.py").write_text(SCRIPT)
        for _, *words in ([*START, *SMALL], EVOLVE):
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, done.output
        yield home
    sys.modules.pop("mine", None)


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    monkeypatch.chdir(folder)
    return RunDir(folder / "runs/mine")


def test_the_plan_names_the_functions_and_both_generations_were_trained_with_them(run: RunDir) -> None:
    plan = run.load_plan()
    for training in (plan.ancestor_training, plan.training):
        assert (training.optimiser, training.augment) == ("mine:momentum", "mine:brighter")
    individuals = run.load_lineage().individuals
    assert [one.generation for one in individuals] == [1, 2]
    assert all(one.scores is not None and one.scores.validation > 0.3 for one in individuals)


def test_a_training_that_was_interrupted_goes_on_with_its_optimiser_to_the_bit(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = interrupted(run, tmp_path, monkeypatch)
    assert list(stages.evolve(again, again.load_plan()))
    for one, other in zip(again.load_individual(2), run.load_individual(2), strict=True):
        assert all(np.array_equal(array, other[name]) for name, array in one.items())


def test_a_checkpoint_of_another_optimiser_is_named_and_left(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = interrupted(run, tmp_path, monkeypatch)
    changed = change(again.load_plan(), sets=["training.optimiser=adam"])
    with pytest.raises(TrainingError, match="training of generation 2 cannot go on"):
        list(stages.evolve(again, changed))
    assert len(list(again.training_folder.iterdir())) == 1
    assert again.load_plan().training.optimiser == "mine:momentum"


def interrupted(run: RunDir, folder: Path, monkeypatch: pytest.MonkeyPatch) -> RunDir:
    """The same run with its ancestor alone, stopped after the second epoch of its offspring."""
    again = RunDir(folder / "again")
    shutil.copytree(run.path, again.path)
    shutil.rmtree(again.path / "individuals/g02")
    lines = (again.path / "lineage.jsonl").read_text().splitlines(keepends=True)
    (again.path / "lineage.jsonl").write_text(lines[0])
    save = checkpoints.save

    def save_and_stop(folder: Path, training: Training) -> None:
        save(folder, training)
        if training.state.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "CHECKPOINT_EVERY", 0.0)
        patch.setattr(checkpoints, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            list(stages.evolve(again, again.load_plan()))
    return again


def test_what_was_trained_so_is_compacted_exported_and_loaded_without_the_functions(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run.path, tmp_path / "received")
    (tmp_path / "mine.py").write_text("raise RuntimeError('this is not to be run')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mine")
    for words in (["compact", "received"], ["export", "received", "--to", "safetensors"]):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.output
    (exported,) = Path("received/exports").glob("*.safetensors")
    synevo.load("received")
    synevo.load(exported)
    assert "mine" not in sys.modules
    done = CliRunner().invoke(app, ["evolve", "received", "--generations", "3"])
    assert done.exit_code == 2
    assert "The module 'mine' of the optimiser could not be imported: RuntimeError" in done.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "ancestor_training.optimiser=mine:moment"), "has no callable 'moment'. Did you mean 'momentum'?"),
        (("--set", "training.optimiser=mine:brighter"), "The optimiser mine:brighter raised TypeError"),
        (("--set", "training.augment=mine:momentum"), "The augmentation mine:momentum raised"),
    ],
)
@pytest.mark.usefixtures("run")
def test_a_wrong_function_is_said_before_anything_is_written(words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, ["train-ancestor", "--run", "runs/wrong", *SMALL, *words])
    assert done.exit_code == 2, done.output
    assert said in re.sub(r"\s+", " ", done.output)
    assert "mine.py:" in done.output or "Did you mean" in done.output
    assert not Path("runs/wrong").exists()
