"""Wiring: what lives and dies together in the ancestors and in models as users write them, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from specimens import (
    Attentive,
    Gated,
    Joined,
    Normed,
    Residual,
    Shape,
    Specimen,
    Strange,
    Tied,
    Tiny,
    images,
    line_of,
    specimen,
)

from synevo.ancestors import BUILT_IN
from synevo.wiring.dissection import dissect, example_of
from synevo.wiring.units import PERMANENT, Frozen, Wiring, survives

Place = tuple[str, int, int]


def tied(wiring: Wiring, name: str, axis: int, place: int) -> set[Place]:
    """All places (array, axis, place) that share the fate of one."""
    unit = wiring.slots[name][axis][place]
    assert unit != PERMANENT, f"{name} is frozen there"
    return {
        (other, k, int(n))
        for other, axes in wiring.slots.items()
        for k, units in enumerate(axes)
        for n in np.flatnonzero(units == unit)
    }


def rows(name: str, first: int, step: int, count: int) -> set[Place]:
    """Every step-th row of a matrix behind a flatten."""
    return {(name, 0, first + step * k) for k in range(count)}


def frozen(wiring: Wiring, name: str, axis: int) -> Frozen:
    (found,) = [frozen for frozen in wiring.frozen if (frozen.array, frozen.axis) == (name, axis)]
    return found


def ancestor(name: str, side: int, channels: int) -> Wiring:
    return specimen(BUILT_IN[name], (side, side, channels), 10).wiring


def test_a_filter_of_lenet5_is_its_bias_and_what_reads_it() -> None:
    wiring = ancestor("lenet5", 32, 1)
    assert tied(wiring, "conv1/kernel", 3, 7) == {("conv1/kernel", 3, 7), ("conv1/bias", 0, 7), ("conv2/kernel", 2, 7)}
    assert tied(wiring, "full/bias", 0, 9) == {("full/kernel", 1, 9), ("full/bias", 0, 9), ("classifier/kernel", 0, 9)}


def test_a_filter_before_the_flatten_is_sixteen_rows_of_the_matrix_behind_it() -> None:
    wiring = ancestor("lenet5", 32, 1)
    expected = {("conv3/kernel", 3, 5), ("conv3/bias", 0, 5)} | rows("full/kernel", 5, 64, 16)
    assert tied(wiring, "conv3/kernel", 3, 5) == expected
    assert tied(wiring, "full/kernel", 0, 5 + 64 * 11) == expected


@pytest.mark.parametrize(
    ("name", "side", "channels", "last", "matrix", "width"),
    [("lenet5-caffe", 28, 1, "conv2", "full/kernel", 50), ("alexnet", 32, 3, "conv5", "full1/kernel", 256)],
)
def test_so_it_is_in_the_other_convolutional_ancestors(
    name: str, side: int, channels: int, last: str, matrix: str, width: int
) -> None:
    wiring = ancestor(name, side, channels)
    expected = {(f"{last}/kernel", 3, 7), (f"{last}/bias", 0, 7)} | rows(matrix, 7, width, 16)
    assert tied(wiring, f"{last}/kernel", 3, 7) == expected


@pytest.mark.parametrize(
    ("name", "side", "channels", "units"),
    [
        ("lenet5", 32, 1, [32, 32, 64, 64]),
        ("lenet5", 32, 3, [32, 32, 64, 64]),
        ("lenet5-caffe", 28, 1, [20, 50, 500]),
        ("lenet-300-100", 28, 1, [300, 100]),
        ("alexnet", 32, 3, [96, 256, 384, 384, 256, 4096, 4096]),
    ],
)
def test_every_hidden_unit_of_an_ancestor_may_go_and_no_class_or_input(
    name: str, side: int, channels: int, units: list[int]
) -> None:
    wiring = ancestor(name, side, channels)
    assert wiring.units == sum(units)
    assert [len(layer.outputs) for layer in wiring.layers] == [*units, 10]
    assert np.concatenate([layer.outputs for layer in wiring.layers[:-1]]).tolist() == list(range(sum(units)))
    assert (wiring.layers[-1].outputs == PERMANENT).all()
    assert (wiring.layers[0].inputs == PERMANENT).all()


def test_classes_windows_and_inputs_never_go_and_are_not_listed() -> None:
    wiring = ancestor("lenet5", 32, 3)
    assert wiring.frozen == ()
    for name, axis in (("classifier/kernel", 1), ("classifier/bias", 0), ("conv2/kernel", 0), ("conv1/kernel", 2)):
        assert (wiring.slots[name][axis] == PERMANENT).all()


def test_layers_come_in_the_order_of_the_signal_and_know_how_often_they_are_used() -> None:
    wiring = ancestor("lenet5-caffe", 28, 1)
    assert [(layer.name, layer.positions) for layer in wiring.layers] == [
        ("conv1/kernel", 24 * 24),
        ("conv2/kernel", 8 * 8),
        ("full/kernel", 1),
        ("classifier/kernel", 1),
    ]


def test_a_normalisation_belongs_to_its_filter_with_its_statistics() -> None:
    assert tied(specimen(Normed).wiring, "conv1/kernel", 3, 4) == {
        ("conv1/kernel", 3, 4),
        ("norm1/scale", 0, 4),
        ("norm1/bias", 0, 4),
        ("norm1/mean", 0, 4),
        ("norm1/var", 0, 4),
        ("conv2/kernel", 2, 4),
    }


def test_a_global_mean_leads_a_filter_to_one_row() -> None:
    wiring = specimen(Normed).wiring
    assert ("classifier/kernel", 0, 6) in tied(wiring, "conv2/kernel", 3, 6)
    assert len(tied(wiring, "conv2/kernel", 3, 6)) == 6


def test_both_sides_of_every_residual_sum_share_a_fate() -> None:
    wiring = specimen(Residual).wiring
    assert tied(wiring, "stem/kernel", 3, 2) == {
        ("stem/kernel", 3, 2),
        ("stem/bias", 0, 2),
        ("block1/kernel", 2, 2),
        ("block1/kernel", 3, 2),
        ("block1/bias", 0, 2),
        ("inner2/kernel", 2, 2),
        ("outer2/kernel", 3, 2),
        ("outer2/bias", 0, 2),
        ("classifier/kernel", 0, 2),
    }
    assert tied(wiring, "inner2/bias", 0, 6) == {
        ("inner2/kernel", 3, 6),
        ("inner2/bias", 0, 6),
        ("outer2/kernel", 2, 6),
    }


def test_a_unit_keeps_its_place_in_a_concatenation() -> None:
    """The convolution `both` reads 3 + 4 channels; the matrix reads, at each of 4 places, its 5 and then those 7."""
    wiring = specimen(Joined).wiring
    assert tied(wiring, "right/kernel", 3, 2) == {
        ("right/kernel", 3, 2),
        ("right/bias", 0, 2),
        ("both/kernel", 2, 3 + 2),
    } | rows("classifier/kernel", 5 + 3 + 2, 12, 4)
    assert tied(wiring, "both/kernel", 3, 1) == {("both/kernel", 3, 1), ("both/bias", 0, 1)} | rows(
        "classifier/kernel", 1, 12, 4
    )


def test_a_gate_and_what_it_gates_share_a_fate() -> None:
    assert tied(specimen(Gated).wiring, "conv/kernel", 3, 2) == {
        ("conv/kernel", 3, 2),
        ("conv/bias", 0, 2),
        ("squeeze/kernel", 0, 2),
        ("excite/kernel", 1, 2),
        ("excite/bias", 0, 2),
        ("hidden/kernel", 0, 2),
    }


def test_units_under_a_softmax_are_frozen_and_the_line_is_named() -> None:
    wiring = specimen(Attentive).wiring
    for name, axis in (("hidden2/kernel", 1), ("hidden2/bias", 0), ("classifier/kernel", 0)):
        assert frozen(wiring, name, axis).count == 6
        assert line_of(Attentive, "nnx.softmax") in frozen(wiring, name, axis).reason
    assert wiring.units == 7


@pytest.mark.parametrize(("name", "text", "primitive"), [("hidden1", "fft", "fft"), ("hidden2", ".at[", "scatter")])
def test_units_that_meet_an_unknown_primitive_are_frozen_and_the_line_is_named(
    name: str, text: str, primitive: str
) -> None:
    wiring = specimen(Strange).wiring
    for array, axis in ((f"{name}/kernel", 1), (f"{name}/bias", 0)):
        reason = frozen(wiring, array, axis).reason
        assert primitive in reason
        assert "without a rule" in reason
        assert line_of(Strange, text) in reason
    assert (wiring.layers[2].outputs != PERMANENT).all()


class Idle(Tiny):
    """A model with a parameter that it does not use to classify, such as one that only trains."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        super().__init__(shape, classes, rngs)
        self.idle = nnx.Param(jnp.ones(5))


def test_an_array_that_the_network_does_not_use_is_left_alone() -> None:
    wiring = specimen(Idle).wiring
    assert (wiring.slots["idle"][0] == PERMANENT).all()
    assert frozen(wiring, "idle", 0).count == 5
    assert wiring.units == 26


def test_a_matrix_and_its_transpose_share_units() -> None:
    wiring = specimen(Tied).wiring
    assert tied(wiring, "first/kernel", 1, 4) == {
        ("first/kernel", 1, 4),
        ("first/bias", 0, 4),
        ("matrix", 0, 4),
        ("classifier/kernel", 0, 4),
    }
    assert tied(wiring, "matrix", 1, 2) == {("matrix", 1, 2)}


def test_the_wiring_is_read_from_the_program_and_not_from_the_numbers(tiny: Specimen) -> None:
    zeros = tiny.network.map(lambda _name, array: jnp.zeros_like(array))
    other = dissect(zeros, tiny.shape).wiring
    assert other.frozen == tiny.wiring.frozen
    for name, axes in tiny.wiring.slots.items():
        assert all((one == two).all() for one, two in zip(axes, other.slots[name], strict=True))


def test_units_keep_their_numbers_when_others_go(tiny: Specimen) -> None:
    alive = np.ones(tiny.wiring.units, bool)
    first, second = tiny.wiring.layers[:2]
    alive[first.outputs[[0, 3]]] = False
    alive[second.outputs[5]] = False
    small = tiny.wiring.restrict(alive)
    assert small.layers[0].outputs.tolist() == first.outputs[[1, 2, 4, 5]].tolist()
    assert small.layers[1].inputs.tolist() == first.outputs[[1, 2, 4, 5]].tolist()
    assert second.outputs[5] not in small.layers[2].inputs
    assert [len(units) for units in small.slots["full/kernel"]] == [28, 12]
    assert small.units == tiny.wiring.units
    np.testing.assert_array_equal(small.present(), alive)


def test_permanent_elements_survive_whatever_happens() -> None:
    units = np.array([PERMANENT, 0, 1, PERMANENT, 0])
    np.testing.assert_array_equal(survives(units, np.array([False, True])), [True, False, True, True, False])
    np.testing.assert_array_equal(survives(units, np.array([False, False])), [True, False, False, True, False])


def test_an_example_of_a_shape_is_two_float32_arrays_of_it() -> None:
    for shape in ((8, 8, 1), [8, 8, 1]):
        assert example_of(shape) == (jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32),)
    assert example_of((5,)) == (jax.ShapeDtypeStruct((2, 5), jnp.float32),)


def test_an_example_of_arguments_keeps_their_dtypes_and_how_they_are_nested() -> None:
    wanted = (
        jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.uint8),
        {"token": jax.ShapeDtypeStruct((2, 3), jnp.int32), "weight": jax.ShapeDtypeStruct((2,), jnp.bfloat16)},
    )
    for count, zeros in ((1, np.zeros), (7, jnp.zeros), (7, jax.ShapeDtypeStruct)):
        arguments = (
            zeros((count, 8, 8, 1), jnp.uint8),
            {"token": zeros((count, 3), jnp.int32), "weight": zeros((count,), jnp.bfloat16)},
        )
        assert example_of(arguments) == wanted
    assert example_of(wanted) == wanted


def test_an_anatomy_knows_what_its_network_was_traced_on(tiny: Specimen) -> None:
    assert tiny.anatomy.inputs == (jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.float32),)
    on_arrays = dissect(tiny.network, (jnp.asarray(images(5)),))
    assert on_arrays.inputs == tiny.anatomy.inputs
    assert on_arrays.wiring.frozen == tiny.wiring.frozen
