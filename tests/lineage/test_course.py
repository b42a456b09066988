"""The course of a lineage: what comes next, under which pressure, and when it ends."""

from dataclasses import replace
from typing import Any

import pytest

from synevo.lineage import course
from synevo.lineage.course import Conception
from synevo.lineage.individuals import Counts, Individual, LayerCount, Lineage, Scores
from synevo.plan.fields import EnvironmentPlan, EvolutionPlan, Plan


def plan_of(**limits: Any) -> Plan:
    return Plan(environment=EnvironmentPlan(keep_synapses=0.5), evolution=EvolutionPlan(**limits))


def individual(
    generation: int, accuracy: float | None, *, number: int = 1, pressure: float = 1.0, synapses: int = 1000
) -> Individual:
    """Of a network with one layer, or that failed to grow."""
    layer = LayerCount("full/kernel", 10, 10, kernels=9, synapses=synapses, stored_weights=1024, multiply_adds=2000)
    grown = accuracy is not None
    return Individual(
        generation=generation,
        parents=(generation - 1,) if generation > 1 else (),
        counts=Counts((layer,), parameters=1024) if grown else None,
        scores=Scores(accuracy, 0.5) if accuracy is not None else None,
        expected_synapses=None,
        sampled_synapses=None,
        learning_rate=1e-3,
        epochs=4,
        seconds=1.25,
        latency_ms={"1": 0.5} if grown else None,
        problem=None if grown else "Training diverged 3 times.",
        number=number,
        pressure=pressure,
    )


def lineage(*accuracies: float | None) -> Lineage:
    return Lineage(tuple(individual(generation, accuracy) for generation, accuracy in enumerate(accuracies, 1)))


@pytest.mark.parametrize(
    ("accuracies", "state", "ended"),
    [
        ((), "empty", False),
        ((0.99,), "ancestor", False),
        ((0.99, 0.98), "evolving", False),
        ((0.99, 0.98, 0.97), "finished", True),
        ((0.99, 0.90), "over budget", True),
        ((0.99, None), "failed", True),
        ((None,), "failed", True),
    ],
)
def test_a_lineage_of_three_generations_knows_how_far_it_is(
    accuracies: tuple[float | None, ...], state: str, *, ended: bool
) -> None:
    found = lineage(*accuracies)
    plan = plan_of(generations=3)
    assert course.status(found, plan) == state
    if accuracies:
        assert (course.next_conception(found, plan) is None) is ended


def test_a_larger_budget_or_more_generations_let_an_ended_lineage_go_on() -> None:
    over, finished = lineage(0.99, 0.90), lineage(0.99, 0.98, 0.97)
    assert course.next_conception(over, plan_of(generations=3, max_drop=0.10)) == Conception(3, 1, 1.0)
    assert course.next_conception(finished, plan_of(generations=4)) == Conception(4, 1, 1.0)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_generation_is_as_many_offspring_as_the_population(number: int) -> None:
    brood = [individual(2, 0.9, number=n) for n in range(1, number + 1)]
    found = Lineage((individual(1, 0.9), *brood))
    expected = Conception(3, 1, 1.0) if number == 3 else Conception(2, number + 1, 1.0)
    assert course.next_conception(found, plan_of(population=3)) == expected


def test_a_brood_of_which_one_holds_the_budget_goes_on() -> None:
    found = Lineage((individual(1, 0.9), individual(2, 0.5), individual(2, 0.89, number=2)))
    assert course.next_conception(found, plan_of(population=2)) == Conception(3, 1, 1.0)
    lost = Lineage((individual(1, 0.9), individual(2, 0.5), individual(2, 0.6, number=2)))
    assert course.next_conception(lost, plan_of(population=2)) is None


def test_an_adaptive_lineage_presses_harder_while_accuracy_holds_and_up_to_a_limit() -> None:
    plan = plan_of(adaptive=True, max_drop=0.04, generations=20)
    assert course.next_conception(lineage(0.99), plan) == Conception(2, 1, 1.0)
    assert course.next_conception(lineage(0.99, 0.98), plan) == Conception(3, 1, 1.25)
    assert course.next_conception(lineage(0.99, 0.979), plan) == Conception(3, 1, 1.0)
    hard = Lineage((individual(1, 0.99), individual(2, 0.99, pressure=1.9)))
    assert course.next_conception(hard, plan) == Conception(3, 1, 2.0)


def test_over_the_budget_an_adaptive_lineage_goes_back_and_presses_half_as_hard() -> None:
    plan = plan_of(adaptive=True, max_drop=0.02, generations=20)
    found = Lineage((individual(1, 0.99), individual(2, 0.99), individual(3, 0.95)))
    for number, pressure in ((2, 0.5), (3, 0.25), (4, 0.125), (5, 0.0625)):
        assert course.next_conception(found, plan) == Conception(3, number, pressure)
        found = found.add(individual(3, None if number == 3 else 0.95, number=number, pressure=pressure))
    assert course.next_conception(found, plan) is None  # 0.5^0.03125 is 98 % of the synapses
    assert course.status(found, plan) == "over budget"
    best = found.best(0.02)
    assert best is not None
    assert best.generation == 2


def test_after_a_smaller_step_that_held_an_adaptive_lineage_stays_careful() -> None:
    plan = plan_of(adaptive=True, max_drop=0.02, generations=20)
    held = individual(3, 0.99, number=2, pressure=0.5)
    found = Lineage((individual(1, 0.99), individual(2, 0.99), individual(3, 0.95), held))
    assert course.next_conception(found, plan) == Conception(4, 1, 0.5)


@pytest.mark.parametrize(
    ("targets", "ended"),
    [
        ({"target_synapses": 1000}, True),
        ({"target_synapses": 999}, False),
        ({"target_macs": 2000}, True),
        ({"target_macs": 1999}, False),
        ({"target_kb": 4.0}, True),
        ({"target_kb": 3.9}, False),
        ({"target_latency": 0.5}, True),
        ({"target_latency": 0.4}, False),
        ({"target_synapses": 1000, "target_macs": 1000}, False),
        ({"target_synapses": 1000, "target_macs": 2000}, True),
    ],
)
def test_a_lineage_ends_once_all_its_targets_are_reached(targets: dict[str, Any], *, ended: bool) -> None:
    plan = plan_of(**targets)
    found = lineage(0.99, 0.99)
    assert (course.next_conception(found, plan) is None) is ended
    assert course.status(found, plan) == ("finished" if ended else "evolving")


def test_the_last_step_aims_at_the_synapses_that_are_wanted() -> None:
    """Of 1000, 970 of 1000 wanted ones are aimed at: 0.5^p = 0.97 * 800 / 1000."""
    aimed = course.next_conception(lineage(0.99, 0.99), plan_of(target_synapses=800))
    assert aimed is not None
    assert 0.5**aimed.pressure == pytest.approx(0.97 * 0.8)
    far = course.next_conception(lineage(0.99, 0.99), plan_of(target_synapses=100))
    assert far == Conception(3, 1, 1.0)


def test_pressure_is_a_power_of_what_the_environment_keeps() -> None:
    environment = EnvironmentPlan(keep_clusters=0.9, keep_synapses=0.6).of(2)
    assert environment.under(1.0) == environment
    assert environment.under(2.0).keep_synapses == pytest.approx(0.36)
    assert environment.under(0.5).keep_clusters == pytest.approx(0.9**0.5)


def brood(generation: int, *accuracies: float | None, pressure: float = 1.0) -> tuple[Individual, ...]:
    return tuple(individual(generation, a, number=n, pressure=pressure) for n, a in enumerate(accuracies, 1))


def names(parents: tuple[Individual, ...]) -> list[str]:
    return [one.name for one in parents]


@pytest.mark.parametrize(
    ("accuracies", "parents"),
    [
        ((0.97, 0.99, 0.98), ["g02-2", "g02-3"]),
        ((0.98, 0.99, 0.98), ["g02-2", "g02"]),
        ((0.99, 0.99, 0.99), ["g02", "g02-2"]),
        ((0.90, 0.99, None), ["g02-2"]),
        ((0.80, 0.70, None), ["g02"]),
    ],
)
def test_the_parents_are_the_best_of_a_generation_within_the_budget(
    accuracies: tuple[float | None, ...], parents: list[str]
) -> None:
    """The last brood is over the budget: it has a parent only for a plan that allows more."""
    plan = plan_of(population=3, parents=2, max_drop=0.05)
    found = Lineage((individual(1, 0.99), *brood(2, *accuracies)))
    assert names(course.choose_parents(found, 3, plan)) == parents
    assert names(course.choose_parents(found, 2, plan)) == ["g01"]
    assert names(course.choose_parents(found, 3, plan_of(population=3, max_drop=0.05))) == parents[:1]


def test_an_adaptive_lineage_goes_back_to_all_its_last_parents() -> None:
    plan = plan_of(adaptive=True, population=2, parents=2, max_drop=0.02, generations=20)
    found = Lineage((individual(1, 0.99), *brood(2, 0.98, 0.985), *brood(3, 0.9, 0.9)))
    assert course.next_conception(found, plan) == Conception(3, 3, 0.5)
    parents = course.choose_parents(found, 3, plan)
    assert names(parents) == ["g02-2", "g02"]
    for number in (3, 4):
        found = found.add(individual(3, 0.98, number=number, pressure=0.5))
        assert course.choose_parents(found, 3, plan) == parents
    assert course.next_conception(found, plan) == Conception(4, 1, 0.5)
    assert names(course.choose_parents(found, 4, plan)) == ["g03-3", "g03-4"]


def test_the_last_step_aims_at_what_is_wanted_of_the_mean_parent() -> None:
    """900 and 1100 synapses make 1000: 0.5^p = 0.97 * 800 / 1000."""
    pair = (individual(2, 0.99, synapses=900), individual(2, 0.99, number=2, synapses=1100))
    aimed = course.next_conception(
        Lineage((individual(1, 0.99), *pair)), plan_of(target_synapses=800, population=2, parents=2)
    )
    assert aimed is not None
    assert 0.5**aimed.pressure == pytest.approx(0.97 * 0.8)


def test_what_grew_best_is_decided_without_the_test_split() -> None:
    better = replace(individual(2, 0.95, number=2), scores=Scores(0.95, 0.1))
    found = Lineage((individual(1, 0.96), replace(individual(2, 0.94), scores=Scores(0.94, 0.99)), better))
    assert found.head(2) == better


@pytest.mark.parametrize(
    ("number", "population", "expected"),
    [(1, 1, [1]), (1, 3, [1, 2, 3]), (2, 3, [2, 3]), (3, 3, [3]), (4, 3, [4, 5, 6]), (5, 3, [5, 6])],
)
def test_siblings_are_the_offspring_that_are_left_of_a_brood(number: int, population: int, expected: list[int]) -> None:
    """They are those that would come one after the other; the fourth of three is the first of a softer brood."""
    first = Conception(2, number, 0.5)
    left = course.siblings(first, plan_of(population=population))
    assert [one.number for one in left] == expected
    assert {(one.generation, one.pressure) for one in left} == {(2, 0.5)}
