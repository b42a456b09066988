"""Loops, choices and repeated calls in a model: what is within is frozen with its line, and the rest is followed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import Array
from specimens import SHAPE, Shape, hatch, line_of

from synevo.compaction.in_memory import compact
from synevo.model.linen import as_nnx
from synevo.model.network import take_apart
from synevo.wiring.dissection import check, dissect, example_of
from synevo.wiring.units import keep_one


class Block(nnx.Module):
    """A residual block."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.up, self.down = nnx.Linear(8, 5, rngs=rngs), nnx.Linear(5, 8, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return x + self.down(nnx.relu(self.up(x)))


class Around(nnx.Module):
    """Layers before and behind a body; `before` and `behind` have 7 and 6 units that no body touches."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.before, self.wide = nnx.Linear(int(np.prod(shape)), 7, rngs=rngs), nnx.Linear(7, 8, rngs=rngs)
        self.inner: Any = Block(rngs)
        self.behind, self.head = nnx.Linear(8, 6, rngs=rngs), nnx.Linear(6, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.wide(nnx.relu(self.before(x.reshape(x.shape[0], -1)))))
        return self.head(nnx.relu(self.behind(self.body(x))))

    def body(self, x: Array) -> Array:
        return x


@nnx.split_rngs(splits=3)
@nnx.vmap(in_axes=(0,), out_axes=0)
def blocks(rngs: nnx.Rngs) -> Block:
    return Block(rngs)


class ScansLayers(Around):
    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        super().__init__(shape, classes, rngs)
        self.inner = blocks(rngs)

    def body(self, x: Array) -> Array:
        through = nnx.scan(lambda x, block: block(x), in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        return through(x, self.inner)  # within


class ScansArrays(Around):
    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        super().__init__(shape, classes, rngs)
        self.inner = nnx.Param(jnp.ones((3, 8, 8)))

    def body(self, x: Array) -> Array:
        return jax.lax.scan(lambda x, w: (nnx.relu(x @ w), None), x, self.inner[...])[0]  # within


class Chooses(Around):
    def body(self, x: Array) -> Array:
        return jax.lax.cond(x.shape[0] > 1, self.inner, nnx.relu, x)  # within


class Repeats(Around):
    def body(self, x: Array) -> Array:
        return jax.lax.fori_loop(0, 2, lambda _, x: self.inner(x), x)  # within


class Waits(Around):
    def body(self, x: Array) -> Array:
        return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, self.inner(c[1])), (0, x))[1]  # within


class Maps(Around):
    def body(self, x: Array) -> Array:
        return jax.lax.map(lambda row: self.inner(row[None])[0], x)  # within


class Recurs(Around):
    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        super().__init__(shape, classes, rngs)
        self.inner = nnx.RNN(nnx.GRUCell(8, 8, rngs=rngs))

    def body(self, x: Array) -> Array:
        return self.inner(x[:, None])[:, 0]  # within


FROZEN: dict[type[Around], str] = {
    ScansLayers: "inside a loop (scan, {})",
    ScansArrays: "inside a loop (scan, {})",
    Chooses: "inside a choice between programs (cond, {})",
    Repeats: "inside a loop (fori_loop, {})",
    Waits: "inside a loop (while_loop, {})",
    Maps: "inside a loop (map, {})",
    Recurs: "inside a loop (RNN, {})",
}


@pytest.mark.parametrize("kind", FROZEN, ids=lambda kind: kind.__name__)
def test_what_is_inside_is_frozen_with_its_line_and_the_rest_can_go(kind: type[Around]) -> None:
    network = take_apart(hatch(kind))
    anatomy = dissect(network, SHAPE)
    wiring = anatomy.wiring
    assert wiring.units == 7 + 6
    assert {one.reason for one in wiring.frozen} == {FROZEN[kind].format(line_of(kind, "# within"))}
    assert {"wide/kernel", "behind/kernel"} < {one.array for one in wiring.frozen}
    check(network, anatomy, keep_one(wiring, np.zeros(wiring.units, bool)))


class Saves(Around):
    def body(self, x: Array) -> Array:
        return jax.checkpoint(self.inner)(x)


class Rematerialises(Around):
    def body(self, x: Array) -> Array:
        return nnx.remat(lambda block, x: block(x))(self.inner, x)


class Vectorises(Around):
    def body(self, x: Array) -> Array:
        return jax.vmap(self.inner)(x)


@pytest.mark.parametrize("kind", [Saves, Rematerialises, Vectorises], ids=lambda kind: kind.__name__)
def test_a_call_that_only_runs_otherwise_is_followed(kind: type[Around]) -> None:
    network = take_apart(hatch(kind))
    anatomy = dissect(network, SHAPE)
    assert anatomy.wiring.units == 7 + 8 + 5 + 6
    assert anatomy.wiring.frozen == ()
    check(network, anatomy, keep_one(anatomy.wiring, np.zeros(anatomy.wiring.units, bool)))


class LinenBlock(linen.Module):
    @linen.compact
    def __call__(self, x: Array, _: None) -> tuple[Array, None]:
        return x + linen.Dense(8)(linen.relu(linen.Dense(5)(x))), None


class LinenScans(linen.Module):
    @linen.compact
    def __call__(self, x: Array) -> Array:
        x = linen.relu(linen.Dense(7)(x.reshape(x.shape[0], -1)))
        x = linen.Dense(8)(x)
        scanned = linen.scan(LinenBlock, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        x, _ = scanned()(x, None)  # within
        return linen.Dense(4)(linen.relu(linen.Dense(6)(x)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_layers_around_a_scan_are_removed_and_it_is_the_same_network(kind: str) -> None:
    if kind == "nnx":
        model, first, line = hatch(ScansLayers), "before", line_of(ScansLayers, "# within")
    else:
        with jax.debug_key_reuse(False):  # Flax's own scan gives one key to all that it repeats
            model = hatch(lambda *_: as_nnx(LinenScans(), example_of(SHAPE)))
        first, line = "Dense_0", line_of(LinenScans, "# within")
    alive = np.arange(7) < 4
    done = compact(model, SHAPE, masks={f"{first}/kernel": np.tile(alive, (64, 1)), f"{first}/bias": alive})
    assert done.removed == 3
    assert {one.reason for one in done.frozen} == {f"inside a loop (scan, {line})"}
