"""A network whose steps are large is given few examples at once, whatever is compared or answered."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

from synevo.compaction import probes
from synevo.deploy import answering, comparison
from synevo.deploy.comparison import Reference
from synevo.deploy.interface import at_once
from synevo.deploy.reload import Reloaded
from synevo.model.arguments import structure_of
from synevo.model.network import take_apart
from synevo.tasks.classification import classification
from synevo.tasks.task import InMemory


class Swelling(nnx.Module):
    """Its widest step holds 2^20 numbers for an example of 64."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(1, 2**14, rngs=rngs)
        self.head = nnx.Linear(2**14, 3, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.head(nnx.relu(self.dense(x.reshape(x.shape[0], -1, 1))).max(axis=1))


@pytest.fixture(scope="module")
def swelling() -> Reloaded:
    about = {"shape": (8, 8, 1), "mean": (0.5,), "deviation": (0.25,)}
    document = {"input": about, "classes": ["a", "b", "c"], "generation": 1}
    return Reloaded(take_apart(Swelling(nnx.Rngs(0))), document)


def test_few_examples_are_compared_at_once(swelling: Reloaded) -> None:
    assert at_once(swelling, comparison.BATCH) == probes.ROOM // 2**20 == 8
    assert at_once(swelling, 5) == 5
    counts: list[int] = []

    def exported(images: np.ndarray) -> np.ndarray:
        counts.append(len(images))
        return np.asarray(swelling.logits(swelling.network, jnp.asarray(images)))

    images = np.random.default_rng(0).integers(0, 256, (10, 8, 8, 1), np.uint8)
    examples = InMemory({"image": images, "label": np.zeros(10, np.int32)})
    found = Reference(swelling, classification((0.5,), (0.25,))).beside(exported, examples)
    assert counts == [8, 2]
    assert found.alike == 1.0
    assert found.score == found.source_score


def test_few_examples_of_a_file_are_answered_at_once(tmp_path: Path) -> None:
    structure = structure_of((jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32),))
    document = {"arguments": [{"shape": [8, 8, 1], "dtype": "float32"}], "structure": structure, "generation": 1}
    reloaded = Reloaded(take_apart(Swelling(nnx.Rngs(0))), document)
    x = np.random.default_rng(0).normal(size=(10, 8, 8, 1)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    seen: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answering, "answers", lambda _, network, leaf: seen.append(len(leaf)) or network(leaf))
        (answered,) = answering.answer(reloaded, tmp_path / "x.npz").values()
    assert seen == [8, 2], "traced once for each size"
    np.testing.assert_allclose(answered, jax.jit(reloaded.network.__call__)(x), rtol=1e-5, atol=1e-5)
