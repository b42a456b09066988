"""Strict JAX, repeatable Hypothesis, and the two things that most tests start from: images, and a tiny network."""

import hypothesis
import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits
from specimens import CLASSES, Specimen, Tiny, specimen

from synevo.images import Dataset, Images

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_enable_checks", True)
jax.config.update("jax_legacy_prng_key", "error")

hypothesis.settings.register_profile("synevo", deadline=None, derandomize=True, database=None, max_examples=40)
hypothesis.settings.load_profile("synevo")


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """The handwritten digits 0 to 3, 8 x 8 pixels: 256 to train on, 64 to decide by, 64 to test."""
    found = load_digits()
    wanted = found.target < CLASSES
    pixels = (found.images[wanted, :, :, None] * 15.9).astype(np.uint8)
    labels = found.target[wanted].astype(np.int32)

    def split(first: int, count: int) -> Images:
        return Images(pixels[first : first + count], labels[first : first + count])

    names = tuple(str(name) for name in range(CLASSES))
    return Dataset("digits", names, split(0, 256), split(256, 64), split(320, 64), (0.3,), (0.4,))


@pytest.fixture(scope="session")
def tiny() -> Specimen:
    """The tiny network that most tests evolve, as it is before any training."""
    return specimen(Tiny)
