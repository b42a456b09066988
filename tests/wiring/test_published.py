"""Published networks, small: half of what can be removed of each goes, and the rest is the same network.

`make shapes` does the same with the networks in their published sizes.
"""

from collections.abc import Iterator

import jax
import pytest
from published import SMALL
from published.halves import masks_of, parameters, removable_parameters, removable_places, without_half

from synevo.compaction.in_memory import compact
from synevo.model.network import outline, take_apart
from synevo.wiring.dissection import dissect

pytestmark = pytest.mark.slow

REMOVABLE = {
    "ResNet-50": (0.90, 0.99),
    "VGG-19": (0.80, 0.99),
    "DenseNet-121": (0.88, 0.99),
    "U-Net": (0.70, 0.99),
    "ViT-S/16": (0.24, 0.30),
    "ConvNeXt-T": (0.38, 0.33),
    "DINO": (0.30, 0.45),
    "GPT": (0.34, 0.54),
    "U-Net, Linen": (0.73, 0.99),
    "MNIST CNN": (0.85, 0.99),
}
"""The least shares of the places along axes, and of the parameters, that go with a unit.

The rest are inputs, outputs and windows; widths that are normalised as a whole; widths that the code states.
"""


@pytest.fixture(scope="module", autouse=True)
def as_practitioners_run_them() -> Iterator[None]:
    """Let arrays of different ranks meet, as JAX does unless it is told otherwise; compile in a moment."""
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.numpy_rank_promotion("allow"), jax.enable_checks(False):
        yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.parametrize("name", SMALL)
def test_half_of_each_family_goes_and_the_rest_is_the_same(name: str) -> None:
    published = SMALL[name]
    network = outline(published.make, published.inputs)
    anatomy = dissect(network, published.inputs)
    places, numbers = REMOVABLE[name]
    assert removable_places(anatomy.wiring, network) >= places
    assert removable_parameters(anatomy.wiring, network) >= numbers
    model, variables = published.alive()
    alive = without_half(anatomy.wiring)
    masks = masks_of(anatomy.wiring, network, alive)
    done = compact(model, published.inputs, variables=variables, masks=masks, inputs=published.examples(4))
    assert done.proof.max_difference < 1e-5 * done.proof.largest_output
    assert done.removed >= (~alive).sum() > 0
    assert parameters(take_apart(done.model)) < parameters(network)
