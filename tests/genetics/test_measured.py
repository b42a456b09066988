"""What was measured of a parent counts for that parent alone, and is not measured twice."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from specimens import Specimen, random_masks

from synevo.genetics import heredity, removal
from synevo.genetics.archive import Memory
from synevo.genetics.measured import basis_of, worth_of
from synevo.genetics.organism import Organism
from synevo.plan.fields import EncodingPlan, HeredityName
from synevo.tasks.task import Examples, InMemory, Problem, Task, first
from synevo.wiring.masks import apply

pytestmark = pytest.mark.slow

PLAN = EncodingPlan(heredity="removal", cluster="filter", audit=0.1)


@pytest.fixture(scope="module")
def parent(tiny: Specimen) -> Organism:
    alive = random_masks(tiny, 0.75, 2)
    return replace(tiny.organism, network=apply(alive, tiny.network), masks=alive)


@pytest.fixture(scope="module")
def few(digits: Problem) -> InMemory:
    return InMemory(first(digits.train, 48))


def moved(parent: Organism) -> Organism:
    name = "full/bias"
    array = parent.network.parameters[name].at[0].add(1e-3)
    return replace(parent, network=replace(parent.network, parameters={**parent.network.parameters, name: array}))


def revived(parent: Organism) -> Organism:
    return replace(parent, masks={name: mask | True for name, mask in parent.masks.items()})


def relabelled(few: InMemory) -> InMemory:
    return InMemory({**few.arrays, "label": np.roll(few.arrays["label"], 1)})


Basis = tuple[Organism, Task, Examples, EncodingPlan]

OTHERS: dict[str, Callable[[Organism, Task, InMemory], Basis]] = {
    "weights": lambda parent, task, few: (moved(parent), task, few, PLAN),
    "masks": lambda parent, task, few: (revived(parent), task, few, PLAN),
    "examples": lambda parent, task, few: (parent, task, relabelled(few), PLAN),
    "fewer examples": lambda parent, task, few: (parent, task, InMemory(first(few, 40)), PLAN),
    "loss": lambda parent, task, few: (parent, replace(task, loss=lambda y, batch: 2 * task.loss(y, batch)), few, PLAN),
    "heredity": lambda parent, task, few: (parent, task, few, PLAN.model_copy(update={"heredity": "taylor"})),
    "audit": lambda parent, task, few: (parent, task, few, PLAN.model_copy(update={"audit": 0.2})),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_was_measured_does_not_count_where_anything_it_depends_on_is_another(
    parent: Organism, digits: Problem, few: InMemory, what: str
) -> None:
    known = basis_of(parent, digits.task, few, PLAN)
    assert basis_of(*OTHERS[what](parent, digits.task, few)) != known


def test_it_counts_for_the_same_weights_read_again_in_another_environment(
    parent: Organism, digits: Problem, few: InMemory
) -> None:
    again = replace(parent, network=parent.network.map(lambda _, array: jnp.array(array)))
    other = PLAN.model_copy(update={"cluster_sharpness": 7.0, "truncation": 0.5})
    assert basis_of(again, digits.task, few, other) == basis_of(parent, digits.task, few, PLAN)


@pytest.mark.parametrize("name", ["taylor", "removal", "sensitivity"])
def test_a_parent_is_measured_once_and_its_worth_is_the_same_each_time(
    parent: Organism, digits: Problem, few: InMemory, name: HeredityName, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, archive = PLAN.model_copy(update={"heredity": name}), Memory()
    own = partial(worth_of, names=["g02"], task=digits.task, examples=few, plan=plan, archive=archive)
    worth = own(parent)

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(removal, "gains", refuse)
    monkeypatch.setattr(heredity, "feel", refuse)
    monkeypatch.setattr(heredity, "_gradient", refuse)
    found = own(parent)
    for array, values in worth.synapses.items():
        np.testing.assert_array_equal(found.synapses[array], values)
    assert (found.clusters is None) == (worth.clusters is None) == (name == "taylor")
    if worth.clusters is not None:
        np.testing.assert_array_equal(found.clusters, worth.clusters)
    with pytest.raises(AssertionError, match="measured again"):
        own(moved(parent))


def test_the_sizes_of_weights_are_not_kept(parent: Organism, digits: Problem, few: InMemory) -> None:
    archive = Memory()
    for name in ("cluster", "removal"):
        plan = PLAN.model_copy(update={"heredity": name})
        worth = worth_of(parent, ["g02"], digits.task, few, plan, archive)
        np.testing.assert_array_equal(worth.synapses["full/kernel"], np.abs(parent.network.parameters["full/kernel"]))
        assert list(archive.worths) == ["g02"][: name == "removal"]
    assert not archive.worths["g02"][1].synapses
