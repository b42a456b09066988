"""ViT-S/16 (Dosovitskiy et al., arXiv 2010.11929; the small one of Touvron et al., arXiv 2012.12877)."""

import jax.numpy as jnp
from flax import nnx
from jax import Array


class Mlp(nnx.Module):
    def __init__(self, width: int, hidden: int, dropout: float, *, rngs: nnx.Rngs) -> None:
        self.fc1 = nnx.Linear(width, hidden, rngs=rngs)
        self.fc2 = nnx.Linear(hidden, width, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.dropout(nnx.gelu(self.fc1(x)))
        return self.dropout(self.fc2(x))


class EncoderBlock(nnx.Module):
    def __init__(self, width: int, heads: int, hidden: int, dropout: float, *, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(width, epsilon=1e-6, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(
            num_heads=heads, in_features=width, dropout_rate=dropout, decode=False, rngs=rngs
        )
        self.norm2 = nnx.LayerNorm(width, epsilon=1e-6, rngs=rngs)
        self.mlp = Mlp(width, hidden, dropout, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nnx.Module):
    def __init__(
        self,
        classes: int = 1000,
        image_size: int = 224,
        patch: int = 16,
        width: int = 384,
        depth: int = 12,
        heads: int = 6,
        hidden: int = 1536,
        dropout: float = 0.1,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        tokens = (image_size // patch) ** 2
        self.patches = nnx.Conv(3, width, (patch, patch), strides=(patch, patch), padding="VALID", rngs=rngs)
        self.class_token = nnx.Param(jnp.zeros((1, 1, width)))
        self.positions = nnx.Param(nnx.initializers.truncated_normal(0.02)(rngs.params(), (1, tokens + 1, width)))
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.blocks = nnx.List([EncoderBlock(width, heads, hidden, dropout, rngs=rngs) for _ in range(depth)])
        self.norm = nnx.LayerNorm(width, epsilon=1e-6, rngs=rngs)
        self.head = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.patches(x)
        n, height, width, channels = x.shape
        x = x.reshape(n, height * width, channels)
        x = jnp.concatenate([jnp.tile(self.class_token[...], (n, 1, 1)), x], axis=1)
        x = self.dropout(x + self.positions[...])
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])
