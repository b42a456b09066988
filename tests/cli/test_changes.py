"""A command says what it changes in the plan of a run, and changes nothing into what the run is not."""

from pathlib import Path

import pytest
from specimens import individual

from synevo.cli.opening import require_no_fewer, what_changed
from synevo.errors import PlanError
from synevo.plan.compose import change
from synevo.plan.fields import Plan
from synevo.runs.rundir import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run of three generations, of which the last is 2 points below the ancestor."""
    run = RunDir(tmp_path / "run")
    run.save_plan(Plan())
    for generation, accuracy in enumerate((0.99, 0.985, 0.97), 1):
        run.save_individual(individual(generation, 50 - 10 * generation, accuracy), Plan(), weights={}, masks={})
    return run


def refusal(run: RunDir, generations: int, before: Plan | None = None) -> str | None:
    before = before or Plan()
    after = change(before, options={"evolution.generations": generations})
    try:
        require_no_fewer(run, run.load_lineage(), before, after)
    except PlanError as error:
        return str(error)
    return None


def test_fewer_generations_than_there_are_are_refused_with_what_does_that(run: RunDir) -> None:
    assert refusal(run, 3) is None
    assert refusal(run, 5) is None
    said = refusal(run, 2) or ""
    assert "has 3 generations already" in said
    assert f"synevo compact {run.path} --generation 2" in said
    assert "nothing to evolve" in (refusal(run, 1) or "")


def test_a_plan_that_asked_for_fewer_before_is_left_alone(run: RunDir) -> None:
    assert refusal(run, 2, change(Plan(), options={"evolution.generations": 2})) is None


def test_a_run_without_an_ancestor_may_still_be_any_run(tmp_path: Path) -> None:
    new = RunDir(tmp_path / "new")
    new.save_plan(Plan())
    assert refusal(new, 1) is None


def test_a_change_is_said_with_the_generation_that_it_chooses(run: RunDir) -> None:
    before = run.load_plan()
    assert what_changed(run, before) == []
    run.save_plan(change(before, options={"evolution.max_drop": 0.01, "data.data_dir": "images"}))
    said, follows = what_changed(run, before)
    assert "data.data_dir unset → images" in said
    assert "evolution.max_drop 0.03 → 0.01" in said
    assert follows == "Within the new budget the best is generation 2; within the old one it is generation 3."
