"""The README names only commands, options, goals, files and presets that exist."""

import re
import shlex
import statistics
from pathlib import Path
from typing import Any

import pytest
import typer

from synevo.cli.app import app
from synevo.plan.compose import describe
from synevo.plan.presets import preset_names, preset_records, preset_table
from synevo.report.levels import levels

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
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
    goals = set(" ".join(re.findall(r"^([a-z ]+):", MAKEFILE, re.MULTILINE)).split())
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


def lineages(preset: str) -> list[list[dict[str, str]]]:
    """The replicates of a preset, each from its ancestor on."""
    runs: dict[str, list[dict[str, str]]] = {}
    for row in preset_records(preset):
        runs.setdefault(row["run"], []).append(row)
    return [rows for run, rows in runs.items() if re.fullmatch(rf"{preset}-\d", run)]


def within(rows: list[dict[str, str]], budget: float) -> dict[str, str]:
    """The last generation within a budget of points of validation accuracy."""
    least = float(rows[0]["validation_accuracy"]) - budget / 100 - 1e-12
    return [row for row in rows if float(row["validation_accuracy"]) >= least][-1]


BUDGETS = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| (.*×.*) \|$", README, re.MULTILINE)


def test_the_readme_says_what_each_preset_reaches() -> None:
    assert {preset for preset, *_ in BUDGETS} == {"sharp", "paper", "frugal", "slim", "lean", "brief"}


@pytest.mark.parametrize(("preset", "budget", "rest"), BUDGETS)
def test_what_a_preset_reaches_is_what_its_raw_figures_say(preset: str, budget: str, rest: str) -> None:
    runs = lineages(preset)
    assert len(runs) == 3
    ends = [(rows[0], within(rows, float(budget))) for rows in runs]
    *efficiencies, accuracy, difference = rest.split(" | ")
    quantities = ("synapses", "kernels", "stored_weights", "multiply_adds")
    for text, quantity in zip(efficiencies, quantities, strict=True):
        check_spread(text.rstrip("×"), [int(first[quantity]) / int(last[quantity]) for first, last in ends])
    check_spread(accuracy, [100 * float(last["test_accuracy"]) for _, last in ends])
    drops = [100 * (float(last["test_accuracy"]) - float(first["test_accuracy"])) for first, last in ends]
    assert float(difference) == pytest.approx(statistics.fmean(drops), abs=0.0051)


def check_spread(text: str, values: list[float]) -> None:
    """Whether a text such as 98.30 ± 0.11 is mean and standard deviation, to its last digit."""
    mean, deviation = text.split(" ± ")
    last = 0.51 * 10.0 ** -len(mean.partition(".")[2])
    assert float(mean) == pytest.approx(statistics.fmean(values), abs=last)
    assert float(deviation) == pytest.approx(statistics.stdev(values), abs=last)


def curves_of(preset: str, stem: str) -> list[dict[str, list[dict[str, Any]]]]:
    """The replicates `stem`-0, `stem`-1, … of a preset's raw figures, as far as `levels` looks at summaries."""
    runs: dict[str, list[dict[str, Any]]] = {}
    for row in preset_records(preset):
        if re.fullmatch(rf"{stem}-\d", row["run"]):
            numbers = {field: float(value) for field, value in row.items() if field not in {"run", "label", "chosen"}}
            runs.setdefault(row["run"], []).append({**numbers, "chosen": row.get("chosen") != "False"})
    return [{"generations": rows} for rows in runs.values()]


def check_level(cell: str, rows: list[dict[str, Any]], times: int, *, runs: int) -> None:
    """Whether a cell such as 98.30 ± 0.11 (2) is the accuracy at an efficiency, and how many of the runs got there."""
    row = next((row for row in rows if row["efficiency"] == times), None)
    if row is None:
        assert not cell.strip()
        return
    accuracy, _, count = cell.strip().partition(" (")
    assert row["runs"] == int(count.rstrip(")") or runs)
    mean, _, deviation = accuracy.partition(" ± ")
    assert float(mean) == pytest.approx(100 * row["test_accuracy"]["mean"], abs=0.0051)
    assert bool(deviation) == (row["runs"] > 1)
    if deviation:
        assert float(deviation) == pytest.approx(100 * row["test_accuracy"]["deviation"], abs=0.0051)


HEREDITIES = re.findall(r"^HEREDITIES := (.*)$", MAKEFILE, re.MULTILINE)[0].split()
COLUMNS = (
    *(("synapses", 8), ("synapses", 32), ("synapses", 128), ("synapses", 512)),
    *(("kernels", 8), ("kernels", 32), ("multiply-adds", 2), ("multiply-adds", 4), ("multiply-adds", 8)),
)
"""What the table of heredities tells accuracy at: a quantity, and how many times less of it."""


def test_the_heredities_are_compared_at_what_the_table_says() -> None:
    (line,) = re.findall(r"^\| heredity \| (.*) \|$", README, re.MULTILINE)
    told, quantity = [], ""
    for cell in line.split(" | "):
        *named, times = cell.split()
        quantity = named[0] if named else quantity
        told.append((quantity, int(times.rstrip("×"))))
    assert tuple(told) == COLUMNS
    for quantity in {quantity for quantity, _ in COLUMNS}:
        assert f"--against {quantity}" in MAKEFILE


@pytest.mark.parametrize("name", HEREDITIES)
def test_the_accuracy_of_a_heredity_is_that_of_its_raw_figures(name: str) -> None:
    (line,) = re.findall(rf"^\| `{name}` \| ((?:[^|]*\| ){{{len(COLUMNS) - 1}}}[^|]*)\|$", README, re.MULTILINE)
    runs = curves_of("heredity", f"heredity-{name}")
    assert len(runs) == 3
    found = levels(runs)
    for (quantity, times), cell in zip(COLUMNS, line.split("|"), strict=True):
        check_level(cell, found[quantity], times, runs=len(runs))


ABLATIONS = re.findall(r"^\| (nothing|`\w+`) \| ([^|]*[a-z][^|]*) \| (.*) \| (\d+) \| (\d) \|$", README, re.MULTILINE)


def test_the_readme_says_what_each_ablation_of_the_makefile_did() -> None:
    (text,) = re.findall(r"^ABLATIONS := ((?:.*\\\n)*.*)$", MAKEFILE, re.MULTILINE)
    wanted = dict(part.split(":") for part in text.replace("\\", " ").split())
    told = {name.strip("`"): change for name, change, *_ in ABLATIONS if name != "nothing"}
    assert list(told) == list(wanted)
    for name, change in told.items():
        assert re.findall(r"`([\w.]+=\w[\w.]*)`", change) == wanted[name].split("+"), name


@pytest.mark.parametrize(("name", "change", "rest", "epochs", "seeds"), ABLATIONS)
def test_what_an_ablation_did_is_what_its_raw_figures_say(
    name: str, change: str, rest: str, epochs: str, seeds: str
) -> None:
    assert change
    runs = curves_of("brief", "brief" if name == "nothing" else f"brief-{name.strip('`')}")
    assert len(runs) == int(seeds)
    assert {sum(row["epochs"] for row in run["generations"][1:]) for run in runs} == {int(epochs)}
    found = levels(runs)["stored-weights"]
    for times, cell in zip((8, 16, 32, 64), rest.split(" | "), strict=True):
        check_level(cell, found, times, runs=len(runs))
