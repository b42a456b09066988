"""Layers whose units stay because the user says so: in compaction, in conception, and in a whole lineage."""

import jax
import numpy as np
import pytest
from specimens import SHAPE, Residual, specimen

import synevo
from synevo import keys
from synevo.errors import PlanError
from synevo.model.network import put_together
from synevo.plan.fields import EncodingPlan
from synevo.wiring.protection import protected
from synevo.wiring.units import survives


def test_the_units_of_a_named_layer_are_kept_and_listed_with_the_reason() -> None:
    wiring = specimen(Residual).wiring
    found = protected(wiring, protect="inner2")
    layer = next(layer for layer in found.layers if layer.name == "inner2/kernel")
    assert set(found.kept) == set(layer.outputs.tolist())
    added = found.frozen[len(wiring.frozen) :]
    assert [(one.array, one.count, one.reason) for one in added] == [
        ("inner2/kernel", len(layer.outputs), "protected by 'inner2'")
    ]


def test_a_unit_that_a_residual_sum_shares_stays_if_one_of_its_layers_is_protected() -> None:
    found = protected(specimen(Residual).wiring, protect="block1")
    shared = {layer.name: set(layer.outputs.tolist()) for layer in found.layers}
    assert set(found.kept) >= shared["stem/kernel"] == shared["block1/kernel"]


def test_all_but_the_named_layers_stay() -> None:
    wiring = specimen(Residual).wiring
    found = protected(wiring, only="inner2")
    free = next(layer for layer in found.layers if layer.name == "inner2/kernel").outputs
    assert set(range(wiring.units)) - set(found.kept) == set(free.tolist())
    assert {one.reason for one in found.frozen[len(wiring.frozen) :]} == {"not among the layers of only='inner2'"}


def test_protecting_twice_lists_once() -> None:
    once = protected(specimen(Residual).wiring, protect="inner2")
    assert protected(once, protect="inner2") == once


@pytest.mark.parametrize(("expression", "said"), [("(", "no regular expression"), ("conv9", "names no layer")])
def test_an_expression_that_names_nothing_is_refused(expression: str, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        protected(specimen(Residual).wiring, protect=expression)


def test_compaction_leaves_protected_units_and_removes_the_others() -> None:
    of = specimen(Residual)
    dead = {name: np.zeros(of.network.arrays[name].shape, bool) for name in ("stem/kernel", "inner2/kernel")}
    masks = {name: mask.copy() for name, mask in dead.items()}
    for mask in masks.values():
        mask[..., 2:] = True
    masks |= {
        name.replace("kernel", "bias"): mask.any(axis=tuple(range(mask.ndim - 1))) for name, mask in masks.items()
    }
    model = put_together(of.network)
    free = synevo.compact(model, SHAPE, masks=masks)
    kept = synevo.compact(model, SHAPE, masks=masks, protect="stem")
    widths = [one.model.inner2.kernel.get_value().shape[-1] for one in (free, kept)]
    assert widths[0] == widths[1] < of.network.arrays["inner2/kernel"].shape[-1]
    assert kept.removed <= free.removed
    assert kept.model.stem.kernel.get_value().shape == of.network.arrays["stem/kernel"].shape
    assert "protected by 'stem'" in {one.reason for one in kept.frozen}


@pytest.mark.parametrize("cluster", ["filter", "kernel"])
def test_offspring_of_offspring_keep_protected_units_at_any_pressure(cluster: str) -> None:
    organism = specimen(Residual).organism
    encoding = EncodingPlan(cluster=cluster)
    for generation in range(2):
        key = keys.derive(keys.root(0), "generation", generation)
        given = {"protect": "inner2"} if generation == 0 else {}
        organism = synevo.conceive(key, [organism], keep_clusters=0.3, keep_synapses=0.2, encoding=encoding, **given)
    wiring = organism.species.anatomy.wiring
    fates = wiring.fates(organism.units)
    by_name = {layer.name: layer.outputs for layer in wiring.layers}
    assert survives(by_name["inner2/kernel"], fates).all()
    if cluster == "filter":
        assert not survives(by_name["stem/kernel"], fates).all()
    assert organism.network.arrays["inner2/kernel"].shape[-1] == len(by_name["inner2/kernel"])
    jax.block_until_ready(organism.network(np.zeros((2, *SHAPE), np.float32)))
