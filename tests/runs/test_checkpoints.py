"""Checkpoints: what is kept of a training comes back, whole or not at all."""

import errno
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from synevo.growing import Training
from synevo.lineage.course import Candidate
from synevo.model.network import Network
from synevo.runs import checkpoints
from synevo.runs.rundir import RunDir
from synevo.training.fit import State


def training(epoch: int, network: Network | None = None) -> Training:
    kernel = {"kernel": jnp.full((2, 3), float(epoch))}
    network = network or Network(kernel, {}, blueprint=None)  # type: ignore[arg-type]
    return Training(generation=4, number=2, attempt=1, epochs=9, state=State(network, (jnp.arange(2),), epoch, 0.5))


def test_candidates_keep_the_last_epoch_of_each_rung_until_their_offspring_is_kept(tmp_path: Path) -> None:
    run = RunDir(tmp_path)

    def save(number: int, rung: int, epoch: int) -> None:
        checkpoints.save(run.training_folder, replace(training(epoch), candidate=Candidate(number, 8, rung)))

    for place in ((1, 0, 1), (1, 0, 2), (2, 0, 2), (1, 1, 1), (1, 1, 3)):
        save(*place)
    found = sorted(path.name for path in run.training_folder.iterdir())
    assert found == ["g04-2-c01of08-r0-a1-e002", "g04-2-c01of08-r1-a1-e003", "g04-2-c02of08-r0-a1-e002"]
    assert run.training_now() == (4, 3)
    state = checkpoints.load(run.training_folder, generation=4, number=2, candidate=Candidate(1, 8, 1))
    assert state is not None
    assert state.epoch == 3
    assert checkpoints.load(run.training_folder, generation=4, number=2, candidate=Candidate(1, 4, 1)) is None, (
        "of other rungs"
    )
    assert checkpoints.load(run.training_folder, generation=4, number=2) is None
    checkpoints.clear(run.training_folder, generation=4, number=2)
    assert not run.training_folder.exists()


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
    print(error.errno, list(Path(sys.argv[1]).rglob("*.safetensors")))
"""


def test_a_disk_that_is_full_is_an_error_of_files_and_nothing_else_is_printed(tmp_path: Path) -> None:
    """A process of its own: the limit is for good."""
    tests = Path(__file__).parent.parent
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tests)!r})\n{FULL}", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr, done.returncode) == (f"{errno.EFBIG} []\n", "", 0)


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


def test_a_checkpoint_of_an_older_version_which_orbax_wrote_is_read(tmp_path: Path) -> None:
    leaves = {str(number): leaf for number, leaf in enumerate(training(2).state.leaves())}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "g04-2-a1-e002", leaves)
    found = checkpoints.load(tmp_path, generation=4, number=2)
    assert found is not None
    assert (found.attempt, found.epoch, found.step) == (1, 2, 0)
    for leaf, kept in zip(training(2).state.leaves(), found.leaves, strict=True):
        assert np.array_equal(leaf, kept)


def test_a_checkpoint_that_is_damaged_gives_way_to_none(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, training(1))
    (state,) = tmp_path.rglob("*.safetensors")
    state.write_bytes(state.read_bytes()[:-3])
    assert checkpoints.load(tmp_path, generation=4, number=2) is None


def test_a_folder_whose_name_is_no_utf8_holds_checkpoints(tmp_path: Path) -> None:
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
