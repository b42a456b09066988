"""The event file of a run: every value of the lineage once, however often its training stopped and went on."""

import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from specimens import individual

from synevo.lineage.course import Candidate
from synevo.lineage.happenings import Epoch, Grown, Happening
from synevo.plan.compose import compose
from synevo.plan.fields import Plan
from synevo.report.summary import summarise
from synevo.runs import curves
from synevo.runs.rundir import RunDir

pytestmark = pytest.mark.slow

pytest.importorskip("tensorboardX", reason="tensorboardX is not installed (pip install '.[tensorboard]')")

Curve = list[tuple[int, float]]


def curves_of(run: RunDir) -> dict[str, Curve]:
    """Step and value of every scalar in the one event file of a run, by tag, in the order of the file."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    (path,) = (run.path / "tensorboard").iterdir()
    assert "tfevents" in path.name, "TensorBoard looks for this in names"
    content, found = path.read_bytes(), dict[str, Curve]()
    while content:
        (length,), (of_length,) = struct.unpack("<Q", content[:8]), struct.unpack("<I", content[8:12])
        body, (of_body,) = content[12 : 12 + length], struct.unpack("<I", content[12 + length : 16 + length])
        assert (masked_crc32c(content[:8]), masked_crc32c(body)) == (of_length, of_body)
        event = Event.FromString(body)
        for value in event.summary.value:
            found.setdefault(value.tag, []).append((event.step, pytest.approx(value.simple_value)))
        content = content[16 + length :]
    return found


def grow(run: RunDir, generation: int) -> Grown:
    """One more individual of two epochs, half as large as the one before."""
    one, masks = individual(generation, 8 + 36 // 2**generation, 0.9), {"conv/kernel": np.ones((3, 3, 1, 4), bool)}
    run.save_individual(one, Plan(), weights={"full/kernel": np.ones((16, 2), np.float32)}, masks=masks)
    return Grown(one, run.load_lineage())


def epoch(generation: int, number: int, loss: float) -> Epoch:
    return Epoch(generation, 1, number, 2, loss, 100, 0.5)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "run")
    run.save_plan(Plan())
    return run


def follow(run: RunDir, *happenings: Happening | int) -> None:
    """Let happenings happen one after the other; a number is a generation that grows up."""
    one_after_the_other = (grow(run, one) if isinstance(one, int) else one for one in happenings)
    for _ in curves.record(run, one_after_the_other):
        pass


def test_the_steps_of_candidates_follow_each_other(run: RunDir) -> None:
    among = [replace(epoch(2, 1, 0.5), candidate=Candidate(one, 4, before=one - 1)) for one in (1, 2, 3)]
    follow(run, 1, *among)
    assert [step for step, _ in curves_of(run)["epoch/loss"]] == [3, 4, 5]


def test_the_curves_are_those_of_the_lineage(run: RunDir) -> None:
    lives = [(epoch(one, 1, one + 0.5), epoch(one, 2, one + 0.25), one) for one in (1, 2, 3)]
    follow(run, *(happening for life in lives for happening in life))
    found, rows = curves_of(run), summarise(run)["generations"]
    assert found["epoch/loss"] == [(1, 1.5), (2, 1.25), (3, 2.5), (4, 2.25), (5, 3.5), (6, 3.25)]
    assert found["epoch/images_per_second"] == [(step, 200) for step in range(1, 7)]
    for name in ("validation_score", "test_score", "synapses", "synaptic_efficiency", "kernels"):
        assert found[f"generation/{name}"] == [(row["generation"], row[name]) for row in rows]
    for name in ("cluster_efficiency", "multiply_adds", "seconds"):
        assert found[f"generation/{name}"] == [(row["generation"], row[name]) for row in rows]


def test_they_are_on_disk_as_soon_as_they_happen(run: RunDir) -> None:
    passing = curves.record(run, iter([epoch(1, 1, 0.5), epoch(1, 2, 0.25)]))
    seen = [curves_of(run)["epoch/loss"] for _ in passing]
    assert seen == [[(1, 0.5)], [(1, 0.5), (2, 0.25)]]


def test_what_is_trained_again_takes_the_place_of_what_was_lost(run: RunDir) -> None:
    follow(run, epoch(1, 1, 1.5), epoch(1, 2, 1.25), 1, epoch(2, 1, 0.75), epoch(2, 2, 9.0))
    (path,) = run.tensorboard_folder.iterdir()
    path.write_bytes(path.read_bytes()[:-5])
    follow(run, epoch(2, 2, 0.5), 2)
    found = curves_of(run)
    assert found["epoch/loss"] == [(1, 1.5), (2, 1.25), (3, 0.75), (4, 0.5)]
    assert [step for step, _ in found["generation/synapses"]] == [1, 2]


def test_a_training_that_is_repeated_more_gently_replaces_the_first(run: RunDir) -> None:
    follow(run, epoch(1, 1, 5.0), epoch(1, 2, 50.0), epoch(1, 1, 0.5), epoch(1, 2, 0.25), 1)
    assert curves_of(run)["epoch/loss"] == [(1, 0.5), (2, 0.25)]


def test_of_a_generation_of_several_the_best_is_drawn(run: RunDir) -> None:
    follow(run, epoch(1, 1, 1.5), epoch(1, 2, 1.25), 1, epoch(2, 1, 0.75), epoch(2, 2, 0.5), 2)
    worse, better = (replace(individual(2, 20, accuracy), epochs=2) for accuracy in (0.1, 0.95))
    for one in (worse, better):
        run.save_individual(one, Plan(), weights={}, masks={})
    follow(run, epoch(3, 1, 0.25))
    found = curves_of(run)
    assert found["generation/validation_score"] == [(1, 0.9), (2, 0.95)]
    assert found["epoch/loss"] == [(1, 1.5), (2, 1.25), (3, 0.75), (4, 0.5), (9, 0.25)]
    follow(run, Grown(better, run.load_lineage()))
    assert curves_of(run)["generation/validation_score"] == [(1, 0.9), (2, 0.95)]


def test_a_run_that_began_without_curves_gets_those_of_its_lineage(run: RunDir) -> None:
    for generation, synapses in enumerate((44, 24, 12), start=1):
        run.save_individual(individual(generation, synapses, 0.9), Plan(), weights={}, masks={})
    for _ in range(2):
        follow(run)
        found = curves_of(run)
        assert found["generation/synapses"] == [(1, 44), (2, 24), (3, 12)]
        assert "epoch/loss" not in found
    follow(run, epoch(4, 1, 0.5))
    assert curves_of(run)["epoch/loss"] == [(7, 0.5)], "the three before it were trained for two epochs each"


def test_a_real_training_that_is_stopped_and_goes_on_leaves_whole_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from synevo.runs import organisms, stages

    monkeypatch.chdir(tmp_path)
    sets = ["data.image_size=8", "ancestor_training.epochs=4", "training.epochs=3", "evolution.generations=2"]
    plan = organisms.resolve(compose(sets=["ancestor.name=lenet-300-100", "evolution.max_drop=0.9", *sets]))
    run = RunDir(tmp_path / "run")
    monkeypatch.setattr(stages, "CHECKPOINT_EVERY", 0.0)
    for happening in curves.record(run, stages.train_ancestor(run, plan)):
        if isinstance(happening, Epoch) and happening.epoch == 2:
            break
    for _ in curves.record(run, stages.train_ancestor(run, plan)):
        pass
    for _ in curves.record(run, stages.evolve(run, plan)):
        pass
    found = curves_of(run)
    assert [step for step, _ in found["epoch/loss"]] == [1, 2, 3, 4, 5, 6, 7]
    rows = summarise(run)["generations"]
    assert found["generation/test_score"] == [(row["generation"], row["test_score"]) for row in rows]


def test_without_the_extra_nothing_is_started_and_the_install_is_named(tmp_path: Path) -> None:
    words = ["synevo", "train-ancestor", "--run", "a", "--tensorboard"]
    code = (
        f"import sys; sys.modules['tensorboardX'] = None; sys.argv = {words!r}\n"
        "from synevo.cli.app import main\n"
        "try:\n    main()\nfinally:\n    print('jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install '.[tensorboard]'" in done.stderr
    assert not (tmp_path / "a").exists()
    assert done.stdout.split() == ["False"]  # it is said before JAX is loaded


def test_the_plan_is_shown_as_hyperparameters(run: RunDir) -> None:
    from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

    follow(run, epoch(1, 1, 1.5), epoch(1, 2, 1.25), 1, epoch(2, 1, 0.75))
    told = [
        value.metadata.plugin_data
        for event in curves.read(run.tensorboard_folder)
        for value in event.summary.value
        if value.tag.startswith("_hparams_/")
    ]
    assert [one.plugin_name for one in told] == ["hparams"] * 3, "once, however often the file was written anew"
    parts = [HParamsPluginData.FromString(one.content) for one in told]
    (given,) = (part.session_start_info.hparams for part in parts if part.session_start_info.hparams)
    plan = run.load_plan()
    assert given["training.epochs"].number_value == plan.training.epochs
    assert given["encoding.cluster"].string_value == "kernel"
    assert given["evolution.adaptive"].bool_value is False
    assert "ancestor.weights" not in given, "what is unset is left out"
    (measured,) = (part.experiment.metric_infos for part in parts if part.experiment.metric_infos)
    assert {one.name.tag for one in measured} <= set(curves_of(run))
