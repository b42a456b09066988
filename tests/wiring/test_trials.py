"""Trials: what the model's own code cannot lose is found with few of them, and nothing else is frozen."""

from itertools import chain

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array
from specimens import CLASSES, SHAPE, Shape, line_of

from synevo.model.network import outline
from synevo.wiring import dissection
from synevo.wiring.dissection import dissect, example_of
from synevo.wiring.units import PERMANENT, Wiring, keep_one

WIDTH = 6


class Block(nnx.Module):
    """A residual of three branches: one divides by its width, one states it, one is free."""

    def __init__(self, width: int, rngs: nnx.Rngs, *, by_its_width: bool = True) -> None:
        self.by_its_width = by_its_width
        self.divided, self.stated, self.free = (nnx.Linear(width, WIDTH, rngs=rngs) for _ in range(3))
        self.out1, self.out2, self.out3 = (nnx.Linear(WIDTH, width, rngs=rngs) for _ in range(3))

    def __call__(self, x: Array) -> Array:
        h = nnx.relu(self.divided(x))
        h = h / jnp.sqrt(h.shape[-1] if self.by_its_width else WIDTH)
        x = x + self.out1(h)
        h = self.stated(x).reshape(x.shape[0], WIDTH)
        return x + self.out2(h) + self.out3(nnx.relu(self.free(x)))


class Deep(nnx.Module):
    """Blocks between a stem and a classifier."""

    def __init__(self, by_their_width: list[bool], shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Linear(int(np.prod(shape)), 5, rngs=rngs)
        self.blocks = nnx.List([Block(5, rngs, by_its_width=one) for one in by_their_width])
        self.out = nnx.Linear(5, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.stem(x.reshape(x.shape[0], -1))
        for block in self.blocks:
            x = block(x)
        return self.out(x)


def dissected(by_their_width: list[bool]) -> Wiring:
    network = outline(lambda rngs: Deep(by_their_width, SHAPE, CLASSES, rngs), example_of(SHAPE))
    return dissect(network, SHAPE).wiring


def permanent(wiring: Wiring, name: str) -> bool:
    return bool((wiring.slots[f"{name}/kernel"][1] == PERMANENT).all())


def reason(wiring: Wiring, name: str) -> str:
    (found,) = [frozen.reason for frozen in wiring.frozen if (frozen.array, frozen.axis) == (f"{name}/kernel", 1)]
    return found


def test_every_block_loses_what_it_can_and_names_the_line_where_it_cannot() -> None:
    wiring = dissected([True] * 3)
    for number in range(3):
        for name, text in (("divided", "h = h / jnp"), ("stated", ".reshape(x.shape[0], WIDTH)")):
            assert permanent(wiring, f"blocks/{number}/{name}")
            assert line_of(Block, text) in reason(wiring, f"blocks/{number}/{name}")
        assert not permanent(wiring, f"blocks/{number}/free")
    assert wiring.units == 5 + 3 * WIDTH


def test_a_deep_network_needs_no_more_trials_than_a_shallow_one(monkeypatch: pytest.MonkeyPatch) -> None:
    real, traced = dissection.program_of, list[object]()
    monkeypatch.setattr(dissection, "program_of", lambda *given: traced.append(given) or real(*given))
    counts = []
    for depth in (2, 5):
        traced.clear()
        dissected([True] * depth)
        counts.append(len(traced))
    assert counts[0] == counts[1]


def test_only_the_blocks_that_divide_by_their_width_keep_it() -> None:
    by_their_width = [False, True, False, True]
    wiring = dissected(by_their_width)
    assert [permanent(wiring, f"blocks/{number}/divided") for number in range(4)] == by_their_width


def test_derived_units_live_while_all_their_parts_do() -> None:
    random = np.random.default_rng(0)
    derived = tuple(tuple(random.permutation(7)[: random.integers(2, 4)].tolist()) for _ in range(9))
    axis = np.array([3, *range(7, 16), PERMANENT])
    wiring = Wiring((), {"array": (axis,)}, 7, (), derived, axes=(axis[:-1],))
    for seed in range(20):
        alive = np.random.default_rng(seed).random(7) < 0.6
        expected = [*alive, *(all(alive[part] for part in parts) for parts in derived)]
        assert wiring.fates(alive).tolist() == expected
        marked = np.random.default_rng(seed).random(len(axis)) < 0.3
        flags = np.zeros(7, bool)
        wiring.mark(flags, axis, marked)
        assert set(np.flatnonzero(flags)) == set(chain.from_iterable(map(wiring.parts, axis[marked].tolist())))
        assert wiring.fates(keep_one(wiring, alive))[axis[:-1]].any()
