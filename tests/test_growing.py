"""Successive halving: of several candidates for an offspring, the best by validation is trained to the end."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from math import log2
from typing import Any, Literal

import jax
import numpy as np
import pytest
from specimens import Specimen

from synevo import growing, keys
from synevo.errors import DivergenceError
from synevo.genetics.archive import Birth
from synevo.growing import Event, Growing, Training, grow, select
from synevo.lineage.course import Conception, halving
from synevo.lineage.individuals import Individual, from_table, to_table
from synevo.model.network import Network
from synevo.plan.fields import TrainingPlan
from synevo.tasks.task import Problem
from synevo.training.evaluation import evaluate

pytestmark = pytest.mark.slow

PLAN = TrainingPlan(epochs=4, batch_size=32, learning_rate=5e-3)
COUNT = 4


def test_every_rung_costs_as_much_as_a_whole_training_and_the_last_one_is_it() -> None:
    assert halving(8, 8) == ((8, 1), (4, 2), (2, 4), (1, 8))
    for count in (2, 4, 64):
        rungs = halving(count, 3 * count)
        assert {left * epochs for left, epochs in rungs} == {3 * count}
        assert len(rungs) == 1 + log2(count)
        assert rungs[-1] == (1, 3 * count)


def selection(tiny: Specimen, digits: Problem, *, retries: int = 0, drop: bool = True) -> list[Event]:
    """All that happens when untrained networks with the same weights and keys of their own are candidates."""
    wanted = Growing(Conception(2, 1, 1.0), digits, PLAN, retries)
    organism = tiny.organism
    candidates = [(keys.derive(keys.root(0), "candidate", number), organism) for number in range(COUNT)]
    return list(select(candidates, wanted, resumption=lambda _: None, drop=drop))


def born(events: list[Event]) -> Birth:
    (birth,) = (event for event in events if isinstance(event, Birth))
    assert events[-1] is birth
    return birth


@pytest.fixture(scope="module")
def whole(tiny: Specimen, digits: Problem) -> list[Event]:
    return selection(tiny, digits)


def trained(events: list[Event]) -> list[tuple[int, int, int]]:
    """Rung, candidate and epoch of each epoch."""
    return [
        (event.candidate.rung, event.candidate.number, event.state.epoch)
        for event in events
        if isinstance(event, Training) and event.candidate
    ]


def test_the_worse_half_of_each_rung_is_dropped_and_the_best_is_trained_to_the_end(whole: list[Event]) -> None:
    rungs = born(whole).individual.rungs
    assert [rung.epochs for rung in rungs] == [1, 2, 4]
    for before, after in pairwise(rungs):
        ranked = sorted(zip(before.scores, before.candidates, strict=True), key=lambda one: -(one[0] or 0))
        assert after.candidates == tuple(number for _, number in ranked[: len(ranked) // 2])
    expected = [(r, n, e) for r, one in enumerate(rungs) for n in one.candidates for e in range(1, one.epochs + 1)]
    assert trained(whole) == expected
    assert born(whole).individual.epochs == len(expected) == PLAN.epochs * 3
    before = [event.candidate.before for event in whole if isinstance(event, Training) and event.candidate]
    assert before == [0, 1, 2, 3, 4, 4, 6, 6, 8, 8, 8, 8]


def test_the_recorded_scores_are_those_of_the_networks_on_validation(whole: list[Event], digits: Problem) -> None:
    birth = born(whole)
    assert birth.organism is not None
    assert birth.individual.scores is not None
    again = evaluate(birth.organism.network, digits.task, digits.validation)
    assert birth.individual.rungs[-1].scores == (again,) == (birth.individual.scores.validation,)


def test_a_candidate_goes_on_from_its_weights_with_a_schedule_that_begins_anew(
    tiny: Specimen, digits: Problem, whole: list[Event]
) -> None:
    """The first rung of one candidate, then the second one from there, as two trainings of their own."""
    second = born(whole).individual.rungs[1].candidates[0]
    own = keys.derive(keys.root(0), "candidate", second - 1)
    wanted = Growing(Conception(2, 1, 1.0), digits, PLAN.model_copy(update={"epochs": 1}), 0)
    first = born(list(grow(own, tiny.organism, wanted, resume=None))).organism
    assert first is not None
    wanted = replace(wanted, training=PLAN.model_copy(update={"epochs": 2}))
    again = list(grow(keys.derive(own, "rung", 1), first, wanted, resume=None))
    losses = [event.state.loss for event in again if isinstance(event, Training)]
    found = [
        event.state.loss
        for event in whole
        if isinstance(event, Training)
        and event.candidate
        and (event.candidate.rung, event.candidate.number) == (1, second)
    ]
    assert found == losses


def test_where_less_is_better_those_with_the_most_are_dropped(tiny: Specimen, digits: Problem) -> None:
    less: Literal["lower"] = "lower"
    rungs = born(selection(tiny, digits._replace(task=replace(digits.task, better=less)))).individual.rungs
    scores = dict(zip(rungs[0].candidates, rungs[0].scores, strict=True))
    kept, dropped = (
        {scores[one] or 0.0 for one in scores if (one in rungs[1].candidates) is stays} for stays in (True, False)
    )
    assert max(kept) <= min(dropped)
    assert kept != dropped, "otherwise there is nothing to choose"


def test_without_dropping_all_candidates_are_scored_after_every_rung(tiny: Specimen, digits: Problem) -> None:
    rungs = born(selection(tiny, digits, drop=False)).individual.rungs
    assert [sorted(rung.candidates) for rung in rungs] == [[1, 2, 3, 4]] * 3
    assert all(score is not None for rung in rungs for score in rung.scores)


def test_a_candidate_that_diverges_is_dropped_and_only_where_all_do_there_is_no_offspring(
    tiny: Specimen, digits: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit, asked = growing.fit, list[Network]()

    def failing(first: int) -> Any:
        def stage(key: Any, state: Any, *args: Any, **options: Any) -> Iterator[Any]:
            asked.append(state.network)
            if len(asked) <= first:
                raise DivergenceError("The loss was nan.", remedy="None.")
            yield from fit(key, state, *args, **options)

        return stage

    monkeypatch.setattr(growing, "fit", failing(3))
    birth = born(selection(tiny, digits))
    assert [rung.candidates for rung in birth.individual.rungs] == [(1, 2, 3, 4), (4,), (4,)]
    assert birth.individual.rungs[0].scores[:3] == (None, None, None)
    assert birth.organism is not None
    asked.clear()
    monkeypatch.setattr(growing, "fit", failing(1000))
    birth = born(selection(tiny, digits, retries=1))
    assert birth.organism is None
    assert birth.individual.problem is not None
    assert "diverged 2 times" in birth.individual.problem
    assert len(asked) == 2 * COUNT


def test_the_rungs_come_back_from_json_and_old_lines_have_none(whole: list[Event]) -> None:
    individual = born(whole).individual
    assert from_table(to_table(individual)) == individual
    old = {name: value for name, value in to_table(individual).items() if name != "rungs"}
    assert from_table(old) == Individual(**{**vars(individual), "rungs": ()})


def test_the_candidates_are_trained_from_the_same_weights_and_none_is_touched(tiny: Specimen, digits: Problem) -> None:
    organism = tiny.organism
    before = jax.tree.map(np.array, organism.network.arrays)
    selection(tiny, digits)
    assert all(np.array_equal(before[name], array) for name, array in organism.network.arrays.items())
