"""Several labels at once: each of k is there or not; the score is the F1 of all of them together (micro-F1).

A batch is `{"input": [n, …], "target": [n, k] of 0 and 1}`; a network gives k logits [n, k], and a label is there where
its logit is above 0. F1 = 2·hits / (2·hits + false alarms + misses) is counted over all labels of a whole split. Mean
average precision is no mean of examples, nor made of such means: it ranks a whole split, so it is not offered here.
"""

from functools import cache

import jax
import jax.numpy as jnp
import optax
from jax import Array

from synevo.tasks.classification import Numbers
from synevo.tasks.regression import Standard, prepared
from synevo.tasks.task import Batch, Outputs, Task

SCORES = ("micro-F1", "accuracy")
"""The scores to choose from: micro-F1, or the share of examples all of whose labels are right."""


@cache
def multilabel(
    inputs: Standard | None = None, *, score: str = "micro-F1", weights: Numbers | None = None, smoothing: float = 0.0
) -> Task:
    """Return the task of giving several labels; `inputs` standardises each feature.

    `weights` are those of the labels in the loss. With `smoothing` s the loss asks for 1 - s/2 and s/2.
    """

    def loss(logits: Outputs, batch: Batch) -> Array:
        wanted = batch["target"].astype(jnp.float32) * (1 - smoothing) + smoothing / 2
        losses = optax.sigmoid_binary_cross_entropy(logits, wanted)
        scale = 1.0 if weights is None else jnp.asarray(weights, jnp.float32).reshape(1, -1)
        return (losses * scale).mean(axis=1)

    of_all = score == "micro-F1"
    return Task(
        inputs=lambda batch: (prepared(batch["input"], inputs),),
        loss=loss,
        score=_hits_and_errors if of_all else _all_right,
        **({"overall": f1} if of_all else {}),  # type: ignore[arg-type]
        name=score,
        invariant=True,
        better="higher",
        distance=_distance,
    )


def f1(mean: Array) -> Array:
    """Return F1 of the means [2] of hits and errors; 1 where there is nothing to find, and nothing is said."""
    hits, errors = mean[0], mean[1]
    return jnp.where(hits + errors > 0, 2 * hits / jnp.maximum(2 * hits + errors, 1e-12), 1.0)


def _hits_and_errors(logits: Outputs, batch: Batch) -> Array:
    said, true = logits > 0, batch["target"] > 0
    return jnp.stack([(said & true).sum(axis=1), (said != true).sum(axis=1)], axis=-1).astype(jnp.float32)


def _all_right(logits: Outputs, batch: Batch) -> Array:
    return ((logits > 0) == (batch["target"] > 0)).all(axis=1)


def _distance(logits: Array, answers: Array, temperature: float) -> Array:
    """Return T² · KL [n] of the answers' labels from the logits', softened by T: the mean over labels."""
    wanted = answers / temperature
    losses = [optax.sigmoid_binary_cross_entropy(one, jax.nn.sigmoid(wanted)) for one in (logits / temperature, wanted)]
    return temperature**2 * (losses[0] - losses[1]).mean(axis=1)
