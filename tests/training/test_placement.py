"""Several devices: the same training, the same masks, and the statistics of the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from specimens import Specimen

from synevo.errors import PlanError
from synevo.plan.fields import TrainingPlan
from synevo.tasks.task import Problem
from synevo.training.fit import rehearse
from synevo.training.placement import ALONE, here, placement

TESTS = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def found() -> Any:
    """What a process with 8 devices has found."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path])}
    command = [sys.executable, str(TESTS / "on_devices.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["8", "8, as one program", "8, not in memory", "8, spread"])
def test_a_training_is_the_same_on_one_device_and_on_eight(found: Any, way: str) -> None:
    one, other = found["trainings"]["1"], found["trainings"][way]
    assert other["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert np.allclose(one["outputs"], other["outputs"], rtol=0, atol=1e-4)
    assert len(other["outputs"]) == 100, "which 8 does not divide"
    assert one["score"] == other["score"]
    assert one["dead"] == other["dead"] == 0


@pytest.mark.slow
def test_large_arrays_are_spread_where_that_is_asked_for_and_whole_on_each_device_otherwise(found: Any) -> None:
    assert found["trainings"]["8"]["held by a device"] == 1
    assert found["trainings"]["8, spread"]["held by a device"] == 1 / 8


@pytest.mark.slow
def test_the_statistics_of_a_norm_are_those_of_the_whole_batch(found: Any) -> None:
    """The examples are sorted by brightness: each device has seen another brightness, and less variance."""
    assert found["statistics"]["found"] == pytest.approx(found["statistics"]["expected"], rel=1e-3)


@pytest.mark.slow
def test_a_model_that_says_how_its_arrays_are_spread_is_left_to_it(found: Any) -> None:
    annotated = found["annotations"]
    assert set(annotated["seen"]) == {"P('rows', 'columns')"}
    assert annotated["loss"] == pytest.approx(annotated["alone"]["loss"], rel=1e-5)
    assert np.allclose(annotated["outputs"], annotated["alone"]["outputs"], rtol=0, atol=1e-4)
    assert "--devices 1" in annotated["both"]


@pytest.mark.slow
def test_a_lineage_has_the_same_masks_and_scores_on_one_two_and_eight_devices(found: Any) -> None:
    ancestor, offspring = found["lineages"]["living"]
    assert 0 < offspring < ancestor, "masks of all synapses would be alike without a word of this"
    for devices in ("2", "8"):
        assert found["lineages"][devices] == {"same": [True, True], "apart": 0.0}


@pytest.mark.slow
def test_a_heredity_measures_the_same_on_eight_devices(found: Any) -> None:
    assert found["lineages"]["heredity"] < 1e-5


@pytest.mark.slow
def test_a_brood_is_the_same_to_the_bit_on_a_device_each_as_in_turn(found: Any) -> None:
    assert found["broods"]["same"]
    in_turn, aside = found["broods"]["told"]
    assert in_turn == "[2, 'g02', 'g02-2', 'g02-3']", "the others are trained when the first is kept"
    assert aside == "[6, 'g02', 'g02-2', 'g02-3']", "all are trained before the first is kept"


@pytest.mark.slow
def test_what_goes_wrong_on_a_device_is_raised_where_it_is_read(found: Any) -> None:
    assert found["failing"] == ["no more"]


def test_on_one_device_nothing_is_placed() -> None:
    tree = {"a": jax.numpy.ones(3), "b": np.ones(2)}
    assert placement(1) is ALONE
    for same in (ALONE.put, ALONE.keep, ALONE.gather, ALONE.spread, ALONE.assemble, ALONE.over):
        assert same(tree) is tree  # type: ignore[operator]
    assert ALONE.own(np.arange(5)).tolist() == [0, 1, 2, 3, 4]
    assert all(leaf is other for leaf, other in zip(here(tree).values(), tree.values(), strict=True))
    assert "sharding_constraint" not in str(jax.make_jaxpr(ALONE.keep)(tree))


@pytest.mark.parametrize("devices", [2, 64])
def test_more_devices_than_there_are_is_an_error_that_says_how_many_there_are(
    tiny: Specimen, digits: Problem, devices: int
) -> None:
    with pytest.raises(PlanError, match=f"This machine has 1 device for JAX, not {devices}") as error:
        rehearse(tiny.network, digits.task, digits.train, TrainingPlan(devices=devices))
    assert "--devices 1" in error.value.remedy


class OfEight:
    """A mesh of 8 devices, as far as shares are counted."""

    def __init__(self, hosts: int) -> None:
        self.size, self.devices = 8, np.zeros((hosts, 8 // hosts))


@pytest.mark.parametrize(
    ("hosts", "size", "problem", "remedy"),
    [
        (1, 100, "100 examples .* among 8 devices", "batch_size=96 (of the ancestor, ancestor_training.batch_size) or"),
        (1, 100, "100 examples", "--devices 5."),
        (1, 7, "7 examples", "Choose --devices 7."),
        (2, 100, "among 2 hosts with 4 devices each", "--devices 2."),
        (8, 7, "among 8 hosts", "Use fewer hosts."),
    ],
)
def test_a_batch_that_cannot_be_shared_equally_is_an_error_with_the_sizes_that_can(
    hosts: int, size: int, problem: str, remedy: str
) -> None:
    place = type(ALONE)(OfEight(hosts))  # type: ignore[arg-type]
    with pytest.raises(PlanError, match=problem) as error:
        place.require_shares(size)
    assert remedy in error.value.remedy
    place.require_shares(96)
