"""DenseNet-121 (Huang et al., arXiv 1608.06993): every layer of a block reads all before it."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jax import Array


class DenseLayer(nnx.Module):
    def __init__(self, before: int, growth: int, *, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.BatchNorm(before, rngs=rngs)
        self.conv1 = nnx.Conv(before, 4 * growth, (1, 1), use_bias=False, rngs=rngs)
        self.norm2 = nnx.BatchNorm(4 * growth, rngs=rngs)
        self.conv2 = nnx.Conv(4 * growth, growth, (3, 3), padding=1, use_bias=False, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        new = self.conv1(nnx.relu(self.norm1(x)))
        new = self.conv2(nnx.relu(self.norm2(new)))
        return jnp.concatenate([x, new], axis=-1)


class Transition(nnx.Module):
    def __init__(self, before: int, after: int, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.BatchNorm(before, rngs=rngs)
        self.conv = nnx.Conv(before, after, (1, 1), use_bias=False, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return nnx.avg_pool(self.conv(nnx.relu(self.norm(x))), (2, 2), strides=(2, 2))


class DenseNet121(nnx.Module):
    def __init__(
        self, classes: int = 1000, growth: int = 32, blocks: Sequence[int] = (6, 12, 24, 16), *, rngs: nnx.Rngs
    ) -> None:
        width = 2 * growth
        self.stem = nnx.Conv(3, width, (7, 7), strides=2, padding=3, use_bias=False, rngs=rngs)
        self.stem_norm = nnx.BatchNorm(width, rngs=rngs)
        layers: list[nnx.Module] = []
        for number, depth in enumerate(blocks):
            for _ in range(depth):
                layers.append(DenseLayer(width, growth, rngs=rngs))
                width += growth
            if number < len(blocks) - 1:
                layers.append(Transition(width, width // 2, rngs=rngs))
                width //= 2
        self.layers = nnx.List(layers)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.classifier = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.stem_norm(self.stem(x)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for layer in self.layers:
            x = layer(x)
        x = nnx.relu(self.norm(x))
        return self.classifier(jnp.mean(x, axis=(1, 2)))
