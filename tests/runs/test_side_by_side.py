"""Broods and runs side by side, on devices and on the nodes of a Ray cluster: what comes out is what comes in turn."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest
from bench_hosts import TESTS, masks_of
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.errors import PlanError
from synevo.lineage.happenings import Epoch, Grown
from synevo.plan.compose import change, compose
from synevo.runs import stages, trusted
from synevo.runs.rundir import RunDir
from synevo.runs.several.broods import require_one_device

pytestmark = pytest.mark.slow

POPULATION = 4
SETS = ["data.image_size=8", "data.fit=none", "encoding.cluster=filter", "evolution.max_drop=1"]
SETS += ["ancestor_training.epochs=2", "training.epochs=2", "evolution.generations=2"]


@pytest.fixture(scope="module")
def ancestor(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run that has its ancestor; not to be changed."""
    run = RunDir(tmp_path_factory.mktemp("broods") / "ancestor")
    trusted.remember("specimens:Tiny")
    options = {"ancestor.name": "specimens:Tiny", "evolution.population": POPULATION}
    for _ in stages.train_ancestor(run, compose(options=options, sets=SETS)):
        pass
    return run


@pytest.fixture(scope="module")
def in_turn(ancestor: RunDir) -> RunDir:
    """The brood of four as it is trained one after the other."""
    run = RunDir(ancestor.path.with_name("in_turn"))
    shutil.copytree(ancestor.path, run.path)
    for _ in stages.evolve(run, run.load_plan()):
        pass
    return run


def same(run: RunDir, other: RunDir) -> bool:
    """Whether two runs have the same individuals with the same files."""
    files = [
        [
            (one["individual"]["generation"], one["individual"].get("number"), one["individual"]["scores"])
            for one in each
        ]
        for each in (run.entries(), other.entries())
    ]
    names = [one.name for one in run.load_lineage().individuals]
    bits = [
        (each.path / "individuals" / name / kind).read_bytes()
        for each in (run, other)
        for name in names
        for kind in ("weights.safetensors", "masks.safetensors")
    ]
    return files[0] == files[1] and bits[: len(bits) // 2] == bits[len(bits) // 2 :]


def test_a_brood_on_devices_is_kept_in_its_order_and_is_that_in_turn(ancestor: RunDir, in_turn: RunDir) -> None:
    run = RunDir(ancestor.path.with_name("on_devices"))
    shutil.copytree(ancestor.path, run.path)
    happenings = list(stages.evolve(run, run.load_plan(), side_by_side="devices"))
    assert same(in_turn, run)
    assert [one.individual.number for one in happenings if isinstance(one, Grown)] == [1, 2, 3, 4]
    assert sum(isinstance(one, Epoch) for one in happenings) == 2 * POPULATION
    seconds = [one.seconds for one in run.load_lineage().individuals[1:]]
    assert sorted(seconds) == seconds, "the time of each counts from where all began"
    assert not run.training_folder.exists()


def test_an_offspring_whose_siblings_are_kept_is_gone_on_with(ancestor: RunDir, in_turn: RunDir) -> None:
    """The reader leaves after the first is kept; the checkpoints of the others stay for the next command."""
    run = RunDir(ancestor.path.with_name("left"))
    shutil.copytree(ancestor.path, run.path)
    happenings: Iterator[Any] = stages.evolve(run, run.load_plan(), side_by_side="devices")
    next(one for one in happenings if isinstance(one, Grown))
    happenings.close()  # type: ignore[attr-defined]
    assert len(run.entries()) == 2
    for _ in stages.evolve(run, run.load_plan()):
        pass
    assert same(in_turn, run)


def test_several_devices_for_each_training_and_one_for_each_offspring_are_refused_together(ancestor: RunDir) -> None:
    plan = change(ancestor.load_plan(), sets=["training.devices=all"])
    with pytest.raises(PlanError, match="each offspring is trained on one device") as error:
        require_one_device(plan)
    assert "--devices 1" in error.value.remedy


def test_a_place_that_is_none_is_refused_and_ray_that_is_missing_is_named_with_its_extra(
    ancestor: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = CliRunner().invoke(app, ["evolve", str(ancestor.path), "--on", "mars"])
    assert done.exit_code == 2
    assert "devices or on ray" in done.stderr
    monkeypatch.setattr("synevo.runs.several.nodes.find_spec", lambda _: None)
    done = CliRunner().invoke(app, ["evolve", str(ancestor.path), "--on", "ray"])
    assert done.exit_code == 2
    assert "pip install '.[cluster]'" in done.stderr


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster of two nodes on this machine."""
    if find_spec("ray") is None:
        pytest.skip("ray is not installed")
    from ray.cluster_utils import Cluster

    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    found.add_node(num_cpus=1)
    yield found.address
    found.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_a_brood_of_four_and_two_runs_on_two_nodes_are_what_they_are_in_turn(
    ancestor: RunDir, in_turn: RunDir, cluster: str
) -> None:
    """In processes of their own, as users give the commands."""
    runs = [RunDir(ancestor.path.with_name(name)) for name in ("ray", "ray-1", "ray-2")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "RAY_ADDRESS": cluster}
    for run in runs:
        shutil.copytree(ancestor.path, run.path)
    for group in (runs[:1], runs[1:]):
        words = [sys.executable, "-m", "synevo", "evolve", *(str(run.path) for run in group), "--on", "ray"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        assert all(same(in_turn, run) for run in group), done.stderr
    assert len(masks_of(runs[0])) == 1 + POPULATION
