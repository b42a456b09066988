"""What language models are made of: rotary positions, shared keys and values, tied embeddings, experts."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array

from synevo.compaction.in_memory import compact
from synevo.genetics.organism import Organism
from synevo.model.network import put_together

WIDTH, HEADS, SIDE, TOKENS, LENGTH = 16, 4, 4, 11, 6


def rotated(x: Array) -> Array:
    """Rotary positions (arXiv 2104.09864) of queries or keys [n, places, heads, side], in halves."""
    frequencies = 1 / 100 ** (jnp.arange(SIDE // 2) / (SIDE // 2))
    angles = (jnp.arange(x.shape[1])[:, None] * frequencies[None])[None, :, None]
    one, other = jnp.split(x, 2, axis=-1)
    return jnp.concatenate(
        [one * jnp.cos(angles) - other * jnp.sin(angles), one * jnp.sin(angles) + other * jnp.cos(angles)], axis=-1
    )


class Attention(nnx.Module):
    """Causal attention whose heads share the keys and values of `shared` groups."""

    def __init__(self, shared: int, rngs: nnx.Rngs, *, rotary: bool) -> None:
        self.query, self.out = (nnx.Linear(WIDTH, HEADS * SIDE, rngs=rngs) for _ in range(2))
        self.key, self.value = (nnx.Linear(WIDTH, shared * SIDE, rngs=rngs) for _ in range(2))
        self.turn = rotated if rotary else lambda x: x

    def __call__(self, x: Array) -> Array:
        n, t, _ = x.shape
        q, k, v = (part(x).reshape(n, t, -1, SIDE) for part in (self.query, self.key, self.value))
        k, v = (jnp.repeat(one, q.shape[2] // one.shape[2], axis=2) for one in (self.turn(k), v))
        strength = jnp.einsum("bqhd,bkhd->bhqk", self.turn(q), k)
        shares = jax.nn.softmax(jnp.where(jnp.tril(jnp.ones((1, 1, t, t), bool)), strength, -1e9))
        return self.out(jnp.einsum("bhqk,bkhd->bqhd", shares, v).reshape(n, t, -1))


class Model(nnx.Module):
    """One block over an embedding, which makes the logits, too, if it is `tied`."""

    def __init__(self, rngs: nnx.Rngs, *, shared: int = HEADS, rotary: bool = False, tied: bool = False) -> None:
        self.embed, self.norm = nnx.Embed(TOKENS, WIDTH, rngs=rngs), nnx.RMSNorm(WIDTH, rngs=rngs)
        self.attention = Attention(shared, rngs, rotary=rotary)
        self.gate, self.up = (nnx.Linear(WIDTH, 9, use_bias=False, rngs=rngs) for _ in range(2))
        self.down = nnx.Linear(9, WIDTH, use_bias=False, rngs=rngs)
        self.head = self.embed.attend if tied else nnx.Linear(WIDTH, TOKENS, rngs=rngs)

    def __call__(self, tokens: Array) -> Array:
        x = self.embed(tokens)
        x = x + self.attention(self.norm(x))
        return self.head(x + self.down(nnx.silu(self.gate(x)) * self.up(x)))


class Experts(nnx.Module):
    """Of three experts, the two that a router finds best answer; their number is a choice of the model, and stays."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.read, self.route = nnx.Linear(5, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
        draw = jax.nn.initializers.normal(0.3)
        self.up, self.down = nnx.Param(draw(rngs.params(), (3, 8, 6))), nnx.Param(draw(rngs.params(), (3, 6, 8)))
        self.head = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.read(x))
        shares, best = jax.lax.top_k(jax.nn.softmax(self.route(x)), 2)
        weights = (jax.nn.one_hot(best, 3) * shares[..., None]).sum(axis=1)
        answers = jnp.einsum("bnu,nuw->bnw", nnx.relu(jnp.einsum("bw,nwu->bnu", x, self.up[...])), self.down[...])
        return self.head(x + (answers * weights[..., None]).sum(axis=1))


TEXT = (np.random.default_rng(0).integers(0, TOKENS, (2, LENGTH)).astype(np.int32),)
NUMBERS = (np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32),)
MLP = 9

CASES: dict[str, tuple[Callable[[], nnx.Module], Any, int]] = {
    "rotary": (lambda: Model(nnx.Rngs(0), rotary=True), TEXT, MLP + HEADS),
    "shared keys": (lambda: Model(nnx.Rngs(0), shared=2, rotary=True), TEXT, MLP + 2 + 2),
    "tied embedding": (lambda: Model(nnx.Rngs(0), tied=True), TEXT, MLP + HEADS),
    "experts": (lambda: Experts(nnx.Rngs(0)), NUMBERS, 8 + 6),
}
"""The model, its inputs, and its units: of hidden layers, of heads, and of groups of heads and heads in each."""


@pytest.mark.parametrize("name", CASES)
def test_heads_and_hidden_units_can_go_and_it_is_the_same_network(name: str) -> None:
    factory, inputs, units = CASES[name]
    whole = Organism.of(factory(), inputs)
    wiring = whole.species.anatomy.wiring
    assert wiring.units == units
    left = Organism.left(whole.species, whole.network, whole.masks, np.arange(units) % 2 == 0)
    done = compact(put_together(left.whole), inputs, inputs=inputs)
    assert done.removed >= units // 2 - 1
    np.testing.assert_allclose(done.model(*inputs), left.whole(*inputs), atol=1e-5)
