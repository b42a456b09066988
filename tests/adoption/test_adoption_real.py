"""Networks that others have trained give in synevo what they gave where they were trained."""

from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from received import PIXELS, REAL, made, real, standardised

from synevo.adoption.filling import fill
from synevo.adoption.outputs import compare_outputs, read_expected
from synevo.adoption.rules import parse_rules
from synevo.adoption.weights import Source, Weights, read
from synevo.ancestors import BUILT_IN
from synevo.errors import AdoptionError
from synevo.model.network import Network

pytestmark = [pytest.mark.slow, real]

TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")

FILES = REAL / "cifar-resnets"
TINY = REAL / "mlperf-tiny"


def built(name: str) -> Network:
    """A built-in ancestor as shapes."""
    return made(partial(BUILT_IN[name], (32, 32, 3), 10))


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("resnet20.safetensors", "resnet20-zeros"),
        ("resnet56.safetensors", "resnet56-zeros"),
        pytest.param("resnet20.th", "resnet20-zeros", marks=TORCH),
    ],
)
def test_a_residual_network_of_pytorch_gives_its_logits(file: str, name: str) -> None:
    found = fill(built(name), read(FILES / file), PIXELS)
    expected = read_expected(FILES / f"{file.partition('.')[0]}-outputs.npz", standardised)
    assert compare_outputs(found.network, expected) < 1e-5


@pytest.mark.parametrize(
    "file",
    [
        "resnet8.safetensors",
        pytest.param("resnet8.h5", marks=pytest.mark.skipif(find_spec("h5py") is None, reason="h5py is not installed")),
    ],
)
def test_a_network_of_keras_with_other_names_gives_its_probabilities_by_the_proposed_names(file: str) -> None:
    network, weights = built("resnet8"), read(TINY / file)
    with pytest.raises(AdoptionError, match="48 arrays are missing") as caught:
        fill(network, weights, PIXELS)
    found = fill(network, weights, PIXELS, rules=parse_rules(caught.value.proposal))
    expected = read_expected(TINY / "resnet8-outputs.npz", lambda pixels: pixels.astype(np.float32))
    assert compare_outputs(found.network, expected) < 1e-4


def test_a_missing_mean_and_another_width_of_a_real_network_are_told() -> None:
    weights = read(FILES / "resnet20.safetensors")
    arrays = dict(weights.arrays)
    del arrays["layer2.1.bn1.running_mean"]
    arrays["layer1.0.conv1.weight"] = arrays["layer1.0.conv1.weight"][:12]
    with pytest.raises(AdoptionError) as caught:
        fill(
            made(partial(BUILT_IN["resnet20-zeros"], (32, 32, 3), 10)),
            Weights(arrays, Source(FILES, "safetensors", "")),
            PIXELS,
        )
    for line in ("layer2/1/bn1/mean [32]", "layer1.0.conv1.weight → layer1/0/conv1/kernel: [12, 16, 3, 3] is not"):
        assert line in caught.value.problem
