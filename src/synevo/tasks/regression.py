"""Regression: numbers for every example, a vector or a map; the score is R², or the mean error in the targets' units.

A batch is `{"input": [n, …], "target": float [n, …]}`. The network learns targets of mean 0 and deviation 1: what it
gives is (target - mean) / deviation, with the `Standard` of the training targets.
"""

from functools import cache
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.tasks.classification import Numbers
from synevo.tasks.task import Batch, Outputs, Task

SCORES = ("R2", "mean error")
"""The scores to choose from: R², which rises, or the mean absolute error, which falls."""


class Standard(NamedTuple):
    """How numbers are standardised: the `mean` and the `deviation`, one for each place of the last axis, or one."""

    mean: Numbers = (0.0,)
    deviation: Numbers = (1.0,)

    def of(self, values: Array) -> Array:
        """Return (values - mean) / deviation as float32, for values [n] or [n, …, k]."""
        mean, deviation = (np.asarray(one, np.float32) for one in self)
        values = values.astype(jnp.float32)
        if values.ndim == 1:
            return (values - mean[0]) / deviation[0]
        lead = (1,) * (values.ndim - 1)
        return (values - mean.reshape(*lead, -1)) / deviation.reshape(*lead, -1)


def prepared(values: Array, standard: Standard | None) -> Array:
    """Return values by a standard; without one, as they are."""
    return values if standard is None else standard.of(values)


@cache
def regression(inputs: Standard | None = None, targets: Standard = Standard(), *, score: str = "R2") -> Task:  # noqa: B008
    """Return the task of giving numbers, with the standards of inputs and targets; None leaves inputs as they are.

    The loss is half the squared error of standardised targets. R² is 1 - squared error / variance over a whole split,
    for each place of the last axis, and then their mean.
    """

    def loss(outputs: Outputs, batch: Batch) -> Array:
        return _mean(jnp.square(_error(outputs, targets.of(batch["target"]))) / 2)

    def parts(outputs: Outputs, batch: Batch) -> Array:
        wanted = targets.of(batch["target"])
        kept = (jnp.square(_error(outputs, wanted)), wanted, jnp.square(wanted))
        return jnp.stack([_by_place(one) for one in kept], axis=-1)

    def size(outputs: Outputs, batch: Batch) -> Array:
        error = jnp.abs(_error(outputs, targets.of(batch["target"])))
        deviation = jnp.asarray(targets.deviation, jnp.float32)
        return (_by_place(error) * deviation.reshape(1, -1)).mean(axis=1)

    of_variance = score == "R2"
    return Task(
        inputs=lambda batch: (prepared(batch["input"], inputs),),
        loss=loss,
        score=parts if of_variance else size,
        **({"overall": determination} if of_variance else {}),  # type: ignore[arg-type]
        name=score,
        better="higher" if of_variance else "lower",
        distance=lambda outputs, answers, _: _mean(jnp.square(outputs - answers) / 2),
    )


def determination(mean: Array) -> Array:
    """Return R² of the means [k, 3] of squared error, target and squared target: the mean over the k places.

    A target that is always the same has no variance: its R² is 1 where it is met, else 0.
    """
    error, target, square = jnp.asarray(mean).T
    variance = square - jnp.square(target)
    varies = variance > 1e-6 * jnp.maximum(square, 1e-6)
    constant = jnp.where(error <= 1e-6 * jnp.maximum(square, 1e-6), 1.0, 0.0)
    return jnp.where(varies, 1 - error / jnp.where(varies, variance, 1), constant).mean()


def _error(outputs: Array, wanted: Array) -> Array:
    """Return outputs - wanted; an output [n, 1] is one for targets [n]."""
    return outputs.reshape(wanted.shape) - wanted


def _by_place(values: Array) -> Array:
    """Return the mean of values [n] or [n, …, k] over all axes between: [n, k]."""
    if values.ndim == 1:
        return values[:, None]
    return values.reshape(len(values), -1, values.shape[-1]).mean(axis=1)


def _mean(values: Array) -> Array:
    return values.reshape(len(values), -1).mean(axis=1)
