"""A task: the purpose of a network, as three pure functions of a batch. The rest of synevo does not look into a batch.

A batch is any pytree of arrays with one row an example: `{"image": …, "label": …}`, a tuple, a single array. A task
computes from it the model's arguments (`inputs`), the value that training lowers (`loss`) and the value that decisions
use (`score`). Tasks are values, and compose as Optax's transformations do: see `synevo.tasks.distillation`.

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
"""The outputs of a network for a batch: a pytree of arrays [n, …]."""


def _itself(mean: Array) -> Array:
    return mean


def _unchanged(key: Array, batch: Batch) -> Batch:
    del key
    return batch


@dataclass(frozen=True)
class Task:
    """The purpose of a network. To add a task, write `inputs`, `loss` and `score`.

    `inputs` gives the arguments of the model for a batch, as a tuple. `loss` gives one value for each example [n];
    training lowers their mean. Decisions use `score`, [n] or [n, k]: its mean over all examples, or `overall` of that
    mean, such as a root or a ratio of its k parts. `augment` changes a batch before a step of training. Reports call
    the score by its `name`; `better` is the direction in which it improves. Distillation adds `distance`, one value for
    each example [n], of the outputs, a teacher's answers and the temperature; by default each leaf of the outputs is
    taken for logits along its last axis. `invariant` says that `augment` leaves the right outputs as they are, as a
    shift does the class of an image: then a teacher answers for each original once, and otherwise for what the network
    sees. All functions are pure and can be compiled.
    """

    inputs: Callable[[Batch], tuple[Any, ...]]
    loss: Callable[[Outputs, Batch], Array]
    score: Callable[[Outputs, Batch], Array]
    overall: Callable[[Array], Array] = _itself
    augment: Callable[[Array, Batch], Batch] = _unchanged
    name: str = "score"
    better: Literal["higher", "lower"] = "higher"
    distance: Callable[[Outputs, Outputs, float], Array] | None = None
    invariant: bool = False

    @property
    def augments(self) -> bool:
        """Whether a batch is changed before a step of training."""
        return self.augment is not _unchanged


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
    """A task and its examples: `train` to train on, `validation` to decide by, `test` only to report."""

    task: Task
    train: Examples
    validation: Examples
    test: Examples


MOST_NUMBERS = 2**20
"""The most numbers in examples that a network is given at once, beside a step of training: 37 of 96x96 in colours."""


def at_once(examples: Examples, most: int) -> int:
    """Return how many examples, at least one and `most` at most, hold no more than `MOST_NUMBERS` numbers."""
    numbers = sum(np.size(leaf) for leaf in jax.tree.leaves(first(examples, 1)))
    return max(1, min(most, MOST_NUMBERS // max(numbers, 1)))


def first(examples: Examples, count: int) -> Batch:
    """Return the batch of the first `count` examples, or of all where there are fewer."""
    return examples[np.arange(min(count, len(examples)))]
