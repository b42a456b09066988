"""A user's own problem through all stages of a run: a regression of two arguments, whose error is to stay small."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

from synevo.deploy.classification import classify
from synevo.deploy.delivery import deliver
from synevo.deploy.reload import load, reload
from synevo.errors import ExportError, PlanError, RunError, TaskError
from synevo.plan.compose import compose
from synevo.plan.fields import Plan
from synevo.report.page.html import render_page
from synevo.report.summary import summarise
from synevo.runs import compacting, organisms, stages
from synevo.runs.rundir import RunDir
from synevo.runs.verification import verify_files, verify_numbers
from synevo.tasks.task import InMemory, Problem, Task

pytestmark = pytest.mark.slow


def examples(seed: int, count: int) -> InMemory:
    """A wave over a plane, which is to be told from a place and a phase."""
    random = np.random.default_rng(seed)
    place, phase = random.normal(size=(count, 5)).astype(np.float32), random.uniform(size=(count, 1)).astype(np.float32)
    return InMemory({"place": place, "phase": phase, "height": np.sin(place[:, 0] + 3 * phase[:, 0])})


def problem() -> Problem:
    task = Task(
        inputs=lambda batch: (batch["place"], batch["phase"]),
        loss=lambda outputs, batch: jnp.square(outputs[:, 0] - batch["height"]),
        score=lambda outputs, batch: jnp.square(outputs[:, 0] - batch["height"]),
        overall=np.sqrt,
        name="error",
        better="lower",
    )
    return Problem(task, examples(0, 512), examples(1, 101), examples(2, 77))


class Wave(nnx.Module):
    """A callable of an nnx.Rngs alone."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(6, 24, rngs=rngs)
        self.second = nnx.Linear(24, 16, rngs=rngs)
        self.out = nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, place: Array, phase: Array) -> Array:
        x = jnp.concatenate([place, phase], axis=1)
        return self.out(nnx.relu(self.second(nnx.relu(self.first(x)))))


def plan_of(**fields: Any) -> Plan:
    usual = {
        "task.name": f"{__name__}:problem",
        "ancestor.name": f"{__name__}:Wave",
        "ancestor_training.epochs": 25,
        "ancestor_training.learning_rate": 0.01,
        "ancestor_training.batch_size": 32,
        "training.epochs": 3,
        "training.batch_size": 32,
        "training.distillation": 0.5,
        "encoding.cluster": "filter",
        "encoding.synapse_sharpness": 20.0,
        "environment.keep_clusters": 0.8,
        "evolution.generations": 2,
        "evolution.max_drop": 1.0,
    }
    return organisms.resolve(compose(options=usual | fields))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunDir]:
    """A lineage of two generations, compacted; not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("own"))
        run = RunDir(Path("wave"))
        plan = plan_of()
        for happenings in (stages.train_ancestor(run, plan), stages.evolve(run, plan)):
            assert list(happenings)
        compacting.compact(run, plan)
        yield RunDir(run.path.resolve())


def test_the_scores_of_the_lineage_are_those_of_the_task_by_numpy(run: RunDir) -> None:
    individuals = run.load_lineage().individuals
    assert [one.generation for one in individuals] == [1, 2]
    context = organisms.prepare(run.load_plan())
    for one in individuals:
        assert one.scores is not None
        assert (one.scores.name, one.scores.better) == ("error", "lower")
        network = organisms.load_organism(run, context.species, one.name).network
        for split, found in ((examples(1, 101), one.scores.validation), (examples(2, 77), one.scores.test)):
            arrays = split.arrays
            said = np.asarray(network(jnp.asarray(arrays["place"]), jnp.asarray(arrays["phase"])), np.float64)
            assert found == pytest.approx(np.sqrt(np.mean((said[:, 0] - arrays["height"]) ** 2)), rel=1e-4)
    assert individuals[0].scores is not None
    assert individuals[0].scores.validation < 0.5 * np.std(examples(1, 101).arrays["height"])


def test_all_of_it_is_verified(run: RunDir) -> None:
    checks = [*verify_files(run), *verify_numbers(run)]
    assert [check.subject for check in checks if not check.holds] == []
    assert f"compacted generation {run.compacted()[0]}: proof" in {check.subject for check in checks}


def test_what_is_kept_beside_the_weights_says_what_the_network_is_called_with(run: RunDir) -> None:
    (generation,) = run.compacted()
    _, documents = run.load_compact(generation)
    architecture, proof = documents["architecture"], documents["proof"]
    assert architecture["arguments"] == [
        {"shape": [5], "dtype": "float32"},
        {"shape": [1], "dtype": "float32"},
    ]
    assert "classes" not in architecture
    assert architecture["task"] == f"{__name__}:problem"
    assert (proof["examples"], proof["top1_agreement"]) == (77, None)
    assert run.load_predictions(generation) is None


def test_it_comes_back_as_a_module_of_both_arguments(run: RunDir) -> None:
    (generation,) = run.compacted()
    context = organisms.prepare(run.load_plan())
    organism = organisms.load_organism(run, context.species, generation)
    arrays = examples(2, 77).arrays
    inputs = jnp.asarray(arrays["place"]), jnp.asarray(arrays["phase"])
    model: Any = load(run.path)
    assert model.first.out_features < 24
    np.testing.assert_allclose(model(*inputs), organism.whole(*inputs), atol=1e-5)


def test_what_is_for_images_of_classes_alone_is_refused(run: RunDir, tmp_path: Path) -> None:
    from PIL import Image

    reloaded = reload(run.path)
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    for use in (
        lambda: reloaded.shape,
        lambda: reloaded.classes,
        lambda: reloaded.task,
        lambda: classify(reloaded, [tmp_path / "a.png"], top=1),
    ):
        with pytest.raises(RunError, match=f"for the task {__name__}:problem, not for images of classes"):
            use()
    with pytest.raises(ExportError, match="tflite-int8 is for images of classes alone"):
        deliver(reloaded, problem(), "tflite-int8", tmp_path / "out" / "net")
    assert not (tmp_path / "out").exists()


def test_it_is_reported_in_the_units_of_the_task(run: RunDir) -> None:
    summary = summarise(run)
    assert summary["missing"] == []
    assert summary["dataset"] == f"{__name__}:problem"
    assert summary["score"] == {"name": "error", "better": "lower"}
    assert summary["outcomes"] is None
    page = render_page(run, summary)
    assert "test error" in page
    assert "%" not in page.partition('id="generations"')[2].partition("</table>")[0]


def test_a_problem_that_is_gone_is_named(run: RunDir) -> None:
    plan = run.load_plan()
    gone = plan.model_copy(update={"task": plan.task.model_copy(update={"name": f"{__name__}:no_problem"})})
    with pytest.raises(TaskError, match="no_problem"):
        organisms.prepare(gone)


def test_a_plan_that_moves_images_is_refused_where_there_are_none() -> None:
    plan = plan_of(**{"training.shift": 1})
    with pytest.raises(PlanError, match=f"the task {__name__}:problem hold none") as caught:
        organisms.prepare(plan)
    assert "--set training.shift=0" in caught.value.remedy
    assert "ancestor_training" not in caught.value.remedy
