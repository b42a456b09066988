"""GPT-2 of 124 million parameters (Radford et al., 2019): tokens in, logits of the next token out."""

import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array


class CausalAttention(nnx.Module):
    def __init__(self, width: int, heads: int, dropout: float, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.c_attn = nnx.Linear(width, 3 * width, rngs=rngs)
        self.c_proj = nnx.Linear(width, width, rngs=rngs)
        self.attention_dropout = nnx.Dropout(dropout, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        b, t, c = x.shape
        q, k, v = jnp.split(self.c_attn(x), 3, axis=-1)
        q, k, v = (part.reshape(b, t, self.heads, c // self.heads).transpose(0, 2, 1, 3) for part in (q, k, v))
        scores = q @ k.transpose(0, 1, 3, 2) / math.sqrt(k.shape[-1])
        scores = jnp.where(jnp.tril(jnp.ones((t, t), bool)), scores, -jnp.inf)
        weights = self.attention_dropout(jax.nn.softmax(scores, axis=-1))
        y = (weights @ v).transpose(0, 2, 1, 3).reshape(b, t, c)
        return self.dropout(self.c_proj(y))


class Block(nnx.Module):
    def __init__(self, width: int, heads: int, dropout: float, *, rngs: nnx.Rngs) -> None:
        self.ln_1 = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.attention = CausalAttention(width, heads, dropout, rngs=rngs)
        self.ln_2 = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)
        self.c_fc = nnx.Linear(width, 4 * width, rngs=rngs)
        self.c_proj = nnx.Linear(4 * width, width, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = x + self.attention(self.ln_1(x))
        return x + self.dropout(self.c_proj(nnx.gelu(self.c_fc(self.ln_2(x)))))


class GPT(nnx.Module):
    def __init__(
        self,
        vocabulary: int = 50257,
        context: int = 1024,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        dropout: float = 0.1,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        self.wte = nnx.Embed(vocabulary, width, rngs=rngs)
        self.wpe = nnx.Embed(context, width, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.blocks = nnx.List([Block(width, heads, dropout, rngs=rngs) for _ in range(depth)])
        self.ln_f = nnx.LayerNorm(width, epsilon=1e-5, rngs=rngs)

    def __call__(self, tokens: Array) -> Array:
        positions = jnp.arange(tokens.shape[1])
        x = self.dropout(self.wte(tokens) + self.wpe(positions))
        for block in self.blocks:
            x = block(x)
        return self.wte.attend(self.ln_f(x))
