"""Evaluation: the outputs of a network for examples, and its score on them, in one way for all tasks."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.model.network import Network
from synevo.model.rewriting import as_products
from synevo.tasks.task import Batch, Examples, Outputs, Task, at_once
from synevo.training.placement import ALONE, Placement
from synevo.training.reading import batches

BATCH = 256
"""The number of examples that are evaluated at once, where they are not large."""


def evaluate(network: Network, task: Task, examples: Examples, placement: Placement = ALONE) -> float:
    """Return the score of a network on examples, in the units of the task."""
    total = sum(np.asarray(part, np.float64).sum(axis=0) for part in _parts(_score, network, task, examples, placement))
    return float(task.overall(total / len(examples)))


def outputs_of(network: Network, task: Task, examples: Examples, placement: Placement = ALONE) -> Outputs:
    """Return a network's outputs for all examples: NumPy arrays [n, …]."""
    parts = list(_parts(_outputs, network, task, examples, placement))
    return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def _parts(function: Any, network: Network, task: Task, examples: Examples, placement: Placement) -> Iterator[Any]:
    """Yield the results of a compiled `function` for each batch; the last batch is filled up, and its result cut."""
    count, parts = len(examples), placement.parts
    size = max(1, at_once(examples, BATCH) // parts) * parts
    starts = range(0, count, size)
    places = [np.minimum(np.arange(first, first + size), count - 1) for first in starts]
    network = placement.put(network)
    with batches(examples, [placement.own(batch) for batch in places]) as read:
        for first, batch in zip(starts, map(placement.assemble, read), strict=True):
            left = min(size, count - first)
            found = function(network, task, batch, placement)
            yield jax.tree.map(lambda array: np.asarray(array)[:left], found)  # noqa: B023


def answers_of(network: Network, task: Task, batch: Batch) -> Outputs:
    """Return a network's outputs for one batch, on the device."""
    return _outputs(network, task, batch, ALONE)


@partial(jax.jit, static_argnums=(1, 3))
def _outputs(network: Network, task: Task, batch: Batch, placement: Placement) -> Outputs:
    return placement.gather(as_products(network)(*task.inputs(batch)))


@partial(jax.jit, static_argnums=(1, 3))
def _score(network: Network, task: Task, batch: Batch, placement: Placement) -> Array:
    return placement.gather(jnp.asarray(task.score(as_products(network)(*task.inputs(batch)), batch)))
