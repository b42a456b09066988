"""Mating: what several parents make of their synapses, against the slow oracle and against laws."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from specimens import Normed, Residual, Specimen, Tiny, chain, random_masks, specimen

from synevo.genetics.mating import allowance, mate
from synevo.genetics.organism import Organism, Species
from synevo.genetics.viability import make_viable
from synevo.model.network import Network
from synevo.wiring.dissection import Anatomy
from synevo.wiring.masks import Masks, full
from synevo.wiring.units import PERMANENT, survives

CHANNELS = {"conv1": 1, "conv2": 6, "full": 8, "classifier": 12}
TIED = ("stem/kernel", "block1/kernel", "outer2/kernel")

seeds = st.integers(0, 2**16)
tag_shares = st.sampled_from([0.01, 0.25, 1 / 3, 0.5, 2 / 3, 0.7, 1.0])
numbers = st.integers(2, 5)


def breed(of: Specimen, *parents_seeds: int, density: float = 0.3) -> list[Organism]:
    """Viable parents of random weights, with units of their own."""
    parents = []
    for seed in parents_seeds:
        random = np.random.default_rng(seed)
        network = of.network.map(
            lambda _, array, random=random: array + jnp.asarray(random.normal(size=array.shape), array.dtype)
        )
        masks, units, _ = make_viable(
            of.wiring, network.parameters, full(of.wiring, of.network), random_masks(of, density, seed)
        )
        parents.append(Organism.left(of.species, network, masks, units))
    return parents


def unite(parents: list[Organism], **knobs: Any) -> tuple[Network, Masks]:
    usual = {"mating": "sum", "dominance": 1.0, "cluster": "filter", "tag_share": 0.5}
    return mate(parents, **(usual | knobs))


def mates(name: str, channels: int, parents: list[Organism], dominance: float, kind: str) -> list[oracle.Mate]:
    return [
        oracle.Mate(
            oracle.Layer(
                np.asarray(parent.whole.parameters[f"{name}/kernel"]), parent.masks[f"{name}/kernel"], channels, kind
            ),
            np.asarray(parent.whole.parameters[f"{name}/bias"]),
            dominance**rank,
        )
        for rank, parent in enumerate(parents)
    ]


@pytest.mark.parametrize("dominance", [1.0, 0.6])
@pytest.mark.parametrize("kind", ["kernel", "filter"])
@pytest.mark.parametrize("mating", ["sum", "product"])
def test_parents_make_what_the_oracle_says(tiny: Specimen, mating: str, kind: str, dominance: float) -> None:
    parents = breed(tiny, 1, 2, 3)
    assert len({parent.units.tobytes() for parent in parents}) == 3, "filters live in some parents and not in others"
    network, masks = unite(parents, mating=mating, cluster=kind, dominance=dominance, tag_share=0.6)
    product = mating == "product"
    for name, channels in CHANNELS.items():
        own = mates(name, channels, parents, dominance, kind)
        holders = oracle.count_holders(*([one] for one in own))
        expected = oracle.mate_masks(own, holders, product=product, share=0.6, parents=3)
        assert expected.any()
        assert not expected.all()
        np.testing.assert_array_equal(masks[f"{name}/kernel"], expected)
        weights = np.asarray(network.parameters[f"{name}/kernel"])
        for index in map(tuple, np.argwhere(np.any([one.layer.alive for one in own], axis=0))[::7]):
            assert weights[index] == pytest.approx(oracle.mate_synapse(own, index, product=product), rel=1e-5, abs=1e-7)
        biases = np.asarray(network.parameters[f"{name}/bias"])
        for filter_, bias in enumerate(biases):
            wanted = oracle.mate_bias(own, filter_)
            assert bias == pytest.approx(0 if wanted is None else wanted, rel=1e-5, abs=1e-7)


def test_filters_that_a_residual_sum_ties_together_are_held_by_whoever_holds_a_part() -> None:
    of = specimen(Residual)
    parents = breed(of, 1, 2, 3, density=0.02)
    _, masks = unite(parents, tag_share=0.6)
    own = {name: mates(name.split("/")[0], 1, parents, 1.0, "filter") for name in TIED}
    holders = oracle.count_holders(*([own[name][k] for name in TIED] for k in range(3)))
    alone = {name: oracle.count_holders(*([one] for one in own[name])) for name in TIED}
    assert any(alone[name].get(cluster, 0) < 2 <= held for cluster, held in holders.items() for name in TIED)
    for name in TIED:
        expected = oracle.mate_masks(own[name], holders, product=False, share=0.6, parents=3)
        np.testing.assert_array_equal(masks[name], expected)


@settings(max_examples=15)
@given(seeds, numbers, tag_shares)
def test_a_cluster_is_mated_where_enough_parents_hold_it(seed: int, number: int, share: float) -> None:
    """For kernels of convolutions, a cluster is a slice: all that any parent holds of it is there, or nothing."""
    of = specimen(Tiny)
    parents = breed(of, *range(seed, seed + number), density=0.1)
    _, masks = unite(parents, cluster="kernel", tag_share=share)
    for name in ("conv1/kernel", "conv2/kernel"):
        held = np.stack([parent.masks[name] for parent in parents])
        holders = held.any(axis=(1, 2)).sum(axis=0)
        enough = np.array([[count / number >= share for count in row] for row in holders])
        np.testing.assert_array_equal(masks[name], held.any(axis=0) & enough)


@settings(max_examples=15)
@given(seeds, numbers, tag_shares, st.sampled_from(["kernel", "filter"]))
def test_a_product_is_part_of_every_parent_and_a_sum_of_all_together(
    seed: int, number: int, share: float, kind: str
) -> None:
    of = specimen(Residual)
    parents = breed(of, *range(seed, seed + number))
    product, together = (
        unite(parents, mating=mating, cluster=kind, tag_share=share)[1] for mating in ("product", "sum")
    )
    for name in product:
        assert all((product[name] <= parent.masks[name]).all() for parent in parents)
        assert (product[name] <= together[name]).all()
        assert (together[name] <= np.any([parent.masks[name] for parent in parents], axis=0)).all()


@pytest.mark.parametrize("mating", ["sum", "product"])
def test_where_parents_count_alike_their_order_makes_no_difference_to_the_bit(tiny: Specimen, mating: str) -> None:
    parents = breed(tiny, 4, 5, 6)
    network, masks = unite(parents, mating=mating)
    for order in permutations(parents):
        again, again_masks = unite(list(order), mating=mating)
        assert all((again_masks[name] == mask).all() for name, mask in masks.items())
        for name, array in network.arrays.items():
            assert np.asarray(array).tobytes() == np.asarray(again.arrays[name]).tobytes()


@pytest.mark.parametrize("mating", ["sum", "product"])
def test_a_parent_mated_with_itself_is_itself(mating: str) -> None:
    of = specimen(Normed)
    (parent,) = breed(of, 7)
    network, masks = unite([parent] * 3, mating=mating)
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask, parent.masks[name])
        expected = np.where(mask, parent.whole.parameters[name], 0)
        np.testing.assert_allclose(network.parameters[name], expected, rtol=1e-6)
    fates = of.wiring.fates(parent.units)
    for name in network.arrays.keys() - masks.keys():
        (units,) = of.wiring.slots[name]
        own = np.asarray(parent.whole.arrays[name])
        np.testing.assert_allclose(network.arrays[name], np.where(survives(units, fates), own, 0), rtol=1e-6)


def test_a_filter_that_one_parent_has_is_passed_on_as_it_is_with_its_normalisation() -> None:
    of = specimen(Normed)
    one, other = breed(of, 8, 9, density=0.06)
    (units,) = of.wiring.slots["norm1/mean"]
    lone = [place for place, unit in enumerate(units) if unit != PERMANENT and one.units[unit] > other.units[unit]]
    shared = [place for place, unit in enumerate(units) if unit != PERMANENT and one.units[unit] & other.units[unit]]
    assert lone
    assert shared
    network, _ = unite([one, other])
    for name in ("norm1/mean", "norm1/var", "norm1/scale", "norm1/bias"):
        found, own, others = (np.asarray(n.arrays[name]) for n in (network, one.whole, other.whole))
        np.testing.assert_array_equal(found[lone], own[lone])
        np.testing.assert_allclose(found[shared], (own[shared] + others[shared]) / 2, rtol=1e-6)
    kernel, own = (np.asarray(n.parameters["conv1/kernel"]) for n in (network, one.whole))
    np.testing.assert_array_equal(kernel[..., lone], np.where(one.masks["conv1/kernel"], own, 0)[..., lone])


def test_a_counter_is_the_first_parents() -> None:
    wiring = chain(2, 3, 2)
    wiring = replace(wiring, slots={**wiring.slots, "seen": ()})
    masks = {layer.name: np.ones((len(layer.inputs), len(layer.outputs)), bool) for layer in wiring.layers}
    weights = {name: jnp.ones(mask.shape) for name, mask in masks.items()}
    networks = [Network(weights, {"seen": jnp.asarray(n)}, blueprint=None) for n in (7, 2)]
    species = Species(Anatomy(None, {}, wiring, ()), networks[0])
    network, _ = unite([Organism(species, network, masks, np.ones(3, bool)) for network in networks])
    assert int(network.statistics["seen"]) == 7


def test_the_mean_parent_is_measured_by_the_mated_network_and_never_larger() -> None:
    wiring = chain(2, 2, 1)
    whole = {"layer0": np.ones((2, 2), bool), "layer1": np.ones((2, 1), bool)}
    left = {"layer0": np.array([[True, False], [True, False]]), "layer1": np.array([[True], [False]])}
    right = {"layer0": np.array([[False, True], [False, False]]), "layer1": np.array([[False], [True]])}
    together = {name: left[name] | right[name] for name in left}
    for cluster, spared, share in (("filter", False, 2 / 3), ("filter", True, 1 / 2), ("kernel", True, 2.5 / 5)):
        found = allowance(wiring, together, [left, right], cluster, spared=spared)
        assert found == pytest.approx((share, 2.5 / 5))
    assert allowance(wiring, left, [whole, left], "filter", spared=True) == (1.0, 1.0)
