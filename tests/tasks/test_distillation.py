"""Distillation: a task that also asks for the answers of a teacher, against NumPy."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from synevo import keys
from synevo.tasks.classification import classification, moved
from synevo.tasks.distillation import Taught, distance, distilled, taught
from synevo.tasks.task import InMemory, Task


def random(*shape: int) -> np.ndarray:
    """Numbers that are the same in every test."""
    return np.random.default_rng(3).normal(size=shape)


def divergence(answers: np.ndarray, logits: np.ndarray, temperature: float) -> np.ndarray:
    """By hand: T^2 * sum of q (log q - log p), along the last axis."""
    q, p = (np.exp(values.astype(np.float64) / temperature) for values in (answers, logits))
    q, p = (values / values.sum(axis=-1, keepdims=True) for values in (q, p))
    return temperature**2 * (q * (np.log(q) - np.log(p))).sum(axis=-1)


@pytest.mark.parametrize("temperature", [1.0, 2.5, 8.0])
def test_the_distance_of_logits_is_the_divergence_of_softened_answers(temperature: float) -> None:
    logits, lesson = random(2, 5, 4) * 3
    found = distance(jnp.asarray(logits), jnp.asarray(lesson), temperature=temperature)
    np.testing.assert_allclose(found, divergence(lesson, logits, temperature), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        distance(jnp.asarray(lesson), jnp.asarray(lesson), temperature=temperature), np.zeros(5), atol=1e-6
    )


def test_of_many_answers_an_example_the_distance_is_the_mean() -> None:
    logits, lesson = random(2, 5, 3, 2, 4) * 3
    found = distance(jnp.asarray(logits), jnp.asarray(lesson), temperature=2.0)
    np.testing.assert_allclose(found, divergence(lesson, logits, 2.0).mean(axis=(1, 2)), rtol=1e-4)


@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3, 1)])
def test_a_regression_is_distilled_by_half_the_squared_distance(shape: tuple[int, ...]) -> None:
    values, lesson = random(2, *shape).astype(np.float32)
    found = distance(jnp.asarray(values), jnp.asarray(lesson), temperature=4.0)
    expected = ((values - lesson) ** 2 / 2).reshape(5, -1).mean(axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_softened_without_end_two_classes_are_told_apart_by_a_squared_distance_as_well() -> None:
    """T^2 * KL tends to the variance of the differences over the classes, by half: here (a - b)^2 / 8."""
    logits, lesson = np.array([[1.0, 3.0]]), np.array([[2.5, 2.0]])
    found = distance(jnp.asarray(logits), jnp.asarray(lesson), temperature=30.0)
    np.testing.assert_allclose(found, [(1.5 - -1.0) ** 2 / 8], rtol=0.02)


def lessons() -> tuple[Task, Taught, np.ndarray]:
    """The task of images, a batch that was taught, and what a pupil says to it."""
    pixels = np.random.default_rng(0).integers(1, 256, (6, 5, 4, 1), dtype=np.uint8)
    pupil, answers = random(2, 6, 3).astype(np.float32)
    batch = {"image": jnp.asarray(pixels), "label": jnp.array([0, 1, 2, 0, 1, 2])}
    return classification((0.5,), (0.25,)), Taught(batch, jnp.asarray(answers)), pupil


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_loss_has_its_share_of_the_teacher_and_the_rest_of_the_task(share: float) -> None:
    task, batch, pupil = lessons()
    found = distilled(task, share=share, temperature=2.0).loss(jnp.asarray(pupil), batch)
    own = np.asarray(task.loss(jnp.asarray(pupil), batch.batch))
    expected = (1 - share) * own + share * divergence(np.asarray(batch.answers), pupil, 2.0)
    assert found.shape == (6,)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    if share == 0:
        np.testing.assert_array_equal(found, own)


def test_all_but_the_loss_is_the_task_s_own() -> None:
    task, batch, pupil = lessons()
    seen = distilled(task, share=0.5, temperature=2.0)
    np.testing.assert_array_equal(seen.inputs(batch)[0], task.inputs(batch.batch)[0])
    np.testing.assert_array_equal(seen.score(jnp.asarray(pupil), batch), task.score(jnp.asarray(pupil), batch.batch))
    assert (seen.name, seen.better, seen.overall) == (task.name, task.better, task.overall)
    assert distilled(task, share=0.5, temperature=2.0) is seen, "what is compiled for one serves the other"


def test_an_augmented_example_keeps_the_answers_for_its_original() -> None:
    task, batch, _ = lessons()
    restless = moved(task, shift=2, flip=True)
    found = distilled(restless, share=0.5, temperature=2.0).augment(keys.root(0), batch)
    np.testing.assert_array_equal(found.answers, batch.answers)
    np.testing.assert_array_equal(found.batch["label"], batch.batch["label"])
    np.testing.assert_array_equal(found.batch["image"], restless.augment(keys.root(0), batch.batch)["image"])
    assert (np.asarray(found.batch["image"]) != np.asarray(batch.batch["image"])).any()


@dataclass(frozen=True)
class Read:
    """Examples that are read a batch at a time, as from a disk."""

    x: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, places: np.ndarray) -> dict[str, np.ndarray]:
        return {"x": self.x[places]}


@pytest.mark.parametrize("kind", ["in memory", "read"])
def test_the_teacher_s_answers_ride_along_with_their_examples(kind: str) -> None:
    x = np.arange(10.0).reshape(5, 2)
    answers = {"class": 10 * x, "size": x[:, 0]}
    examples = taught(InMemory({"x": x}) if kind == "in memory" else Read(x), answers)
    assert isinstance(examples, InMemory) == (kind == "in memory"), "what is on the device stays there"
    assert len(examples) == 5
    batch = examples[np.array([4, 1])]
    np.testing.assert_array_equal(batch.batch["x"], x[[4, 1]])
    np.testing.assert_array_equal(batch.answers["class"], 10 * x[[4, 1]])
    np.testing.assert_array_equal(batch.answers["size"], [8, 2])
    assert len(jax.tree.leaves(batch)) == 3


def test_a_network_of_several_outputs_is_as_far_from_its_teacher_as_all_of_them_together() -> None:
    logits, lesson = random(2, 5, 4)
    size, wanted = random(2, 5, 1)

    def nothing(outputs: Any, batch: Any) -> Array:
        del batch
        return jnp.zeros(len(outputs["size"]))

    task = distilled(Task(lambda batch: (batch,), nothing, nothing), share=1.0, temperature=2.0)
    outputs = {"class": jnp.asarray(logits), "size": jnp.asarray(size)}
    found = task.loss(outputs, Taught(None, {"class": jnp.asarray(lesson), "size": jnp.asarray(wanted)}))
    expected = divergence(lesson, logits, 2.0) + (size - wanted)[:, 0] ** 2 / 2
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_answers_with_other_leaves_than_the_outputs_are_refused() -> None:
    task, batch, pupil = lessons()
    seen = distilled(task, share=1.0, temperature=2.0)
    with pytest.raises(ValueError, match="shorter"):
        seen.loss((jnp.asarray(pupil), jnp.asarray(pupil)), batch)
