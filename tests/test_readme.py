"""The README names only commands, options, goals, files and presets that exist."""

import re
import shlex
import statistics
from pathlib import Path

import pytest
import typer

from synevo.cli import app
from synevo.plan import describe, preset_names, preset_records, preset_table

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


BUDGETS = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| (.*) \|$", README, re.MULTILINE)


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


HEREDITIES = ("cluster", "magnitude", "taylor", "synapse", "random", "shuffled")


def of_heredity(name: str, generation: int) -> list[tuple[dict[str, str], dict[str, str]]]:
    """The ancestor and a generation of each lineage of a heredity that reached it."""
    records = [row for row in preset_records("heredity") if re.fullmatch(rf"heredity-{name}-\d", row["run"])]
    ancestors = {row["run"]: row for row in records if row["generation"] == "1"}
    assert len(ancestors) == 3
    return [(ancestors[row["run"]], row) for row in records if row["generation"] == str(generation)]


@pytest.mark.parametrize("name", HEREDITIES)
def test_the_curves_of_a_heredity_are_those_of_its_raw_figures(name: str) -> None:
    (line,) = re.findall(rf"^\| `{name}` \| (.*\d×\).*) \|$", README, re.MULTILINE)
    cells = line.split(" | ")
    for generation, cell in enumerate(cells, 3):
        found = of_heredity(name, generation)
        if not cell.strip():
            assert len(found) < 2
            continue
        accuracy, synapses = cell.removesuffix("×)").split(" (")
        check_spread(accuracy, [100 * float(row["test_accuracy"]) for _, row in found])
        efficiencies = [int(first["synapses"]) / int(row["synapses"]) for first, row in found]
        assert float(synapses) == pytest.approx(statistics.fmean(efficiencies), abs=0.51)


@pytest.mark.parametrize("name", HEREDITIES)
def test_the_shape_that_a_heredity_leaves_is_that_of_its_raw_figures(name: str) -> None:
    (line,) = re.findall(rf"^\| `{name}` \| ([\d.]+ ± [\d.]+ \| .*× \| .*×) \|$", README, re.MULTILINE)
    accuracy, *efficiencies = line.split(" | ")
    found = of_heredity(name, 6)
    check_spread(accuracy, [100 * float(row["test_accuracy"]) for _, row in found])
    for text, quantity in zip(efficiencies, ("synapses", "kernels", "stored_weights", "multiply_adds"), strict=True):
        check_spread(text.rstrip("×"), [int(first[quantity]) / int(row[quantity]) for first, row in found])


ABLATIONS = re.findall(r"^\| (nothing|`\w+`) \| ([^|]*[a-z][^|]*) \| (.*×\).*) \| (\d+) \|$", README, re.MULTILINE)


def test_the_readme_says_what_each_ablation_of_the_makefile_did() -> None:
    (text,) = re.findall(r"^ABLATIONS := ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    wanted = dict(part.split(":") for part in text.replace("\\", " ").split())
    told = {name.strip("`"): change for name, change, *_ in ABLATIONS if name != "nothing"}
    assert list(told) == list(wanted)
    for name, change in told.items():
        assert re.findall(r"`([\w.]+=\w[\w.]*)`", change) == wanted[name].split("+"), name


@pytest.mark.parametrize(("name", "change", "rest", "epochs"), ABLATIONS)
def test_what_an_ablation_did_is_what_its_raw_figures_say(name: str, change: str, rest: str, epochs: str) -> None:
    assert change
    run = "brief-0" if name == "nothing" else f"brief-{name.strip('`')}-0"
    first, *rows = [row for row in preset_records("brief") if row["run"] == run]
    assert sum(int(row["epochs"]) for row in rows) == int(epochs)
    cells = {row["generation"]: row for row in rows}
    for generation, cell in enumerate(rest.split(" | "), 4):
        if not cell.strip():
            assert str(generation) not in cells
            continue
        accuracy, times = cell.removesuffix("×)").split(" (")
        row = cells[str(generation)]
        assert float(accuracy) == pytest.approx(100 * float(row["test_accuracy"]), abs=0.0051)
        assert float(times) == pytest.approx(int(first["stored_weights"]) / int(row["stored_weights"]), abs=0.51)
