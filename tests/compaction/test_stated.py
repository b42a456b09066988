"""Attention by hand, with its sizes in attributes: whole heads go where they follow, and else the line says how."""

import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array
from specimens import hatch, line_of

from synevo.compaction.in_memory import Compacted, compact
from synevo.model.network import call, take_apart
from synevo.wiring.dissection import dissect

pytestmark = pytest.mark.slow

SHAPE = (5, 6)
WIDTH, HEADS, HEAD = 12, 4, 3


class Attention(nnx.Module):
    """Attention whose sizes are attributes."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.heads, self.head_dim, self.inner = HEADS, HEAD, HEADS * HEAD
        self.scale = HEAD**-0.5
        self.qkv = nnx.Linear(WIDTH, 3 * self.inner, rngs=rngs)
        self.out = nnx.Linear(self.inner, WIDTH, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        q, k, v = jnp.moveaxis(self.divide(self.qkv(x), *x.shape), 2, 0)
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q * self.scale, k))
        return self.out(self.join(jnp.einsum("bhqk,bkhd->bqhd", weights, v), *x.shape))

    def divide(self, qkv: Array, n: int, t: int, c: int) -> Array:
        """Queries, keys and values as [n, t, 3, heads, features]; `c` is the width of the signal."""
        del c
        return qkv.reshape(n, t, 3, self.heads, self.head_dim)

    def join(self, y: Array, n: int, t: int, c: int) -> Array:
        """The heads side by side."""
        del c
        return y.reshape(n, t, self.inner)


class AsOften(Attention):
    """The features of a head and the joined heads are computed from the width of the signal, as is often seen."""

    def divide(self, qkv: Array, n: int, t: int, c: int) -> Array:
        return qkv.reshape(n, t, 3, self.heads, c // self.heads)

    def join(self, y: Array, n: int, t: int, c: int) -> Array:
        return y.reshape(n, t, c)


class AsAdvisedOnce(AsOften):
    """With the first advice followed."""

    def divide(self, qkv: Array, n: int, t: int, c: int) -> Array:
        del c
        return qkv.reshape(n, t, 3, self.heads, -1)


class AsAdvised(AsAdvisedOnce):
    """With all advice followed."""

    def join(self, y: Array, n: int, t: int, c: int) -> Array:
        del c
        return y.reshape(n, t, -1)


class Blocks(nnx.Module):
    """Two blocks between an embedding and a classifier."""

    def __init__(self, kind: Callable[[nnx.Rngs], nnx.Module], classes: int, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Linear(SHAPE[-1], WIDTH, rngs=rngs)
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(2)])
        self.blocks = nnx.List([kind(rngs) for _ in range(2)])
        self.classifier = nnx.Linear(WIDTH, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.embed(x)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x))
        return self.classifier(x.mean(axis=1))


def model_of(kind: Callable[[nnx.Rngs], nnx.Module]) -> nnx.Module:
    return hatch(lambda _shape, classes, rngs: Blocks(kind, classes, rngs))


def without_a_head(kind: Callable[[nnx.Rngs], nnx.Module]) -> Compacted:
    """The model without the second head of its last block."""
    alive = np.ones((WIDTH, 3, HEADS, HEAD), bool)
    alive[:, :, 1] = False
    kernel = alive.reshape(WIDTH, -1)
    masks = {"blocks/1/qkv/kernel": kernel, "blocks/1/qkv/bias": kernel[0]}
    return compact(model_of(kind), SHAPE, masks=masks)


@pytest.mark.parametrize("kind", [Attention, AsAdvised])
def test_a_head_is_removed_and_the_attributes_that_count_it_follow(kind: Callable[[nnx.Rngs], nnx.Module]) -> None:
    done = without_a_head(kind)
    assert done.removed == 1
    first, last = done.model.blocks  # type: ignore[attr-defined]
    assert (first.heads, last.heads, last.head_dim) == (HEADS, HEADS - 1, HEAD)
    assert last.qkv.kernel.shape == (WIDTH, 3 * (HEADS - 1) * HEAD)
    assert done.attributes["blocks/1.heads"] == HEADS - 1
    assert last.inner == (HEADS - 1) * HEAD if kind is Attention else HEADS * HEAD


def test_attributes_come_back_from_a_file() -> None:
    network, smaller = take_apart(model_of(Attention)), take_apart(without_a_head(Attention).model)
    wiring = dissect(network, SHAPE).wiring
    alive = np.ones(wiring.units, bool)
    alive[wiring.groups["blocks/1.heads"][1]] = False
    groups = json.loads(json.dumps(wiring.groups_left(alive)))
    again = network.like(smaller.arrays, groups=groups)
    x = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
    np.testing.assert_array_equal(call(again, x), call(smaller, x))


def test_a_file_can_set_nothing_but_integers_that_the_modules_have() -> None:
    network = take_apart(model_of(Attention))
    groups = {"blocks/1.heads": 2, "blocks/1.scale": 5, "blocks/1.qkv": 5, "blocks/0.other": 5, "blocks/9.heads": 5}
    arrays = network.arrays | {"embed/bias": jnp.zeros(WIDTH + 1)}
    changed = network.like(arrays, groups=groups).blueprint.model(arrays, None)
    assert changed.blocks[1].heads == 2
    assert changed.blocks[1].scale == HEAD**-0.5
    assert isinstance(changed.blocks[1].qkv, nnx.Linear)
    assert not hasattr(changed.blocks[0], "other")


@pytest.mark.parametrize(
    ("kind", "line", "size"),
    [
        (AsOften, line_of(AsOften, "c // self.heads"), f"write -1 for the {HEAD} of (2, 5, 3, 4, 3)"),
        (AsAdvisedOnce, line_of(AsOften, "y.reshape"), f"write -1 for the {WIDTH} of (2, 5, 12)"),
    ],
)
def test_a_size_that_is_stated_is_named_with_its_line(
    kind: Callable[[nnx.Rngs], nnx.Module], line: str, size: str
) -> None:
    wiring = dissect(take_apart(model_of(kind)), SHAPE).wiring
    (reason,) = [one.reason for one in wiring.frozen if (one.array, one.axis) == ("blocks/1/qkv/kernel", 1)]
    assert size in reason
    assert line in reason
    assert wiring.units == 0


def test_an_attribute_of_the_same_size_that_means_something_else_stays() -> None:
    class Other(Attention):
        def __init__(self, rngs: nnx.Rngs) -> None:
            super().__init__(rngs)
            self.tokens = HEADS

        def join(self, y: Array, n: int, t: int, c: int) -> Array:
            return super().join(y, n, t, c) * self.tokens

    wiring = dissect(take_apart(model_of(Other)), SHAPE).wiring
    assert "blocks/0.heads" in wiring.groups
    assert "blocks/0.tokens" not in wiring.groups


def test_a_number_that_all_blocks_share_cannot_count_the_heads_of_each() -> None:
    class Shared(Blocks):
        def __init__(self, kind: Callable[[nnx.Rngs], nnx.Module], classes: int, rngs: nnx.Rngs) -> None:
            super().__init__(kind, classes, rngs)
            self.number = HEADS

        def __call__(self, x: Array) -> Array:
            x = self.embed(x)
            for norm, block in zip(self.norms, self.blocks, strict=True):
                q = block.qkv(norm(x)).reshape(*x.shape[:2], self.number, -1)
                x = x + block.out(jax.nn.relu(q)[..., :HEAD].reshape(*x.shape[:2], -1))
            return self.classifier(x.mean(axis=1))

    model = hatch(lambda _shape, classes, rngs: Shared(AsAdvised, classes, rngs))
    assert ".number" not in dissect(take_apart(model), SHAPE).wiring.groups
