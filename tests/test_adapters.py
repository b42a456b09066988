"""The adapters of the guide, as they stand there, beside stand-ins that take what MLflow and Weights & Biases take."""

import sys
from typing import Any, Self

import pytest
from specimens import Specimen
from test_readme import PAGES, blocks

import synevo
from synevo import keys
from synevo.plan.fields import EvolutionPlan, Plan, TrainingPlan
from synevo.tasks.task import Problem

pytestmark = pytest.mark.slow

PLAN = Plan(training=TrainingPlan(epochs=2, batch_size=32), evolution=EvolutionPlan(generations=3, max_drop=1.0))
FIGURES = {"synapses", "multiply_adds", "validation", "test"}


class MLflow:
    """A stand-in for the module: a stack of active runs, and what was logged to each, by its name."""

    def __init__(self) -> None:
        self.active: list[str] = []
        self.logged: dict[str, list[Any]] = {}

    def start_run(
        self,
        run_id: str | None = None,
        experiment_id: str | None = None,
        run_name: str | None = None,
        nested: bool = False,  # noqa: FBT001, FBT002
        parent_run_id: str | None = None,
        tags: dict[str, Any] | None = None,
        description: str | None = None,
        log_system_metrics: bool | None = None,  # noqa: FBT001
    ) -> "MLflow":
        del run_id, experiment_id, parent_run_id, tags, description, log_system_metrics
        assert nested == bool(self.active), "a run in a run is nested, or MLflow refuses it"
        assert run_name
        self.active.append(run_name)
        self.logged["/".join(self.active)] = []
        return self

    def end_run(self, status: str = "FINISHED") -> None:
        assert status == "FINISHED"
        self.active.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_run()

    def log_metric(self, key: str, value: float, step: int | None = None) -> None:
        assert isinstance(value, float)
        self.logged["/".join(self.active)].append((key, step))

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        del step
        assert all(isinstance(value, (int, float)) for value in metrics.values())
        self.logged["/".join(self.active)].append(set(metrics))

    def log_params(self, params: dict[str, Any]) -> None:
        self.logged["/".join(self.active)].append(params)


class Wandb:
    """A stand-in for the module, and for the run that it begins."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.begun: dict[str, Any] = {}
        self.steps: dict[str, Any] = {}
        self.finished = False

    def init(self, entity: str | None = None, project: str | None = None, config: Any = None) -> "Wandb":
        self.begun = {"entity": entity, "project": project, "config": config}
        return self

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.steps[name] = step_metric

    def log(self, data: dict[str, Any], step: int | None = None, commit: bool | None = None) -> None:  # noqa: FBT001
        assert step is commit is None
        self.rows.append(data)

    def finish(self, exit_code: int | None = None) -> None:
        assert exit_code is None
        self.finished = True


@pytest.fixture
def world(tiny: Specimen, digits: Problem) -> dict[str, Any]:
    """What the programs of the guide use: a key, an ancestor, a problem and a plan."""
    return {"synevo": synevo, "key": keys.root(0), "ancestor": tiny.organism, "problem": digits, "plan": PLAN}


def programs() -> list[str]:
    (page,) = (text for name, text in PAGES.items() if name.endswith("library.md"))
    return blocks(page.partition("## Your own log")[2], "python")


def test_in_mlflow_a_lineage_is_a_run_and_each_individual_a_child(
    world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = MLflow()
    monkeypatch.setitem(sys.modules, "mlflow", stand_in)
    exec(programs()[0], world)  # noqa: S102 (the guide's own)
    assert stand_in.active == []
    children = {name: logged for name, logged in stand_in.logged.items() if name != "lineage"}
    assert list(children) == ["lineage/generation 2-1", "lineage/generation 3-1"]
    for logged in children.values():
        assert logged == [("loss", 1), ("loss", 2), FIGURES]
    assert stand_in.logged["lineage"][0]["epochs"] == 2


def test_in_weights_and_biases_a_lineage_is_a_run_with_curves(
    world: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in = Wandb()
    monkeypatch.setitem(sys.modules, "mlflow", MLflow())
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    first, second = programs()
    exec(first.partition("begun = ")[0], world)  # noqa: S102 (the guide's own)
    exec(second, world)  # noqa: S102
    assert [set(row) for row in stand_in.rows[:3]] == [
        {"loss"},
        {"loss"},
        {"generation", *(f"individual/{name}" for name in FIGURES)},
    ]
    assert [row["generation"] for row in stand_in.rows if "generation" in row] == [2, 3]
    assert stand_in.steps == {"individual/*": "generation"}
    assert stand_in.begun["config"]["training"]["batch_size"] == 32
    assert stand_in.finished
