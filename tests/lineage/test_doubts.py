"""Doubts: a lineage that means less than it seems to is told from its numbers, and a healthy one is let be."""

import csv
from dataclasses import replace
from importlib import resources

import pytest
from specimens import individual

from synevo.lineage.doubts import Basis, doubts
from synevo.lineage.individuals import Adoption, Individual, Lineage, Scores
from synevo.plan.compose import change
from synevo.plan.fields import Plan

DIGITS, MNIST = Basis(143, 359, 0.105), Basis(6000, 10000, 0.1124)


def of(validation: float, test: float, *, generation: int = 1, name: str = "accuracy") -> Individual:
    return replace(individual(generation, 40, 0.5), scores=Scores(validation, test, name))


def kinds(*individuals: Individual, basis: Basis | None, plan: Plan | None = None) -> list[str]:
    return [one.kind for one in doubts(Lineage(individuals), plan or Plan(), basis)]


@pytest.mark.parametrize(
    ("validation", "basis", "doubted"),
    [
        (0.1124, MNIST, True),  # names the most frequent class, always
        (0.09, MNIST, True),
        (0.13, MNIST, False),
        (20 / 143, DIGITS, True),
        (36 / 143, DIGITS, False),
        (0.9, Basis(1000, 1000, 0.9), True),  # nine of ten images are of one class
        (0.95, Basis(1000, 1000, 0.9), False),
        (1.0, Basis(2, 2, 0.5), False),  # so few cannot tell
        (0.5, Basis(143, 359, None), False),
        (0.0, replace(DIGITS, chance=1.0), False),
    ],
)
def test_an_ancestor_that_is_no_better_than_chance_is_doubted(
    validation: float, basis: Basis, *, doubted: bool
) -> None:
    assert ("chance" in kinds(of(validation, validation), basis=basis)) == doubted


@pytest.mark.parametrize(("validation", "doubted"), [(0.1124, True), (0.132, True), (0.25, False)])
def test_an_adopted_network_near_chance_probably_sees_other_pixels(validation: float, *, doubted: bool) -> None:
    adopted = replace(of(validation, validation), adoption=Adoption("resnet.safetensors"))
    assert ("chance" in kinds(adopted, basis=MNIST)) == doubted
    if validation == 0.132:
        (doubt,) = doubts(Lineage((adopted,)), Plan(), MNIST)
        assert "The ancestor is hardly better than chance: 13.20 % of 6,000" in doubt.text
        assert "data.mean" in doubt.text


@pytest.mark.parametrize(
    ("validation", "budget", "doubted"), [(16, 0.03, True), (99, 0.03, True), (101, 0.03, False), (16, 0, False)]
)
def test_a_budget_of_less_than_three_validation_examples_is_doubted(
    validation: int, budget: float, *, doubted: bool
) -> None:
    plan = change(Plan(), options={"evolution.max_drop": budget})
    basis = Basis(validation, 16, 0.3)
    assert ("few" in kinds(of(0.9, 0.9), basis=basis, plan=plan)) == doubted
    assert "few" not in kinds(of(0.9, 0.9, name="mean error"), basis=basis, plan=plan)
    assert "few" not in kinds(of(0.5, 0.5), basis=None, plan=plan), "the size of the split is not known"


def test_a_lineage_that_forgot_all_within_its_budget_is_doubted_once() -> None:
    lineage = [of(0.97, 0.97), of(0.1, 0.1, generation=2), of(0.1, 0.1, generation=3)]
    generous = change(Plan(), options={"evolution.max_drop": 0.95})
    assert kinds(*lineage, basis=DIGITS) == []
    assert kinds(*lineage, basis=DIGITS, plan=generous) == ["chance"]
    (doubt,) = doubts(Lineage(tuple(lineage)), generous, DIGITS)
    assert "Generation 2 is no better than chance: 10.00 % of 143" in doubt.text


@pytest.mark.parametrize(
    ("scores", "basis", "doubted"),
    [
        ((1.0, 0.97), MNIST, True),
        ((0.999, 0.97), MNIST, True),
        ((1.0, 0.97), DIGITS, False),  # 0 of 143 wrong beside 11 of 359: luck
        ((1.0, 0.9), DIGITS, True),
        ((0.992, 0.991), MNIST, False),
        ((0.97, 1.0), MNIST, False),
        ((0.8, 0.75), MNIST, False),  # sure, and a test split that is a little harder
        ((1.0, 1.0), MNIST, False),
        ((1.0, 0.97), Basis(6000, 10000), True),  # a task of a user's own, of right and wrong
    ],
)
def test_an_ancestor_far_better_on_validation_than_on_test_is_doubted(
    scores: tuple[float, float], basis: Basis, *, doubted: bool
) -> None:
    assert kinds(of(*scores), basis=basis) == ["seen"] * doubted


def test_other_scores_than_accuracies_are_not_judged() -> None:
    assert kinds(of(0.01, 3.0, name="error"), basis=Basis(6000, 10000)) == []


def test_probabilities_are_doubted_before_there_is_an_individual() -> None:
    assert kinds(basis=replace(DIGITS, probabilities=True)) == ["probabilities"]
    assert kinds(basis=DIGITS) == []
    assert kinds(basis=None) == []


def test_a_lineage_of_an_older_version_is_doubted_by_its_numbers_alone() -> None:
    """The scores tell the sizes of the splits, and the last layer the number of classes, which are two."""
    chance = [of(0.5, 0.493), of(0.487, 0.51, generation=2)]
    assert kinds(*chance, basis=None) == ["chance"]
    seen = [of(1.0, 0.9701), of(0.9983, 0.9653, generation=2)]
    assert kinds(*seen, basis=None) == ["seen"]
    assert kinds(of(0.97, 0.961), basis=None) == []
    own = change(Plan(), options={"task.name": "own:problem"})
    assert kinds(*chance, *seen, basis=None, plan=own) == []


@pytest.mark.parametrize("preset", ["frugal", "slim", "brief", "lean", "sharp", "paper", "demo", "heredity"])
def test_no_lineage_that_was_measured_is_doubted(preset: str) -> None:
    text = (resources.files("synevo.plan") / "tables" / f"{preset}.csv").read_text("utf-8")
    plan = change(Plan(), options={"evolution.max_drop": 0.1})
    lineages: dict[str, list[Individual]] = {}
    for row in csv.DictReader(text.splitlines()):
        scores = float(row["validation_score"]), float(row["test_score"])
        lineages.setdefault(row["run"], []).append(of(*scores, generation=int(row["generation"])))
    for lineage in lineages.values():
        assert kinds(*lineage, basis=DIGITS if preset == "demo" else MNIST, plan=plan) == []
        assert kinds(*lineage, basis=None, plan=plan) == []
