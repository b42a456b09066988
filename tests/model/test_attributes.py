"""Whatever hangs on a module: settings of any kind, arrays that are no Variables, numbers that are not trained."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from specimens import CLASSES, SHAPE, hatch, images

from synevo import keys
from synevo.compaction.in_memory import Compacted, compact
from synevo.errors import AncestorError
from synevo.genetics.organism import Organism
from synevo.model.network import Network, call, take_apart
from synevo.wiring.dissection import dissect

pytestmark = pytest.mark.slow


class Own(nnx.Variable):
    """A number that is not trained."""


@dataclass
class Settings:
    slope: float = 0.2
    widths: list[int] = field(default_factory=lambda: [8, 6])


class Bag:
    """Settings that can neither be hashed nor compared."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise TypeError("no")


class Layers(nnx.Module):
    """Two layers, with a unit of the first for each place of what hangs on the module."""

    def __init__(self, hang: Callable[[Any], None], use: Callable[[Any, Any], Any]) -> None:
        rngs = nnx.Rngs(0)
        self.a, self.b = nnx.Linear(64, 8, rngs=rngs), nnx.Linear(8, CLASSES, rngs=rngs)
        self.use = use
        hang(self)

    def __call__(self, x: Any) -> Any:
        return self.b(self.use(self, nnx.relu(self.a(x.reshape(x.shape[0], -1)))))


def shrunk(model: nnx.Module) -> Compacted:
    """The model without the last three units of its first layer."""
    alive = np.arange(8) < 5
    return compact(model, SHAPE, masks={"a/kernel": np.broadcast_to(alive, (64, 8)), "a/bias": alive})


def holding(value: Any) -> Callable[[Any], None]:
    return lambda model: setattr(model, "held", value)


def no_op(model: Any, x: Any) -> Any:
    del model
    return x


SETTINGS = {
    "dict": {"slope": 0.2, "widths": [8, 6]},
    "list": [1, [2, 3]],
    "set": {1, 2},
    "dataclass": Settings(),
    "tuple of lists": ([1], [2]),
    "what cannot be compared": Bag(),
    "function": lambda x: x,
    "text": "same",
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_any_kind_are_kept_and_do_not_matter(name: str) -> None:
    small = shrunk(Layers(holding(SETTINGS[name]), no_op))
    assert small.model.a.kernel.shape == (64, 5)
    assert small.model.held is SETTINGS[name]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_network_with_settings_of_any_kind_is_compiled_once(name: str) -> None:
    network, traced = take_apart(Layers(holding(SETTINGS[name]), no_op)), []

    @jax.jit
    def run(network: Network) -> Any:
        traced.append(1)
        return network(jnp.zeros((2, *SHAPE)))

    run(network)
    run(network.map(lambda _, array: array * 2))
    assert len(traced) == 1


def test_networks_that_differ_in_their_settings_alone_are_not_taken_for_each_other() -> None:
    one, same, other = (
        take_apart(Layers(holding({"slope": [slope]}), no_op)).blueprint for slope in (0.2, 0.2, 0.3)
    )  # the function is one and the same
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    one, same, other = (take_apart(Layers(holding(np.full(3, slope)), no_op)).blueprint for slope in (0.2, 0.2, 0.3))
    assert one == same
    assert one != other


def scaled(model: Any, x: Any) -> Any:
    return x * jnp.broadcast_to(jnp.asarray(model.held), x.shape)


def scaled_by_variable(model: Any, x: Any) -> Any:
    return x * jnp.broadcast_to(jnp.asarray(model.held.get_value()), x.shape)


def scaled_inside(model: Any, x: Any) -> Any:
    return x * jnp.broadcast_to(model.held["inside"], x.shape)


NUMBERS = np.linspace(0.5, 2, 8, dtype=np.float32)

ARRAYS: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {
    "NumPy array": (NUMBERS, scaled),
    "JAX array": (jnp.asarray(NUMBERS), scaled),
    "NumPy scalar": (np.float32(2), scaled),
    "NumPy array in a container": (nnx.data({"inside": NUMBERS}), scaled_inside),
    "JAX array in a container": (nnx.data({"inside": jnp.asarray(NUMBERS)}), scaled_inside),
    "Variable": (nnx.Variable(jnp.asarray(NUMBERS)), scaled_by_variable),
    "own kind of Variable": (Own(jnp.asarray(NUMBERS)), scaled_by_variable),
    "learned scalar": (nnx.Param(jnp.array(0.5)), scaled_by_variable),
    "counter": (nnx.Variable(jnp.array(3)), scaled_by_variable),
    "whole numbers in a Param": (nnx.Param(jnp.arange(1, 9)), scaled_by_variable),
    "number in a Variable": (nnx.Variable(2.0), scaled_by_variable),
}

CONSTANT = {"NumPy array", "NumPy array in a container"}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_any_kind_are_used_and_trained_around(name: str) -> None:
    held, use = ARRAYS[name]
    model = Layers(holding(held), use)
    network, x = take_apart(model), jnp.asarray(images(4))
    np.testing.assert_allclose(call(network, x), model(x), rtol=1e-5, atol=1e-6)
    gradients = jax.grad(lambda p: Network(p, network.statistics, network.blueprint).train(keys.root(0), x)[0].sum())
    trained = {"a/kernel", "a/bias", "b/kernel", "b/bias"} | ({"held"} if name == "learned scalar" else set())
    assert gradients(network.parameters).keys() == trained


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_of_any_kind_lose_the_places_of_dead_units_or_are_frozen(name: str) -> None:
    model = Layers(holding(ARRAYS[name][0]), ARRAYS[name][1])
    if name in CONSTANT:
        assert dissect(take_apart(model), SHAPE).wiring.units == 0
    else:
        small = shrunk(model)
        assert small.model.a.kernel.shape == (64, 5)
        assert small.proof.max_difference < 1e-5


def test_a_fixed_matrix_is_contracted_and_never_counted_as_synapses() -> None:
    fixed = nnx.Variable(jnp.asarray(np.random.default_rng(0).normal(size=(8, 8)), jnp.float32))
    model = Layers(holding(fixed), lambda model, x: nnx.relu(x @ model.held[...]))
    small = shrunk(model)
    assert small.model.held[...].shape == (5, 8)
    organism = Organism.of(model, SHAPE)
    assert set(organism.masks) == {"a/kernel", "b/kernel"}
    assert organism.synapses == 64 * 8 + 8 * CLASSES


class FrozenFirst(nnx.Module):
    """A first layer of an own kind of Variable under one that is trained."""

    def __init__(self, shape: tuple[int, ...], classes: int, rngs: nnx.Rngs) -> None:
        self.a, self.b = nnx.Linear(int(np.prod(shape)), 8, rngs=rngs), nnx.Linear(8, classes, rngs=rngs)
        self.a.kernel, self.a.bias = Own(self.a.kernel[...]), Own(self.a.bias[...])

    def __call__(self, x: Any) -> Any:
        return self.b(nnx.relu(self.a(x.reshape(x.shape[0], -1))))


def test_dead_filters_of_frozen_weights_are_removed() -> None:
    assert shrunk(hatch(FrozenFirst)).model.a.kernel.shape == (64, 5)


class Tied(nnx.Module):
    """Two convolutions with one kernel, in groups or not."""

    def __init__(self, groups: int) -> None:
        rngs = nnx.Rngs(0)
        self.a = nnx.Conv(1, 8, (3, 3), rngs=rngs)
        self.b, self.c = (nnx.Conv(8, 8, (3, 3), feature_group_count=groups, rngs=rngs) for _ in range(2))
        self.c.kernel = self.b.kernel
        self.head = nnx.Linear(8, CLASSES, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.head(nnx.relu(self.c(nnx.relu(self.b(nnx.relu(self.a(x)))))).mean((1, 2)))


@pytest.mark.parametrize("groups", [1, 8])
def test_layers_that_share_a_kernel_lose_their_filters_together(groups: int) -> None:
    alive = np.arange(8) < 5
    shapes = {"a/kernel": (3, 3, 1, 8), "a/bias": (8,), "b/kernel": (3, 3, 8 // groups, 8), "b/bias": (8,)}
    masks = {name: np.broadcast_to(alive, shape) for name, shape in (shapes | {"c/bias": (8,)}).items()}
    small = compact(Tied(groups), SHAPE, masks=masks).model
    assert small.b.kernel.shape == (3, 3, 5 // groups if groups == 1 else 1, 5)
    assert small.c.kernel is small.b.kernel
    assert small.c.feature_group_count == (1 if groups == 1 else 5)


class Repeated(nnx.Module):
    """Stacked layers with dropout, whose keys are stacked, too."""

    def __init__(self, shape: tuple[int, ...], classes: int, rngs: nnx.Rngs) -> None:
        @nnx.split_rngs(splits=3)
        @nnx.vmap(in_axes=0, out_axes=0)
        def stack(rngs: nnx.Rngs) -> nnx.Module:
            return nnx.Sequential(nnx.Linear(8, 8, rngs=rngs), nnx.Dropout(0.5, rngs=rngs))

        self.first, self.layers = nnx.Linear(int(np.prod(shape)), 8, rngs=rngs), stack(rngs)
        self.head = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def run(x: Any, layer: Any) -> Any:
            return layer(x)

        return self.head(run(self.first(x.reshape(x.shape[0], -1)), self.layers))


def test_keys_in_stacked_layers_differ_from_layer_to_layer() -> None:
    network, x = take_apart(Repeated(SHAPE, CLASSES, nnx.Rngs(0))), jnp.asarray(images(4))
    assert network(x).shape == (4, CLASSES)
    (stream,) = (one for one in network.blueprint.streams if one.is_key and one.shape)
    assert stream.shape == (3,)
    with jax.debug_key_reuse(False):  # it takes a key that a loop folds in for one that is used twice
        one, other = (network.train(keys.root(seed), x)[0] for seed in (0, 1))
    assert (np.asarray(one) != np.asarray(other)).any()


@pytest.mark.parametrize("held", [jax.random.key(0), nnx.Variable(jax.random.key(0)), nnx.Variable({"a": jnp.ones(2)})])
def test_what_is_neither_an_array_nor_constant_is_refused_by_its_name(held: Any) -> None:
    with pytest.raises(AncestorError, match="as held") as error:
        take_apart(Layers(holding(held), no_op))
    assert "nnx.Rngs" in error.value.remedy
