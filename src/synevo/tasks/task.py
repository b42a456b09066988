"""A task: what a network is for, as three pure functions of a batch; nothing else in synevo knows what a batch is.

A batch is any pytree of arrays with one row an example: `{"image": …, "label": …}`, a tuple, a single array. A task
says what of it the model is called with (`inputs`), what training lowers (`loss`) and what decisions look at (`score`).
Tasks are values, and compose as Optax's transformations do: see `synevo.tasks.distillation`.

    def problem() -> Problem:
        task = Task(
            inputs=lambda batch: (batch["x"],),
            loss=lambda outputs, batch: jnp.square(outputs[:, 0] - batch["y"]),
            score=lambda outputs, batch: jnp.abs(outputs[:, 0] - batch["y"]),
            name="mean error",
            better="lower",
        )
        return Problem(task, *(InMemory({"x": x, "y": y}) for x, y in (train, validation, test)))
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import jax
import numpy as np
from jax import Array
from numpy.typing import NDArray

Batch: TypeAlias = Any
"""A pytree of arrays whose first axis counts examples."""

Outputs: TypeAlias = Any
"""What a network makes of a batch: a pytree of arrays [n, …]."""


def _itself(mean: Array) -> Array:
    return mean


def _unchanged(key: Array, batch: Batch) -> Batch:
    del key
    return batch


@dataclass(frozen=True)
class Task:
    """What a network is for. To add a task, write `inputs`, `loss` and `score`.

    `inputs` gives the arguments of the model for a batch, as a tuple. `loss` [n] is a value an example, of which
    training lowers the mean. `score` [n] or [n, k] is what decisions look at: the mean over all examples, or what
    `overall` makes of it, such as a root or a ratio of its k parts. `augment` changes a batch before a step of
    training. Reports call the score by its `name`; `better` says which way it improves. All are pure and can be
    compiled.
    """

    inputs: Callable[[Batch], tuple[Any, ...]]
    loss: Callable[[Outputs, Batch], Array]
    score: Callable[[Outputs, Batch], Array]
    overall: Callable[[Array], Array] = _itself
    augment: Callable[[Array, Batch], Batch] = _unchanged
    name: str = "score"
    better: Literal["higher", "lower"] = "higher"


class Examples(Protocol):
    """A split of a data set: a sequence that is read a batch at a time.

    Random access makes the order of a training a function of its seed, so that resuming it is exact.
    """

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def __getitem__(self, places: NDArray[np.intp], /) -> Batch:
        """Return the batch of the examples at `places` [n]."""
        ...


@dataclass(frozen=True)
class InMemory:
    """Examples in memory: a pytree of `arrays` whose first axis counts them."""

    arrays: Batch

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(jax.tree.leaves(self.arrays)[0])

    def __getitem__(self, places: Any, /) -> Batch:
        """Return the batch of the examples at `places` [n]."""
        return jax.tree.map(lambda array: array[places], self.arrays)


class Problem(NamedTuple):
    """A task and its examples: those to train on, those that decide, and those that are only reported."""

    task: Task
    train: Examples
    validation: Examples
    test: Examples


def first(examples: Examples, count: int) -> Batch:
    """Return the batch of the first `count` examples, or of all where there are fewer."""
    return examples[np.arange(min(count, len(examples)))]
