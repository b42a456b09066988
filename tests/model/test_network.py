"""A network as arrays that know how they run: nothing is lost between a model and its parts; wrong ones are named."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from specimens import (
    CLASSES,
    SHAPE,
    Deep,
    Grouped,
    Joined,
    Normed,
    Residual,
    Specimen,
    Tiny,
    hatch,
    images,
    outputs,
    sketch,
    specimen,
)

from synevo import keys
from synevo.errors import AncestorError
from synevo.model.network import Network, build, outline, put_together, take_apart
from synevo.tasks.classification import normalise
from synevo.wiring.dissection import example_of

in_training = jax.jit(Network.train)


def raises(_rngs: nnx.Rngs) -> nnx.Module:
    raise ZeroDivisionError("no pixels")


def returns_a_number(_rngs: nnx.Rngs) -> int:
    return 3


def wants_more(_rngs: nnx.Rngs, depth: int) -> nnx.Module:
    raise NotImplementedError(depth)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (raises, "could not be built: ZeroDivisionError: no pixels"),
        (returns_a_number, "int"),
        (wants_more, "depth"),
        (7, "not callable"),
    ],
)
def test_a_factory_that_makes_no_model_is_an_error_that_says_what_happened(make: Any, complaint: str) -> None:
    with pytest.raises(AncestorError, match=complaint) as error:
        build(make, example_of(SHAPE), keys.root(0))
    assert "nnx" in error.value.remedy


def test_a_network_is_a_function_of_its_key() -> None:
    make = partial(sketch(lambda m, x: m.out(x), out=0), SHAPE, CLASSES)
    one, again, other = (build(make, example_of(SHAPE), keys.root(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.parameters["out/kernel"], again.parameters["out/kernel"])
    assert (one.parameters["out/kernel"] != other.parameters["out/kernel"]).any()
    assert one.parameters["out/kernel"].shape == (64, 4)


@pytest.mark.parametrize("factory", [Deep, Normed, Joined, Residual])
def test_a_model_taken_apart_and_put_together_again_says_the_same(factory: type[nnx.Module]) -> None:
    model = hatch(factory)
    network = take_apart(model)
    model.eval()
    x = jnp.asarray(images(5))
    np.testing.assert_allclose(put_together(network)(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_model_that_is_taken_apart_is_left_as_it_was() -> None:
    model = hatch(Deep)
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))]
    network = take_apart(model)
    network.parameters["classifier/bias"] += 1
    after = jax.tree.leaves(nnx.state(model, nnx.Param))
    assert all((one == other).all() for one, other in zip(before, after, strict=True))
    for mode, deterministic in ((model.train, False), (model.eval, True)):
        mode()
        take_apart(model)
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
    one, other = (take_apart(hatch(Deep)).blueprint for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != take_apart(hatch(Normed)).blueprint


def test_dropout_follows_the_key_in_training_and_rests_in_evaluation() -> None:
    of, x = specimen(Deep), jnp.asarray(images(6))
    one, again, other = (in_training(of.network, keys.root(n), x)[0] for n in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    np.testing.assert_array_equal(outputs(of.network, x), outputs(of.network, x))
    p = {name: np.asarray(array) for name, array in of.network.parameters.items()}
    h = np.asarray(x).reshape(6, -1)
    for block in ("blocks/0/0", "blocks/1/0"):
        h = np.maximum(h @ p[f"{block}/kernel"] + p[f"{block}/bias"], 0)
    expected = h @ p["classifier/kernel"] + p["classifier/bias"]
    np.testing.assert_allclose(outputs(of.network, x), expected, rtol=1e-4, atol=1e-5)


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

    kept = np.asarray(take_apart(hatch(Twice)).train(keys.root(0), jnp.zeros((8, 8, 8, 1)))[0])
    assert set(np.unique(kept)) == {0.0, 2.0}
    assert (kept[:, :6] != kept[:, 6:]).any()


def test_a_batch_shapes_its_normalisation_in_training_only() -> None:
    of, x = specimen(Normed), images(6)
    np.testing.assert_allclose(outputs(of.network, x)[:2], outputs(of.network, x[:2]), rtol=1e-4, atol=1e-5)
    logits, updated = in_training(of.network, keys.root(0), jnp.asarray(x))
    alone, _ = in_training(of.network, keys.root(0), jnp.asarray(x[:2]))
    assert np.abs(logits[:2] - alone).max() > 1e-3
    assert updated.statistics.keys() == of.network.statistics.keys()
    assert all((updated.statistics[n] != of.network.statistics[n]).all() for n in of.network.statistics)
    assert all((updated.parameters[n] == of.network.parameters[n]).all() for n in of.network.parameters)


def test_a_network_without_statistics_is_not_changed_by_training_mode(tiny: Specimen) -> None:
    _, updated = in_training(tiny.network, keys.root(0), jnp.asarray(images(2)))
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


def without_filters(network: Network, *places: int) -> Network:
    """A tiny network without some filters of its first convolution."""
    arrays = dict(network.arrays)
    for name, axis in (("conv1/kernel", 3), ("conv1/bias", 0), ("conv2/kernel", 2)):
        arrays[name] = jnp.delete(arrays[name], np.array(places), axis=axis)
    return network.like(arrays)


def test_a_network_is_a_tree_of_its_arrays_alone() -> None:
    network = specimen(Normed).network
    leaves = jax.tree.leaves(network)
    assert {id(leaf) for leaf in leaves} == {id(array) for array in network.arrays.values()}
    assert len(leaves) == len(network.arrays) == 12
    doubled = jax.tree.map(lambda array: 2 * array, network)
    assert doubled.blueprint is network.blueprint
    for kind in ("parameters", "statistics"):
        for name, array in getattr(network, kind).items():
            np.testing.assert_array_equal(getattr(doubled, kind)[name], 2 * np.asarray(array))


def test_networks_of_other_sizes_are_other_trees_and_those_of_the_same_sizes_are_one(tiny: Specimen) -> None:
    whole, small = jax.tree.structure(tiny.network), jax.tree.structure(without_filters(tiny.network, 1, 4))
    assert whole == jax.tree.structure(take_apart(hatch(Tiny)))
    assert whole != small
    assert small == jax.tree.structure(without_filters(tiny.network, 0, 2))
    with pytest.raises(ValueError, match="different pytree metadata"):
        jax.tree.map(jnp.add, tiny.network, without_filters(tiny.network, 1, 4))


def test_a_function_of_a_network_is_compiled_once_for_a_blueprint(tiny: Specimen) -> None:
    compiled = []

    @jax.jit
    def run(network: Network, x: Any) -> Any:
        compiled.append(network.parameters["conv1/bias"].shape)
        return network(x)

    x = jnp.asarray(images(3))
    for _ in range(2):
        run(tiny.network, x)
        run(take_apart(hatch(Tiny)).map(lambda _name, array: -array), x)
    assert compiled == [(6,)]
    for places in ((1, 4), (0, 2)):
        run(without_filters(tiny.network, *places), x)
    assert compiled == [(6,), (4,)]


@pytest.mark.parametrize("factory", [Tiny, Normed, Grouped, Deep])
def test_other_arrays_of_the_same_sizes_keep_the_very_blueprint(factory: type[nnx.Module]) -> None:
    network = specimen(factory).network
    other = network.like({name: -array for name, array in network.arrays.items()})
    assert other.blueprint is network.blueprint
    assert other.parameters.keys() == network.parameters.keys()
    assert other.statistics.keys() == network.statistics.keys()
    for name, array in network.arrays.items():
        np.testing.assert_array_equal(other.arrays[name], -np.asarray(array))


def test_arrays_of_other_sizes_are_stated_on_the_module_and_the_first_network_stays_as_it_was(tiny: Specimen) -> None:
    small = put_together(without_filters(tiny.network, 1, 4))
    assert (small.conv1.in_features, small.conv1.out_features, small.conv1.kernel_shape) == (1, 4, (3, 3, 1, 4))
    assert (small.conv2.in_features, small.conv2.out_features, small.conv2.kernel_shape) == (4, 8, (3, 3, 4, 8))
    assert small(jnp.asarray(images(3))).shape == (3, CLASSES)
    whole = put_together(tiny.network)
    assert (whole.conv1.out_features, whole.conv2.in_features) == (6, 6)


def test_how_many_groups_are_left_is_stated_where_it_is_said() -> None:
    """The second of three groups of two channels goes, with its two filters."""
    network = specimen(Grouped).network
    arrays, kept = dict(network.arrays), np.array([0, 1, 4, 5])
    for name, axis in (
        ("first/kernel", 3),
        ("first/bias", 0),
        ("groups/kernel", 3),
        ("groups/bias", 0),
        ("last/kernel", 2),
    ):
        arrays[name] = jnp.take(arrays[name], kept, axis=axis)
    groups = put_together(network.like(arrays, groups={"groups/kernel": 2})).groups
    assert (groups.feature_group_count, groups.in_features, groups.out_features) == (2, 4, 4)


def test_a_network_is_not_made_of_less_than_all_of_its_arrays(tiny: Specimen) -> None:
    some = {name: array for name, array in tiny.network.arrays.items() if name != "full/bias"}
    with pytest.raises(KeyError, match="full/bias"):
        tiny.network.like(some)


def test_an_outline_is_a_network_of_shapes_alone() -> None:
    found, whole = outline(partial(Normed, SHAPE, CLASSES), example_of(SHAPE)), specimen(Normed).network
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(found))
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, whole)
    assert found.blueprint == whole.blueprint
