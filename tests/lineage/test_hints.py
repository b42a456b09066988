"""Hints before a training: said of so few examples, and only of what the plan does not do yet."""

import pytest

from synevo.lineage.doubts import Basis, doubts
from synevo.lineage.hints import of_batches, of_few_images
from synevo.lineage.individuals import Lineage
from synevo.plan.compose import change, compose
from synevo.plan.fields import Plan


def plan(*sets: str) -> Plan:
    return change(Plan(), sets=sets)


@pytest.mark.parametrize(
    ("train", "batch", "warned"), [(172, 128, True), (172, 87, True), (172, 86, False), (60_000, 128, False)]
)
def test_a_batch_that_is_most_of_the_data_is_warned_of(train: int, batch: int, *, warned: bool) -> None:
    found = of_batches(plan(f"ancestor_training.batch_size={batch}", "training.batch_size=16"), train)
    assert [one.kind for one in found] == ["batch"] * warned
    if warned:
        assert f"A batch of {batch} is most of the 172 training examples: an epoch has a single step" in found[0].text
        assert f"leaves {172 - batch} of them out" in found[0].text
        assert found[0].text.endswith("in smaller batches: --set ancestor_training.batch_size=16.")


def test_both_trainings_are_told_at_once_and_one_that_does_not_happen_is_not() -> None:
    (both,) = of_batches(plan(), 100)
    assert both.text.endswith("--set ancestor_training.batch_size=8 --set training.batch_size=8.")
    (later,) = of_batches(plan("ancestor_training.epochs=0"), 100)
    assert "ancestor_training" not in later.text
    assert "leaves" not in later.text, "a batch is never larger than the data"


def test_what_helps_with_few_images_is_what_the_plan_does_not_do() -> None:
    said = of_few_images(plan(), 172)
    assert "172 training images are few" in said
    assert "--set ancestor_training.shift=2 --set training.shift=2" in said
    assert "shift=2" not in of_few_images(plan("ancestor_training.flip=true", "training.shift=1"), 172)
    assert "guide adopt" not in of_few_images(plan("ancestor.weights=a.npz"), 172)
    assert of_few_images(plan(), 1293) == ""
    assert of_few_images(plan("task.name=mine:problem"), 172) == ""


@pytest.mark.parametrize(
    ("budget", "doubted"), [("0.03", True), ("3%", True), ("0.2", False), ("25pt", False), ("0", False)]
)
def test_a_budget_of_hardly_any_images_is_doubted_before_there_is_an_ancestor(budget: str, *, doubted: bool) -> None:
    allowing = compose(options={"evolution.max_drop": budget})
    found = [one.kind for one in doubts(Lineage(), allowing, Basis(16, 16, 0.3))]
    assert found == ["few"] * doubted
    assert doubts(Lineage(), allowing, Basis(16, 16)) == [], "the score of another task may be anything"
