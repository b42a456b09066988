"""Telling images apart: what a network sees of them, how they are moved in training, and who is right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from synevo import keys
from synevo.tasks.classification import augment, classification, moved, normalise
from synevo.tasks.task import Task


def picture(count: int = 200) -> Array:
    """Pictures of which no two places look alike."""
    return jnp.asarray(np.random.default_rng(0).integers(1, 256, (count, 6, 5, 2), dtype=np.uint8))


def shifted(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """An image moved, with black where it came from."""
    result = np.zeros_like(image)
    height, width = image.shape[:2]
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                result[y, x] = image[y - down, x - right]
    return result


def test_shifted_images_are_moved_by_at_most_so_many_pixels_in_every_direction() -> None:
    before = picture()
    after = np.asarray(augment(keys.root(0), before, shift=1, flip=False))
    assert after.shape == before.shape
    assert after.dtype == np.uint8
    seen = set()
    for image, result in zip(np.asarray(before), after, strict=True):
        steps = [
            (down, right)
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
            if (shifted(image, down, right) == result).all()
        ]
        assert len(steps) == 1
        seen.add(steps[0])
    assert len(seen) == 9


def test_mirrored_images_are_about_half_of_all() -> None:
    before = np.asarray(picture())
    after = np.asarray(augment(keys.root(0), jnp.asarray(before), shift=0, flip=True))
    mirrored = (after == before[:, :, ::-1]).all((1, 2, 3))
    untouched = (after == before).all((1, 2, 3))
    assert (mirrored ^ untouched).all()
    assert 70 < mirrored.sum() < 130


def test_without_augmentation_images_are_left_alone() -> None:
    np.testing.assert_array_equal(augment(keys.root(0), picture(), shift=0, flip=False), picture())


def test_augmentation_depends_on_the_key_alone() -> None:
    one, again, other = (np.asarray(augment(keys.root(seed), picture(), shift=2, flip=True)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_a_network_sees_each_channel_by_its_own_mean_and_deviation() -> None:
    pixels = np.asarray(picture(3))
    found = normalise(jnp.asarray(pixels), (0.25, 0.5), (0.5, 2.0))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found[..., 0], (pixels[..., 0] / 255 - 0.25) / 0.5, atol=1e-6)
    np.testing.assert_allclose(found[..., 1], (pixels[..., 1] / 255 - 0.5) / 2.0, atol=1e-6)


@pytest.fixture
def task() -> Task:
    return classification((0.25, 0.5), (0.5, 2.0))


def test_the_task_feeds_normalised_images_and_scores_the_share_that_is_right(task: Task) -> None:
    random = np.random.default_rng(1)
    labels, logits = np.array([0, 3, 1, 2], np.int32), random.normal(size=(4, 4)).astype(np.float32)
    batch = {"image": picture(4), "label": jnp.asarray(labels)}
    (x,) = task.inputs(batch)
    np.testing.assert_array_equal(x, normalise(picture(4), (0.25, 0.5), (0.5, 2.0)))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    expected = -np.log(probabilities[np.arange(4), labels])
    np.testing.assert_allclose(task.loss(jnp.asarray(logits), batch), expected, rtol=1e-5)
    np.testing.assert_array_equal(task.score(jnp.asarray(logits), batch), logits.argmax(1) == labels)
    assert (task.name, task.better) == ("accuracy", "higher")


def test_equal_tasks_are_one_so_that_what_is_compiled_for_one_serves_the_other(task: Task) -> None:
    assert classification((0.25, 0.5), (0.5, 2.0)) is task
    assert moved(task, shift=1, flip=True) is moved(task, shift=1, flip=True)
    assert moved(task, shift=0, flip=False) is task


def test_a_moved_task_moves_the_images_of_training_and_nothing_else(task: Task) -> None:
    restless = moved(task, shift=2, flip=True)
    batch = {"image": picture(8), "label": jnp.arange(8), "weight": jnp.ones(8)}
    found = restless.augment(keys.root(3), batch)
    np.testing.assert_array_equal(found["image"], augment(keys.root(3), picture(8), shift=2, flip=True))
    assert (np.asarray(found["image"]) != np.asarray(picture(8))).any()
    assert found["label"] is batch["label"]
    assert found["weight"] is batch["weight"]
    for name in ("inputs", "loss", "score", "overall", "name", "better"):
        assert getattr(restless, name) == getattr(task, name)


def test_a_moved_task_keeps_what_the_task_itself_does_to_a_batch(task: Task) -> None:
    def brighten(key: Array, batch: dict[str, Array]) -> dict[str, Array]:
        del key
        return {**batch, "image": batch["image"] // 2}

    dimmed = Task(task.inputs, task.loss, task.score, augment=brighten)
    found = jax.jit(moved(dimmed, shift=1, flip=False).augment)(keys.root(0), {"image": picture(8)})
    np.testing.assert_array_equal(found["image"], augment(keys.root(0), picture(8) // 2, shift=1, flip=False))
