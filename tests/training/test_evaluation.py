"""Evaluation: every example counts once, whatever the task and however its examples are kept."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from specimens import Specimen, outputs

from synevo.tasks.task import InMemory, Problem, Task
from synevo.training import evaluation
from synevo.training.evaluation import evaluate, outputs_of


@dataclass(frozen=True)
class Read:
    """Examples that are read a batch at a time, as from a disk."""

    arrays: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.arrays["label"])

    def __getitem__(self, places: np.ndarray) -> dict[str, np.ndarray]:
        return {name: array[places] for name, array in self.arrays.items()}


@pytest.fixture(scope="module")
def pixels(digits: Problem) -> np.ndarray:
    """320 images: one batch of 256 and a part of one."""
    parts: list[Any] = [digits.train, digits.validation]
    return np.concatenate([part.arrays["image"] for part in parts])


@pytest.fixture(scope="module")
def logits(tiny: Specimen, pixels: np.ndarray) -> np.ndarray:
    """What the network makes of them all at once."""
    return outputs(tiny.network, (pixels.astype(np.float32) / 255 - np.float32(0.3)) / np.float32(0.4))


@pytest.mark.parametrize("kind", [InMemory, Read])
@pytest.mark.parametrize("count", [320, 256, 257, 3])
def test_accuracy_counts_every_image_once(
    tiny: Specimen, digits: Problem, pixels: np.ndarray, logits: np.ndarray, count: int, kind: Any
) -> None:
    """What pads the last batch is not counted."""
    labels = logits[:count].argmax(-1).astype(np.int32)
    labels[:2] = (labels[:2] + 1) % 4
    found = evaluate(tiny.network, digits.task, kind({"image": pixels[:count], "label": labels}))
    assert found == (count - 2) / count


@pytest.mark.parametrize("count", [320, 257, 1])
def test_outputs_are_those_of_all_examples_in_their_order(
    tiny: Specimen, digits: Problem, pixels: np.ndarray, logits: np.ndarray, count: int
) -> None:
    examples = Read({"image": pixels[:count], "label": np.zeros(count, np.int32)})
    found = outputs_of(tiny.network, digits.task, examples)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, logits[:count], rtol=1e-5, atol=1e-5)


def test_fewer_large_examples_are_evaluated_at_once() -> None:
    """What a network holds of a batch grows with its pixels: 96x96 in colours come 37 at a time, 224x224 six."""
    task = Task(lambda batch: (batch["x"],), lambda outputs, _: outputs, lambda _, batch: batch["x"].mean((1, 2, 3)))
    for side, size in ((8, 256), (64, 85), (96, 37), (224, 6), (1024, 1)):
        examples = Read({"label": np.zeros(300, np.int32), "x": np.broadcast_to(np.float32(), (300, side, side, 3))})
        assert evaluation.batch_of(task, examples) == size


def ratio(parts: Any) -> Any:
    """Of two sums, the first by the second."""
    return parts[0] / parts[1]


@pytest.mark.parametrize("count", [320, 257, 101])
def test_a_score_may_be_a_ratio_of_sums_over_all_examples(
    tiny: Specimen, digits: Problem, pixels: np.ndarray, logits: np.ndarray, count: int
) -> None:
    """Precision: of what is taken for a class, the share that is of it; no mean of anything over examples."""
    labels = np.random.default_rng(count).integers(0, 4, count).astype(np.int32)

    def score(outputs: Any, batch: Any) -> Any:
        taken = outputs.argmax(-1) == 1
        return jnp.stack([taken & (batch["label"] == 1), taken], axis=-1)

    precision = Task(digits.task.inputs, digits.task.loss, score, overall=ratio, name="precision")
    taken = logits[:count].argmax(-1) == 1
    assert 0 < taken.sum() < count
    expected = (labels[taken] == 1).sum() / taken.sum()
    found = evaluate(tiny.network, precision, InMemory({"image": pixels[:count], "label": labels}))
    assert found == pytest.approx(expected, abs=1e-12)


def test_the_mean_of_many_scores_is_as_exact_as_double_precision(tiny: Specimen, digits: Problem) -> None:
    """Batches are summed in double precision: a small score is not lost beside a large one."""

    def score(outputs: Any, batch: Any) -> Any:
        del outputs
        return batch["value"]

    values = np.full(2560, 0.1, np.float32)
    values[0] = 1e6
    task = Task(digits.task.inputs, digits.task.loss, score)
    images = np.zeros((len(values), 8, 8, 1), np.uint8)
    found = evaluate(tiny.network, task, InMemory({"image": images, "value": values}))
    assert found == pytest.approx(values.astype(np.float64).mean(), rel=1e-13)
