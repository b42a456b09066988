"""Loops, choices and repeated calls in a model: loops of a known length are followed, others frozen with their line."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import Array
from specimens import SHAPE, Shape, hatch, line_of

from synevo.compaction.in_memory import compact
from synevo.genetics import census
from synevo.genetics.organism import Organism
from synevo.model.linen import as_nnx
from synevo.model.network import put_together, take_apart
from synevo.runs import sameness
from synevo.wiring import loops
from synevo.wiring.dissection import check, dissect, example_of
from synevo.wiring.signal import trim
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
    Chooses: "inside a choice between programs (cond, {})",
    Waits: "inside a loop (while_loop, {})",
}


@pytest.mark.parametrize("kind", FROZEN, ids=lambda kind: kind.__name__)
def test_what_is_inside_is_frozen_with_its_line_and_the_rest_can_go(kind: type[Around]) -> None:
    frozen_within(kind, FROZEN[kind])


@pytest.mark.parametrize(
    ("kind", "name"), [(ScansLayers, "scan"), (Repeats, "fori_loop"), (Maps, "map"), (Recurs, "RNN")]
)
def test_a_loop_of_too_many_steps_is_frozen_as_one(
    kind: type[Around], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loops, "MOST_STEPS", 3)
    frozen_within(kind, f"inside a loop ({name}, {{}})")


def frozen_within(kind: type[Around], reason: str) -> None:
    network = take_apart(hatch(kind))
    anatomy = dissect(network, SHAPE)
    wiring = anatomy.wiring
    assert wiring.units == 7 + 6
    assert {one.reason for one in wiring.frozen} == {reason.format(line_of(kind, "# within"))}
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


FOLLOWED: dict[type[Around], int] = {
    Saves: 8 + 5,
    Rematerialises: 8 + 5,
    Vectorises: 8 + 5,
    ScansLayers: 8 + 5,  # in every layer the same
    ScansArrays: 8,
    Repeats: 8 + 5,
    Maps: 8 + 5,
    Recurs: 8 + 8,
}


@pytest.mark.parametrize("kind", FOLLOWED, ids=lambda kind: kind.__name__)
def test_a_call_that_only_runs_otherwise_is_followed(kind: type[Around]) -> None:
    network = take_apart(hatch(kind))
    anatomy = dissect(network, SHAPE)
    assert anatomy.wiring.units == 7 + FOLLOWED[kind] + 6
    assert anatomy.wiring.frozen == ()
    check(network, anatomy, keep_one(anatomy.wiring, np.zeros(anatomy.wiring.units, bool)))
    assert all(layer.positions == 1 for layer in anatomy.wiring.layers if layer.name.startswith(("before", "head")))


def test_stacked_layers_count_as_much_as_the_same_layers_one_by_one() -> None:
    listed, scanned = (Organism.of(hatch(kind), SHAPE) for kind in (Lists, ScansLayers))
    assert census.count(listed).multiply_adds == census.count(scanned).multiply_adds
    assert listed.synapses == scanned.synapses


class Lists(Around):
    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        super().__init__(shape, classes, rngs)
        self.inner = nnx.List([Block(rngs) for _ in range(3)])

    def body(self, x: Array) -> Array:
        for block in self.inner:
            x = block(x)
        return x


LENGTH = 5


class Recurrent(nnx.Module):
    """A sequence is read by a recurrent cell; the last output, or all of them, make the classes."""

    def __init__(self, cell: Any, rngs: nnx.Rngs, *, reverse: bool = False, every: bool = False) -> None:
        self.rnn = nnx.RNN(cell(3, 10, rngs=rngs), reverse=reverse)
        self.head, self.every = nnx.Linear(10, 4, rngs=rngs), every

    def __call__(self, x: Array) -> Array:
        y = self.rnn(x)
        return self.head(y if self.every else y[:, -1])


class Elman(nnx.Module):
    """A loop of the user's own; it gives what it carries, and an output at each place."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.read, self.again = nnx.Linear(3, 10, rngs=rngs), nnx.Linear(10, 10, rngs=rngs)
        self.head = nnx.Linear(10, 4, rngs=rngs)

    def __call__(self, x: Array) -> dict[str, Array]:
        kernel, bias = self.again.kernel[...], self.again.bias[...]

        def step(state: Array, read: Array) -> tuple[Array, Array]:
            state = jnp.tanh(read + state @ kernel + bias[None])
            return state, state * 2

        signal = self.read(x).swapaxes(0, 1)
        last, all_ = jax.lax.scan(step, jnp.zeros((x.shape[0], signal.shape[-1])), signal, reverse=True)
        return {"last": self.head(last), "all": self.head(all_.mean(axis=0))}


@pytest.mark.parametrize(
    "model",
    [
        lambda: Recurrent(nnx.LSTMCell, nnx.Rngs(0)),
        lambda: Recurrent(nnx.GRUCell, nnx.Rngs(0), reverse=True),
        lambda: Recurrent(nnx.OptimizedLSTMCell, nnx.Rngs(0), every=True),
        lambda: Recurrent(nnx.SimpleCell, nnx.Rngs(0)),
        lambda: Elman(nnx.Rngs(0)),
    ],
    ids=["LSTM", "GRU", "OptimizedLSTM", "Simple", "Elman"],
)
def test_the_state_of_a_recurrent_network_becomes_smaller_and_it_is_the_same_network(model: Any) -> None:
    example = (np.random.default_rng(0).normal(size=(2, LENGTH, 3)).astype(np.float32),)
    whole = Organism.of(model(), example)
    wiring = whole.species.anatomy.wiring
    assert (wiring.units, wiring.frozen) == (10, ())
    assert {layer.positions for layer in wiring.layers if layer.name != "head/kernel"} == {LENGTH}
    left = Organism.left(whole.species, whole.network, whole.masks, np.arange(10) % 3 == 0)
    done = compact(put_together(left.whole), example, inputs=example)
    assert done.removed == 6
    found, wanted = jax.tree.leaves(done.model(*example)), jax.tree.leaves(left.whole(*example))
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_unit_that_a_signal_reaches_only_after_some_rounds_is_not_trimmed() -> None:
    """The input reaches unit 2, from there unit 1 a round later, from there unit 0, which alone is read."""
    of = Organism.of(Recurrent(nnx.SimpleCell, nnx.Rngs(0)), (np.zeros((2, LENGTH, 3), np.float32),))
    (read,), (again,) = ([name for name in of.masks if part in name] for part in ("dense_i", "dense_h"))
    masks = {name: np.zeros_like(mask) for name, mask in of.masks.items()}
    masks[read][:, 2] = masks[again][2, 1] = masks[again][1, 0] = masks["head/kernel"][0] = True
    trimmed, alive = trim(of.species.anatomy.wiring, masks)
    assert np.flatnonzero(alive).tolist() == [0, 1, 2]
    for name, mask in masks.items():
        np.testing.assert_array_equal(trimmed[name], mask)


def test_the_fingerprint_of_a_network_does_not_depend_on_how_far_loops_are_unrolled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, inputs = take_apart(hatch(Recurs)), example_of(SHAPE)
    before = sameness.describe(network, inputs)
    monkeypatch.setattr(loops, "MOST_STEPS", 3)
    assert sameness.describe(network, inputs) == before


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
        model, first = hatch(ScansLayers), "before"
    else:
        with jax.debug_key_reuse(False):  # Flax's own scan gives one key to all that it repeats
            model = hatch(lambda *_: as_nnx(LinenScans(), example_of(SHAPE)))
        first = "Dense_0"
    alive = np.arange(7) < 4
    done = compact(model, SHAPE, masks={f"{first}/kernel": np.tile(alive, (64, 1)), f"{first}/bias": alive})
    assert (done.removed, done.frozen) == (3, ())
