"""Distillation: a task whose loss also compares outputs with a teacher's (Hinton et al., arXiv 1503.02531).

The teacher's answers are one more leaf of the batch, so the rest of training stays the same:

    examples = taught(examples, answers)                             the batch and the teacher's outputs for it
    examples = taught_as_read(examples, answer)                      the same, computed when a batch is read
    examples = taught(examples, ASKED)                               the same, filled in by a step of training
    task = distilled(task, share=0.5, temperature=4.0)
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.errors import TaskError
from synevo.tasks.task import Batch, Examples, InMemory, Outputs, Task

ASKED: Outputs = ()
"""In place of a teacher's outputs: it is asked in each step, for what is left of an example after augmentation."""


class Taught(NamedTuple):
    """A batch, and a teacher's outputs for it, or `ASKED`."""

    batch: Batch
    answers: Outputs


@dataclass(frozen=True)
class _TaughtExamples:
    examples: Examples
    answers: Outputs

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, places: NDArray[np.intp], /) -> Taught:
        return Taught(self.examples[places], jax.tree.map(lambda array: array[places], self.answers))


@dataclass(frozen=True)
class _TaughtAsRead:
    examples: Examples
    answer: Callable[[Batch], Outputs]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, places: NDArray[np.intp], /) -> Taught:
        batch = self.examples[places]
        return Taught(batch, self.answer(batch))


def taught(examples: Examples, answers: Outputs) -> Examples:
    """Return the examples with a teacher's outputs for them, the `answers` [n, …]."""
    if isinstance(examples, InMemory):
        return InMemory(Taught(examples.arrays, answers))
    return _TaughtExamples(examples, answers)


def taught_as_read(examples: Examples, answer: Callable[[Batch], Outputs]) -> Examples:
    """Return the examples with a teacher's outputs for them, the `answer` to each batch, of which none is held."""
    return _TaughtAsRead(examples, answer)


@cache
def distilled(task: Task, *, share: float, temperature: float) -> Task:
    """Return the task of `taught` examples: a `share` of its loss is the distance from the teacher's answers.

    That distance is the task's own, or else that of `distance` for each leaf of the outputs; `temperature` softens both
    answers. An augmented example keeps the answers that it has: those for its original.

    Raises:
        TaskError: in `loss`, if an output has no fractions and the task has no distance of its own.
    """
    apart = task.distance or _distance

    def loss(outputs: Outputs, taught: Taught) -> Array:
        lessons = apart(outputs, taught.answers, temperature)
        return (1 - share) * task.loss(outputs, taught.batch) + share * lessons

    return replace(
        task,
        inputs=lambda taught: task.inputs(taught.batch),
        loss=loss,
        score=lambda outputs, taught: task.score(outputs, taught.batch),
        augment=lambda key, taught: taught._replace(batch=task.augment(key, taught.batch)),
    )


def _distance(outputs: Outputs, answers: Outputs, temperature: float) -> Array:
    """Return the distance [n] of outputs from a teacher's answers, the sum over their leaves."""
    for path, leaf in jax.tree.leaves_with_path(outputs):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise TaskError(
                f"The output{jax.tree_util.keystr(path)} is {leaf.dtype}, and distillation compares fractions.",
                remedy="Say how far outputs are from a teacher's: Task(…, distance=function of outputs, answers and "
                "temperature); or leave it out: --set training.distillation=0.",
            )
    pairs = zip(jax.tree.leaves(outputs), jax.tree.leaves(answers), strict=True)
    parts = [distance(output, answer, temperature=temperature) for output, answer in pairs]
    return sum(parts[1:], start=parts[0])


def distance(logits: Array, answers: Array, *, temperature: float) -> Array:
    """Return T² · KL(answers || logits) [n] of logits [n, …, k] softened by T, the mean over all axes between.

    Outputs of one number each have no classes to soften. They are compared by half their squared difference; T² · KL
    tends to it as T grows. T is the temperature of arXiv 1503.02531.
    """
    if logits.ndim < 2 or logits.shape[-1] == 1:  # noqa: PLR2004
        squares = jnp.square(logits - answers) / 2
        return squares.reshape(len(squares), -1).mean(axis=1)
    own, wanted = (jax.nn.log_softmax(values / temperature) for values in (logits, answers))
    kl = temperature**2 * (jnp.exp(wanted) * (wanted - own)).sum(axis=-1)
    return kl.reshape(len(kl), -1).mean(axis=1) if kl.ndim > 1 else kl
