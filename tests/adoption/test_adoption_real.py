"""Networks that others have trained give in synevo what they gave where they were trained."""

from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
from received import PIXELS, REAL, ResNet8, ResNetA, made, real, standardised

from synevo.adoption.filling import fill
from synevo.adoption.outputs import compare_outputs, read_expected
from synevo.adoption.rules import parse_rules
from synevo.adoption.weights import Source, Weights, read
from synevo.errors import AdoptionError

pytestmark = [pytest.mark.slow, real]

FILES = REAL / "cifar-resnets"
TINY = REAL / "mlperf-tiny"


@pytest.mark.parametrize(
    ("file", "depth"),
    [
        ("resnet20.safetensors", 3),
        ("resnet56.safetensors", 9),
        pytest.param(
            "resnet20.th", 3, marks=pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
        ),
    ],
)
def test_a_residual_network_of_pytorch_gives_its_logits(file: str, depth: int) -> None:
    found = fill(made(partial(ResNetA, depth=depth)), read(FILES / file), PIXELS)
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
    network, weights = made(ResNet8), read(TINY / file)
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
        fill(made(ResNetA), Weights(arrays, Source(FILES, "safetensors", "")), PIXELS)
    for line in ("layer2/1/bn1/mean [32]", "layer1.0.conv1.weight → layer1/0/conv1/kernel: [12, 16, 3, 3] is not"):
        assert line in caught.value.problem
