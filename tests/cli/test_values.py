"""What a user may write: the allowed values of fields, and the words that are meant where others are written."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.cli.options import _completion
from synevo.cli.values import allowed
from synevo.plan.compose import plan_fields
from synevo.plan.fields import Plan
from synevo.runs.rundir import RunDir


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("training.shift", "0 to 8"),
        ("training.batch_size", "at least 1"),
        ("data.validation", "above 0, below 0.9"),
        ("environment.keep_synapses", "above 0, at most 1"),
        ("environment.cluster_scope", "layer or network"),
        ("data.normalise", "scale, standardise or none"),
        ("evolution.adaptive", "true or false"),
        ("evolution.rewind", "at least 0"),
        ("ancestor.name", ""),
    ],
)
def test_the_allowed_values_of_a_field_are_said_in_words(field: str, said: str) -> None:
    assert allowed(plan_fields()[field]) == said


def called(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output


def test_fields_are_shown_section_by_section() -> None:
    code, shown = called("fields", "training")
    assert code == 0
    assert all(line.startswith("training.") for line in shown.splitlines())
    assert "training.shift = 0" in shown
    assert "[0 to 8]" in shown
    assert len(called("fields", "training.shift")[1].splitlines()) == 1
    assert len(called("fields")[1].splitlines()) == len(plan_fields())


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (("fields", "trainng"), "'training'"),
        (("presets", "frugl"), "'frugal'"),
        (("guide", "own-dta"), "'own-data'"),
        (("train-ancestor", "--preset", "demmo", "--run", "x"), "'demo'"),
        (("train-ancestor", "--ancestor", "lenet-5", "--run", "x"), "'lenet5'"),
        (("train-ancestor", "--dataset", "mnst", "--run", "x"), "'mnist'"),
        (("train-ancestor", "--dataset", "digts", "--run", "x"), "'digits'"),
        (("train-ancestor", "--set", "training.epoch=3", "--run", "x"), "'training.epochs'"),
        (("train-ancestor", "--set", "encoding.heredity=magnitud", "--run", "x"), "'magnitude'"),
        (("export", "run", "--to", "onx"), "'onnx'"),
        (("report", "runs/demmo"), "'runs/demo'"),
        (("evolve", "runs/demmo"), "'runs/demo'"),
    ],
)
def test_a_word_that_is_nearly_right_is_answered_with_the_right_one(
    words: tuple[str, ...], meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    RunDir(Path("runs/demo")).save_plan(Plan())
    code, said = called(*words)
    assert code == 2
    assert f"Did you mean {meant}?" in said
    assert not Path("x").exists(), "what is refused leaves no run"


@pytest.mark.parametrize("command", ["evolve", "compact", "verify", "watch"])
def test_a_folder_of_runs_is_named_as_one(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        RunDir(Path(f"runs/{name}")).save_plan(Plan())
    code, said = called(command, "runs")
    assert code == 2
    assert "runs is a folder of 2 runs, and no run itself." in said
    assert "runs/a, runs/b" in said


def test_the_choices_of_a_field_complete() -> None:
    complete = _completion(plan_fields()["encoding.heredity"])
    assert complete
    assert complete("s") == ["synapse", "sensitivity", "shuffled", "scratch"]
    assert _completion(plan_fields()["ancestor.name"]) is None
