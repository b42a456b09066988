"""Options that are fields of the plan: said once there, and read, checked and explained on the command line."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.cli.options import Options, add_plan_options, plan_options

NAMES = {
    "train-ancestor": {"--dataset", "--ancestor", "--seed", "--data-dir"},
    "evolve": {
        *(
            "--generations",
            "--max-drop",
            "--keep-synapses",
            "--keep-clusters",
            "--cluster",
            "--population",
            "--parents",
        ),
        *("--adaptive", "--constant", "--target-synapses", "--target-macs", "--target-kb", "--target-latency"),
        *("--heredity", "--data-dir", "--engine"),
    },
    "compact": {"--data-dir", "--engine", "--round-to"},
    "export": {"--data-dir"},
}
"""The options that these commands had before they were fields of the plan."""


def received(parts: list[str], words: list[str]) -> dict[str, Any]:
    """What a command with the options of these parts of the plan is given."""
    found: dict[str, Any] = {}

    @plan_options(*parts)
    def command(*, options: Options, loud: bool = False) -> None:
        found.update(options, loud=loud)

    shell = typer.Typer()
    shell.command()(add_plan_options(command))
    done = CliRunner().invoke(shell, words)
    assert done.exit_code == 0, done.stderr
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_command_has_the_options_that_it_always_had(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    options = {text for parameter in command.params for text in (*parameter.opts, *parameter.secondary_opts)}
    assert options >= NAMES[name]


def test_a_command_is_given_the_options_that_were_given_by_their_fields_and_no_others() -> None:
    parts = ["evolution", "environment", "encoding", "data.data_dir"]
    assert received(parts, []) == {"loud": False}
    words = (
        "--generations 7 --max-drop 0.5 --keep-clusters 0.8,0.9 --cluster filter --target-kb 2.5 --data-dir d --loud"
    )
    assert received(parts, words.split()) == {
        "evolution.generations": 7,
        "evolution.max_drop": "0.5",  # a budget is read by the plan
        "environment.keep_clusters": "0.8,0.9",
        "encoding.cluster": "filter",
        "evolution.target_kb": 2.5,
        "data.data_dir": "d",
        "loud": True,
    }


@pytest.mark.parametrize(("words", "value"), [(["--adaptive"], True), (["--constant"], False)])
def test_a_flag_that_was_given_either_way_is_told_from_one_that_was_not(words: list[str], value: bool) -> None:  # noqa: FBT001
    assert received(["evolution"], words) == {"evolution.adaptive": value, "loud": False}


def test_a_part_of_the_plan_is_a_section_or_a_field_by_its_whole_name() -> None:
    assert received(["seed"], ["--seed", "3"]) == {"seed": 3, "loud": False}
    assert received(["ancestor"], ["--ancestor", "lenet5"]) == {"ancestor.name": "lenet5", "loud": False}


def test_help_says_what_a_field_means_its_range_and_its_choices() -> None:
    text = " ".join(CliRunner().invoke(app, ["evolve", "--help"], env={"COLUMNS": "200"}).stdout.split())
    for part in (
        "--keep-clusters SHARE[,SHARE…] R^c: expected share of the parent's clusters",
        "--max-drop BUDGET Stop where validation is worse than the ancestor's by this: 0.01 in units of the score, 5%",
        "--population N Offspring a generation; the best on validation is the parent. [1<=x<=64]",
        "One of cluster, synapse, magnitude, taylor, removal, sensitivity, random, shuffled, scratch.",
        "--adaptive / --constant Press harder",
        "--data-dir DIR",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--max-drop", "1.5"], "A budget of 1.5 allows everything: accuracy is a share"),
        (["--max-drop", "1.5 points"], "evolution.max_drop = '1.5 points': a budget is a number"),
        (["--generations", "0"], "Invalid value for '--generations'"),
        (["--population", "many"], "Invalid value for '--population'"),
        (["--heredity", "fate"], "encoding.heredity = 'fate'"),
        (["--cluster", "neuron"], "encoding.cluster = 'neuron'"),
        (["--keep-clusters", "0.8,2"], "environment.keep_clusters.1 = '2'"),
        (["--keep-synapses", "0.5,"], "environment.keep_synapses.1 = ''"),
        (["--target-kb", "0"], "evolution.target_kb = 0"),
    ],
)
def test_a_value_that_no_field_may_have_ends_with_2_and_no_traceback(
    words: list[str], problem: str, finished: Any
) -> None:
    done = CliRunner().invoke(app, ["evolve", str(finished.path), *words])
    assert done.exit_code == 2
    assert problem in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_has_more_than_six_positional_parameters() -> None:
    for entry in app.registered_commands:
        assert entry.callback is not None
        parameters = inspect.signature(entry.callback).parameters.values()
        assert sum(one.kind is not inspect.Parameter.KEYWORD_ONLY for one in parameters) <= 6, entry.callback


# Misspelled names.


def complaint(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 2
    return done.stderr


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (["evolve", "--populaton", "3"], "--population"),
        (["evolv"], "'evolve'"),
        (["train-ancestor", "--preset", "dmeo"], "Did you mean 'demo'?"),
        (["train-ancestor", "--set", "training.epoch=3"], "Did you mean 'training.epochs'?"),
        (["report", "--against", "synapse"], "Did you mean 'synapses'?"),
    ],
)
def test_a_misspelled_word_is_answered_with_the_one_that_was_meant(words: list[str], suggestion: str) -> None:
    assert suggestion in complaint(*words)


@pytest.mark.parametrize("words", [["evolve", "--zzz"], ["zzz"], ["train-ancestor", "--preset", "zzz"]])
def test_a_word_unlike_any_gets_no_suggestion(words: list[str]) -> None:
    said = complaint(*words)
    assert "zzz" in said
    assert "Did you mean" not in said
    assert "Possible options" not in said


def test_the_heredity_and_the_cluster_that_were_meant_are_named(finished: Any) -> None:
    path = str(finished.path)
    assert "Did you mean 'magnitude'?" in complaint("evolve", path, "--heredity", "magnitud")
    assert "Did you mean 'filter'?" in complaint("evolve", path, "--cluster", "filters")


def test_the_run_that_was_meant_is_named(finished: Any) -> None:
    assert finished.path.name == "pipeline"
    for command in ("evolve", "compact", "verify", "report"):
        assert f"Did you mean '{finished.path}'?" in complaint(command, str(finished.path.with_name("pipelines")))
        assert "Did you mean" not in complaint(command, str(finished.path.with_name("zzz")))


def test_too_many_devices_are_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train-ancestor", "--ancestor", "specimens:Tiny", "--set", "data.image_size=8", "--devices", "64"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "This machine has 1 device for JAX, not 64" in done.stderr
    assert "--devices 1" in done.stderr
    assert not list(tmp_path.rglob("plan.toml"))
