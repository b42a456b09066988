"""Masks: which synapses belong together, by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from specimens import Specimen

from synevo.genetics.clusters import Clusters, clusters, kernels
from synevo.model.network import Network
from synevo.wiring import masks
from synevo.wiring.masks import by_unit, from_units
from synevo.wiring.units import PERMANENT, Layer

MATRIX = Layer("matrix", 0, 1, np.array([4, 5, 4, 5]), np.array([7, 8, 9]), 1)
"""Two channels, 4 and 5, spread by a flatten over two places each, to three units."""

PIXELS = Layer("pixels", 0, 1, np.array([PERMANENT, PERMANENT]), np.array([0, 1, 2]), 1)

CONVOLUTION = Layer("convolution", 2, 3, np.array([1, 2]), np.array([3, 4, 5, 6]), 64)


def pairs(found: Clusters) -> list[list[int]]:
    """The inputs that share a cluster."""
    return [np.flatnonzero(found.groups == group).tolist() for group in range(found.count)]


def test_a_kernel_of_a_matrix_behind_a_flatten_is_all_between_a_channel_and_a_unit() -> None:
    assert sorted(pairs(clusters(MATRIX, "kernel"))) == [[0, 2], [1, 3]]


def test_a_kernel_of_a_convolution_is_one_slice() -> None:
    assert pairs(clusters(CONVOLUTION, "kernel")) == [[0], [1]]


def test_every_input_of_the_network_is_a_channel_of_its_own() -> None:
    assert sorted(pairs(clusters(PIXELS, "kernel"))) == [[0], [1]]


@pytest.mark.parametrize("layer", [MATRIX, PIXELS, CONVOLUTION])
def test_a_filter_is_all_that_enters_a_unit(layer: Layer) -> None:
    assert pairs(clusters(layer, "filter")) == [list(range(len(layer.inputs)))]


def test_a_kernel_counts_while_one_of_its_synapses_lives() -> None:
    mask = np.zeros((4, 3), bool)
    mask[2, 0] = mask[0, 0] = mask[3, 1] = True  # channel 4 to unit 7 twice, channel 5 to unit 8
    np.testing.assert_array_equal(kernels(MATRIX, mask), [[True, False, False], [False, True, False]])
    window = np.zeros((3, 3, 2, 4), bool)
    window[0, 2, 1, 3] = window[1, 1, 1, 3] = True
    assert kernels(CONVOLUTION, window).sum() == 1
    assert kernels(CONVOLUTION, window)[1, 3]


def test_by_unit_puts_inputs_and_outputs_first_and_the_window_last() -> None:
    kernel = np.arange(3 * 5 * 2 * 4).reshape(3, 5, 2, 4)
    view = by_unit(CONVOLUTION, kernel)
    assert view.shape == (2, 4, 15)
    np.testing.assert_array_equal(view[1, 3], kernel[:, :, 1, 3].ravel())


@pytest.mark.parametrize("axes", [(2, 3), (3, 2), (0, 1), (1, 3)])
def test_from_units_undoes_by_unit_in_any_layout(axes: tuple[int, int]) -> None:
    kernel = np.arange(3 * 5 * 2 * 4).reshape(3, 5, 2, 4)
    layer = Layer("any", *axes, np.arange(kernel.shape[axes[0]]), np.arange(kernel.shape[axes[1]]), 1)
    np.testing.assert_array_equal(from_units(layer, by_unit(layer, kernel), kernel.shape), kernel)
    on_device = from_units(layer, by_unit(layer, jnp.asarray(kernel)), kernel.shape)
    np.testing.assert_array_equal(on_device, kernel)


def test_a_masked_network_is_zero_where_dead_and_itself_elsewhere() -> None:
    network = Network(
        {"matrix": jnp.array([[1.0, -2.0], [jnp.inf, jnp.nan]]), "bias": jnp.array([3.0])},
        {"mean": jnp.ones(1)},
        blueprint=None,
    )
    masked = masks.apply({"matrix": np.array([[True, False], [False, False]])}, network)
    np.testing.assert_array_equal(masked.parameters["matrix"], [[1, 0], [0, 0]])
    np.testing.assert_array_equal(masked.parameters["bias"], [3])
    np.testing.assert_array_equal(masked.statistics["mean"], [1])


def test_full_masks_hold_every_synapse_and_no_bias(tiny: Specimen) -> None:
    whole = masks.full(tiny.wiring, tiny.network)
    assert {name: mask.shape for name, mask in whole.items()} == {
        "conv1/kernel": (3, 3, 1, 6),
        "conv2/kernel": (3, 3, 6, 8),
        "full/kernel": (32, 12),
        "classifier/kernel": (12, 4),
    }
    assert all(mask.all() for mask in whole.values())
