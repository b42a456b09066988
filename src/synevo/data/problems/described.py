"""A problem with all that is known about its examples: the form of an input and of an output, and facts to keep."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from numpy.typing import NDArray

from synevo.data.memory import memory
from synevo.errors import DataError, PlanError
from synevo.plan.fields import Plan
from synevo.tasks.task import Examples, InMemory, Problem, first

MOST_RESIDENT = 2**30
"""The most bytes of a split that are read at once and kept; a larger one is read as it is needed."""


class Described(NamedTuple):
    """A `problem` of a built-in task.

    A network's factory is given the `shape` of one input and the number of `outputs`; it gives logits or numbers
    [n, *answer]. `facts` are JSON values that are kept beside the network: the names of classes, the vocabulary, how
    inputs are prepared. `chance` is the share of right answers on validation by always naming the most frequent class.
    """

    problem: Problem
    shape: tuple[int, ...]
    outputs: int
    answer: tuple[int, ...]
    facts: Mapping[str, Any]
    chance: float | None = None


def resident(examples: Examples) -> Examples:
    """Return examples in memory where they take little of it, or else as they are."""
    if isinstance(examples, InMemory):
        return examples
    bytes_each = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(first(examples, 1)))
    if bytes_each * len(examples) > min(MOST_RESIDENT, memory() // 4):
        return examples
    return InMemory(examples[np.arange(len(examples))])


def chosen(plan: Plan, scores: tuple[str, ...]) -> str:
    """Return the score that the plan names, or the first one; PlanError if the task has no such score."""
    if plan.task.score is None:
        return scores[0]
    if plan.task.score not in scores:
        raise PlanError(
            f"task.score = {plan.task.score!r}: the task {plan.task.name} has no such score.",
            remedy=f"Its scores are {', '.join(scores)}: --set 'task.score={scores[0]}'.",
        )
    return plan.task.score


def weights_of(plan: Plan, counts: NDArray[np.integer[Any]]) -> tuple[float, ...] | None:
    """Return the weights of the classes in the loss: None, the plan's, or those that balance `counts` [classes].

    Balanced, a class weighs n / (classes · its count), as in scikit-learn.

    Raises:
        PlanError: if the plan gives another number of weights than there are classes.
        DataError: if a class to balance has no example.
    """
    wanted = plan.task.class_weights
    if wanted is None:
        return None
    if isinstance(wanted, tuple):
        if len(wanted) != len(counts):
            raise PlanError(
                f"task.class_weights has {len(wanted)} numbers, and there are {len(counts)} classes.",
                remedy="Give one for each class, in the order of the labels, or write balanced.",
            )
        return wanted
    if (counts == 0).any():
        raise DataError(
            f"Class {int(np.flatnonzero(counts == 0)[0])} has no training examples, and its weight would be infinite.",
            remedy="Leave task.class_weights=balanced out, or give the weights as numbers.",
        )
    return tuple(float(one) for one in counts.sum() / (len(counts) * counts))


def refuse(plan: Plan, *names: str) -> None:
    """Raise PlanError if the plan sets a field of its task that this task does not use."""
    usual = type(plan.task)()
    for name in names:
        if getattr(plan.task, name) != getattr(usual, name):
            raise PlanError(
                f"task.{name} is set, and the task {plan.task.name} does not use it on {plan.data.dataset}.",
                remedy="Leave it out. `synevo guide tasks` says which task uses what; a loss of your own is part of "
                "a task of your own (`synevo guide own-task`).",
            )
