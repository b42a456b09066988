"""Runs whose offspring are selected among candidates: resumed, side by side, and what the report says of them."""

import io
import shutil
from itertools import islice
from typing import Any

import pytest
from rich.console import Console
from scipy.stats import spearmanr
from test_side_by_side import SETS, same

from synevo.lineage.happenings import Epoch
from synevo.plan.compose import compose
from synevo.report.agreement import agree, spearman
from synevo.report.page.html import render_page
from synevo.report.summary import summarise
from synevo.report.terminal.run import print_report
from synevo.runs import stages, trusted
from synevo.runs.rundir import RunDir

pytestmark = pytest.mark.slow

HALVED = [one for one in SETS if not one.startswith("training.epochs")]
HALVED += ["training.epochs=4", "evolution.halving=4", "evolution.population=2"]


@pytest.fixture(scope="module")
def ancestor(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run that has its ancestor; not to be changed."""
    run = RunDir(tmp_path_factory.mktemp("halving") / "ancestor")
    trusted.remember("specimens:Tiny")
    for _ in stages.train_ancestor(run, compose(options={"ancestor.name": "specimens:Tiny"}, sets=HALVED)):
        pass
    return run


def copy(ancestor: RunDir, name: str) -> RunDir:
    run = RunDir(ancestor.path.with_name(name))
    shutil.copytree(ancestor.path, run.path)
    return run


@pytest.fixture(scope="module")
def whole(ancestor: RunDir) -> RunDir:
    """A lineage that was never interrupted, and whose offspring were selected side by side."""
    run = copy(ancestor, "whole")
    assert len(epochs(stages.evolve(run, run.load_plan(), side_by_side="devices"))) == 2 * 4 * 3
    return run


def epochs(happenings: Any) -> list[Epoch]:
    return [one for one in happenings if isinstance(one, Epoch)]


def test_a_selection_that_is_interrupted_anywhere_goes_on_where_it_was(
    ancestor: RunDir, whole: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops within the first rung, within the second and within the last; no epoch is trained again.

    In turn, it is the lineage that was selected side by side.
    """
    monkeypatch.setattr(stages, "CHECKPOINT_EVERY", 0.0)
    run = copy(ancestor, "interrupted")
    for stop in (3, 2, 4):
        happenings = stages.evolve(run, run.load_plan())
        assert len(list(islice((one for one in happenings if isinstance(one, Epoch)), stop))) == stop
        happenings.close()  # type: ignore[attr-defined]
    assert min(path.name.partition("-a")[0] for path in run.training_folder.iterdir()) == "g02-1-c01of04-r0"
    left = [one for one in epochs(stages.evolve(run, run.load_plan())) if one.number == 1]
    assert [one.epoch for one in left] == [2, 3, 4]
    assert same(run, whole)
    assert [one.rungs for one in run.load_lineage().individuals] == [
        one.rungs for one in whole.load_lineage().individuals
    ]
    assert not run.training_folder.exists()


def test_what_a_candidate_has_learnt_in_a_rung_is_kept_at_once(
    ancestor: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise short rungs would be lost: checkpoints within trainings are written from time to time alone."""
    monkeypatch.setattr(stages, "CHECKPOINT_EVERY", 1e9)
    run = copy(ancestor, "kept")
    happenings = stages.evolve(run, run.load_plan())
    assert len(list(islice((one for one in happenings if isinstance(one, Epoch)), 3))) == 3
    happenings.close()  # type: ignore[attr-defined]
    happenings = stages.evolve(run, run.load_plan())
    after = next(one.candidate for one in happenings if isinstance(one, Epoch))
    happenings.close()  # type: ignore[attr-defined]
    assert after is not None
    assert (after.number, after.rung) == (4, 0)


def test_the_report_says_how_well_ranks_agree(whole: RunDir) -> None:
    summary = summarise(whole)
    rungs = [row["rungs"] for row in summary["generations"]]
    assert [len(one) for one in rungs] == [0, 3, 3]
    assert rungs[1][0]["candidates"] == (1, 2, 3, 4)
    assert summary["cost"]["epochs"] == 2 + 2 * 12
    assert summary["halving"] == agree(summary["generations"])
    said = {**summary, "halving": {"rungs": [], "text": "Their ranks agree."}}
    screen = Console(file=io.StringIO(), width=120)
    print_report(screen, said)
    assert "Their ranks agree." in screen.file.getvalue()  # type: ignore[attr-defined]
    assert "<p>Their ranks agree.</p>" in render_page(whole, said)
    assert "<p>Their" not in render_page(whole, summary)


def rung(epochs: int, scores: dict[int, float | None]) -> dict[str, Any]:
    return {"epochs": epochs, "candidates": tuple(scores), "scores": tuple(scores.values())}


def test_the_agreement_is_the_mean_of_those_that_were_left() -> None:
    first = [rung(1, {1: 0.1, 2: 0.4, 3: 0.3, 4: 0.2, 5: None}), rung(2, {2: 0.5, 3: 0.7, 4: 0.6})]
    second = [rung(1, {1: 0.1, 2: 0.4, 3: 0.3}), rung(2, {2: 0.5, 3: 0.2})]
    found = agree([{"rungs": first}, {"rungs": second}, {"rungs": []}])
    assert found is not None
    (one,) = found["rungs"]
    assert (one["groups"], one["epochs"], one["next_epochs"]) == (2, 1, 2)
    assert one["rho"] == pytest.approx((spearmanr([0.4, 0.3, 0.2], [0.5, 0.7, 0.6]).statistic + 1) / 2)
    assert "0.25 after 1 and then 2 epochs (mean of 2)" in found["text"]
    assert agree([{"rungs": []}]) is None
    assert agree([{"rungs": [rung(1, {1: 0.5, 2: 0.5}), rung(2, {1: 0.5})]}]) is None, "nothing to compare"


@pytest.mark.parametrize("values", [([1, 2, 3, 4], [1, 4, 2, 3]), ([1, 1, 2, 5, 5], [3, 1, 1, 2, 9])])
def test_spearman_s_rho_is_scipy_s(values: tuple[list[float], list[float]]) -> None:
    assert spearman(*values) == pytest.approx(spearmanr(*values).statistic)
    assert spearman([1, 1, 1], [1, 2, 3]) is None
