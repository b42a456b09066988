"""A network as arrays beside its blueprint: nothing is lost between a model and its parts, and wrong ones are named."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from specimens import CLASSES, SHAPE, Deep, Joined, Normed, Residual, Specimen, hatch, images, sketch, specimen

from synevo import keys
from synevo.errors import AncestorError
from synevo.model.network import Network, assemble, build, dismantle, forward_training, normalise

forward_in_training = jax.jit(forward_training, static_argnums=0)


def raises(_shape: Any, _classes: int, _rngs: nnx.Rngs) -> nnx.Module:
    raise ZeroDivisionError("no pixels")


def returns_a_number(_shape: Any, _classes: int, _rngs: nnx.Rngs) -> int:
    return 3


def wants_more(_shape: Any, _classes: int, _rngs: nnx.Rngs, depth: int) -> nnx.Module:
    raise NotImplementedError(depth)


@pytest.mark.parametrize(
    ("factory", "complaint"),
    [(raises, "ZeroDivisionError: no pixels"), (returns_a_number, "int"), (wants_more, "depth"), (7, "not callable")],
)
def test_a_factory_that_makes_no_model_is_an_error_that_says_what_happened(factory: Any, complaint: str) -> None:
    with pytest.raises(AncestorError, match=complaint) as error:
        build(factory, SHAPE, CLASSES, keys.root(0))
    assert "nnx" in error.value.remedy


def test_a_network_is_a_function_of_its_key() -> None:
    factory = sketch(lambda m, x: m.out(x), out=0)
    _, one = build(factory, SHAPE, CLASSES, keys.root(0))
    _, again = build(factory, SHAPE, CLASSES, keys.root(0))
    _, other = build(factory, SHAPE, CLASSES, keys.root(1))
    np.testing.assert_array_equal(one.parameters["out/kernel"], again.parameters["out/kernel"])
    assert (one.parameters["out/kernel"] != other.parameters["out/kernel"]).any()
    assert one.parameters["out/kernel"].shape == (64, 4)


@pytest.mark.parametrize("factory", [Deep, Normed, Joined, Residual])
def test_a_model_taken_apart_and_put_together_again_says_the_same(factory: type[nnx.Module]) -> None:
    model = hatch(factory)
    blueprint, network = dismantle(model)
    model.eval()
    x = jnp.asarray(images(5))
    np.testing.assert_allclose(assemble(blueprint, network)(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_model_that_is_taken_apart_is_left_as_it_was() -> None:
    model = hatch(Deep)
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]
    _, network = dismantle(model)
    network.parameters["classifier/bias"] += 1
    after = jax.tree.leaves(nnx.state(model, nnx.Param))
    assert all((one == other).all() for one, other in zip(before, after, strict=True))
    for mode, deterministic in ((model.train, False), (model.eval, True)):
        mode()
        dismantle(model)
        assert model.blocks[0][1].deterministic is deterministic


def test_arrays_are_named_by_their_path_also_in_nested_lists() -> None:
    assert set(specimen(Deep).network.parameters) == {
        "blocks/0/0/kernel",
        "blocks/0/0/bias",
        "blocks/1/0/kernel",
        "blocks/1/0/bias",
        "classifier/kernel",
        "classifier/bias",
    }
    assert specimen(Deep).network.statistics == {}


def test_what_is_trained_and_what_is_counted_along_are_kept_apart() -> None:
    network = specimen(Normed).network
    assert set(network.statistics) == {"norm1/mean", "norm1/var", "norm2/mean", "norm2/var"}
    assert set(network.arrays) == set(network.parameters) | set(network.statistics)
    doubled = network.map(lambda name, array: array * (2 if name.endswith("mean") else 1))
    np.testing.assert_array_equal(doubled.statistics["norm1/mean"], 2 * network.statistics["norm1/mean"])
    np.testing.assert_array_equal(doubled.statistics["norm1/var"], network.statistics["norm1/var"])


def test_two_models_of_one_kind_share_a_blueprint() -> None:
    """So that their programs are compiled once."""
    one, _ = dismantle(hatch(Deep))
    other, _ = dismantle(hatch(Deep))
    assert one == other
    assert hash(one) == hash(other)
    assert one != dismantle(hatch(Normed))[0]


def test_dropout_follows_the_key_in_training_and_rests_in_evaluation() -> None:
    of, x = specimen(Deep), jnp.asarray(images(6))
    one, again, other = (forward_in_training(of.blueprint, of.network, x, keys.root(n))[0] for n in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    np.testing.assert_array_equal(of.logits(of.network, x), of.logits(of.network, x))
    p = {name: np.asarray(array) for name, array in of.network.parameters.items()}
    h = np.asarray(x).reshape(6, -1)
    for block in ("blocks/0/0", "blocks/1/0"):
        h = np.maximum(h @ p[f"{block}/kernel"] + p[f"{block}/bias"], 0)
    expected = h @ p["classifier/kernel"] + p["classifier/bias"]
    np.testing.assert_allclose(of.logits(of.network, x), expected, rtol=1e-4, atol=1e-5)


def test_two_dropouts_of_one_model_drop_differently() -> None:
    """They have streams of their own: were one mask drawn for both, units 0 to 5 would always fall together."""
    body = sketch(lambda m, x: m.out(x), out=0)

    class Twice(body):
        def __init__(self, shape: Any, classes: int, rngs: nnx.Rngs) -> None:
            super().__init__(shape, classes, rngs)
            self.first = nnx.Dropout(0.5, rngs=rngs)
            self.second = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, _x: Any) -> Any:
            return jnp.concatenate([self.first(jnp.ones((8, 6))), self.second(jnp.ones((8, 6)))], axis=1)

    blueprint, network = dismantle(hatch(Twice))
    kept = np.asarray(forward_training(blueprint, network, jnp.zeros((8, 8, 8, 1)), keys.root(0))[0])
    assert set(np.unique(kept)) == {0.0, 2.0}
    assert (kept[:, :6] != kept[:, 6:]).any()


def test_a_batch_shapes_its_normalisation_in_training_only() -> None:
    of, x = specimen(Normed), images(6)
    np.testing.assert_allclose(of.logits(of.network, x)[:2], of.logits(of.network, x[:2]), rtol=1e-4, atol=1e-5)
    logits, updated = forward_in_training(of.blueprint, of.network, jnp.asarray(x), keys.root(0))
    alone, _ = forward_in_training(of.blueprint, of.network, jnp.asarray(x[:2]), keys.root(0))
    assert np.abs(logits[:2] - alone).max() > 1e-3
    assert updated.statistics.keys() == of.network.statistics.keys()
    assert all((updated.statistics[n] != of.network.statistics[n]).all() for n in of.network.statistics)
    assert all((updated.parameters[n] == of.network.parameters[n]).all() for n in of.network.parameters)


def test_a_network_without_statistics_is_not_changed_by_training_mode(tiny: Specimen) -> None:
    _, updated = forward_in_training(tiny.blueprint, tiny.network, jnp.asarray(images(2)), keys.root(0))
    assert updated.statistics == {}


def test_pixels_are_normalised_a_channel_at_a_time() -> None:
    pixels = jnp.asarray(np.array([[[[0, 51, 255]]], [[[255, 102, 0]]]], np.uint8))
    found = normalise(pixels, (0.0, 0.2, 0.5), (1.0, 0.1, 0.25))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, [[[[0, 0, 2]]], [[[1, 2, -2]]]], atol=1e-6)


def test_arrays_pass_through_compiled_functions_as_a_network(tiny: Specimen) -> None:
    doubled = jax.jit(lambda network: network.map(lambda _name, array: 2 * array))(tiny.network)
    assert isinstance(doubled, Network)
    np.testing.assert_array_equal(doubled.parameters["conv1/bias"], 2 * tiny.network.parameters["conv1/bias"])
