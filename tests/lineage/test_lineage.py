"""The lineage: who is best, whether it has ended, and what goes to JSON and back."""

import json
from dataclasses import replace

import pytest

from synevo.lineage.individuals import (
    Counts,
    Individual,
    LayerCount,
    Lineage,
    Scores,
    from_table,
    label_of,
    ratio,
    to_table,
)

COUNTS = Counts(
    (
        LayerCount("conv/kernel", 1, 4, kernels=3, synapses=20, stored_weights=36, multiply_adds=3600),
        LayerCount("classifier/kernel", 4, 10, kernels=30, synapses=30, stored_weights=40, multiply_adds=40),
    ),
    parameters=90,
)


def individual(generation: int, accuracy: float | None) -> Individual:
    """Of a generation with this validation accuracy, or that failed to grow."""
    grown = accuracy is not None
    return Individual(
        generation=generation,
        parents=(generation - 1,) if generation > 1 else (),
        counts=COUNTS if grown else None,
        scores=Scores(accuracy, 0.5) if accuracy is not None else None,
        expected_synapses=50.5 if generation > 1 else None,
        sampled_synapses=51 if generation > 1 else None,
        learning_rate=1e-3,
        epochs=4,
        seconds=1.25,
        latency_ms={"1": 0.5, "256": 12.0} if grown else None,
        problem=None if grown else "Training diverged 3 times.",
    )


def lineage(*accuracies: float | None) -> Lineage:
    found = Lineage()
    for generation, accuracy in enumerate(accuracies, 1):
        found = found.add(individual(generation, accuracy))
    return found


def test_counts_add_up_over_layers_and_the_family_s_leave_the_classifier_out() -> None:
    assert (COUNTS.synapses, COUNTS.kernels, COUNTS.stored_weights, COUNTS.multiply_adds) == (50, 33, 76, 3640)
    assert (COUNTS.family_synapses, COUNTS.family_kernels) == (20, 3)


@pytest.mark.parametrize("accuracy", [0.987654321, None])
@pytest.mark.parametrize("generation", [1, 7])
def test_an_individual_goes_to_json_and_back(generation: int, accuracy: float | None) -> None:
    before = individual(generation, accuracy)
    assert from_table(json.loads(json.dumps(to_table(before)))) == before


@pytest.mark.parametrize("damage", ["scores", "counts", "parents", "generation"])
def test_a_table_that_is_no_individual_is_refused(damage: str) -> None:
    table = to_table(individual(2, 0.9))
    del table[damage]
    with pytest.raises((KeyError, TypeError)):
        from_table(table)


def test_a_table_with_a_field_too_many_is_refused() -> None:
    with pytest.raises(TypeError):
        from_table(to_table(individual(2, 0.9)) | {"colour": "blue"})


def test_an_individual_is_named_by_its_generation_and_its_number_among_its_siblings() -> None:
    assert [individual(generation, 0.9).name for generation in (1, 9, 10, 113)] == ["g01", "g09", "g10", "g113"]
    third = replace(individual(7, 0.9), number=3)
    assert (third.name, third.label, individual(7, 0.9).label) == ("g07-3", "7-3", "7")


def test_the_line_leads_through_the_best_of_each_generation_on_the_validation_split() -> None:
    brood = [replace(individual(2, accuracy), number=n) for n, accuracy in enumerate((0.97, 0.99, None, 0.99), 1)]
    found = Lineage((individual(1, 0.99), *brood, individual(3, 0.5)))
    assert [one.name for one in found.line] == ["g01", "g02-2", "g03"]
    assert found.brood(2) == tuple(brood)
    best = found.best(0.03)
    assert best is not None
    assert best.name == "g02-2"


def test_lines_of_older_versions_are_read() -> None:
    table = to_table(individual(2, 0.9))
    del table["number"], table["pressure"]
    assert from_table(table | {"chosen": True}) == individual(2, 0.9)


def test_a_parent_that_an_older_version_kept_as_a_generation_is_its_head() -> None:
    brood = (individual(2, 0.8), replace(individual(2, 0.9), number=2))
    old, new = individual(3, 0.7), replace(individual(3, 0.7), parents=("g02-2", "g02"))
    found = Lineage((individual(1, 0.9), *brood, old))
    assert old.parents == (2,)
    assert [found.parents_of(one) for one in (*brood, old, new)] == [("g01",), ("g01",), ("g02-2",), ("g02-2", "g02")]
    assert Lineage((old,)).parents_of(old) == ("g02",)
    assert from_table(json.loads(json.dumps(to_table(new)))) == new


@pytest.mark.parametrize(("name", "label"), [("g01", "1"), ("g10", "10"), ("g07-2", "7-2"), ("g113-10", "113-10")])
def test_a_name_gives_the_label(name: str, label: str) -> None:
    assert label_of(name) == label


def test_a_lineage_grows_by_one_and_the_old_one_stays() -> None:
    before = lineage(0.9)
    after = before.add(individual(2, 0.8))
    assert (len(before.individuals), len(after.individuals)) == (1, 2)
    assert (after.ancestor.generation, after.last.generation) == (1, 2)


def test_a_drop_of_just_the_budget_is_within_it() -> None:
    """0.99 - 0.96 is a little more than 0.03 in binary."""
    found = lineage(0.99, 0.96, 0.9599)
    assert [found.within_budget(one, 0.03) for one in found.individuals] == [True, True, False]


@pytest.mark.parametrize(
    ("accuracies", "generation"),
    [
        ((0.99,), 1),
        ((0.99, 0.985, 0.98), 3),
        ((0.99, 0.985, 0.90), 2),
        ((0.99, 0.985, None), 2),
        ((0.99, 0.80, 0.98), 3),
        ((0.90, 0.95, 0.80), 2),
    ],
)
def test_the_best_is_the_last_that_is_within_the_budget(accuracies: tuple[float | None, ...], generation: int) -> None:
    best = lineage(*accuracies).best(0.03)
    assert best is not None
    assert best.generation == generation


def test_without_a_trained_ancestor_there_is_no_best() -> None:
    assert Lineage().best(0.03) is None
    assert lineage(None).best(0.03) is None


def test_the_validation_split_decides_and_the_test_split_does_not() -> None:
    ancestor, child = individual(1, 0.9), individual(2, 0.9)
    poor = replace(child, scores=Scores(0.9, 0.0))
    assert Lineage((ancestor, poor)).within_budget(poor, 0.0)


def test_a_ratio_to_nothing_is_unknown() -> None:
    assert ratio(143_136, 1_000) == pytest.approx(143.136)
    assert ratio(5, 0) is None
    assert ratio(0, 5) == 0


# Scores that fall where networks improve


def erring(generation: int, error: float) -> Individual:
    return replace(individual(generation, 0.5), scores=Scores(error, 0.5, "mean error", "lower"))


def test_of_scores_that_fall_the_least_is_the_best_and_a_drop_is_a_rise() -> None:
    brood = [replace(erring(2, error), number=n) for n, error in enumerate((0.14, 0.09, 0.11), 1)]
    failed = replace(individual(2, None), number=4)
    found = Lineage((erring(1, 0.10), *brood, failed))
    assert [one.name for one in found.ranked(2)] == ["g02-2", "g02-3", "g02", "g02-4"]
    assert [found.within_budget(one, 0.02) for one in found.individuals] == [True, False, True, True, False]
    assert Scores(0.14, 0, "mean error", "lower").drop(Scores(0.10, 0, "mean error", "lower")) == pytest.approx(0.04)
    assert Scores(0.97, 0).drop(Scores(0.99, 0)) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("errors", "generation"), [((0.10,), 1), ((0.10, 0.09, 0.12), 3), ((0.10, 0.12, 0.13), 2), ((0.10, 0.13, 0.02), 3)]
)
def test_the_best_of_falling_scores_is_the_last_that_has_not_grown_beyond_the_budget(
    errors: tuple[float, ...], generation: int
) -> None:
    best = Lineage(tuple(erring(number, error) for number, error in enumerate(errors, 1))).best(0.02)
    assert best is not None
    assert best.generation == generation


def test_scores_that_fall_go_to_json_and_back() -> None:
    before = erring(2, 0.125)
    assert from_table(json.loads(json.dumps(to_table(before)))) == before


def test_the_accuracies_of_older_versions_are_read_as_scores() -> None:
    """They knew accuracies alone, named them so, and did not say which way they improve."""
    table = to_table(individual(2, 0.9)) | {"scores": {"validation_accuracy": 0.9, "test_accuracy": 0.5}}
    assert from_table(json.loads(json.dumps(table))) == individual(2, 0.9)
