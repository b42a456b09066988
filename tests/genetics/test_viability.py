"""Viability: a signal reaches every output, what carries none is gone, and what is restored is the widest path."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from specimens import Attentive, Joined, Residual, Specimen, Tiny, chain, images, outputs, random_masks, specimen

from synevo.errors import ViabilityError
from synevo.genetics.viability import make_viable
from synevo.model.network import Network
from synevo.wiring import masks as masks_
from synevo.wiring.masks import Masks
from synevo.wiring.signal import trim
from synevo.wiring.units import PERMANENT, Layer, Wiring

densities = st.sampled_from([0.0, 0.003, 0.01, 0.03, 0.1, 0.4])
seeds = st.integers(0, 2**32 - 1)


class EndlessError(AssertionError):
    """A repair went round in circles."""


@contextmanager
def patience(seconds: float) -> Iterator[None]:
    """Fail, do not hang, where a repair does not end."""

    def give_up(_number: int, _frame: FrameType | None) -> None:
        raise EndlessError(f"the repair did not end within {seconds} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def dense(**rows: list[list[float]]) -> dict[str, np.ndarray]:
    return {name: np.array(values, float) for name, values in rows.items()}


def living(weights: dict[str, np.ndarray]) -> Masks:
    """The masks of matrices whose dead synapses are written as zeros."""
    return {name: matrix != 0 for name, matrix in weights.items()}


def paths_to_classes(of: Specimen, masks: Masks) -> np.ndarray:
    """How many paths lead to each class: the network itself counts them, with 1 for a living synapse and no biases."""
    parameters = {
        name: array * 0 + masks[name] if name in masks else array * 0 for name, array in of.network.parameters.items()
    }
    return outputs(replace(of.network, parameters=parameters), np.ones((1, *of.shape), np.float32))[0]


def is_some_axis_empty(wiring: Wiring, alive: np.ndarray) -> bool:
    """Whether nothing is left along an axis of an array."""
    return any(axis.size == 0 for axes in wiring.restrict(alive).slots.values() for axis in axes)


def without_biases(network: Network) -> Network:
    return replace(network, parameters={k: v * 0 if k.endswith("bias") else v for k, v in network.parameters.items()})


def check_paths(model: Callable[..., object], density: float, seed: int) -> None:
    of = specimen(model)
    parent = masks_.full(of.wiring, of.network)
    offspring = random_masks(of, density, seed)
    with patience(2):
        viable, alive, restored = make_viable(of.wiring, of.network.parameters, parent, offspring)
    assert (paths_to_classes(of, viable) > 0).all()
    assert all(not (viable[name] & ~parent[name]).any() for name in parent)
    assert (restored > 0) == (paths_to_classes(of, trim(of.wiring, offspring)[0]) == 0).any()
    again, still_alive = trim(of.wiring, viable)
    assert not is_some_axis_empty(of.wiring, alive)
    if is_some_axis_empty(of.wiring, still_alive):  # what has stayed for it to have one unit leads nowhere
        assert not (still_alive & ~alive).any()
        assert all(not (again[name] & ~viable[name]).any() for name in viable)
        np.testing.assert_array_equal(paths_to_classes(of, again), paths_to_classes(of, viable))
    else:
        assert all((again[name] == viable[name]).all() for name in viable)
        np.testing.assert_array_equal(still_alive, alive)


@given(densities, seeds)
def test_a_path_leads_to_every_class_however_little_is_left(density: float, seed: int) -> None:
    check_paths(Tiny, density, seed)


@given(densities, seeds)
def test_a_path_leads_to_every_class_through_concatenations(density: float, seed: int) -> None:
    check_paths(Joined, density, seed)


@settings(phases=[Phase.generate])  # shrinking an endless repair would be endless itself
@given(densities, seeds)
def test_a_path_leads_to_every_class_through_residual_blocks(density: float, seed: int) -> None:
    check_paths(Residual, density, seed)


def test_a_repair_of_a_residual_block_ends() -> None:
    """Unit 0 is reached best through the block, from unit 1, and its own synapse in the block is as wide as that."""
    layers = (
        Layer("stem", 0, 1, np.array([PERMANENT]), np.array([0, 1]), 1),
        Layer("block", 0, 1, np.array([0, 1]), np.array([0, 1]), 1),
        Layer("classifier", 0, 1, np.array([0, 1]), np.array([PERMANENT]), 1),
    )
    wiring = Wiring(layers, {layer.name: (layer.inputs, layer.outputs) for layer in layers}, 2, ())
    weights = dense(stem=[[0.1, 1]], block=[[1, 0.1], [0.8, 0.1]], classifier=[[1], [0.01]])
    nothing = {name: np.zeros(matrix.shape, bool) for name, matrix in weights.items()}
    with patience(2):
        viable, _, _ = make_viable(wiring, weights, living(weights), nothing)
    np.testing.assert_array_equal(viable["stem"], [[False, True]])
    np.testing.assert_array_equal(viable["block"], [[False, False], [True, False]])
    np.testing.assert_array_equal(viable["classifier"], [[True], [False]])


def test_a_living_synapse_without_any_strength_is_a_path_where_there_is_no_other() -> None:
    """As where a heredity finds that nothing which leads to a class has any influence."""
    wiring = chain(1, 2, 2)
    weights = dense(layer0=[[1, 2]], layer1=[[3, 0], [4, 0]])
    parent = {"layer0": np.array([[True, True]]), "layer1": np.array([[True, True], [True, False]])}
    nothing = {name: np.zeros(mask.shape, bool) for name, mask in parent.items()}
    viable, _, _ = make_viable(wiring, weights, parent, nothing)
    np.testing.assert_array_equal(viable["layer1"], [[False, True], [True, False]])


@given(densities, seeds)
def test_frozen_units_keep_a_path_of_their_own(density: float, seed: int) -> None:
    of = specimen(Attentive)
    parent = masks_.full(of.wiring, of.network)
    viable, _, _ = make_viable(of.wiring, of.network.parameters, parent, random_masks(of, density, seed))
    assert viable["hidden2/kernel"].any(axis=0).all()
    assert viable["classifier/kernel"].any(axis=0).all()


@given(seeds)
def test_an_offspring_holds_nothing_that_a_sparse_parent_does_not(seed: int) -> None:
    of = specimen(Tiny)
    parent, _, _ = make_viable(
        of.wiring, of.network.parameters, masks_.full(of.wiring, of.network), random_masks(of, 0.1, seed)
    )
    thinned = {
        name: mask & draw
        for (name, mask), draw in zip(parent.items(), random_masks(of, 0.3, seed).values(), strict=True)
    }
    viable, _, _ = make_viable(of.wiring, of.network.parameters, parent, thinned)
    assert all(not (viable[name] & ~parent[name]).any() for name in parent)
    assert (paths_to_classes(of, viable) > 0).all()


@given(densities, seeds)
def test_what_is_trimmed_contributed_nothing(density: float, seed: int) -> None:
    """With rectifiers and without biases, a unit that no signal reaches is silent."""
    of = specimen(Tiny)
    before = random_masks(of, density, seed)
    after, _ = trim(of.wiring, before)
    network, x = without_biases(of.network), images(4)
    np.testing.assert_allclose(
        outputs(masks_.apply(after, network), x), outputs(masks_.apply(before, network), x), atol=1e-6
    )


def test_filters_that_lead_nowhere_and_that_nothing_leads_to_are_trimmed() -> None:
    """2-3-2-2: unit 0 leads nowhere; nothing reaches unit 2, and only that reaches unit 4. 1 to 3 is the network."""
    masks = living(dense(layer0=[[1, 1, 0], [1, 0, 0]], layer1=[[0, 0], [1, 0], [1, 1]], layer2=[[1, 1], [1, 0]]))
    trimmed, alive = trim(chain(2, 3, 2, 2), masks)
    np.testing.assert_array_equal(trimmed["layer0"], [[0, 1, 0], [0, 0, 0]])
    np.testing.assert_array_equal(trimmed["layer1"], [[0, 0], [1, 0], [0, 0]])
    np.testing.assert_array_equal(trimmed["layer2"], [[1, 1], [0, 0]])
    np.testing.assert_array_equal(alive, [False, True, False, True, False])


def test_trimming_leaves_the_masks_that_it_was_given_alone() -> None:
    masks = living(dense(layer0=[[1, 1]], layer1=[[1], [0]]))
    trim(chain(1, 2, 1), masks)
    assert masks["layer0"].all()


def test_a_restored_path_is_the_widest_not_the_strongest_at_either_end() -> None:
    """By unit 0 the widest synapse comes first, by unit 1 last; by unit 2 the weakest of both is strongest."""
    weights = dense(layer0=[[-10, 1, 6]], layer1=[[0.1], [1], [-0.5]])
    nothing = living({name: matrix * 0 for name, matrix in weights.items()})
    viable, alive, restored = make_viable(chain(1, 3, 1), weights, living(weights), nothing)
    np.testing.assert_array_equal(viable["layer0"], [[False, False, True]])
    np.testing.assert_array_equal(viable["layer1"], [[False], [False], [True]])
    np.testing.assert_array_equal(alive, [False, False, True])
    assert restored == 1


def test_a_restored_path_uses_only_synapses_that_the_parent_has() -> None:
    weights = dense(layer0=[[10, 2, 6]], layer1=[[0.1], [1], [0.5]])
    parent = living(weights)
    parent["layer1"][2] = False
    nothing = living({name: matrix * 0 for name, matrix in weights.items()})
    viable, _, _ = make_viable(chain(1, 3, 1), weights, parent, nothing)
    np.testing.assert_array_equal(viable["layer0"], [[False, True, False]])
    np.testing.assert_array_equal(viable["layer1"], [[False], [True], [False]])


def test_only_the_classes_without_a_signal_are_repaired() -> None:
    weights = dense(layer0=[[1, 0.9]], layer1=[[1, 0.5], [0.9, 1]])
    offspring = living(dense(layer0=[[1, 0]], layer1=[[1, 0], [0, 0]]))
    viable, _, restored = make_viable(chain(1, 2, 2), weights, living(weights), offspring)
    assert restored == 1
    np.testing.assert_array_equal(viable["layer0"], [[True, True]])
    np.testing.assert_array_equal(viable["layer1"], [[True, False], [False, True]])


def test_a_class_that_not_even_the_parent_reaches_is_an_error_that_names_it() -> None:
    weights = dense(layer0=[[1, 1]], layer1=[[1, 0], [1, 0]])
    with pytest.raises(ViabilityError, match="filter 1 of layer1"):
        make_viable(chain(1, 2, 2), weights, living(weights), living(weights))


def test_units_that_an_ancestor_lost_earlier_do_not_come_back() -> None:
    wiring = chain(2, 3, 2).restrict(np.array([True, False, True]))
    masks = {layer.name: np.ones((len(layer.inputs), len(layer.outputs)), bool) for layer in wiring.layers}
    trimmed, alive = trim(wiring, masks)
    np.testing.assert_array_equal(alive, [True, False, True])
    assert trimmed["layer0"].all()
