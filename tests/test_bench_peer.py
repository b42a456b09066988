"""`make peer`: weights that are carried to PyTorch's layout and back; the curves."""

import bench_peer
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bench_peer import Point, from_torch, report, to_torch
from jax import lax, nn
from specimens import images, outputs, specimen

from synevo import ancestors
from synevo.genetics import census
from synevo.genetics.organism import Organism
from synevo.wiring.units import keep_one

SHAPE = (28, 28, 1)


@pytest.fixture(scope="module")
def first() -> Organism:
    return specimen(ancestors.find("lenet5-caffe"), SHAPE, 10).organism


def in_torch(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """The network of `bench_torch.py`, written out: pictures [n, channels, height, width], matrices [out, in]."""

    def convolved(place: str, x: jax.Array) -> jax.Array:
        y = lax.conv(x, jnp.asarray(weights[f"{place}.weight"]), (1, 1), "VALID")
        y = y + weights[f"{place}.bias"][None, :, None, None]
        return lax.reduce_window(y, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")

    y = convolved("2", convolved("0", jnp.asarray(x).transpose(0, 3, 1, 2))).reshape(len(x), -1)
    y = nn.relu(y @ weights["5.weight"].T + weights["5.bias"][None])
    return np.asarray(y @ weights["7.weight"].T + weights["7.bias"][None])


def test_carried_weights_answer_the_same(first: Organism) -> None:
    x = images(3, SHAPE)
    np.testing.assert_allclose(in_torch(to_torch("lenet5-caffe", first), x), outputs(first.network, x), atol=1e-4)


def test_a_smaller_network_comes_back_as_it_went(first: Organism) -> None:
    wiring, network = first.species.anatomy.wiring, first.network
    alive = keep_one(wiring, np.random.default_rng(0).random(wiring.units) < 0.3)
    whole = {name: np.ones(mask.shape, bool) for name, mask in first.masks.items()}
    small = Organism.left(first.species, network, whole, alive)
    back = from_torch("lenet5-caffe", to_torch("lenet5-caffe", small), first)
    for name, array in small.network.arrays.items():
        np.testing.assert_array_equal(back.network.arrays[name], array)
    assert census.count(back) == census.count(small)
    assert census.count(back).multiply_adds < census.count(first).multiply_adds


def test_a_curve_is_the_mean_over_runs_against_each_ancestor() -> None:
    def run(test: float, ms: float) -> list[Point]:
        times = dict.fromkeys(bench_peer.BATCHES, 1.0)
        whole = Point("ancestor", 1000, 50_000, 0.99, times)
        return [whole, Point("peer 2", 100, 5_000, test, dict.fromkeys(bench_peer.BATCHES, ms))]

    _, ancestor, peer = report([run(0.98, 0.5), run(0.96, 0.25)])
    assert ancestor.split()[:4] == ["ancestor", "2", "1.0×", "50"]
    assert " ".join(peer.split()) == "peer 2 2 10.0× 5 k 97.00 ± 1.41 0.375 3.00× 0.375 3.00×"
