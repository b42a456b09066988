"""Small networks for the built-in tasks, as a user writes them: of a shape, a number of outputs and an Rngs."""

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

Shape = tuple[int, ...]


class UNet(nnx.Module):
    """A U-Net of one level: dense logits for images with an even height and width."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs, *, width: int = 8) -> None:
        self.down = nnx.Conv(shape[-1], width, (3, 3), rngs=rngs)
        self.bottom = nnx.Conv(width, 2 * width, (3, 3), rngs=rngs)
        self.up = nnx.ConvTranspose(2 * width, width, (2, 2), strides=(2, 2), rngs=rngs)
        self.merge = nnx.Conv(2 * width, width, (3, 3), rngs=rngs)
        self.head = nnx.Conv(width, classes, (1, 1), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        skip = nnx.relu(self.down(x))
        x = nnx.relu(self.bottom(nnx.max_pool(skip, (2, 2), strides=(2, 2))))
        return self.head(nnx.relu(self.merge(jnp.concatenate([skip, self.up(x)], axis=-1))))


class GPT(nnx.Module):
    """One block of a transformer with two heads: logits of the next token at each position."""

    def __init__(self, shape: Shape, vocabulary: int, rngs: nnx.Rngs, *, width: int = 16, heads: int = 2) -> None:
        self.heads = heads
        self.tokens = nnx.Embed(vocabulary, width, rngs=rngs)
        self.places = nnx.Embed(shape[0], width, rngs=rngs)
        self.before, self.after = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)
        self.query, self.key, self.value = (nnx.Linear(width, width, rngs=rngs) for _ in range(3))
        self.out = nnx.Linear(width, width, rngs=rngs)
        self.wide, self.narrow = nnx.Linear(width, 4 * width, rngs=rngs), nnx.Linear(4 * width, width, rngs=rngs)
        self.head = nnx.Linear(width, vocabulary, rngs=rngs)

    def __call__(self, tokens: Array) -> Array:
        length = tokens.shape[1]
        x = self.tokens(tokens) + self.places(jnp.arange(length))[None]
        x = x + self.attend(self.before(x))
        return self.head(x + self.narrow(nnx.gelu(self.wide(self.after(x)))))

    def attend(self, x: Array) -> Array:
        query, key, value = (
            layer(x).reshape(*x.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)
            for layer in (self.query, self.key, self.value)
        )
        scores = query @ key.transpose(0, 1, 3, 2) / jnp.sqrt(jnp.float32(query.shape[-1]))
        seen = jnp.tril(jnp.ones(scores.shape[-2:], bool))[None, None]
        mixed = jax.nn.softmax(jnp.where(seen, scores, -1e9)) @ value
        return self.out(mixed.transpose(0, 2, 1, 3).reshape(*x.shape[:2], -1))


class Separable(nnx.Module):
    """A depthwise-separable network for a spectrogram [frames, bands, 1]."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs, *, width: int = 12) -> None:
        self.first = nnx.Conv(shape[-1], width, (5, 5), strides=(2, 2), rngs=rngs)
        self.depth = nnx.Conv(width, width, (3, 3), feature_group_count=width, rngs=rngs)
        self.point = nnx.Conv(width, width, (1, 1), rngs=rngs)
        self.head = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.point(nnx.relu(self.depth(nnx.relu(self.first(x))))))
        return self.head(x.mean(axis=(1, 2)))


class MLP(nnx.Module):
    """Two hidden layers on whatever an input holds."""

    def __init__(self, shape: Shape, outputs: int, rngs: nnx.Rngs, *, width: int = 24) -> None:
        size = 1
        for side in shape:
            size *= side
        self.first = nnx.Linear(size, width, rngs=rngs)
        self.second = nnx.Linear(width, width, rngs=rngs)
        self.head = nnx.Linear(width, outputs, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.first(x.reshape(x.shape[0], -1)))
        return self.head(nnx.relu(self.second(x)))
