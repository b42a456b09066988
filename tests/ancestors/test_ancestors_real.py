"""The larger ancestors: their synapses by hand, and that nothing but window, input and output of them stays."""

import numpy as np
import pytest
from specimens import hatch

from synevo import ancestors
from synevo.model.network import take_apart
from synevo.wiring.dissection import dissect
from synevo.wiring.units import keep_one

pytestmark = pytest.mark.slow

RESNET_STAGES = (16 * 9 * 3, 9 * 16 * 32 + 16 * 32, 9 * 32 * 64 + 32 * 64, 64 * 10)
"""Stem, the two blocks' halves where a stage begins with their shortcuts, classifier."""

BY_HAND = {
    "vgg16": 9 * (3 * 64 + 64 * 64 + 64 * 128 + 128**2 + 128 * 256 + 2 * 256**2 + 256 * 512 + 5 * 512**2)
    + 512 * 512
    + 512 * 10,
    "resnet20": sum(RESNET_STAGES) + 9 * (6 * 16**2 + 5 * 32**2 + 5 * 64**2),
    "resnet56": sum(RESNET_STAGES) + 9 * (18 * 16**2 + 17 * 32**2 + 17 * 64**2),
    "mobilenet": 27 * 32
    + 9 * (32 + 64 + 128 + 128 + 256 + 256 + 6 * 512 + 1024)
    + (32 * 64 + 64 * 128 + 128**2 + 128 * 256 + 256**2 + 256 * 512 + 5 * 512**2 + 512 * 1024 + 1024**2)
    + 1024 * 10,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_synapses_are_those_counted_by_hand_and_all_widths_can_go(name: str) -> None:
    network = take_apart(hatch(ancestors.find(name), (32, 32, 3), 10))
    anatomy = dissect(network, (32, 32, 3))
    wiring = anatomy.wiring
    assert sum(network.parameters[layer.name].size for layer in wiring.layers) == BY_HAND[name]
    assert wiring.frozen == ()
    least = anatomy.survivors(keep_one(wiring, np.zeros(wiring.units, bool)))
    for layer in wiring.layers:
        sizes = [axis.sum() for axis in least[anatomy.program.arrays[layer.name]]]
        assert sizes[layer.input_axis] in {1, 3}
        assert sizes[layer.output_axis] in {1, 10}
