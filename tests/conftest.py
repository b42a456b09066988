"""Strict JAX, repeatable Hypothesis, and the two things that most tests start from: images, and a tiny network."""

from pathlib import Path

import hypothesis
import jax
import numpy as np
import pytest
from sklearn.datasets import load_digits
from specimens import CLASSES, Specimen, Tiny, specimen

from synevo import stages
from synevo.images import Dataset, Images
from synevo.plan import AncestorPlan, DataPlan, EncodingPlan, EnvironmentPlan, EvolutionPlan, Plan, TrainingPlan
from synevo.rundir import RunDir

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


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A compacted run of two generations on small digits: a convolution in groups, a normalisation, a flatten."""
    return compacted_run(tmp_path_factory.mktemp("runs") / "grouped", "specimens:Pipeline")


def compacted_run(path: Path, ancestor: str) -> RunDir:
    """A run of two generations, the second without half of its filters, compacted; not to be written to."""
    run = RunDir(path)
    short = {"epochs": 1, "learning_rate": 0.01, "batch_size": 64}
    plan = Plan().model_copy(
        update={
            "data": DataPlan(image_size=8, normalise="standardise"),
            "ancestor": AncestorPlan(name=ancestor),
            "ancestor_training": TrainingPlan(**short),
            "training": TrainingPlan(**short),
            "encoding": EncodingPlan(cluster="filter", cluster_sharpness=20.0),
            "environment": EnvironmentPlan(keep_clusters=0.5, keep_synapses=0.4),
            "evolution": EvolutionPlan(generations=2, max_drop=1.0),
        }
    )
    list(stages.train_ancestor(run, plan))
    list(stages.evolve(run, run.load_plan()))
    stages.compact(run, run.load_plan())
    return run
