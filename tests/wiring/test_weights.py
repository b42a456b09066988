"""Computed weights: the synapses of a kernel are those of the arrays that it is made of, and its units can go."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import weights
from flax import nnx
from jax import Array
from specimens import Shape, line_of, specimen

from synevo.compaction.in_memory import Compacted, compact
from synevo.errors import CompactionError
from synevo.genetics.organism import Organism
from synevo.model.network import take_apart
from synevo.wiring.units import Layer

pytestmark = pytest.mark.slow

FLAT, IMAGE = (8,), (6, 6, 3)

FREE = [
    weights.normalised,
    weights.normalised_flat,
    weights.normalised_whole,
    weights.quantised,
    weights.quantised_by_filter,
    weights.clipped,
    weights.thinned,
    weights.cast,
]


def cut(model: nnx.Module, shape: Any, *dead: tuple[str, int, list[int]]) -> Compacted:
    """Compact a model with masks in which places along an axis of arrays are dead."""
    arrays = take_apart(model).arrays
    masks = {name: np.ones(arrays[name].shape, bool) for name, _, _ in dead}
    for name, axis, places in dead:
        np.moveaxis(masks[name], axis, 0)[places] = False
    return compact(model, shape, masks=masks)


def layer(model: nnx.Module, name: str, shape: Any = FLAT) -> Layer:
    (found,) = [one for one in Organism.of(model, shape).species.anatomy.wiring.layers if one.name == name]
    return found


@pytest.mark.parametrize("recipe", FREE, ids=lambda recipe: recipe.__name__)
def test_each_synapse_of_a_computed_kernel_counts_and_dies_alone(recipe: weights.Recipe) -> None:
    model = weights.Dense(recipe, rngs=nnx.Rngs(0))
    of = Organism.of(model, FLAT)
    wiring = of.species.anatomy.wiring
    assert of.synapses == 8 * 6 + 6 * 5 + 5 * 3
    assert [(one.name, one.grain) for one in wiring.layers] == [
        ("first/kernel", "synapse"),
        ("kernel", "synapse"),
        ("last/kernel", "synapse"),
    ]
    assert wiring.units == 6 + 5
    dead = ("kernel", 1, [0, 2]), ("gain", 1, [0, 2]), ("kernel", 0, [3]), ("first/kernel", 1, [3])
    assert cut(model, FLAT, *dead).removed == 3


def test_a_unit_whose_weights_count_in_a_norm_stays_with_the_reason() -> None:
    """Nothing reaches it, but the weights that read it make those beside them smaller."""
    model = weights.Dense(weights.normalised, rngs=nnx.Rngs(0))
    small = cut(model, FLAT, ("kernel", 1, [0]), ("first/kernel", 1, [3]), ("first/bias", 0, [3]))
    assert small.removed == 1
    assert [one.array for one in small.frozen if "divided by" in one.reason] == ["first/kernel"]


@pytest.mark.parametrize("recipe", [weights.shifted, weights.standardised], ids=lambda recipe: recipe.__name__)
def test_synapses_that_act_although_they_are_zero_die_with_their_filter(recipe: weights.Recipe) -> None:
    model = weights.Dense(recipe, rngs=nnx.Rngs(0))
    of = Organism.of(model, FLAT)
    assert of.synapses == 8 * 6 + 6 * 5 + 5 * 3
    assert layer(model, "kernel").grain == "filter"
    with pytest.raises(CompactionError, match="nothing to remove"):
        cut(model, FLAT, ("kernel", 0, [0]), ("last/bias", 0, []))
    assert cut(model, FLAT, ("kernel", 1, [0, 2]), ("gain", 1, [0, 2])).removed == 2


def test_a_filter_of_zeros_stays_where_another_array_speaks_for_it() -> None:
    model = weights.Dense(weights.shifted, rngs=nnx.Rngs(0))
    with pytest.raises(CompactionError, match="nothing to remove"):
        cut(model, FLAT, ("kernel", 1, [0, 2]))


def test_what_acts_even_as_a_filter_of_zeros_is_no_layer_but_is_heard() -> None:
    model = weights.Dense(weights.signed, rngs=nnx.Rngs(0))
    of = Organism.of(model, FLAT)
    assert [one.name for one in of.species.anatomy.wiring.layers] == ["first/kernel", "last/kernel"]
    dead = ("kernel", 1, [0]), ("kernel", 0, [3]), ("first/kernel", 1, [3]), ("first/bias", 0, [3])
    assert cut(model, FLAT, *dead).removed == 1
    assert cut(model, FLAT, ("last/kernel", 0, [1])).removed == 1


def test_a_mean_freezes_its_axis_and_names_the_line() -> None:
    model = weights.Dense(weights.standardised, rngs=nnx.Rngs(0))
    (reason,) = [
        one.reason for one in Organism.of(model, FLAT).species.anatomy.wiring.frozen if one.array == "first/bias"
    ]
    assert "averaged over" in reason
    assert line_of(weights.standardised, "return (w - w.mean") in reason


def test_filters_that_zeros_would_divide_by_zero_are_frozen() -> None:
    model = weights.Dense(weights.undefined, rngs=nnx.Rngs(0))
    wiring = Organism.of(model, FLAT).species.anatomy.wiring
    assert wiring.units == 6
    assert [one.count for one in wiring.frozen if "divided by zero" in one.reason and one.array == "kernel"] == [5]


@pytest.mark.parametrize(
    ("recipe", "grain", "groups"),
    [(weights.normalised_flat, "synapse", 6), (weights.standardised, "filter", 3)],
    ids=["depthwise", "grouped"],
)
def test_computed_convolutions_lose_filters_and_whole_groups(recipe: weights.Recipe, grain: str, groups: int) -> None:
    model = weights.Convolutional(recipe, groups, rngs=nnx.Rngs(0))
    found = layer(model, "computed/kernel", IMAGE)
    assert (found.grain, found.positions) == (grain, 36)
    small = cut(model, IMAGE, ("computed/kernel", 3, [2, 3]), ("last/kernel", 3, [1]), ("last/bias", 0, [1]))
    assert small.removed == {3: 2, 6: 3}[groups]


@pytest.mark.parametrize(
    ("sizes", "side"), [((6, 4, 5), ("down", 1)), ((2, 8, 2), ("up", 0))], ids=["signal first", "matrices first"]
)
def test_the_units_between_two_matrices_go_in_either_order(sizes: tuple[int, ...], side: tuple[str, int]) -> None:
    model = weights.Product(*sizes, rngs=nnx.Rngs(0))
    wiring = Organism.of(model, FLAT).species.anatomy.wiring
    assert [one.name for one in wiring.layers] == ["first/kernel", "down", "up", "last/kernel"]
    assert wiring.slots["down"][1].tolist() == wiring.slots["up"][0].tolist()
    assert cut(model, FLAT, (*side, [0])).removed == 1


def test_an_adapter_reaches_what_its_matrix_reaches() -> None:
    model = weights.Adapted(rngs=nnx.Rngs(0))
    assert Organism.of(model, FLAT).synapses == 8 * 6 + 6 * 7 + 6 * 4 + 4 * 7 + 7 * 3
    assert cut(model, FLAT, ("down", 1, [0]), ("kernel", 1, [2]), ("up", 1, [2])).removed == 2
    with pytest.raises(CompactionError, match="nothing to remove"):
        cut(model, FLAT, ("kernel", 1, [2]))


@pytest.mark.parametrize("wrapper", [nnx.WeightNorm, nnx.SpectralNorm], ids=lambda wrapper: wrapper.__name__)
def test_layers_in_the_librarys_wrappers_are_layers(wrapper: Any) -> None:
    model = weights.Wrapped(wrapper, rngs=nnx.Rngs(0))
    name = "wrapped/layer_instance/kernel"
    found = layer(model, name)
    assert (found.input_axis, found.output_axis, found.positions, found.grain) == (0, 1, 1, "synapse")
    dead = (name, 1, [1]), (name, 0, [2]), ("first/kernel", 1, [2]), ("first/bias", 0, [2])
    small = cut(model, FLAT, *dead, ("wrapped/layer_instance/bias", 0, [1]))
    assert small.removed == 2


def test_a_kernel_that_is_used_twice_is_one_layer() -> None:
    model = weights.Reused(rngs=nnx.Rngs(0))
    assert layer(model, "kernel").positions == 2
    unit = ("kernel", 1, [1]), ("kernel", 0, [1]), ("first/kernel", 1, [1]), ("first/bias", 0, [1])
    assert cut(model, FLAT, *unit).removed == 1


def test_normalised_projections_lose_heads_and_places_within() -> None:
    model = weights.Attention(rngs=nnx.Rngs(0))
    kernel, bias = "layer_instance/kernel", "layer_instance/bias"
    assert Organism.of(model, IMAGE).synapses == 3 * 8 + 4 * 8 * 8 + 8 * 4
    dead = [(f"{name}/{kernel}", 2, [1]) for name in ("query", "key")]
    dead += [(f"{name}/{bias}", 1, [1]) for name in ("query", "key")]
    dead += [(f"value/{kernel}", 2, [0]), (f"value/{bias}", 1, [0]), (f"out/{kernel}", 1, [0])]
    assert cut(model, IMAGE, *dead).removed == 2


@pytest.mark.parametrize("kind", [nnx.Variable, nnx.data], ids=["Variable", "array"])
def test_a_fixed_projection_is_cut_along(kind: Any) -> None:
    model = weights.Projected(kind, rngs=nnx.Rngs(0))
    assert Organism.of(model, FLAT).synapses == 8 * 6 + 5 * 3
    dead = ("first/kernel", 1, [1]), ("first/bias", 0, [1]), ("last/kernel", 0, [2])
    small = cut(model, FLAT, *dead)
    assert small.removed == 2
    assert [len(places) for places in small.kept["fixed"]] == [5, 4]


def test_units_before_and_behind_numbers_of_the_code_are_frozen() -> None:
    model = weights.Projected(np.asarray, rngs=nnx.Rngs(0))
    assert Organism.of(model, FLAT).species.anatomy.wiring.units == 0


def test_a_mask_that_is_no_parameter_hides_no_synapse() -> None:
    class Masked(weights.Dense):
        def __init__(self) -> None:
            super().__init__(weights.normalised, rngs=nnx.Rngs(0))
            self.mask = nnx.Variable(jnp.ones((6, 5)))

        def __call__(self, x: Array) -> Array:
            return self.last(nnx.relu(nnx.relu(self.first(x)) @ (self.mask[...] * self.kernel[...])))

    assert layer(Masked(), "kernel").grain == "synapse"
    assert cut(Masked(), FLAT, ("kernel", 1, [0, 2])).removed == 2


class Gram(nnx.Module):
    """What it says is divided by the size of a kernel's products with itself."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(int(np.prod(shape)), 6, rngs=rngs)
        self.head = nnx.Linear(6, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        kernel = self.hidden.kernel[...]
        products = jnp.einsum("ij,ik->jk", kernel, kernel)
        return self.head(nnx.relu(self.hidden(x.reshape(x.shape[0], -1)))) / (1 + jnp.square(products).sum())


def test_a_kernel_that_is_multiplied_with_itself_is_no_signal_of_its_own() -> None:
    wiring = specimen(Gram).wiring
    assert {layer.name: layer.positions for layer in wiring.layers} == {"hidden/kernel": 1, "head/kernel": 1}
    assert wiring.order == ()
