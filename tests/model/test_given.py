"""Inputs that a network was not built for: the shape that was given is named, and what the network wanted."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx

from synevo import compact
from synevo.errors import AncestorError, CompactionError


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.Conv(4, (3, 3))(x)
        return linen.Dense(2)(x.mean((1, 2)))


def convolving() -> tuple[Any, Any, tuple[int, ...]]:
    return nnx.Sequential(nnx.Conv(1, 4, (3, 3), rngs=nnx.Rngs(0)), nnx.relu), None, (6, 6, 3)


def linear() -> tuple[Any, Any, tuple[int, ...]]:
    return nnx.Sequential(nnx.Linear(1, 4, rngs=nnx.Rngs(0)), nnx.relu), None, (3,)


def in_linen() -> tuple[Any, Any, tuple[int, ...]]:
    return LinenNet(), LinenNet().init(jax.random.key(0), jnp.zeros((1, 6, 6, 1))), (6, 6, 3)


@pytest.mark.parametrize("network", [convolving, linear, in_linen])
def test_the_shape_that_was_given_and_the_width_that_was_wanted_are_named(network: Any) -> None:
    model, variables, shape = network()
    with pytest.raises(AncestorError) as caught:
        compact(model, shape, variables=variables)
    said = f"float32 [n, {', '.join(map(str, shape))}]. A layer got 3 channels there, and its arrays are for 1"
    assert said in caught.value.remedy


def test_real_inputs_of_other_channels_or_another_number_are_named() -> None:
    model = nnx.Sequential(nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.relu, nnx.Linear(4, 2, rngs=nnx.Rngs(1)))
    for wrong, said in ((jnp.ones((5, 4)), r"\[n, 4\]"), ((jnp.ones((5, 3)),) * 2, r"\[n, 3\], float32 \[n, 3\]")):
        with pytest.raises(CompactionError, match=rf"The real inputs are float32 {said}, where .* float32 \[n, 3\]"):
            compact(model, (3,), inputs=wrong)


class ByName(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first, self.last = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x: jax.Array, *, weights: jax.Array) -> jax.Array:
        return self.last(nnx.relu(self.first(x)) * weights[:, None])


def test_an_input_that_is_taken_by_name_alone_is_named_and_the_advice_leads_on() -> None:
    inputs = (jax.ShapeDtypeStruct((2, 3), jnp.float32), jax.ShapeDtypeStruct((2,), jnp.float32))
    with pytest.raises(AncestorError, match="ByName takes weights by name alone") as caught:
        compact(ByName(nnx.Rngs(0)), inputs[:1])
    space: dict[str, Any] = {"ByName": ByName}
    exec(caught.value.remedy.split("\n\n", 1)[1], space)  # noqa: S102  (the advice is code)
    model = space["ByPlace"](nnx.Rngs(0))
    for array in (model.first.kernel, model.first.bias):
        array[...] = array[...].at[..., 1].set(0)
    assert compact(model, inputs).removed == 1
