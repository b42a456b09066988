"""Reloading: a compacted network in a fresh process is the network of the run, and an ordinary nnx.Module."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import two_generations
from flax import nnx

from synevo.compaction.in_memory import compact
from synevo.data import datasets
from synevo.data.datasets import Dataset
from synevo.deploy.reload import load, reload
from synevo.errors import CompactionError, RunError
from synevo.model.network import call
from synevo.runs import compacting, organisms, stages
from synevo.runs.rundir import RunDir
from synevo.tasks.classification import normalise

pytestmark = pytest.mark.slow

FRESH = """
import sys
import numpy as np
from synevo.deploy.reload import load
np.save(sys.argv[3], load(sys.argv[1])(np.load(sys.argv[2])))
"""


@pytest.fixture(scope="module")
def data(finished: RunDir) -> Dataset:
    plan = finished.load_plan()
    return datasets.load(plan.data, seed=plan.seed)


@pytest.fixture(scope="module")
def x(data: Dataset) -> Any:
    """Twenty normalised test images."""
    return normalise(jnp.asarray(data.test.pixels[:20]), data.mean, data.deviation)


@pytest.fixture(scope="module")
def logits(finished: RunDir, x: Any) -> np.ndarray:
    """What the run's own organism says to them."""
    context = organisms.prepare(finished.load_plan())
    return np.asarray(call(organisms.load_organism(finished, context.species, 2).network, x))


def test_the_run_has_lost_groups_and_units(finished: RunDir) -> None:
    _, documents = finished.load_compact(2)
    assert 0 < documents["architecture"]["groups"]["groups/kernel"] < 8
    assert documents["architecture"]["units"]["alive"] < documents["architecture"]["units"]["all"]


def test_a_fresh_process_loads_a_copy_of_the_compact_folder_alone(
    finished: RunDir, x: Any, logits: np.ndarray, tmp_path: Path
) -> None:
    shutil.copytree(finished.compact_folder(2), tmp_path / "mine")
    np.save(tmp_path / "x.npy", np.asarray(x))
    words = [sys.executable, "-c", FRESH, "mine", "x.npy", "logits.npy"]
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[1]}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), logits, rtol=0, atol=1e-5 * np.abs(logits).max())


def test_a_run_gives_its_best_generation_and_any_other_on_request(finished: RunDir, x: Any, tmp_path: Path) -> None:
    assert reload(finished.path).generation == 2
    shutil.copytree(finished.path, tmp_path / "run")
    run = RunDir(tmp_path / "run")
    compacting.compact(run, run.load_plan(), generation=1)
    assert reload(run.path).generation == 2
    assert reload(run.path, generation=1).generation == 1
    assert load(run.path, generation=1)(x).shape == (20, 10)  # type: ignore[operator]


def test_the_reloaded_module_states_the_sizes_that_it_has(finished: RunDir) -> None:
    model: Any = load(finished.path)
    assert model.first.out_features == model.first.kernel.shape[-1] < 8
    assert model.groups.feature_group_count < 8
    assert model.norm.use_running_average
    assert model.dropout.deterministic


def test_the_reloaded_module_trains_on_and_compacts_again(finished: RunDir, x: Any, data: Dataset) -> None:
    model: Any = load(finished.path)
    labels = jnp.asarray(data.test.labels[:20])
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any) -> Any:
        def loss(model: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    model.train()
    losses = [float(step(model, optimizer)) for _ in range(40)]
    assert losses[-1] < 0.7 * losses[0]
    model.eval()
    width = model.full.kernel.shape[1]
    alive = {"full/kernel": np.ones(model.full.kernel.shape, bool), "full/bias": np.ones(width, bool)}
    alive["full/kernel"][:, 0] = alive["full/bias"][0] = False
    again: Any = compact(model, (8, 8, 1), masks=alive).model
    assert again.full.kernel.shape[1] == width - 1


def test_a_model_whose_layers_have_changed_is_refused(finished: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    import specimens

    monkeypatch.setattr(specimens, "Pipeline", specimens.Grouped)
    with pytest.raises(RunError, match="specimens:Pipeline has changed"):
        load(finished.path)


def test_what_is_no_compacted_network_is_refused(finished: RunDir, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run"):
        load(tmp_path)
    with pytest.raises(RunError, match=r"Generation 1 of .* is not compacted"):
        load(finished.path, generation=1)
    shutil.copytree(finished.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/compact")
    with pytest.raises(RunError, match="no compacted network yet"):
        load(tmp_path / "run")


@pytest.mark.parametrize(("format_", "words"), [(1, "an older synevo"), (9, "a newer synevo")])
def test_another_version_of_the_format_is_refused(finished: RunDir, tmp_path: Path, format_: int, words: str) -> None:
    weights, documents = finished.load_compact(2)
    documents["architecture"]["format"] = format_
    folder = RunDir(tmp_path).save_compact(2, weights=weights, documents=documents)
    with pytest.raises(RunError, match=words):
        load(folder)


def test_a_damaged_copy_is_refused(finished: RunDir, tmp_path: Path) -> None:
    shutil.copytree(finished.compact_folder(2), tmp_path / "mine")
    path = tmp_path / "mine/architecture.json"
    path.write_text(path.read_text().replace('"generation": 2', '"generation": 3'))
    assert json.loads(path.read_text())
    with pytest.raises(RunError, match=r"architecture\.json is damaged"):
        load(tmp_path / "mine")


def test_an_ancestor_that_lost_nothing_is_compacted_on_request_only(finished: RunDir, tmp_path: Path) -> None:
    run = RunDir(tmp_path / "first")
    list(stages.take_ancestor(run, finished.load_plan(), finished))
    with pytest.raises(CompactionError, match="the ancestor, the best within the budget, has nothing to remove"):
        compacting.compact(run, run.load_plan())
    assert run.compacted() == []
    units = compacting.compact(run, run.load_plan(), generation=1)["architecture"]["units"]
    assert units["alive"] == units["all"] > 0


def test_a_run_that_is_all_frozen_is_not_compacted_and_says_why(tmp_path: Path) -> None:
    run = two_generations(tmp_path / "frozen", "specimens:Softened")
    with pytest.raises(CompactionError, match=r"every unit is frozen.*specimens\.py:\d+"):
        compacting.compact(run, run.load_plan(), generation=2)
    assert run.compacted() == []
