"""What makes a run mean nothing is said once, where it happens, and kept for the report."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax import Array
from rich.console import Console

from synevo.lineage.happenings import Doubted, Epoch, Found, Grown, Happening
from synevo.plan.compose import change, compose
from synevo.plan.fields import Plan
from synevo.report.comparison import compare
from synevo.report.page.html import render_comparison, render_page
from synevo.report.summary import summarise
from synevo.report.terminal.run import print_report
from synevo.report.terminal.several import print_comparison
from synevo.runs import organisms, stages
from synevo.runs.entries import basis_in
from synevo.runs.rundir import RunDir

pytestmark = pytest.mark.slow


class Ending(nnx.Module):
    """A layer, and what users write behind the last one."""

    def __init__(self, shape: tuple[int, ...], classes: int, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(shape[0] * shape[1] * shape[2], 8, rngs=rngs)
        self.out = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.end(self.out(nnx.relu(self.hidden(x.reshape(x.shape[0], -1)))))

    def end(self, logits: Array) -> Array:
        return logits


class Softmax(Ending):
    """The outputs are probabilities."""

    def end(self, logits: Array) -> Array:
        return nnx.softmax(logits.astype(jnp.bfloat16)).astype(jnp.float32)


class LogSoftmax(Ending):
    """The outputs are logarithms of probabilities, which are logits."""

    def end(self, logits: Array) -> Array:
        return jax.nn.log_softmax(logits)


class Positive(Ending):
    """The outputs are positive, and sum to anything."""

    def end(self, logits: Array) -> Array:
        return nnx.sigmoid(logits)


def plan_of(ancestor: type[Ending], **fields: Any) -> Plan:
    """A plan that learns nothing: its steps are tiny."""
    usual = {
        "ancestor.name": f"{__name__}:{ancestor.__name__}",
        "ancestor_training.epochs": 1,
        "ancestor_training.learning_rate": 1e-9,
        "training.epochs": 1,
        "evolution.generations": 2,
        "evolution.max_drop": "90pt",
    }
    return organisms.resolve(compose(options=usual | fields))


def said(happenings: Iterator[Happening]) -> list[str]:
    """What happens, in order: `epoch`, `grown`, and the first words of every doubt."""
    names = {Found: "found", Epoch: "epoch", Grown: "grown"}
    return [one.text[:23] if isinstance(one, Doubted) else names[type(one)] for one in happenings]


@pytest.mark.parametrize("ancestor", [Ending, LogSoftmax, Positive, Softmax])
def test_only_outputs_behind_a_softmax_are_probabilities(ancestor: type[Ending]) -> None:
    basis = organisms.basis_of(organisms.prepare(plan_of(ancestor)))
    assert basis.probabilities == (ancestor is Softmax)
    assert (basis.validation, basis.test) == (143, 359)
    assert basis.chance == pytest.approx(15 / 143)


def test_what_is_doubted_is_said_where_it_happens_once_and_reported(tmp_path: Path) -> None:
    run, plan = RunDir(tmp_path / "a"), plan_of(Softmax)
    first = ["found", "The ancestor gives prob", "epoch", "grown", "The ancestor is no bett"]
    assert said(stages.train_ancestor(run, plan)) == first
    assert said(stages.evolve(run, plan)) == ["epoch", "grown"]
    basis = basis_in(run.entries())
    assert basis is not None
    assert basis.probabilities
    other = RunDir(tmp_path / "b")
    assert said(stages.take_ancestor(other, change(plan, options={"evolution.max_drop": 0.1}), run)) == [
        "grown",
        "The ancestor gives prob",
        "The ancestor is no bett",
    ]
    assert basis_in(other.entries()) == basis
    for path in (run.path, other.path):
        summary = summarise(RunDir(path))
        assert [one["kind"] for one in summary["warnings"]] == ["probabilities", "chance"]
        both = compare([summary, summary])
        screen = Console(width=500, record=True)
        print_report(screen, summary)
        print_comparison(screen, both)
        pages = render_page(RunDir(path), summary), render_comparison(both)
        texts = screen.export_text(), *pages
        assert [text.count("is no better than chance") for text in texts] == [3, 1, 2]
