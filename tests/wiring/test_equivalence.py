"""What computes the same although it is not equal: einsums in another order, functions that are made anew."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from synevo import compact
from synevo.model.network import take_apart
from synevo.wiring.comparison import differences
from synevo.wiring.dissection import check, dissect
from synevo.wiring.equivalence import alike
from synevo.wiring.tracing import Program, trace


def product(subscripts: str, *shapes: tuple[int, ...]) -> Program:
    names = "abc"[: len(shapes)]
    arrays = {name: jnp.ones(shape) for name, shape in zip(names, shapes, strict=True)}
    return trace(lambda p: jnp.einsum(subscripts, *(p[name] for name in names)), arrays)


NARROW, WIDE = ((2, 3), (3, 4), (4, 3)), ((2, 3), (3, 12), (12, 3))
"""Shapes for which opt_einsum multiplies the first two matrices first, and the last two."""


def same(predicted: Program, found: Program) -> bool:
    """Whether one is the other, of which the first four of twelve places along an axis are left."""
    left = {size: np.arange(size) < (4 if size == 12 else size) for size in (2, 3, 4, 12)}
    survivors = {value: tuple(left[size] for size in shape) for value, shape in predicted.shapes.items()}
    return not list(differences(predicted, survivors, found))


def test_two_orders_of_one_product_are_the_same() -> None:
    predicted, found = product("ij,jk,kl->il", *WIDE), product("ij,jk,kl->il", *NARROW)
    assert [step.operands for step in predicted.steps] != [step.operands for step in found.steps]
    assert same(predicted, found)


@pytest.mark.parametrize("subscripts", ["ij,jk,kl->li", "ji,jk,kl->il", "ij,kj,kl->il"])
def test_a_product_over_other_axes_is_another_one(subscripts: str) -> None:
    square = ((3, 3), (3, 3), (3, 3))
    assert not same(product("ij,jk,kl->il", *square), product(subscripts, *square))


class Three(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.a = nnx.Param(jax.random.normal(rngs.params(), (3, 12)))
        self.b = nnx.Param(jax.random.normal(rngs.params(), (12, 3)))
        self.c = nnx.Linear(3, 4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.c(jnp.einsum("bi,ij,jk->bk", x, self.a[...], self.b[...]))


class ByNumber(Three):
    def __call__(self, x: jax.Array) -> jax.Array:
        return self.c(jnp.einsum(x, [0, 1], self.a[...], [1, 2], self.b[...], [2, 3], [0, 3]))


@pytest.mark.parametrize("kind", [Three, ByNumber])
def test_an_einsum_loses_units_although_its_order_changes(kind: type[Three]) -> None:
    model = kind(nnx.Rngs(0))
    model.a[...] = model.a[...].at[:, 4:].set(0)
    model.b[...] = model.b[...].at[4:].set(0)
    done = compact(model, (3,))
    small: Any = done.model
    assert small.a.shape == (3, 4)
    assert done.removed == 8
    x = jax.random.normal(jax.random.key(1), (5, 3))
    np.testing.assert_allclose(small(x), model(x), rtol=0, atol=1e-5)


class Calling(nnx.Module):
    """A network that calls back a function that it makes anew each time."""

    def __init__(self, make: Callable[[Any, int], Callable[..., Any]], rngs: nnx.Rngs) -> None:
        self.first, self.second = nnx.Linear(4, 6, rngs=rngs), nnx.Linear(6, 5, rngs=rngs)
        self.last = nnx.Linear(5, 3, rngs=rngs)
        self.make, self.scale = make, 2.0

    def __call__(self, x: jax.Array) -> jax.Array:
        h = self.second(nnx.relu(self.first(x)))
        function = self.make(self, self.first.kernel.shape[1])
        return self.last(jax.pure_callback(function, jax.ShapeDtypeStruct(h.shape, h.dtype), h))


MADE: dict[str, Callable[[Any, int], Callable[..., Any]]] = {
    "a lambda": lambda *_: lambda x: np.tanh(x),  # noqa: PLW0108  (each is another function)
    "around a number": lambda *_, two=2: lambda x: (np.tanh(x) * two).astype(np.float32),
    "around the model": lambda model, _: lambda x: np.tanh(x) * np.float32(model.scale),
    "partial": lambda *_: functools.partial(lambda two, x: np.tanh(x) * two, np.float32(2)),
}


@pytest.mark.parametrize("kind", MADE)
def test_callbacks_of_the_same_code_keep_no_other_unit(kind: str) -> None:
    network = take_apart(Calling(MADE[kind], nnx.Rngs(0)))
    anatomy = dissect(network, (4,))
    assert anatomy.wiring.units == 6
    assert check(network, anatomy, np.arange(6) > 2) == len(anatomy.program.steps)
    assert any("pure_callback, test_equivalence.py" in frozen.reason for frozen in anatomy.wiring.frozen)


def test_a_callback_that_reads_a_width_keeps_it_and_its_line_is_named() -> None:
    wiring = dissect(take_apart(Calling(lambda _, width: lambda x: x / np.float32(width), nnx.Rngs(0))), (4,)).wiring
    assert wiring.units == 0
    assert any(
        "pure_callback calls another function, or one that reads other values around it (test_equivalence.py:"
        in frozen.reason
        for frozen in wiring.frozen
    )


def test_functions_are_alike_if_their_code_and_what_they_read_is() -> None:
    def made(value: Any) -> Callable[[], Any]:
        return lambda: value

    table = np.arange(3)
    assert alike(made(3), made(3))
    assert alike(made([table, {"a": made(2)}]), made([table.copy(), {"a": made(2)}]))
    assert not alike(made(3), made(4))
    assert not alike(made(table), made(table + 1))
    assert not alike(made(object()), made(object()))
    assert not alike(made(3), lambda: 3)
