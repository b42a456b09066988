"""A run on images that are read when they are needed is the run on those that stay in memory."""

import threading
from pathlib import Path

import pytest
from runs.test_stages import exhaust, plan_of, story

from synevo.lineage.happenings import Found
from synevo.plan.compose import change
from synevo.runs import stages
from synevo.runs.rundir import RunDir
from synevo.runs.verification import verify_files
from synevo.training.reading import THREAD

pytestmark = pytest.mark.slow

FIELDS = {
    "data.normalise": "standardise",
    "data.sample": 300,
    "ancestor_training.epochs": 1,
    "training.epochs": 1,
    "training.shift": 1,
    "evolution.generations": 2,
    "evolution.max_drop": 0.9,
}


def test_a_lineage_is_the_same_to_the_bit_however_its_images_are_kept(tmp_path: Path) -> None:
    """The moments agree, since the plan states their sample; on either way it may go on as it began on the other."""
    plan = plan_of(**FIELDS)
    runs, ways = {name: RunDir(tmp_path / name) for name in ("resident", "streamed")}, {}
    for name, run in runs.items():
        own = change(plan, options={"data.memory": 1e-9 if name == "streamed" else 1.0})
        (found,) = (one for one in stages.train_ancestor(run, own) if isinstance(one, Found))
        assert found.text.startswith("1,797 images, 10 classes: 1,295 to train, 143 to validate, 359 to test.")
        ways[name] = run.load_machine()["data"]
        exhaust(stages.evolve(run, change(plan, options={"data.memory": 1.0 if name == "streamed" else 1e-9})))
    streamed, resident = story(runs["streamed"]), story(runs["resident"])
    for entries in (streamed, resident):
        del entries[0]["machine"]  # the hash of what also says how the images are kept
    assert streamed == resident
    assert {name: table["way"] for name, table in ways.items()} == {"resident": "resident", "streamed": "streamed"}
    assert ways["streamed"]["bytes"] == 1797 * 64
    assert ways["streamed"]["moments_from"] == 300
    assert all(check.holds for check in verify_files(runs["streamed"]))
    assert THREAD not in {thread.name for thread in threading.enumerate()}
