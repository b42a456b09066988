"""Scores that are no accuracies, and fall where networks improve: who is best, within which budget, and in what digits.

The run: a mean error of 0.10 that grows to 0.115, within the budget of 0.02, and then to 0.30.
"""

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from test_report import cells, individual

from synevo.cli.live.progress import describe
from synevo.cli.live.view import view
from synevo.lineage.individuals import Individual, Scores
from synevo.plan.compose import compose
from synevo.plan.fields import Plan
from synevo.report.budgets import reach
from synevo.report.comparison import compare
from synevo.report.page import figures
from synevo.report.page.html import render_page
from synevo.report.scores import change, factor, unit, write
from synevo.report.sheet import write_sheet
from synevo.report.summary import summarise
from synevo.report.terminal.listing import runs_table
from synevo.report.terminal.run import print_report
from synevo.runs.rundir import RunDir
from synevo.runs.several.run_list import overview

ERRORS = [(0.10, 0.11), (0.115, 0.1325), (0.30, 0.31)]
"""On the validation and the test split, a generation each."""


def erring(generation: int, validation: float, test: float, number: int = 1) -> Individual:
    one = individual(generation, 60 - 16 * generation, 0.5)
    return replace(one, scores=Scores(validation, test, "mean error", "lower"), number=number)


def make(path: Path, plan: Plan, *individuals: Individual) -> RunDir:
    run = RunDir(path)
    run.save_plan(plan)
    for one in individuals:
        run.save_individual(one, plan, weights={}, masks={})
    return run


PLAN = compose(sets=["evolution.max_drop=0.02", "task.name=mine:problem", "ancestor.name=mine:Model"])


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return make(tmp_path / "run", PLAN, *(erring(number, *error) for number, error in enumerate(ERRORS, 1)))


@pytest.fixture
def summary(run: RunDir) -> dict[str, Any]:
    return summarise(run)


def printed(shown: Any) -> str:
    text = io.StringIO()
    Console(file=text, width=200).print(shown)
    return text.getvalue()


def test_the_best_is_the_last_whose_error_has_grown_by_no_more_than_the_budget(summary: dict[str, Any]) -> None:
    assert summary["score"] == {"name": "mean error", "better": "lower"}
    assert [row["within_budget"] for row in summary["generations"]] == [True, True, False]
    assert (summary["best"], summary["state"]) == (2, "over budget")
    assert summary["floor"] == pytest.approx(0.12)
    assert [row["validation_score"] for row in summary["generations"]] == [0.10, 0.115, 0.30]


def test_of_a_brood_the_one_of_the_least_error_is_chosen(tmp_path: Path) -> None:
    brood = [erring(2, validation, 0.2, number) for number, validation in enumerate((0.14, 0.09, 0.11), 1)]
    rows = summarise(make(tmp_path / "brood", PLAN, erring(1, *ERRORS[0]), *brood))["generations"]
    assert [row["name"] for row in rows if row["chosen"]] == ["g01", "g02-2"]


@pytest.mark.parametrize(
    ("budget", "generation", "change"), [(0.0, 1, 0.0), (0.014, 1, 0.0), (0.015, 2, 0.0225), (0.2, 3, 0.2)]
)
def test_within_each_budget_a_change_is_by_how_much_the_error_has_grown(
    summary: dict[str, Any], budget: float, generation: int, change: float
) -> None:
    (found,) = reach(["run"], [summary], [budget])
    assert found["generation"]["mean"] == generation
    assert found["test_change"]["mean"] == pytest.approx(change, abs=1e-12)
    assert found["test_score"]["mean"] == ERRORS[generation - 1][1]


def test_an_error_that_fell_is_a_negative_change(tmp_path: Path) -> None:
    better = make(tmp_path / "better", PLAN, erring(1, 0.10, 0.11), erring(2, 0.09, 0.08))
    (found,) = reach(["better"], [summarise(better) | {"state": "finished"}], [0.0])
    assert found["generation"]["mean"] == 2
    assert found["test_change"]["mean"] == pytest.approx(-0.03)


def test_a_terminal_shows_the_errors_themselves_and_no_per_cent(summary: dict[str, Any]) -> None:
    text = io.StringIO()
    print_report(Console(file=text, width=200), summary)
    shown = text.getvalue()
    assert "test mean error 0.1325 (+0.0225, worse)" in shown
    (row,) = [line for line in shown.splitlines() if "2*" in line]
    assert row.split()[:3] == ["2*", "0.115", "0.1325"]
    assert "%" not in shown


def test_the_page_shows_the_errors_themselves_and_the_budget_as_the_most_that_they_may_be(
    run: RunDir, summary: dict[str, Any]
) -> None:
    page = render_page(run, summary)
    assert [row[:2] for row in cells(page, "generations")] == [[str(one) for one in pair] for pair in ERRORS]
    table = page.partition('id="generations"')[2].partition("</table>")[0]
    assert "%" not in table
    assert ">0.1325</td>" in table
    assert "Over the budget: validation above 0.12." in page
    assert "budget: validation of at most 0.12" in page


def test_the_curve_is_drawn_in_the_units_of_the_task(summary: dict[str, Any]) -> None:
    layers = figures.curve(summary, "synaptic", 900)["layer"]
    drawn = [layer["data"]["values"] for layer in layers if "v" in str(layer.get("data"))]
    ours = next(values for values in drawn if values and "v" in values[0])
    assert [(point["y"], point["v"]) for point in ours] == [(test, validation) for validation, test in ERRORS]
    assert ours[1]["text"] == "generation 2: 1.57×, test 0.1325", "44 synapses became 28"
    assert summary["family"] == [], "accuracies of the papers have no place beside errors"


def test_who_looks_at_a_lineage_as_it_grows_sees_the_errors_themselves(run: RunDir) -> None:
    lineage = run.load_lineage()
    live = printed(view(lineage))
    assert "0.1 → 0.3 (lowest 0.1)" in live
    assert "%" not in live
    assert describe(lineage.individuals[1], lineage).startswith("generation  2:  0.115 validation, ")


def test_a_run_at_a_glance_has_the_best_error(run: RunDir) -> None:
    one = overview(run)
    assert (one.best, one.test_score, one.score) == (2, 0.1325, "mean error")
    table = printed(runs_table([one]))
    assert "0.1325" in table
    assert "%" not in table


def test_a_sheet_has_the_errors_as_they_are(summary: dict[str, Any]) -> None:
    rows = list(csv.DictReader(io.StringIO(write_sheet([summary]))))
    assert [(float(row["validation_score"]), float(row["test_score"])) for row in rows] == ERRORS


def test_runs_of_a_falling_score_are_compared_by_their_best(tmp_path: Path) -> None:
    plans = [compose(sets=[f"seed={seed}", "evolution.max_drop=0.02"]) for seed in (0, 1)]
    individuals = [erring(number, *error) for number, error in enumerate(ERRORS, 1)]
    found = compare([summarise(make(tmp_path / f"r-{plan.seed}", plan, *individuals)) for plan in plans])
    assert [row["test_score"] for row in found["bests"]] == [0.1325, 0.1325]
    assert found["groups"][0]["best"]["validation_score"]["mean"] == 0.115


@pytest.mark.parametrize(
    ("value", "name", "written"),
    [
        (0.98765, "accuracy", "98.77"),
        (0.98765, None, "98.77"),
        (0.98765, "mIoU", "98.77"),
        (0.98765, "R2", "0.9877"),
        (0.98765, "mean error", "0.9877"),
        (1234.56, "mean error", "1235"),
        (2.5e-7, "loss", "2.5e-07"),
        (None, "mean error", "–"),
        (None, "accuracy", "–"),
    ],
)
def test_an_accuracy_is_written_as_per_cent_and_any_other_score_as_it_is(
    value: float | None, name: str | None, written: str
) -> None:
    assert write(value, name) == written


def test_the_units_of_a_score_follow_from_its_name() -> None:
    assert (unit("accuracy"), unit(None), unit("mean error")) == (" %", " %", "")
    assert (factor("accuracy"), factor("mean error")) == (100, 1)
    assert change(0.97, 0.98, "accuracy") == "-1.00 points"
    assert change(0.115, 0.1, "mean error") == "+0.015"
