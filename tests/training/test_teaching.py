"""A teacher answers for what the network sees: where a picture is mirrored, so is the map that is right for it."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

from synevo import keys
from synevo.model.network import Network, build
from synevo.plan.fields import TrainingPlan
from synevo.tasks.distillation import ASKED
from synevo.tasks.task import InMemory, Task
from synevo.training.fit import fit, start
from synevo.training.teaching import as_trained, taught_by

pytestmark = pytest.mark.slow

SIDES = (5, 6)
STILL = TrainingPlan(epochs=1, batch_size=8, learning_rate=1e-12, distillation=0.5, schedule="constant")


def mirrored(key: Array, batch: Any) -> Any:
    del key
    return jax.tree.map(lambda array: jnp.flip(array, axis=2), batch)


def loss(outputs: Array, batch: Any) -> Array:
    return jnp.square(outputs - batch["map"]).mean(axis=(1, 2, 3))


TASK = Task(inputs=lambda batch: (batch["x"],), loss=loss, score=loss, better="lower", augment=mirrored)


@pytest.fixture(scope="module")
def network() -> Network:
    """A map of two numbers a place, which is another one for the mirror image."""

    def make(rngs: nnx.Rngs) -> nnx.Module:
        return nnx.Conv(1, 2, (1, 3), rngs=rngs)

    return build(make, (jnp.zeros((2, *SIDES, 1)),), jax.random.key(0))


@pytest.fixture(scope="module")
def examples() -> InMemory:
    random = np.random.default_rng(0)
    return InMemory({"x": random.normal(size=(24, *SIDES, 1)).astype(np.float32), "map": np.zeros((24, *SIDES, 2))})


def loss_after(network: Network, task: Task, examples: InMemory) -> float:
    """The loss of an epoch in which the network is taught by itself and stays as it is."""
    lessons, teacher = taught_by(network, task, examples, STILL)
    state = start(jax.tree.map(jnp.array, network), STILL, lessons)
    (after,) = fit(keys.root(0), state, as_trained(task, STILL), lessons, STILL, masks={}, teacher=teacher)
    return after.loss


def test_a_network_has_nothing_to_learn_from_itself_on_what_augmentation_leaves(
    network: Network, examples: InMemory
) -> None:
    alone = np.mean(np.square(network(jnp.flip(examples.arrays["x"], axis=2))))
    assert loss_after(network, TASK, examples) == pytest.approx(0.5 * alone, rel=1e-5)


def test_answers_for_the_originals_serve_where_augmentation_changes_nothing_that_is_right(
    network: Network, examples: InMemory
) -> None:
    invariant = replace(TASK, invariant=True)
    lessons, teacher = taught_by(network, invariant, examples, STILL)
    assert teacher is None
    np.testing.assert_allclose(lessons[np.arange(3)].answers, network(examples.arrays["x"][:3]), rtol=1e-5)
    still = replace(TASK, augment=Task(TASK.inputs, loss, loss).augment)
    assert taught_by(network, still, examples, STILL).teacher is None
    assert taught_by(network, TASK, examples, STILL).examples[np.arange(3)].answers == ASKED
    assert taught_by(network, TASK, examples, STILL.model_copy(update={"distillation": 0.0})) == (examples, None)
