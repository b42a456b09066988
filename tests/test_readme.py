"""The README names only commands, options, goals, files and presets that exist."""

import csv
import re
import shlex
from pathlib import Path

import pytest
import typer

from synevo.cli import app
from synevo.plan import describe, preset_names, preset_table

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = re.findall(r"^    (synevo .*?)(?:  +#.*)?$", README, re.MULTILINE)


def test_the_readme_shows_commands() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_readme_is_one_of_the_command_line(line: str) -> None:
    _, name, *words = shlex.split(line)
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    command.make_context(name, words)


def test_an_option_that_is_none_is_refused() -> None:
    command = typer.main.get_command(app).commands["evolve"]  # type: ignore[attr-defined]
    with pytest.raises(Exception, match="no-such"):
        command.make_context("evolve", ["--no-such"])


def test_the_goals_of_the_readme_and_of_the_presets_are_in_the_makefile() -> None:
    goals = set(" ".join(re.findall(r"^([a-z ]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)).split())
    named = set(re.findall(r"make ([a-z]+)", README))
    for preset in preset_names():
        named |= set(re.findall(r"make ([a-z]+)", preset_table(preset)["about"]["command"]))
    assert named
    assert named <= goals


def test_every_module_that_the_readme_names_exists() -> None:
    modules = set(re.findall(r"`(\w+\.py)`", README))
    assert len(modules) >= 8
    assert modules <= {path.name for path in (ROOT / "src/synevo").rglob("*.py")}


def test_every_preset_states_its_command_hardware_time_and_result() -> None:
    for preset in preset_names():
        about = preset_table(preset)["about"]
        assert set(about) == {"command", "hardware", "time", "result"}
        assert "to be measured" not in " ".join(about.values())


def test_every_field_of_the_plan_has_a_meaning() -> None:
    assert all(describe().values())


@pytest.mark.parametrize("preset", ["sharp", "paper"])
def test_the_figures_of_the_readme_are_those_of_the_raw_file(preset: str) -> None:
    with (ROOT / f"src/synevo/presets/{preset}.csv").open(encoding="utf-8") as file:
        raw = {(row["run"], row["generation"]): row for row in csv.DictReader(file)}
    (section,) = re.findall(rf"^\*\*`{preset}`\*\*.*?(?=^\*\*`|^## )", README, re.MULTILINE | re.DOTALL)
    rows = re.findall(r"^\| (\d) \| (\d+) \| ([\d.]+) \| ([-+\d.]+) \| ([\d.]+)× \| ([\d.]+)×", section, re.MULTILINE)
    assert {seed for seed, *_ in rows} == {"0", "1", "2"}
    assert len(rows) >= 9
    for seed, generation, accuracy, difference, synaptic, cluster in rows:
        row, ancestor = raw[f"{preset}-{seed}", generation], raw[f"{preset}-{seed}", "1"]
        drop = float(row["test_accuracy"]) - float(ancestor["test_accuracy"])
        assert float(accuracy) == pytest.approx(100 * float(row["test_accuracy"]), abs=0.0051)
        assert float(difference) == pytest.approx(100 * drop, abs=0.0051)
        assert float(synaptic) == pytest.approx(float(row["synaptic_efficiency"]), abs=0.0501)
        assert float(cluster) == pytest.approx(float(row["cluster_efficiency"]), abs=0.0501)
