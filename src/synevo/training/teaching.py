"""Teaching: the examples of a task, with the outputs of a trained network as one more leaf of each batch."""

from functools import partial

import jax

from synevo.model.network import Network
from synevo.tasks.distillation import taught, taught_as_read
from synevo.tasks.task import Examples, InMemory, Task, first
from synevo.training.evaluation import answers_of, outputs_of

HELD = 1 << 26
"""The most bytes of answers that are held for examples that are not in memory; more are computed when they are read."""


def taught_by(teacher: Network, task: Task, examples: Examples) -> Examples:
    """Return examples with a teacher's outputs for them (see `synevo.tasks.distillation`).

    They are computed once and held for examples in memory, and where they are few: then a training is the same, to the
    bit, however its examples are kept. Others are computed for each batch as it is read.
    """
    answer = partial(answers_of, teacher, task)
    one = jax.tree.leaves(jax.eval_shape(answer, first(examples, 1)))
    size = len(examples) * sum(leaf.size * leaf.dtype.itemsize for leaf in one)
    if isinstance(examples, InMemory) or size <= HELD:
        return taught(examples, outputs_of(teacher, task, examples))
    return taught_as_read(examples, answer)
