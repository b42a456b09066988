"""Checkpoints: what is kept of a training comes back, also where the machine slept while it was written."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from synevo.evolution import Training
from synevo.model.network import Network
from synevo.runs import checkpoints
from synevo.training.fit import State


def training(epoch: int) -> Training:
    network = Network({"kernel": jnp.full((2, 3), float(epoch))}, {})
    return Training(generation=4, number=2, attempt=1, epochs=9, state=State(network, (jnp.arange(2),), epoch, 0.5))


def test_the_latest_epoch_is_kept_and_comes_back(tmp_path: Path) -> None:
    for epoch in (1, 2):
        checkpoints.save(tmp_path / "training", training(epoch))
    found = checkpoints.load(tmp_path / "training", generation=4, number=2)
    assert found is not None
    assert (found.attempt, found.epoch) == (1, 2)
    for leaf, kept in zip(training(2).state.leaves(), found.leaves, strict=True):
        assert np.array_equal(leaf, kept)
    assert len(list((tmp_path / "training").iterdir())) == 1
    assert checkpoints.load(tmp_path / "training", generation=4) is None


@pytest.mark.parametrize("times", [1, 2])
def test_a_machine_that_slept_while_it_wrote_writes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """Orbax counts by the clock on the wall, and says that it took too long."""
    sleeps = iter([True] * times)

    class Sleepy(ocp.StandardCheckpointer):  # type: ignore[misc]
        def save(self, *arguments: Any, **options: Any) -> None:
            super().save(*arguments, **options)
            self.wait_until_finished()
            if next(sleeps, False):
                raise TimeoutError("timed out after 3121.82 seconds")

    monkeypatch.setattr(ocp, "StandardCheckpointer", Sleepy)
    if times > 1:
        with pytest.raises(TimeoutError):
            checkpoints.save(tmp_path, training(1))
        return
    checkpoints.save(tmp_path, training(1))
    found = checkpoints.load(tmp_path, generation=4, number=2)
    assert found is not None
    assert found.epoch == 1
