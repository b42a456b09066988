"""The census: counts by hand, on paper, for every ancestor."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flax import nnx
from jax import Array
from specimens import CLASSES, Specimen, chain, lay_out, sketch, specimen

from synevo.ancestors import BUILT_IN
from synevo.genetics import census
from synevo.genetics.organism import Organism, Species
from synevo.lineage.individuals import Counts
from synevo.model.network import Network
from synevo.wiring import cutting
from synevo.wiring.dissection import Anatomy

pytestmark = pytest.mark.slow


def count(of: Specimen) -> Counts:
    return census.count(of.organism)


# Input channels, filters, and the side of what comes out.
VGG16 = [
    (3, 64, 32),
    (64, 64, 32),
    (64, 128, 16),
    (128, 128, 16),
    (128, 256, 8),
    (256, 256, 8),
    (256, 256, 8),
    (256, 512, 4),
    (512, 512, 4),
    (512, 512, 4),
    (512, 512, 2),
    (512, 512, 2),
    (512, 512, 2),
]
MOBILENET = [
    (32, 64, 32),
    (64, 128, 16),
    (128, 128, 16),
    (128, 256, 8),
    (256, 256, 8),
    (256, 512, 4),
    *[(512, 512, 4)] * 5,
    (512, 1024, 4),
    (1024, 1024, 4),
]


def resnet(depth: int) -> list[tuple[int, int, int, int]]:
    """Window, input channels, filters and side of every convolution: a shortcut comes behind the block it goes around.

    1512.03385, section 4.2: a stem, then `depth` blocks of two convolutions for each of 16, 32 and 64 filters.
    """
    layers = [(9, 3, 16, 32), *[(9, 16, 16, 32)] * (2 * depth)]
    for filters, side in ((32, 16), (64, 8)):
        layers += [(9, filters // 2, filters, side), (9, filters, filters, side), (1, filters // 2, filters, side)]
        layers += [(9, filters, filters, side)] * (2 * depth - 2)
    return layers


def without_shortcuts(depth: int) -> list[tuple[int, int, int, int]]:
    """The same layers, where shortcuts have no weights."""
    return [layer for layer in resnet(depth) if layer[0] == 9]


RESNET8 = [(9, 3, 16, 32), (9, 16, 16, 32), (9, 16, 16, 32), *resnet(1)[3:]]
"""One block a stage, as in MLPerf Tiny."""

# Synapses a layer, kernels a layer, and the multiply-adds of one image, from the shapes in METHOD 5.
PAPER = {
    ("lenet5", 32, 1): (
        [5 * 5 * 1 * 32, 5 * 5 * 32 * 32, 5 * 5 * 32 * 64, 4 * 4 * 64 * 64, 64 * 10],
        [32, 1024, 2048, 4096, 640],
        800 * 32 * 32 + 25_600 * 16 * 16 + 51_200 * 8 * 8 + 65_536 + 640,
    ),
    ("lenet5", 32, 3): (
        [5 * 5 * 3 * 32, 5 * 5 * 32 * 32, 5 * 5 * 32 * 64, 4 * 4 * 64 * 64, 64 * 10],
        [96, 1024, 2048, 4096, 640],
        2400 * 32 * 32 + 25_600 * 16 * 16 + 51_200 * 8 * 8 + 65_536 + 640,
    ),
    ("lenet5-caffe", 28, 1): (
        [500, 25_000, 400_000, 5_000],
        [20, 1_000, 25_000, 5_000],
        500 * 24 * 24 + 25_000 * 8 * 8 + 400_000 + 5_000,
    ),
    ("lenet-300-100", 28, 1): ([235_200, 30_000, 1_000], [235_200, 30_000, 1_000], 266_200),
    ("alexnet", 32, 3): (
        [7_200, 614_400, 884_736, 1_327_104, 884_736, 16_777_216, 16_777_216, 40_960],
        [288, 24_576, 98_304, 147_456, 98_304, 256 * 4096, 4096 * 4096, 40_960],
        7_200 * 1024 + 614_400 * 256 + (884_736 + 1_327_104 + 884_736) * 64 + 2 * 16_777_216 + 40_960,
    ),
    ("vgg16", 32, 3): (
        [9 * inputs * filters for inputs, filters, _ in VGG16] + [512 * 512, 512 * 10],
        [inputs * filters for inputs, filters, _ in VGG16] + [512 * 512, 512 * 10],
        sum(9 * inputs * filters * side**2 for inputs, filters, side in VGG16) + 512 * 512 + 512 * 10,
    ),
    **{
        (name, 32, 3): (
            [window * inputs * filters for window, inputs, filters, _ in layers] + [640],
            [inputs * filters for _, inputs, filters, _ in layers] + [640],
            sum(window * inputs * filters * side**2 for window, inputs, filters, side in layers) + 640,
        )
        for name, layers in (
            ("resnet20", resnet(3)),
            ("resnet56", resnet(9)),
            ("resnet20-zeros", without_shortcuts(3)),
            ("resnet56-zeros", without_shortcuts(9)),
            ("resnet8", RESNET8),
        )
    },
    ("mobilenet", 32, 3): (
        [27 * 32] + [count for inputs, filters, _ in MOBILENET for count in (9 * inputs, inputs * filters)] + [10_240],
        [3 * 32] + [count for inputs, filters, _ in MOBILENET for count in (inputs, inputs * filters)] + [10_240],
        27 * 32 * 32**2 + sum((9 + filters) * inputs * side**2 for inputs, filters, side in MOBILENET) + 10_240,
    ),
}


@pytest.mark.parametrize(("name", "side", "channels"), PAPER)
def test_an_ancestor_counts_what_its_shapes_say_on_paper(name: str, side: int, channels: int) -> None:
    synapses, kernels, multiply_adds = PAPER[name, side, channels]
    counts = count(specimen(BUILT_IN[name], (side, side, channels), 10))
    assert [layer.synapses for layer in counts.layers] == synapses
    assert [layer.kernels for layer in counts.layers] == kernels
    assert [layer.stored_weights for layer in counts.layers] == synapses
    assert counts.multiply_adds == multiply_adds


@pytest.mark.parametrize(
    ("name", "side", "channels", "synapses", "kernels"),
    [("lenet5", 32, 1, 143_136, 7_200), ("lenet5", 32, 3, 144_736, 7_264)],
)
def test_the_family_s_figures_leave_the_classifier_out(
    name: str, side: int, channels: int, synapses: int, kernels: int
) -> None:
    counts = count(specimen(BUILT_IN[name], (side, side, channels), 10))
    assert (counts.family_synapses, counts.family_kernels) == (synapses, kernels)
    assert (counts.synapses, counts.kernels) == (synapses + 640, kernels + 640)


@pytest.mark.parametrize(("name", "synapses"), [("lenet5-caffe", 430_500), ("lenet-300-100", 266_200)])
def test_the_literature_s_figures_count_the_classifier(name: str, synapses: int) -> None:
    assert count(specimen(BUILT_IN[name], (28, 28, 1), 10)).synapses == synapses


def twice(m: Any, x: Array) -> Array:
    return m.out(nnx.relu(m.shared(nnx.relu(m.shared(nnx.relu(m.first(x)))))))


def test_a_layer_that_is_used_twice_is_stored_once_and_costs_twice() -> None:
    counts = count(specimen(sketch(twice, first=6, shared=6, out=0)))
    assert counts.synapses == counts.stored_weights == 64 * 6 + 36 + 24
    assert counts.kernels == 64 * 6 + 36 + 24
    assert counts.multiply_adds == 64 * 6 + 2 * 36 + 24


def test_every_ancestor_is_counted_here() -> None:
    assert {name for name, _, _ in PAPER} == set(BUILT_IN)


def test_the_dead_are_not_counted_but_are_stored() -> None:
    """1-2-2 with one dead synapse, two biases and a mean: 6 stored weights, 5 living, 9 parameters."""
    wiring = chain(1, 2, 2)
    arrays = {"layer0": np.ones((1, 2)), "layer1": np.ones((2, 2)), "bias": np.ones(2)}
    alive = {"layer0": np.ones((1, 2), bool), "layer1": np.array([[True, False], [True, True]])}
    network = Network(arrays, {"mean": np.ones(1)}, blueprint=None)
    species = Species(Anatomy(None, {}, wiring, ()), network)
    counts = census.count(Organism(species, network, alive, np.ones(wiring.units, bool)))
    assert (counts.synapses, counts.kernels) == (5, 5)
    assert (counts.stored_weights, counts.multiply_adds) == (6, 6)
    assert counts.parameters == 9
    assert [(layer.inputs, layer.filters) for layer in counts.layers] == [(1, 2), (2, 2)]
    assert (counts.family_synapses, counts.family_kernels) == (2, 2)


def test_a_kernel_with_one_living_synapse_is_a_kernel(tiny: Specimen) -> None:
    alive = {name: np.zeros_like(mask) for name, mask in tiny.organism.masks.items()}
    alive["conv2/kernel"][1, 1, 4, 2] = alive["conv2/kernel"][0, 2, 4, 2] = True
    alive["full/kernel"][[3, 11, 27], 5] = True  # channel 3 of 8 at three of four places
    counts = census.count(replace(tiny.organism, masks=alive))
    assert [layer.kernels for layer in counts.layers] == [0, 1, 1, 0]
    assert [layer.synapses for layer in counts.layers] == [0, 2, 3, 0]


def test_a_smaller_network_costs_less(tiny: Specimen) -> None:
    """Without one filter of the first convolution, 9 of its synapses and 9 * 8 of the second's are not even stored."""
    unit = int(tiny.wiring.layers[0].outputs[2])
    alive = np.arange(tiny.wiring.units) != unit
    left = cutting.cut_masks(tiny.organism.masks, tiny.wiring, alive)
    masks = lay_out(left, tiny.wiring, alive, tiny.network)
    counts = census.count(Organism.left(tiny.species, tiny.network, masks, alive))
    assert [layer.synapses for layer in counts.layers] == [45, 360, 384, 48]
    assert [layer.multiply_adds for layer in counts.layers] == [45 * 64, 360 * 16, 384, 48]
    assert counts.parameters == 45 + 5 + 360 + 8 + 384 + 12 + 48 + CLASSES
