"""Budgets in units: of the score, as a share of the ancestor's, and in points of a share; for scores that fall too."""

from dataclasses import replace

import pytest
from test_lineage import individual

from synevo.errors import PlanError
from synevo.lineage.allowance import allowance, is_share, question
from synevo.lineage.course import Conception, next_conception, status
from synevo.lineage.individuals import Lineage, Scores
from synevo.plan.compose import compose


@pytest.mark.parametrize(
    ("budget", "score", "name", "most"),
    [
        (0.01, 0.9, "accuracy", 0.01),
        ("5%", 0.8, "accuracy", 0.04),
        ("1.72pt", 0.9, "accuracy", 0.0172),
        ("0.5pt", 0.7, "mIoU", 0.005),
        ("2pt", 0.4, "mAP@0.5", 0.02),
        ("2%", 1.88, "nats a token", 0.0376),
        (12.5, 40.0, "mean error", 12.5),
        ("10%", -0.5, "R2", 0.05),
    ],
)
def test_a_budget_is_what_its_unit_says(budget: float | str, score: float, name: str, most: float) -> None:
    assert allowance(budget, score, name) == pytest.approx(most, rel=1e-12)


@pytest.mark.parametrize(
    ("budget", "name", "words"),
    [
        ("1.72pt", "nats a token", "in points of a share, and nats a token is none"),
        ("1pt", "R2", "R2 is none"),
        (5.0, "accuracy", "A budget of 5 allows everything: accuracy is a share"),
    ],
)
def test_a_budget_that_does_not_suit_its_score_is_refused(budget: float | str, name: str, words: str) -> None:
    with pytest.raises(PlanError, match=words) as caught:
        allowance(budget, 0.9, name)
    assert "--max-drop" in caught.value.remedy


def test_a_large_bare_number_is_asked_about_where_the_score_is_a_share() -> None:
    asked = question(0.5, "accuracy")
    assert asked is not None
    assert "fall by 50 points" in asked
    assert "0.5 points are 0.5pt" in asked
    assert question(0.2, "accuracy") is None
    assert question("50pt", "accuracy") is None
    assert question(0.5, "nats a token") is None


def test_scores_are_shares_by_their_names() -> None:
    assert all(map(is_share, ("accuracy", "mIoU", "micro-F1", "mAP@0.5", "F1", None)))
    assert not any(map(is_share, ("nats a token", "R2", "mean error", "score", "perplexity")))


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.01", 0.01), ("5%", "5%"), (" 1.720pt ", "1.72pt"), ("2.5 %", "2.5%"), (1, 1.0), ("1e-3", 1e-3)],
)
def test_a_plan_reads_a_budget_in_each_unit(text: str | float, value: float | str) -> None:
    assert compose(options={"evolution.max_drop": text}).evolution.max_drop == value


@pytest.mark.parametrize("text", ["-1", "5 percent", "pt", "5%%", "nan", "inf", -0.1, True])
def test_what_is_no_budget_is_refused_with_the_units(text: str | float) -> None:
    with pytest.raises(PlanError, match=r"max_drop = .*a share of the ancestor's score \(5%\)"):
        compose(options={"evolution.max_drop": text})


def falling(generation: int, score: float, *, number: int = 1) -> object:
    return replace(individual(generation, 0.5), scores=Scores(score, score, "nats a token", "lower"), number=number)


def test_a_lineage_whose_score_falls_goes_on_while_it_has_risen_by_no_more_than_the_budget() -> None:
    plan = compose(options={"evolution.max_drop": "5%", "evolution.generations": 9, "task.name": "next-token"})
    lineage = Lineage((falling(1, 2.0), falling(2, 2.09)))  # type: ignore[arg-type]
    assert next_conception(lineage, plan) == Conception(3, 1, 1.0)
    over = lineage.add(falling(3, 2.11))  # type: ignore[arg-type]
    assert next_conception(over, plan) is None
    assert status(over, plan) == "over budget"
    best = over.best("5%")
    assert best is not None
    assert best.generation == 2


def test_an_adaptive_lineage_presses_harder_while_a_quarter_of_the_budget_is_spent() -> None:
    plan = compose(options={"evolution.max_drop": "10%", "evolution.adaptive": True, "task.name": "next-token"})
    for score, harder in ((2.049, True), (2.051, False)):
        lineage = Lineage((falling(1, 2.0), falling(2, score)))  # type: ignore[arg-type]
        following = next_conception(lineage, plan)
        assert following is not None
        assert (following.pressure > 1) == harder
