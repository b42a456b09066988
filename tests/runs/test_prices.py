"""What filters cost in time: measured once, kept with the run, and what decides who survives."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
import pytest
from architectures import ResNeXt, ViT
from specimens import Residual, Tiny, specimen

from synevo.errors import ExportError, PlanError, RunError
from synevo.genetics import removal
from synevo.genetics.heredity import HEREDITIES
from synevo.genetics.measured import basis_of
from synevo.lineage.happenings import Found
from synevo.model.network import Network
from synevo.plan.compose import change, compose
from synevo.plan.fields import EncodingPlan
from synevo.report.page.html import render_page
from synevo.report.summary import summarise
from synevo.runs import prices, stages, trusted
from synevo.runs.documents import load_prices, prices_file, prices_in_words
from synevo.runs.measuring import Timing
from synevo.runs.organisms import Context, Times
from synevo.runs.rundir import RunDir
from synevo.runs.verification import verify_files
from synevo.tasks.task import Problem
from synevo.training import hosts

pytestmark = pytest.mark.slow

SETS = ["data.image_size=8", "data.fit=none", "encoding.cluster=filter", "evolution.max_drop=1"]
SETS += ["ancestor_training.epochs=1", "training.epochs=1", "evolution.generations=2"]
SETS += ["encoding.cluster_sharpness=20", "environment.keep_clusters=0.7", "environment.keep_synapses=0.6"]
SETS += ["encoding.heredity=removal", "encoding.cost=latency", "environment.cluster_scope=network"]


@dataclass
class Told:
    """A stopwatch that tells times by the sizes of networks: a microsecond for each number of `layer`."""

    layer: str = "conv1/kernel"
    scale: float = 1.0
    asked: list[int] = field(default_factory=list)

    def require(self, context: Context) -> None:
        """Do nothing."""

    def time(self, context: Context, networks: Mapping[str, Network], batch: int, *, rounds: int) -> Times:
        del context, rounds
        self.asked.append(len(networks))
        assert batch == 1
        took = {name: self.scale * one.parameters[self.layer].size / 1000 for name, one in networks.items()}
        found = {name: Timing(one, one, one, 3) for name, one in took.items()}
        return Times(found, {"name": "told", "words": "a told time", "threads": 1})


@pytest.fixture(scope="module")
def ancestor(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    """A run that has its ancestor; not to be changed."""
    run = RunDir(tmp_path_factory.mktemp("prices") / "ancestor")
    trusted.remember("specimens:Tiny")
    for _ in stages.train_ancestor(run, compose(options={"ancestor.name": "specimens:Tiny"}, sets=SETS)):
        pass
    return run


def copy(run: RunDir, name: str) -> RunDir:
    shutil.copytree(run.path, run.path.with_name(name))
    return RunDir(run.path.with_name(name))


@pytest.fixture(scope="module")
def evolved(ancestor: RunDir) -> RunDir:
    """A run whose second generation was born by prices that were told; not to be changed."""
    run = copy(ancestor, "evolved")
    found = [one.text for one in stages.evolve(run, run.load_plan(), stopwatch=Told()) if isinstance(one, Found)]
    assert [one for one in found if "a told time" in one] == [prices_in_words(load_prices(run) or {})]
    return run


def test_the_price_of_a_filter_is_what_the_ancestor_saves_without_it(evolved: RunDir) -> None:
    """conv1 has 54 numbers in 6 filters, so that 9 microseconds go with each, and none with those of other layers."""
    table = load_prices(evolved)
    assert table is not None
    first, *others = table["rows"]
    assert (first["layers"], first["filters"], first["removed"]) == (["conv1/kernel"], 6, 3)
    assert (first["whole"], first["saved"], first["microseconds"]) == pytest.approx((54, 27, 9))
    assert [one["layers"] for one in others] == [["conv2/kernel"], ["full/kernel"]], "of the classifier, none can go"
    least = prices.LEAST * 54 / (6 + 8 + 12)
    assert [one["microseconds"] for one in others] == pytest.approx([least] * 2)


def test_prices_are_measured_once_and_go_along_with_the_ancestor(evolved: RunDir, ancestor: RunDir) -> None:
    kept = prices_file(evolved).read_bytes()
    further = copy(evolved, "further")
    for _ in stages.evolve(
        further, change(further.load_plan(), options={"evolution.generations": 3}), stopwatch=Told(scale=9)
    ):
        pass
    assert len(further.load_lineage().individuals) == 3
    assert prices_file(further).read_bytes() == kept
    again = RunDir(ancestor.path.with_name("again"))
    for _ in stages.take_ancestor(again, evolved.load_plan(), evolved):
        pass
    for _ in stages.evolve(again, again.load_plan(), stopwatch=Told(scale=9)):
        pass
    assert prices_file(again).read_bytes() == kept
    names = ("weights.safetensors", "masks.safetensors")
    bits = [[(one.path / "individuals" / "g02" / name).read_bytes() for name in names] for one in (evolved, again)]
    assert bits[0] == bits[1]


def test_other_prices_are_another_lineage_and_another_measure(evolved: RunDir, ancestor: RunDir) -> None:
    other = copy(ancestor, "other")
    for _ in stages.evolve(other, other.load_plan(), stopwatch=Told("full/kernel", scale=100)):
        pass
    masks = [(one.path / "individuals" / "g02" / "masks.safetensors").read_bytes() for one in (evolved, other)]
    assert masks[0] != masks[1]


def test_a_lineage_that_has_lost_its_prices_is_not_gone_on_with_by_others(evolved: RunDir) -> None:
    run = copy(evolved, "lost")
    prices_file(run).unlink()
    plan, watch = change(run.load_plan(), options={"evolution.generations": 3}), Told()
    with pytest.raises(RunError, match=r"prices\.json is gone") as error:
        list(stages.evolve(run, plan, stopwatch=watch))
    assert "copy" in error.value.remedy
    assert not watch.asked
    assert len(run.load_lineage().individuals) == 2


def test_prices_that_were_changed_are_noticed(evolved: RunDir) -> None:
    run = copy(evolved, "changed")
    table = json.loads(prices_file(run).read_text())
    table["rows"][0]["microseconds"] *= 2
    prices_file(run).write_text(json.dumps(table))
    assert [one.subject for one in verify_files(run) if not one.holds] == ["prices of filters"]
    assert all(one.holds for one in verify_files(evolved))
    with pytest.raises(RunError, match="it was changed"):
        list(stages.evolve(run, change(run.load_plan(), options={"evolution.generations": 3}), stopwatch=Told()))
    assert [one["part"] for one in summarise(run)["missing"]] == ["prices"]


def test_the_report_tells_the_prices(evolved: RunDir, ancestor: RunDir) -> None:
    summary = summarise(evolved)
    assert summary["prices"]["text"] == (
        "Microseconds that a filter costs in a told time: conv1/kernel 9, conv2/kernel 0.104, full/kernel 0.104."
    )
    assert summary["prices"]["text"] in render_page(evolved, summary)
    assert summarise(ancestor)["prices"] is None


def test_an_engine_that_does_not_run_the_network_ends_in_an_error_and_leaves_nothing(ancestor: RunDir) -> None:
    class Broken(Told):
        def time(self, *_: Any, **__: Any) -> Times:
            raise ExportError("It does not run the network.", remedy="Choose another: --engine jax.")

    run = copy(ancestor, "broken")
    with pytest.raises(ExportError, match="does not run"):
        list(stages.evolve(run, run.load_plan(), stopwatch=Broken()))
    assert not prices_file(run).exists()
    assert len(run.load_lineage().individuals) == 1


def test_several_hosts_do_not_measure_each_their_own(ancestor: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "count", lambda: 2)
    with pytest.raises(PlanError, match="one host") as error:
        prices.require(ancestor, ancestor.load_plan())
    assert "--hosts" in error.value.remedy


@pytest.mark.parametrize("factory", [Tiny, Residual, ResNeXt, ViT])
def test_half_of_the_filters_of_tied_layers_can_be_left_out(factory: Any) -> None:
    """Each unit that may go is in one part, and the rest of the network still runs."""
    of = specimen(factory, (8, 8, 3))
    parts = prices.tied(of.wiring)
    together = np.concatenate([units for _, units in parts])
    expected = {part for unit in removal.made(of.wiring).tolist() for part in of.wiring.parts(unit)}
    assert len(together) == len(expected)
    assert set(together.tolist()) == expected
    assert {n for names, _ in parts for n in names} <= {layer.name for layer in of.wiring.layers}
    whole = sum(array.size for array in of.network.parameters.values())
    for _, units in parts[:3]:
        half = prices.halved(of.organism, units)
        assert 0 < (~half.units[units]).sum() <= len(units) / 2
        assert sum(array.size for array in half.network.parameters.values()) < whole
        jax.eval_shape(half.network, jax.ShapeDtypeStruct((2, 8, 8, 3), np.float32))


def test_a_filter_costs_the_time_of_its_layer_and_in_mixtures_the_geometric_mean(digits: Problem) -> None:
    of = specimen(Tiny)
    own = {"conv1/kernel": 4.0, "conv2/kernel": 0.25, "full/kernel": 9.0}
    time = removal.costs_of(of.organism, "latency", own)
    for layer in of.wiring.layers[:3]:
        assert set(time[layer.outputs].tolist()) == {own[layer.name]}
    macs = removal.costs_of(of.organism, "macs")
    np.testing.assert_allclose(removal.costs_of(of.organism, "latency+macs", own), np.sqrt(time * macs))
    plan = EncodingPlan(heredity="removal", cluster="filter", audit=0.1, cost="latency")
    worth = HEREDITIES["removal"].worth
    both = (own, {**own, "full/kernel": 18.0})
    one, other = (worth(of.organism, digits.task, digits.train, plan, prices=given).clusters for given in both)
    assert one is not None
    assert other is not None
    outputs = of.wiring.layers[2].outputs
    np.testing.assert_allclose(one[outputs], 2 * other[outputs], rtol=1e-6)
    bases = {basis_of(of.organism, digits.task, digits.train, plan, given) for given in both}
    assert len(bases) == 2, "what was measured for other prices does not count"
    with pytest.raises(PlanError, match=r"conv1/kernel.*nobody has measured"):
        removal.costs_of(of.organism, "latency")


def test_latency_is_a_cost_of_plans_and_other_words_are_not() -> None:
    usual = ["encoding.heredity=removal", "encoding.cluster=filter"]
    for cost in ("latency", "latency+bytes", "macs+latency"):
        assert prices.wanted(compose(sets=[*usual, f"encoding.cost={cost}"]))
    assert not prices.wanted(compose(sets=[*usual, "encoding.cost=macs+bytes"]))
    with pytest.raises(PlanError, match="add --heredity sensitivity or removal"):
        compose(sets=["encoding.cost=latency"])
