"""A vision transformer as of DINOv2 (arXiv 2304.07193), with register tokens (arXiv 2309.16588): features, no classes.

Queries, keys and values come from one matrix, and a reshape states how its width is divided.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array


class Attention(nnx.Module):
    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.heads = heads
        self.scale = (width // heads) ** -0.5
        self.qkv = nnx.Linear(width, 3 * width, rngs=rngs)
        self.proj = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        n, t, c = x.shape
        heads = self.heads
        q, k, v = self.qkv(x).reshape(n, t, 3, heads, c // heads).transpose(2, 0, 3, 1, 4)
        attention = jax.nn.softmax((q * self.scale) @ k.swapaxes(-2, -1), axis=-1)
        return self.proj((attention @ v).transpose(0, 2, 1, 3).reshape(n, t, c))


class LayerScale(nnx.Module):
    def __init__(self, width: int, initial: float = 1e-5) -> None:
        self.gamma = nnx.Param(jnp.full((width,), initial))

    def __call__(self, x: Array) -> Array:
        return x * self.gamma


class Block(nnx.Module):
    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(width, epsilon=1e-6, rngs=rngs)
        self.attention = Attention(width, heads, rngs=rngs)
        self.scale1 = LayerScale(width)
        self.norm2 = nnx.LayerNorm(width, epsilon=1e-6, rngs=rngs)
        self.fc1 = nnx.Linear(width, 4 * width, rngs=rngs)
        self.fc2 = nnx.Linear(4 * width, width, rngs=rngs)
        self.scale2 = LayerScale(width)

    def __call__(self, x: Array) -> Array:
        x = x + self.scale1(self.attention(self.norm1(x)))
        return x + self.scale2(self.fc2(nnx.gelu(self.fc1(self.norm2(x)), approximate=False)))


class Dino(nnx.Module):
    """What it sees in the whole picture [n, width], in each patch [n, patches, width], and its registers."""

    def __init__(
        self,
        image_size: int = 224,
        patch: int = 14,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        registers: int = 4,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        side = image_size // patch
        normal = nnx.initializers.truncated_normal(0.02)
        self.patches = nnx.Conv(3, width, (patch, patch), strides=(patch, patch), padding="VALID", rngs=rngs)
        self.class_token = nnx.Param(normal(rngs.params(), (1, 1, width)))
        self.registers = nnx.Param(normal(rngs.params(), (1, registers, width)))
        self.positions = nnx.Param(normal(rngs.params(), (1, 1 + side * side, width)))
        self.blocks = nnx.List([Block(width, heads, rngs=rngs) for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, epsilon=1e-6, rngs=rngs)

    def __call__(self, x: Array) -> dict[str, Array]:
        n = x.shape[0]
        x = self.patches(x)
        x = x.reshape(n, -1, x.shape[-1])
        token = jnp.broadcast_to(self.class_token[...], (n, *self.class_token.shape[1:]))
        x = jnp.concatenate([token, x], axis=1) + self.positions
        registers = jnp.broadcast_to(self.registers[...], (n, *self.registers.shape[1:]))
        x = jnp.concatenate([x[:, :1], registers, x[:, 1:]], axis=1)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        count = 1 + registers.shape[1]
        return {"class": x[:, 0], "registers": x[:, 1:count], "patches": x[:, count:]}
