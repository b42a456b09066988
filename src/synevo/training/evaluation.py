"""Evaluation: the outputs of a network for examples, and its score on them, in one way for all tasks."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.model.network import Network
from synevo.tasks.task import Batch, Examples, Outputs, Task, first
from synevo.training.reading import batches

BATCH = 256
"""The number of examples that are evaluated at once, unless they are large."""

_NUMBERS = 1 << 20
"""The most numbers of a batch of examples: 256 of 64x64 pixels; of larger ones, fewer are evaluated at once."""


def evaluate(network: Network, task: Task, examples: Examples) -> float:
    """Return the score of a network on examples, in the units of the task."""
    total = sum(np.asarray(part, np.float64).sum(axis=0) for part in _parts(_score, network, task, examples))
    return float(task.overall(total / len(examples)))


def outputs_of(network: Network, task: Task, examples: Examples) -> Outputs:
    """Return a network's outputs for all examples: NumPy arrays [n, …]."""
    parts = list(_parts(_outputs, network, task, examples))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _parts(function: Any, network: Network, task: Task, examples: Examples) -> Iterator[Any]:
    """Yield the results of a compiled `function` for each batch; the last batch is filled up, and its result cut."""
    count, size = len(examples), batch_of(task, examples)
    starts = range(0, count, size)
    places = [np.minimum(np.arange(start, start + size), count - 1) for start in starts]
    with batches(examples, places) as read:
        for start, batch in zip(starts, read, strict=True):
            left = min(size, count - start)
            yield jax.tree.map(lambda array: np.asarray(array)[:left], function(network, task, batch))  # noqa: B023


def batch_of(task: Task, examples: Examples) -> int:
    """Return the number of examples that are evaluated at once: what a network holds grows with their size."""
    shapes = jax.eval_shape(task.inputs, first(examples, 1))
    numbers = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    return max(1, min(BATCH, _NUMBERS // max(1, numbers)))


def answers_of(network: Network, task: Task, batch: Batch) -> Outputs:
    """Return a network's outputs for one batch, on the device."""
    return _outputs(network, task, batch)


@partial(jax.jit, static_argnums=1)
def _outputs(network: Network, task: Task, batch: Batch) -> Outputs:
    return network(*task.inputs(batch))


@partial(jax.jit, static_argnums=1)
def _score(network: Network, task: Task, batch: Batch) -> Array:
    return jnp.asarray(task.score(network(*task.inputs(batch)), batch))
