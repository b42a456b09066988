"""Tasks and their examples: a batch is any tree of arrays, and a task says what of it means what."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synevo.tasks.task import InMemory, Task, at_once, first

PIXELS = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3, 1)
LABELS = np.arange(5, dtype=np.int32)
TREES = {
    "dictionary": {"image": PIXELS, "label": LABELS},
    "tuple": (PIXELS, LABELS),
    "nested": {"inputs": [PIXELS, {"mask": LABELS > 2}], "targets": (LABELS, LABELS / 2)},
    "array": PIXELS,
}


@pytest.mark.parametrize("name", TREES)
def test_examples_in_memory_are_the_rows_of_every_array_of_a_tree(name: str) -> None:
    examples, places = InMemory(TREES[name]), np.array([3, 0, 3])
    assert len(examples) == 5
    batch = examples[places]
    assert jax.tree.structure(batch) == jax.tree.structure(TREES[name])
    for found, whole in zip(jax.tree.leaves(batch), jax.tree.leaves(TREES[name]), strict=True):
        np.testing.assert_array_equal(found, np.stack([whole[3], whole[0], whole[3]]))
        assert found.dtype == whole.dtype


@pytest.mark.parametrize("name", TREES)
def test_the_first_examples_are_the_first_and_no_more_than_there_are(name: str) -> None:
    examples = InMemory(TREES[name])
    for count, there in ((2, 2), (5, 5), (100, 5)):
        for found, whole in zip(jax.tree.leaves(first(examples, count)), jax.tree.leaves(TREES[name]), strict=True):
            np.testing.assert_array_equal(found, whole[:there])


@pytest.mark.parametrize(("side", "size"), [(8, 256), (64, 85), (96, 37), (224, 6), (1024, 1)])
def test_fewer_large_examples_are_given_to_a_network_at_once(side: int, size: int) -> None:
    images = np.broadcast_to(np.float32(), (300, side, side, 3))
    assert at_once(InMemory({"image": images}), 256) == size


def test_examples_that_are_read_are_asked_for_once_by_their_places() -> None:
    asked = []

    class Read:
        def __len__(self) -> int:
            return 3

        def __getitem__(self, places: np.ndarray) -> str:
            asked.append(places.tolist())
            return "batch"

    assert first(Read(), 2) == first(Read(), 9) == "batch"
    assert asked == [[0, 1], [0, 1, 2]]


def test_a_task_is_three_functions_and_the_rest_says_the_least() -> None:
    task = Task(
        inputs=lambda batch: (batch["x"],),
        loss=lambda outputs, batch: jnp.square(outputs[:, 0] - batch["y"]),
        score=lambda outputs, batch: jnp.abs(outputs[:, 0] - batch["y"]),
    )
    batch = {"x": jnp.ones((2, 3)), "y": jnp.array([1.0, 4.0])}
    assert (task.name, task.better) == ("score", "higher")
    assert task.augment(jax.random.key(0), batch) is batch
    assert task.overall(0.25) == 0.25
    assert task.inputs(batch)[0] is batch["x"]
    np.testing.assert_array_equal(task.loss(jnp.array([[3.0], [2.0]]), batch), [4, 4])
    np.testing.assert_array_equal(task.score(jnp.array([[3.0], [2.5]]), batch), [2, 1.5])
