"""Checkpoints: what is kept of a training comes back, also where the machine slept while it was written."""

import errno
import logging
import math
import os
import subprocess
import sys
from dataclasses import replace
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


def training(epoch: int, network: Network | None = None) -> Training:
    kernel = {"kernel": jnp.full((2, 3), float(epoch))}
    network = network or Network(kernel, {}, blueprint=None)  # type: ignore[arg-type]
    return Training(generation=4, number=2, attempt=1, epochs=9, state=State(network, (jnp.arange(2),), epoch, 0.5))


FULL = """
import resource, signal, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from runs.test_checkpoints import training
from synevo.model.network import Network
from synevo.runs import checkpoints
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
numbers = np.random.default_rng(0).normal(size=(20, 100, 100)).astype(np.float32)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    checkpoints.save(Path(sys.argv[1]), training(1, Network(dict(zip("abcdefghijklmnopqrst", numbers)), {}, None)))
except OSError as error:
    print(error.errno, error.filename == sys.argv[1])
"""


def test_a_disk_that_is_full_is_an_error_of_files_and_nothing_else_is_printed(tmp_path: Path) -> None:
    """A process of its own: the limit is for good, and Orbax's threads print late."""
    tests = Path(__file__).parent.parent
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tests)!r})\n{FULL}", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (f"{errno.EFBIG} True\n", "", 0)


class Troubled(ocp.StandardCheckpointer):  # type: ignore[misc]
    """It logs an error, and raises another."""

    trouble: Exception = ValueError()

    def save(self, *_: Any, **__: Any) -> None:
        logging.getLogger("absl").error("a thread of Orbax has ended")
        raise self.trouble


@pytest.mark.parametrize("code", [errno.EFBIG, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("own", [True, False], ids=["raised by Python", "told by Orbax"])
def test_an_error_of_the_machine_is_raised_and_not_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int, *, own: bool
) -> None:
    words = os.strerror(code)
    told = (
        OSError(code, words, "x") if own else ValueError(f"OUT_OF_RANGE: Failed writing: {words} [os_error_code='1']")
    )
    monkeypatch.setattr(Troubled, "trouble", told)
    monkeypatch.setattr(ocp, "StandardCheckpointer", Troubled)
    with pytest.raises(OSError, match=words) as error:
        checkpoints.save(tmp_path, training(1))
    assert error.value.errno == code
    assert caplog.text == ""


def test_every_other_error_of_a_checkpoint_is_raised_and_logged_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Troubled, "trouble", ValueError("a bug"))
    monkeypatch.setattr(ocp, "StandardCheckpointer", Troubled)
    with pytest.raises(ValueError, match="a bug"):
        checkpoints.save(tmp_path, training(1))
    assert "a thread of Orbax has ended" in caplog.text


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


def test_a_folder_whose_name_is_no_utf8_holds_checkpoints(tmp_path: Path) -> None:
    """Orbax takes names in UTF-8 alone."""
    folder = tmp_path / os.fsdecode(b"\xff") / "training"
    checkpoints.save(folder, training(1))
    checkpoints.save(folder, training(2))
    assert [path.name for path in folder.iterdir()] == ["g04-2-a1-e002"]
    found = checkpoints.load(folder, generation=4, number=2)
    assert found is not None
    assert found.epoch == 2


def test_a_checkpoint_within_an_epoch_holds_its_step_and_the_loss_so_far_and_gives_way_to_the_next(
    tmp_path: Path,
) -> None:
    loss = float(np.float32(41.7))
    within = training(3)
    checkpoints.save(tmp_path, within)
    within = replace(within, state=replace(within.state, step=1200, loss=loss))
    checkpoints.save(tmp_path, within)
    found = checkpoints.load(tmp_path, generation=4, number=2)
    assert found is not None
    assert (found.attempt, found.epoch, found.step, found.loss) == (1, 3, 1200, loss)
    assert [np.shape(leaf) for leaf in found.leaves] == [leaf.shape for leaf in within.state.leaves()]
    assert [path.name for path in tmp_path.iterdir()] == ["g04-2-a1-e003-s000001200"]
    checkpoints.save(tmp_path, training(4))
    found = checkpoints.load(tmp_path, generation=4, number=2)
    assert found is not None
    assert (found.epoch, found.step, math.isnan(found.loss)) == (4, 0, True)
