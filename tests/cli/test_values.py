"""What a user may write: the allowed values of fields, and the words that are meant where others are written."""

import shutil
import subprocess
from pathlib import Path

import pytest
import typer
from typer import _completion_shared
from typer.testing import CliRunner

from synevo.ancestors import BUILT_IN
from synevo.cli import values
from synevo.cli.app import COMMANDS, EXAMPLES, app
from synevo.cli.values import allowed, completion
from synevo.deploy import delivery
from synevo.plan.compose import compose, plan_fields
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
    complete = completion("encoding.heredity", plan_fields()["encoding.heredity"])
    assert complete
    assert complete("s") == ["synapse", "sensitivity", "shuffled", "scratch"]
    assert completion("evolution.protect", plan_fields()["evolution.protect"]) is None
    cost = completion("encoding.cost", plan_fields()["encoding.cost"])
    assert cost is not None
    assert (cost("l"), cost("macs+"), cost("macs+b")) == (
        ["latency"],
        ["macs+synapses", "macs+bytes", "macs+latency"],
        ["macs+bytes"],
    )
    halving = completion("evolution.halving", plan_fields()["evolution.halving"])
    assert halving is not None
    assert all(compose(sets=["training.epochs=64", f"evolution.halving={one}"]) for one in halving(""))
    assert all(
        compose(sets=["encoding.heredity=removal", "encoding.cluster=filter", f"encoding.cost={one}"])
        for one in [*cost(""), *cost("bytes+")]
    )


def test_zsh_completes_at_the_first_tab_and_without_compinit() -> None:
    assert app.registered_commands
    script = _completion_shared.get_completion_script(prog_name="synevo", complete_var="_SYNEVO_COMPLETE", shell="zsh")  # noqa: S604
    first, otherwise = script.partition("== loadautofunc ]]; then")[2].split("else")
    assert first.split() == ["_synevo_completion", '"$@"'], (
        "as a function of fpath, it completes when it is first called"
    )
    assert "compinit" in otherwise
    if zsh := shutil.which("zsh"):
        subprocess.run([zsh, "-f", "-c", f"{script}\n[[ $_comps[synevo] == _synevo_completion ]]"], check=True)


def test_the_names_that_are_completed_are_those_that_there_are() -> None:
    assert tuple(BUILT_IN) == values.ANCESTORS
    assert sorted(values.FORMATS) == sorted(delivery.FORMATS)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("train-ancestor --ancestor lenet5", ["lenet5", "lenet5-caffe"]),
        ("train-ancestor --dataset ", ["digits", "mnist", "birds"]),
        ("train-ancestor --task next", ["next-token"]),
        ("train-ancestor --preset de", ["demo"]),
        ("train-ancestor --set training.ep", ["training.epochs="]),
        ("train-ancestor --set data.fit=", [f"data.fit={one}" for one in ("auto", "none", "pad", "resize")]),
        ("train-ancestor --ancestor-of ", ["runs/a", "runs/b"]),
        ("evolve --heredity ran", ["random"]),
        ("evolve runs/a ", ["runs/a", "runs/b"]),
        ("export runs/a --to tfl", ["tflite", "tflite-int8"]),
        ("report --against s", ["synapses", "stored-weights"]),
        ("guide own-d", ["own-data"]),
        ("fields envir", ["environment"]),
        ("ca", ["cache"]),
    ],
)
def test_a_shell_completes_values(
    words: str, found: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("mnist/3.0.1", "birds/small/1.0.0", "notes/old", "downloads"):
        (tmp_path / "tfds" / folder).mkdir(parents=True)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "tfds"))
    for name in "ab":
        RunDir(Path(f"runs/{name}")).save_plan(Plan())
    environment = {"_SYNEVO_COMPLETE": "complete_fish", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    done = CliRunner().invoke(
        app, [], prog_name="synevo", env={**environment, "_TYPER_COMPLETE_ARGS": f"synevo {words}"}
    )
    assert sorted(line.split("\t")[0] for line in done.stdout.splitlines()) == sorted(found)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_examples_and_no_types_of_python(command: str) -> None:
    code, shown = called(command, "--help")
    assert code == 0
    assert "Path" not in shown
    assert "<" not in shown.replace("<=", "")
    assert "{" not in shown
    assert "\nExamples:\n  synevo " in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize("line", [line for lines in EXAMPLES.values() for line in lines])
def test_an_example_is_a_command_that_there_is(line: str) -> None:
    _, name, *words = line.partition("  ")[0].split()
    group = typer.main.get_command(app)
    group.commands[name].make_context(name, words)  # type: ignore[attr-defined]
    assert line in EXAMPLES[name]


def test_the_list_of_commands_says_each_in_a_whole_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = CliRunner().invoke(app, ["--help"]).stdout.partition("Commands:")[2]
    assert len(said.strip().splitlines()) == len(COMMANDS)
    assert all(line.endswith(".") and not line.endswith("...") for line in said.strip().splitlines())
