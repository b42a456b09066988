"""Teaching: what a network is trained on, with the outputs of a trained network as one more leaf of each batch."""

from functools import partial
from typing import NamedTuple

import jax

from synevo.model.network import Network
from synevo.plan.fields import TrainingPlan
from synevo.tasks.classification import moved
from synevo.tasks.distillation import ASKED, distilled, taught, taught_as_read
from synevo.tasks.task import Examples, InMemory, Task, first
from synevo.training.evaluation import answers_of, outputs_of
from synevo.training.own import augmented
from synevo.training.placement import placement

HELD = 1 << 26
"""The most bytes of answers that are held for examples that are not in memory; more are computed when they are read."""


class Lessons(NamedTuple):
    """Examples to train on, with a teacher's outputs for them; or the `teacher` whom a step of training is to ask."""

    examples: Examples
    teacher: Network | None = None


def as_trained(task: Task, plan: TrainingPlan) -> Task:
    """Return the task for one training: with augmentation and a teacher's answers, as the plan asks."""
    task = augmented(moved(task, shift=plan.shift, flip=plan.flip), plan)
    if not plan.distillation:
        return task
    return distilled(task, share=plan.distillation, temperature=plan.temperature)


def taught_by(teacher: Network, task: Task, examples: Examples, plan: TrainingPlan) -> Lessons:
    """Return examples with a teacher's outputs for them (see `synevo.tasks.distillation`), if the plan distils.

    They are computed once and held for examples in memory, and where they are few: then a training is the same, to the
    bit, however its examples are kept. Others are computed for each batch as it is read. Where augmentation changes
    what is right, as the mirror image of a picture changes its mask, the teacher answers within each step.
    """
    if not plan.distillation:
        return Lessons(examples)
    changed = as_trained(task, plan.model_copy(update={"distillation": 0.0}))
    if changed.augments and not task.invariant:
        return Lessons(taught(examples, ASKED), teacher)
    answer = partial(answers_of, teacher, task)
    one = jax.tree.leaves(jax.eval_shape(answer, first(examples, 1)))
    size = len(examples) * sum(leaf.size * leaf.dtype.itemsize for leaf in one)
    if isinstance(examples, InMemory) or size <= HELD:
        place = placement(plan.devices, shard=plan.shard)
        return Lessons(taught(examples, outputs_of(teacher, task, examples, place)))
    return Lessons(taught_as_read(examples, answer))
