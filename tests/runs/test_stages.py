"""The stages of a run on disk: broods and adaptive lineages that are taken up again, and what verification says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synevo.lineage import course
from synevo.lineage.happenings import Grown, Happening
from synevo.plan.compose import compose
from synevo.plan.fields import Plan
from synevo.runs import organisms, stages
from synevo.runs.rundir import RunDir
from synevo.runs.verification import verify_files, verify_numbers

pytestmark = pytest.mark.slow

BROOD = {"evolution.population": 2, "evolution.generations": 3, "evolution.max_drop": 0.9}
FAMILY = {"evolution.population": 3, "evolution.parents": 2, "evolution.generations": 3, "evolution.max_drop": 0.9}
ADAPTIVE = {
    "evolution.adaptive": True,
    "evolution.max_drop": 0.03,
    "evolution.finest": 0.75,
    "environment.keep_synapses": 0.15,
    "evolution.generations": 4,
}


def plan_of(**fields: Any) -> Plan:
    usual = {
        "ancestor.name": "lenet-300-100",
        "data.image_size": 8,
        "ancestor_training.epochs": 4,
        "ancestor_training.learning_rate": 0.003,
        "training.epochs": 2,
        "encoding.synapse_sharpness": 20.0,
        "environment.synapse_scope": "network",
    }
    return organisms.resolve(compose(options=usual | fields))


def finish(folder: Path, fields: dict[str, Any]) -> RunDir:
    """A finished lineage."""
    run, plan = RunDir(folder), plan_of(**fields)
    exhaust(stages.train_ancestor(run, plan))
    exhaust(stages.evolve(run, plan))
    return run


@pytest.fixture(scope="module")
def brood(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return finish(tmp_path_factory.mktemp("runs") / "brood", BROOD)


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return finish(tmp_path_factory.mktemp("runs") / "family", FAMILY)


@pytest.fixture(scope="module")
def adaptive(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return finish(tmp_path_factory.mktemp("runs") / "adaptive", ADAPTIVE)


@pytest.fixture(params=["brood", "family", "adaptive"])
def run(request: pytest.FixtureRequest) -> RunDir:
    """Each of the three in turn."""
    found: RunDir = request.getfixturevalue(request.param)
    return found


def exhaust(happenings: Iterator[Happening]) -> int:
    return sum(isinstance(happening, Grown) for happening in happenings)


def story(run: RunDir) -> list[dict[str, Any]]:
    entries = json.loads(json.dumps(run.entries()))
    for entry in entries:
        for timing in ("seconds", "latency_ms"):
            del entry["individual"][timing]
        entry["files"].pop("scores.json", None)
    return entries


def test_a_lineage_that_is_left_after_every_event_ends_as_the_one_that_never_was(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "CHECKPOINT_EVERY", 0.0)
    again, plan = RunDir(tmp_path / "again"), run.load_plan()
    exhaust(stages.take_ancestor(again, plan, run))
    for _ in range(200):
        if course.next_conception(again.load_lineage(), plan) is None:
            break
        happenings = stages.evolve(again, plan)
        next(happenings)
        next(happenings, None)
        happenings.close()
    assert story(again) == story(run)
    assert exhaust(stages.evolve(again, plan)) == 0


def test_every_individual_is_kept_and_descends_from_the_best_of_the_generation_before(run: RunDir) -> None:
    lineage = run.load_lineage()
    assert len(lineage.individuals) > len(lineage.line)
    for individual in lineage.individuals[1:]:
        masks = run.load_individual(individual.name)[1]
        mates = [run.load_individual(parent)[1] for parent in lineage.parents_of(individual)]
        assert all((mask <= np.any([mate[name] for mate in mates], axis=0)).all() for name, mask in masks.items())
        brood = sorted(lineage.brood(individual.generation - 1), key=lambda one: -one.scores.validation)
        wanted = run.load_plan().evolution.parents
        assert lineage.parents_of(individual) == tuple(one.name for one in brood[:wanted])
    siblings = [run.load_individual(one.name)[1] for one in lineage.brood(2)]
    if len(siblings) > 1:
        assert any((siblings[0][name] != siblings[1][name]).any() for name in siblings[0])
    head = run.load_individual(2)[0]
    named = run.load_individual(lineage.head(2).name)[0]
    assert all(np.array_equal(head[name], named[name]) for name in head)


def test_an_offspring_of_two_is_no_larger_than_one_of_the_mean_parent_and_no_part_of_either(family: RunDir) -> None:
    run, lineage = family, family.load_lineage()
    mixed = 0
    for individual in lineage.individuals:
        if individual.generation > 2:
            one, other = (
                next(mate for mate in lineage.individuals if mate.name == name) for name in individual.parents
            )
            mean = (one.counts.synapses + other.counts.synapses) / 2
            assert individual.expected_synapses == pytest.approx(0.67 * mean, rel=1e-6)
            masks = run.load_individual(individual.name)[1]
            held = [run.load_individual(mate.name)[1] for mate in (one, other)]
            mixed += all(any((masks[name] & ~mate[name]).any() for name in masks) for mate in held)
    assert mixed


def test_an_adaptive_lineage_goes_back_and_takes_smaller_steps(adaptive: RunDir) -> None:
    lineage = adaptive.load_lineage()
    pressures = [one.pressure for one in lineage.individuals]
    assert min(pressures) < 1
    for before, after in zip(lineage.individuals, lineage.individuals[1:], strict=False):
        if after.generation == before.generation:
            assert after.pressure == before.pressure / 2
            assert not lineage.within_budget(before, 0.03)


def test_the_whole_lineage_is_verified_those_who_were_not_chosen_too(run: RunDir) -> None:
    checks = [*verify_files(run), *verify_numbers(run)]
    assert [check.subject for check in checks if not check.holds] == []
    labels = {individual.label for individual in run.load_lineage().individuals}
    assert {f"generation {label}: counts" for label in labels} <= {check.subject for check in checks}
