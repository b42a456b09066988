"""What is said of replicates: within budgets, among siblings and between seeds, against NumPy and a small lineage."""

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from test_report import cells, individual, make_run
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.lineage.individuals import Individual, Lineage, Scores
from synevo.plan.compose import compose
from synevo.report.budgets import reach
from synevo.report.comparison import compare
from synevo.report.page.html import render_comparison, render_page
from synevo.report.spread import pooled, spread
from synevo.report.summary import summarise
from synevo.report.terminal.run import print_report
from synevo.report.terminal.several import print_comparison
from synevo.report.variation import vary
from synevo.runs.rundir import RunDir

NUMBERS = st.lists(st.floats(-1000, 1000), min_size=1, max_size=6)


@given(st.lists(NUMBERS, min_size=1, max_size=5))
def test_the_pooled_deviation_is_that_of_the_differences_to_the_group_s_mean(groups: list[list[float]]) -> None:
    freedom = sum(len(group) for group in groups) - len(groups)
    if freedom == 0:
        assert pooled(groups) is None
        return
    squares = sum(np.var(group) * len(group) for group in groups)
    assert pooled(groups) == pytest.approx(np.sqrt(squares / freedom), abs=1e-9)


@given(NUMBERS)
def test_a_spread_is_numpy_s(values: list[float]) -> None:
    found = spread(values)
    assert found["mean"] == pytest.approx(np.mean(values), abs=1e-9)
    assert (found["min"], found["max"]) == (min(values), max(values))
    if len(values) == 1:
        assert found["deviation"] is None
    else:
        assert found["deviation"] == pytest.approx(np.std(values, ddof=1), abs=1e-9)


def row(generation: int, validation: float | None, synapses: int, *, pressure: float = 1.0, head: bool = False) -> Any:
    """An individual as summaries have it; the test accuracy is a tenth of a point lower."""
    return {
        "generation": generation,
        "parents": [generation - 1] if generation > 1 else [],
        "pressure": pressure,
        "chosen": head,
        "validation_score": validation,
        "test_score": None if validation is None else validation - 0.001,
        "synapses": None if validation is None else synapses,
    }


FIRST = [
    row(1, 0.99, 1000, head=True),
    row(2, 0.98, 520),
    row(2, 0.985, 500, head=True),
    row(2, 0.97, 480),
    row(3, 0.90, 260),  # over the budget: the brood below was tried again, under half of the pressure
    row(3, 0.91, 250),
    row(3, 0.97, 330, pressure=0.5),
    row(3, 0.975, 350, pressure=0.5, head=True),
]
SECOND = [
    row(1, 0.98, 1000, head=True),
    row(2, 0.97, 510, head=True),
    row(2, None, 0),  # which diverged
    row(2, 0.96, 470),
    row(3, 0.965, 240, head=True),
    row(3, 0.955, 260),
]


def test_siblings_are_compared_within_their_brood_and_pressure_and_heads_between_seeds() -> None:
    found = vary([FIRST, SECOND])
    assert [one["generation"] for one in found["generations"]] == [1, 2, 3]
    first, second, third = found["generations"]
    assert first["siblings"]["degrees_of_freedom"] == 0
    assert first["siblings"]["validation_score"] is None
    assert first["seeds"]["validation_score"] == pytest.approx(np.std([0.99, 0.98], ddof=1))
    broods = [np.array([0.98, 0.985, 0.97]), np.array([0.97, 0.96])]
    squares = sum(((brood - brood.mean()) ** 2).sum() for brood in broods)
    assert second["siblings"]["degrees_of_freedom"] == 3
    assert second["siblings"]["validation_score"] == pytest.approx(np.sqrt(squares / 3))
    assert second["siblings"]["test_score"] == pytest.approx(np.sqrt(squares / 3)), "which are all 0.001 lower"
    assert second["seeds"]["synapses"] == pytest.approx(np.std([500, 510], ddof=1))
    assert second["seeds"]["synapses_share"] == pytest.approx(np.std([500, 510], ddof=1) / 505)
    assert third["siblings"]["groups"] == 3
    assert third["siblings"]["degrees_of_freedom"] == 3
    assert third["siblings"]["synapses"] == pytest.approx(np.sqrt((50 + 200 + 200) / 3))
    assert third["seeds"]["degrees_of_freedom"] == 0, "the heads came under different pressures"
    assert third["seeds"]["synapses"] is None
    every = [[520, 500, 480], [510, 470], [260, 250], [330, 350], [240, 260]]
    shares = [np.array(brood) / np.mean(brood) for brood in every]
    expected = np.sqrt(sum(((brood - 1) ** 2).sum() for brood in shares) / 6)
    assert found["siblings"]["degrees_of_freedom"] == 6
    assert found["siblings"]["synapses_share"] == pytest.approx(expected)


def test_without_broods_and_replicates_nothing_is_said_to_vary() -> None:
    found = vary([[one for one in FIRST if one["chosen"]]])
    assert found["generations"] == []
    assert found["siblings"]["groups"] == found["siblings"]["degrees_of_freedom"] == 0
    assert found["siblings"]["test_score"] is None


def test_offspring_of_different_parents_are_no_siblings() -> None:
    mated = [*FIRST[:3], {**FIRST[3], "parents": [1, 2]}]
    assert vary([mated])["siblings"]["individuals"] == 2


def test_what_replicates_of_sharp_reach_within_the_paper_s_drop_is_what_their_sheet_says() -> None:
    sheet = Path(__file__).parents[2] / "src/synevo/plan/tables/sharp.csv"
    with sheet.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["run"] for row in rows})
    lineages = [[numbers(row) for row in rows if row["run"] == name] for name in names]
    summaries = [
        {
            "plan": compose(preset="sharp").model_dump(),
            "state": "over budget",
            "score": {"name": "accuracy", "better": "higher"},
            "generations": lineage,
            "cost": {field: sum(one[field] for one in lineage) for field in ("seconds", "epochs")},
        }
        for lineage in lineages
    ]
    (found,) = reach(names, summaries, [0.0172])
    within = [
        [one for one in lineage if lineage[0]["validation_score"] - one["validation_score"] <= 0.0172]
        for lineage in lineages
    ]
    assert [one["generation"] for one in found["of_runs"]] == [lineage[-1]["generation"] for lineage in within]
    for field in ("synaptic_efficiency", "cluster_efficiency", "multiply_adds"):
        values = [lineage[-1][field] for lineage in within]
        assert found[field]["mean"] == pytest.approx(np.mean(values))
        assert found[field]["deviation"] == pytest.approx(np.std(values, ddof=1))
    seconds = [sum(one["seconds"] for one in lineage) for lineage in lineages]
    assert found["seconds"]["mean"] == pytest.approx(np.mean(seconds))
    assert (found["runs"], found["unspent"]) == (len(names), 0)


def numbers(row: dict[str, str]) -> dict[str, Any]:
    """A line of a sheet, as a summary has it."""
    found: dict[str, Any] = {name: float(value) for name, value in row.items() if name != "run" and value}
    return {**found, "generation": int(row["generation"]), "chosen": True}


def brood_run(path: Path, seed: int) -> RunDir:
    """A run of three generations, two siblings each, whose accuracies and sizes depend on the seed."""
    plan, run = compose(sets=[f"seed={seed}", "evolution.population=2", "evolution.generations=3"]), RunDir(path)
    run.save_plan(plan)
    offspring = [(generation, number) for generation in (2, 3) for number in (1, 2)]
    for generation, number in [(1, 1), *offspring]:
        accuracy = 0.99 - 0.008 * (generation - 1) + 0.002 * number + 0.001 * seed
        one = individual(generation, 60 - 12 * generation + 2 * number + seed, accuracy)
        run.save_individual(replace(one, number=number), plan, weights={}, masks={})
    return run


@pytest.fixture
def replicates(tmp_path: Path) -> list[RunDir]:
    return [brood_run(tmp_path / f"r-{seed}", seed) for seed in (0, 1, 3)]


@pytest.mark.parametrize("budget", [0.0, 0.006, 0.01, 0.014, 0.5])
def test_within_each_budget_the_validation_split_chooses_as_the_lineage_does(
    replicates: list[RunDir], budget: float
) -> None:
    (group,) = compare([summarise(run) for run in replicates], [budget])["groups"]
    (found,) = group["budgets"]
    assert (found["max_drop"], found["runs"]) == (budget, 3)
    bests = [chosen(run, budget) for run in replicates]
    assert [one["generation"] for one in found["of_runs"]] == [best.generation for best in bests]
    assert [one["seed"] for one in found["of_runs"]] == [0, 1, 3]
    first = [run.load_lineage().ancestor for run in replicates]
    tests = [best.scores.test for best in bests if best.scores]
    changes = [test - one.scores.test for one, test in zip(first, tests, strict=True) if one.scores]
    macs = [best.counts.multiply_adds for best in bests if best.counts]
    for field, values in (("test_score", tests), ("test_change", changes), ("multiply_adds", macs)):
        assert found[field]["mean"] == pytest.approx(np.mean(values))
        assert found[field]["deviation"] == pytest.approx(np.std(values, ddof=1))
    assert (found["epochs"]["mean"], found["seconds"]["mean"]) == (10, 7.5), "five individuals each"
    assert found["unspent"] == (3 if budget >= 0.014 else 0)


def chosen(run: RunDir, budget: float) -> Individual:
    best = run.load_lineage().best(budget)
    assert best is not None
    return best


def test_terminal_csv_json_and_page_say_the_same_of_replicates(replicates: list[RunDir]) -> None:
    names = [str(run.path) for run in replicates]
    said = {kind: CliRunner().invoke(app, ["report", *names, "--summary", *kind]).stdout for kind in ((), *KINDS)}
    found = json.loads(said[KINDS[0]])
    assert "summaries" not in found
    (group,) = found["groups"]
    assert (group["name"], group["seeds"]) == ("r-*", [0, 1, 3])
    rows = list(csv.DictReader(io.StringIO(said[KINDS[1]])))
    fields = ("test_score", "test_change", "synaptic_efficiency", "cluster_efficiency", "multiply_adds", "epochs")
    assert [float(one["max_drop"]) for one in rows] == [one["max_drop"] for one in group["budgets"]]
    for statistic in ("mean", "deviation"):
        assert [[float(one[f"{field}_{statistic}"]) for field in fields] for one in rows] == [
            [one[field][statistic] for field in fields] for one in group["budgets"]
        ]
    whole = json.loads(CliRunner().invoke(app, ["report", *names, "--json"]).stdout)
    assert {name: part for name, part in whole.items() if name != "summaries"} == found
    page = cells(render_comparison(whole), "budgets")
    means = [[one[field]["mean"] for field in fields] for one in group["budgets"]]
    assert [[float(value) for value in row[1:7]] for row in page] == means
    last = group["budgets"][-1]
    assert f"{100 * last['test_score']['mean']:.2f} ± {100 * last['test_score']['deviation']:.2f}" in said[()]
    assert "siblings" in said[()]


KINDS = (("--json",), ("--csv",))


def test_siblings_are_reported_apart_from_seeds_on_the_terminal_and_on_the_page(replicates: list[RunDir]) -> None:
    summaries = [summarise(run) for run in replicates]
    (group,) = compare(summaries)["groups"]
    everyone = group["variation"]["siblings"]
    assert everyone["degrees_of_freedom"] == 6
    assert everyone["validation_score"] == pytest.approx(0.002 / np.sqrt(2))
    between = group["variation"]["generations"][1]["seeds"]
    assert between["degrees_of_freedom"] == 2
    assert between["validation_score"] == pytest.approx(0.001 * np.std([0, 1, 3], ddof=1))
    assert summaries[0]["variation"]["siblings"]["degrees_of_freedom"] == 2
    text = io.StringIO()
    print_comparison(Console(file=text, width=200), compare(summaries))
    print_report(Console(file=text, width=200), summaries[0])
    assert "seeds: valid %" in text.getvalue()
    assert "Standard deviation among siblings" in text.getvalue()
    assert "0.14" in text.getvalue()
    for page in (render_comparison(compare(summaries)), render_page(replicates[0], summaries[0])):
        assert 'class="variation"' in page
        assert "in what synthesis drew" in page


def test_a_run_without_broods_says_nothing_of_siblings(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a")
    assert "variation" not in render_page(run, summarise(run)).partition("<body>")[2]
    text = io.StringIO()
    print_report(Console(file=text, width=200), summarise(run))
    assert "siblings" not in text.getvalue()


def test_a_seed_that_is_there_twice_is_named(tmp_path: Path) -> None:
    found = compare([summarise(brood_run(tmp_path / name, 3)) for name in ("a", "b")])
    assert found["groups"][0]["repeated_seeds"] == [3]
    text = io.StringIO()
    print_comparison(Console(file=text, width=200), found)
    assert "Seeds that occur more than once: 3." in text.getvalue()
    assert "Seeds that occur more than once: 3." in render_comparison(found)


def test_lineages_that_go_on_are_not_summarised_yet(tmp_path: Path) -> None:
    runs = [brood_run(tmp_path / f"r-{seed}", seed) for seed in (0, 1)]
    lines = (runs[1].path / "lineage.jsonl").read_text().splitlines()
    (runs[1].path / "lineage.jsonl").write_text("\n".join(lines[:3]) + "\n")
    (group,) = compare([summarise(run) for run in runs])["groups"]
    assert {one["runs"] for one in group["budgets"]} == {1}
    assert group["budgets"][0]["test_score"]["deviation"] is None


def test_a_budget_can_be_asked_for_of_a_single_run(replicates: list[RunDir]) -> None:
    done = CliRunner().invoke(app, ["report", str(replicates[0].path), "--max-drop", "0.0100", "--json"])
    (group,) = json.loads(done.stdout)["groups"]
    assert [one["max_drop"] for one in group["budgets"]] == [0.01]


def test_a_lineage_knows_its_budget() -> None:
    ancestor = replace(individual(1, 44, 0.99), scores=Scores(0.99, 0.9))
    just = replace(individual(2, 24, 0.96), scores=Scores(0.96, 0.9))
    assert Lineage((ancestor, just)).within_budget(just, 0.03), "0.99 - 0.96 is a little more than 0.03 in binary"
