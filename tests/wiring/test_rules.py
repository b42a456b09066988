"""Rules: small models whose every use of an array is one that some user will write.

A free unit is listed with the rows of the classifier that it takes along; what is frozen names its reason and its line.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array
from specimens import ChannelsFirst, Grouped, LayerNormed, Patches, halves, images, outputs, silence, sketch, specimen

from synevo.wiring import cutting
from synevo.wiring.units import PERMANENT

Body = Callable[[Any, Array], Array]


def plain(m: Any, x: Array) -> Array:
    return m.out(nnx.relu(m.hidden(x)))


def rematerialised(m: Any, x: Array) -> Array:
    return m.out(jax.checkpoint(nnx.gelu)(m.hidden(x)))


def halved_precision(m: Any, x: Array) -> Array:
    return m.out(nnx.silu(m.hidden(x).astype(jnp.bfloat16)).astype(jnp.float32))


def shifted_by_ones(m: Any, x: Array) -> Array:
    h = m.hidden(x)
    return m.out(nnx.relu(h - jnp.ones_like(h)))


def chosen(m: Any, x: Array) -> Array:
    h = m.hidden(x)
    return m.out(jnp.where(h > 0, jnp.clip(h, -1, 1), 0.1 * h))


def with_an_axis_more(m: Any, x: Array) -> Array:
    return m.out(nnx.relu(m.hidden(x))[:, None, :, None].squeeze((1, 3)))


def without_gradient(m: Any, x: Array) -> Array:
    return m.out(jax.lax.stop_gradient(nnx.tanh(m.hidden(x))))


def scaled_by_a_spot(m: Any, x: Array) -> Array:
    return m.out(nnx.relu(m.hidden(x)) * x[:, :1])


def compared(m: Any, x: Array) -> Array:
    """A signal contracted with itself: a dead unit adds 0 · 0."""
    h = m.hidden(x)
    return m.out(h * jnp.einsum("ni,ni->n", h, h)[:, None])


def stacked(m: Any, x: Array) -> Array:
    h = m.hidden(x)
    one, other = jnp.stack([h, -h], axis=1).transpose(1, 0, 2)
    return m.out(nnx.relu(one) + nnx.relu(other))


@pytest.mark.parametrize(
    "body",
    [
        plain,
        stacked,
        rematerialised,
        halved_precision,
        shifted_by_ones,
        chosen,
        with_an_axis_more,
        without_gradient,
        scaled_by_a_spot,
        compared,
    ],
    ids=lambda body: body.__name__,
)
def test_hidden_units_are_free_and_without_them_it_is_the_same_network(body: Body) -> None:
    of = specimen(sketch(body, hidden=6, out=0))
    wiring = of.wiring
    assert [layer.name for layer in wiring.layers] == ["hidden/kernel", "out/kernel"]
    assert wiring.slots["hidden/kernel"][1].tolist() == list(range(6))
    assert wiring.slots["hidden/bias"][0].tolist() == list(range(6))
    assert wiring.slots["out/kernel"][0].tolist() == list(range(6))
    alive, x = np.array([True, False, True, True, False, True]), images(4)
    masked = outputs(silence(of, of.network, alive), x)
    small = outputs(cutting.cut(of.network, wiring, alive), x)
    tolerance = 1e-2 if body is halved_precision else 1e-5
    np.testing.assert_allclose(small, masked, atol=tolerance * np.abs(masked).max(), rtol=0)


def softened(m: Any, x: Array) -> Array:
    """What a dead unit adds to the sum is softplus(0)² and not 0."""
    h = nnx.softplus(m.hidden(x))
    return m.out(h * jnp.einsum("ni,ni->n", h, h)[:, None])


def transposed(m: Any, x: Array) -> Array:
    return m.out(nnx.relu(jnp.einsum("ni,oi->no", x, m.hidden.kernel.T) + m.hidden.bias[None]))


def test_a_matrix_may_be_used_transposed() -> None:
    layer = specimen(sketch(transposed, hidden=6, out=0)).wiring.layers[0]
    assert (layer.name, layer.input_axis, layer.output_axis) == ("hidden/kernel", 0, 1)
    assert layer.outputs.tolist() == list(range(6))


def test_halves_that_are_multiplied_and_doubled_share_units() -> None:
    wiring = specimen(sketch(halves, hidden=6, out=0)).wiring
    assert wiring.slots["hidden/kernel"][1].tolist() == [0, 1, 2, 0, 1, 2]
    assert wiring.slots["out/kernel"][0].tolist() == [0, 1, 2, 0, 1, 2]


def test_a_flatten_with_channels_first_spreads_a_filter_over_a_block_of_rows() -> None:
    wiring = specimen(ChannelsFirst).wiring
    assert wiring.slots["out/kernel"][0].tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_a_dense_layer_on_every_place_is_used_once_a_place() -> None:
    wiring = specimen(Patches, (8, 8, 3)).wiring
    assert [layer.positions for layer in wiring.layers] == [64, 64]
    assert wiring.units == 5


def padded(m: Any, x: Array) -> Array:
    return m.out(jnp.pad(m.hidden(x), ((0, 0), (0, 2)))[:, :6])


def transformed(m: Any, x: Array) -> Array:
    return m.out(jnp.fft.fft(m.hidden(x)).real)


def scattered(m: Any, x: Array) -> Array:
    return m.out(m.hidden(x).at[:, 1].set(0))


def looped(m: Any, x: Array) -> Array:
    return m.out(jax.lax.while_loop(lambda h: h.max() > 1, lambda h: h * 0.5, m.hidden(x)))


def accumulated(m: Any, x: Array) -> Array:
    return m.out(jnp.cumsum(m.hidden(x), axis=1))


def sorted_(m: Any, x: Array) -> Array:
    return m.out(jnp.sort(m.hidden(x), axis=1))


def in_heads(m: Any, x: Array) -> Array:
    h = m.hidden(x).reshape(x.shape[0], 2, 3)
    return m.out(nnx.relu(h).reshape(x.shape[0], -1))


def squared(m: Any, x: Array) -> Array:
    h = m.hidden(x)
    return m.out(jnp.einsum("ni,nj->nij", h, h).reshape(x.shape[0], -1)[:, :6])


def averaged(m: Any, x: Array) -> Array:
    h = m.hidden(x)
    return m.out(h - h.mean(axis=1, keepdims=True))


def the_largest(m: Any, x: Array) -> Array:
    h = m.hidden(x)
    return m.out(h * jax.nn.one_hot(h.argmax(1), 6))


def every_second(m: Any, x: Array) -> Array:
    h = nnx.relu(m.hidden(x))
    return m.out(h) + h[:, 1:5:2].sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "body",
    [
        padded,
        transformed,
        scattered,
        looped,
        accumulated,
        sorted_,
        in_heads,
        squared,
        averaged,
        softened,
    ],
    ids=lambda body: body.__name__,
)
def test_hidden_units_are_frozen_and_the_line_is_named(body: Body) -> None:
    wiring = specimen(sketch(body, hidden=6, out=0)).wiring
    assert wiring.units == 0
    lines, first = inspect.getsourcelines(body)
    for name, axis in (("hidden/kernel", 1), ("hidden/bias", 0)):
        (reason,) = [f.reason for f in wiring.frozen if (f.array, f.axis) == (name, axis)]
        place = re.search(r"test_rules\.py:(\d+)\)", reason)
        assert place, reason
        assert first < int(place[1]) < first + len(lines)


def test_units_taken_in_steps_are_frozen_even_where_others_are_free() -> None:
    hidden = specimen(sketch(every_second, hidden=6, out=0)).wiring.slots["hidden/kernel"][1]
    assert (hidden[[1, 3]] == PERMANENT).all()


def one_picked(m: Any, x: Array) -> Array:
    h = nnx.relu(m.hidden(x))
    return m.out(h) * h[:, 3][:, None]


def test_a_unit_that_is_picked_by_its_number_is_frozen() -> None:
    """Without it, the number would pick another."""
    hidden = specimen(sketch(one_picked, hidden=6, out=0)).wiring.slots["hidden/kernel"][1]
    assert hidden[3] == PERMANENT


def weighed(m: Any, x: Array) -> Array:
    return m.out(nnx.relu(m.hidden(x)) * np.linspace(1, 2, 6, dtype=np.float32)[None])


@pytest.mark.parametrize("body", [weighed, the_largest], ids=lambda body: body.__name__)
def test_units_that_meet_numbers_of_their_own_are_frozen(body: Body) -> None:
    """A literal array in the code, or a count along the axis, has the size that it has; it cannot lose a number."""
    wiring = specimen(sketch(body, hidden=6, out=0)).wiring
    assert (wiring.slots["hidden/kernel"][1] == PERMANENT).all()
    assert "hidden/kernel" in {frozen.array for frozen in wiring.frozen if frozen.axis == 1}


def test_a_convolution_in_groups_loses_whole_groups_or_a_place_in_all_of_them() -> None:
    """Three groups of two channels each: a channel is its group and its place within, and so is a filter."""
    wiring = specimen(Grouped).wiring
    groups, within = wiring.groups["groups/kernel"], wiring.slots["groups/kernel"][2]
    channels, filters = wiring.slots["first/kernel"][3], wiring.slots["groups/kernel"][3]
    assert [len(groups), len(within), wiring.units] == [3, 2, 3 + 2 + 2 + 5]
    wanted = [(int(group), int(place)) for group in groups for place in within]
    assert [wiring.parts(int(unit)) for unit in channels] == wanted
    assert filters.tolist() == wiring.slots["last/kernel"][2].tolist()
    assert [wiring.parts(int(unit))[0] for unit in filters] == np.repeat(groups, 2).tolist()
    alive = np.ones(wiring.units, bool)
    alive[groups[1]] = False
    small = wiring.restrict(alive).slots
    assert small["first/kernel"][3].tolist() == channels[[0, 1, 4, 5]].tolist()
    assert small["groups/kernel"][3].tolist() == filters[[0, 1, 4, 5]].tolist()
    alive[groups[1]], alive[within[0]] = True, False
    small = wiring.restrict(alive).slots
    assert small["first/kernel"][3].tolist() == channels[[1, 3, 5]].tolist()
    assert [axis.size for axis in small["groups/kernel"]] == [3, 3, 1, 6]


def test_a_normalisation_across_units_freezes_them() -> None:
    wiring = specimen(LayerNormed).wiring
    assert wiring.units == 0
    (reason,) = [f.reason for f in wiring.frozen if (f.array, f.axis) == ("hidden/kernel", 1)]
    assert reason.startswith("normalised over (LayerNorm, ")
