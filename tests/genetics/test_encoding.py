"""The genetic encoding, against the oracle and against what the equations promise."""

from collections.abc import Iterator
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from jax import Array
from specimens import Specimen, chain

from synevo.genetics import encoding
from synevo.genetics.clusters import clusters
from synevo.wiring.masks import by_unit
from synevo.wiring.units import Layer

Kind = Literal["kernel", "filter"]

CHANNELS = {"conv2/kernel": 6, "full/kernel": 8}
"""How many channels feed a layer of the tiny network; the matrix has four rows for each."""


survival = jax.jit(encoding.survival, static_argnames="normaliser")


@partial(jax.jit, static_argnames=("count", "normaliser"))
def encode_clusters(
    weights: Array,
    alive: Array,
    groups: Array,
    *,
    count: int,
    truncation: float,
    sharpness: float,
    normaliser: encoding.Normaliser,
) -> tuple[Array, Array]:
    """P(s_c = 1) of each cluster of one layer, and its number of living synapses: both [count, outputs]."""
    strengths, synapses = encoding.sum_clusters(weights, alive, groups, count=count, truncation=truncation)
    return encoding.survival(strengths, synapses > 0, sharpness=sharpness, normaliser=normaliser), synapses


encode_synapses = jax.jit(encoding.encode_synapses, static_argnames="normaliser")


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    """Synthesis encodes in double precision, so that is what is tested."""
    with jax.enable_x64(True):
        yield


def _layer(tiny: Specimen, name: str) -> Layer:
    return next(layer for layer in tiny.wiring.layers if layer.name == name)


def _parent(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Weights, of which some are dead and one whole filter is."""
    random = np.random.default_rng(5)
    alive = random.random(shape) < 0.6
    alive[..., 1] = False
    return random.normal(size=shape), alive


def _spread(layer: Layer, groups: np.ndarray, of_clusters: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The probability of the cluster of each synapse, in the shape of the layer."""
    by_synapse = np.broadcast_to(np.asarray(of_clusters)[groups][:, :, None], by_unit(layer, np.zeros(shape)).shape)
    window = [size for axis, size in enumerate(shape) if axis not in (layer.input_axis, layer.output_axis)]
    return np.moveaxis(
        by_synapse.reshape(*by_synapse.shape[:2], *window), (0, 1), (layer.input_axis, layer.output_axis)
    )


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("kind", ["kernel", "filter"])
@pytest.mark.parametrize("normaliser", ["max", "rms"])
@pytest.mark.parametrize(("truncation", "sharpness"), [(1.0, 1.0), (0.0, 6.0), (2.0, 0.3)])
def test_clusters_have_the_probabilities_of_the_oracle(
    tiny: Specimen, name: str, kind: Kind, normaliser: encoding.Normaliser, truncation: float, sharpness: float
) -> None:
    layer = _layer(tiny, name)
    weights, alive = _parent(tiny.network.parameters[name].shape)
    expected = oracle.Layer(weights, alive, CHANNELS[name], kind)
    probabilities = oracle.encode_clusters(expected, truncation=truncation, sharpness=sharpness, name=normaliser)
    found = clusters(layer, kind)
    encoded, counts = encode_clusters(
        jnp.asarray(by_unit(layer, weights)),
        jnp.asarray(by_unit(layer, alive)),
        jnp.asarray(found.groups),
        count=found.count,
        truncation=truncation,
        sharpness=sharpness,
        normaliser=normaliser,
    )
    of_synapses = _spread(layer, found.groups, np.asarray(encoded), weights.shape)
    assert int(counts.sum()) == alive.sum()
    assert int((encoded > 0).sum()) == len(probabilities)
    for index in expected.synapses():
        assert of_synapses[index] == pytest.approx(probabilities[expected.cluster(index)], rel=1e-12)


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("normaliser", ["max", "rms"])
@pytest.mark.parametrize("sharpness", [0.3, 1.0, 6.0])
def test_synapses_have_the_probabilities_of_the_oracle(
    tiny: Specimen, name: str, normaliser: encoding.Normaliser, sharpness: float
) -> None:
    weights, alive = _parent(tiny.network.parameters[name].shape)
    expected = np.zeros(weights.shape)
    for index, chance in oracle.encode_synapses(
        oracle.Layer(weights, alive, 1, "filter"), sharpness=sharpness, name=normaliser
    ).items():
        expected[index] = chance
    found = encode_synapses(jnp.asarray(weights), jnp.asarray(alive), sharpness=sharpness, normaliser=normaliser)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12)


def test_the_figures_of_a_small_layer_by_hand() -> None:
    """Two inputs and two units: |w| = 4 and 1 to the first, 2 and 1 to the second; rms = sqrt(22 / 4) = 2.345."""
    layer = chain(2, 2).layers[0]
    weights = jnp.array([[4.0, -2.0], [-1.0, 1.0]])
    groups = clusters(layer, "filter").groups
    alive = jnp.ones((2, 2, 1), bool)
    truncated = encoding.truncate(weights[:, :, None], alive, 1.0)
    np.testing.assert_array_equal(truncated[:, :, 0], [[4, 0], [0, 0]])
    of_clusters, counts = encode_clusters(
        weights[:, :, None], alive, groups, count=1, truncation=0.5, sharpness=1.0, normaliser="max"
    )
    np.testing.assert_allclose(of_clusters, [[1, np.exp(2 / 4 - 1)]], rtol=1e-12)
    np.testing.assert_array_equal(counts, [[2, 2]])
    of_synapses = encode_synapses(weights, alive[:, :, 0], sharpness=1.0, normaliser="max")
    np.testing.assert_allclose(of_synapses, [[1, np.exp(-0.5)], [np.exp(-0.75), np.exp(-0.75)]], rtol=1e-12)


@pytest.mark.parametrize("kind", ["kernel", "filter"])
def test_a_cluster_without_a_strong_synapse_keeps_the_paper_s_37_percent(tiny: Specimen, kind: Kind) -> None:
    layer = _layer(tiny, "conv2/kernel")
    weights = np.full(tiny.network.parameters[layer.name].shape, 1e-3)
    weights[..., 0] = 1.0
    found = clusters(layer, kind)
    of_clusters, _ = encode_clusters(
        jnp.asarray(by_unit(layer, weights)),
        jnp.ones(by_unit(layer, weights).shape, bool),
        jnp.asarray(found.groups),
        count=found.count,
        truncation=1.0,
        sharpness=1.0,
        normaliser="max",
    )
    np.testing.assert_allclose(of_clusters[:, 0], 1)
    np.testing.assert_allclose(of_clusters[:, 1:], 0.36788, rtol=1e-4)


strengths_of_a_layer = arrays(np.float64, 12, elements=st.floats(0, 100))
living_of_a_layer = arrays(np.bool_, 12)
sharpnesses = st.floats(0.0625, 50)


@given(strengths_of_a_layer, living_of_a_layer, sharpnesses, st.sampled_from(["max", "rms"]))
def test_the_living_have_a_chance_and_the_dead_have_none(
    strengths: np.ndarray, alive: np.ndarray, sharpness: float, normaliser: encoding.Normaliser
) -> None:
    chances = np.asarray(
        survival(jnp.asarray(strengths), jnp.asarray(alive), sharpness=sharpness, normaliser=normaliser)
    )
    assert (chances[alive] > 0).all()
    assert (chances[alive] <= 1).all()
    assert (chances[~alive] == 0).all()


@given(strengths_of_a_layer, living_of_a_layer, sharpnesses)
def test_the_strongest_survives_for_certain_before_the_environment_acts(
    strengths: np.ndarray, alive: np.ndarray, sharpness: float
) -> None:
    alive[3] = True
    strengths[3] = strengths.max() + 1
    chances = survival(jnp.asarray(strengths), jnp.asarray(alive), sharpness=sharpness, normaliser="max")
    assert float(chances[3]) == pytest.approx(1, abs=sharpness * 1e-15)  # XLA divides by a scalar to within one ulp
    assert float(chances.min(where=jnp.asarray(alive), initial=1)) >= np.exp(-sharpness) * (1 - 1e-12)


@given(strengths_of_a_layer, living_of_a_layer, sharpnesses, st.sampled_from(["max", "rms"]))
def test_the_stronger_is_never_less_likely(
    strengths: np.ndarray, alive: np.ndarray, sharpness: float, normaliser: encoding.Normaliser
) -> None:
    chances = np.asarray(
        survival(jnp.asarray(strengths), jnp.asarray(alive), sharpness=sharpness, normaliser=normaliser)
    )
    order = np.argsort(strengths[alive], kind="stable")
    assert (np.diff(chances[alive][order]) >= 0).all()


@given(strengths_of_a_layer, living_of_a_layer, st.sampled_from(["max", "rms"]))
def test_a_sharper_encoding_never_raises_a_chance(
    strengths: np.ndarray, alive: np.ndarray, normaliser: encoding.Normaliser
) -> None:
    soft, sharp = (
        np.asarray(survival(jnp.asarray(strengths), jnp.asarray(alive), sharpness=beta, normaliser=normaliser))
        for beta in (1.0, 4.0)
    )
    assert (sharp <= soft).all()


def test_the_sign_of_a_weight_does_not_matter_but_its_size_does() -> None:
    weights = jnp.array([0.5, -0.5, 2.0, -1.0])
    chances = encode_synapses(weights, jnp.ones(4, bool), sharpness=1.0, normaliser="max")
    assert chances[0] == chances[1] < chances[3] < chances[2]


def test_dead_synapses_set_no_standard_for_the_living() -> None:
    """A huge dead weight is no part of the layer: neither of its maximum, nor of its rms, nor of a cluster."""
    weights, alive = jnp.array([[[0.5], [1.0]], [[1e6], [0.25]]]), jnp.array([[[True], [True]], [[False], [True]]])
    for normaliser, scale in (("max", 1.0), ("rms", np.sqrt((0.5**2 + 1 + 0.25**2) / 3))):
        chances = encode_synapses(weights, alive, sharpness=2.0, normaliser=normaliser)
        assert float(chances[0, 0, 0]) == pytest.approx(np.exp(2 * (0.5 / scale - 1)), rel=1e-12)
    strengths = encoding.truncate(weights, alive, 0.1)
    np.testing.assert_array_equal(strengths[:, :, 0], [[0.5, 1.0], [0, 0.25]])


def test_a_layer_of_zeros_or_without_living_synapses_is_encoded_without_nan() -> None:
    zeros, everyone, no_one = jnp.zeros(4), jnp.ones(4, bool), jnp.zeros(4, bool)
    for normaliser in ("max", "rms"):
        alive = survival(zeros, everyone, sharpness=1.0, normaliser=normaliser)
        np.testing.assert_allclose(alive, np.exp(-1), rtol=1e-12)
        np.testing.assert_array_equal(survival(zeros, no_one, sharpness=1.0, normaliser=normaliser), 0)
