"""Networks that others have trained, written in Flax: those of the files in the folder of real networks."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array
from numpy.typing import NDArray

from synevo.model.network import Inputs, Network, outline

REAL = Path(os.environ.get("TFDS_DATA_DIR", "nowhere")).parent / "real"

real = pytest.mark.skipif(not REAL.is_dir(), reason="there is no folder of real networks beside TFDS_DATA_DIR")

PIXELS: Inputs = (jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32),)


def made(make: Callable[[nnx.Rngs], Any], inputs: Inputs = PIXELS) -> Network:
    """A network as shapes alone: whatever its arrays are afterwards was adopted."""
    return outline(make, inputs)


def standardised(pixels: NDArray[Any]) -> NDArray[Any]:
    """As Idelbayev's networks take CIFAR-10."""
    mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
    return np.asarray((pixels.astype(np.float32) / 255 - mean) / deviation, np.float32)


class Block(nnx.Module):
    """Two convolutions; a narrowing shortcut takes every other pixel, and zeros for the new channels (option A)."""

    def __init__(self, inside: int, outside: int, strides: int, rngs: nnx.Rngs) -> None:
        conv = partial(nnx.Conv, kernel_size=(3, 3), padding=((1, 1), (1, 1)), use_bias=False, rngs=rngs)
        self.conv1, self.bn1 = conv(inside, outside, strides=strides), nnx.BatchNorm(outside, rngs=rngs)
        self.conv2, self.bn2 = conv(outside, outside), nnx.BatchNorm(outside, rngs=rngs)
        self.more = outside - inside

    def __call__(self, x: Array) -> Array:
        y = self.bn2(self.conv2(nnx.relu(self.bn1(self.conv1(x)))))
        if self.more:
            x = jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (self.more // 2, self.more // 2)))
        return nnx.relu(x + y)


class ResNetA(nnx.Module):
    """He et al.'s ResNet for CIFAR-10, with the names of PyTorch: 6 `depth` + 2 layers."""

    def __init__(self, rngs: nnx.Rngs, *, depth: int = 3) -> None:
        self.conv1 = nnx.Conv(3, 16, (3, 3), padding=((1, 1), (1, 1)), use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(16, rngs=rngs)
        self.layer1 = nnx.List(Block(16, 16, 1, rngs) for _ in range(depth))
        self.layer2 = nnx.List(Block(32 if n else 16, 32, 1 if n else 2, rngs) for n in range(depth))
        self.layer3 = nnx.List(Block(64 if n else 32, 64, 1 if n else 2, rngs) for n in range(depth))
        self.linear = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.bn1(self.conv1(x)))
        for block in (*self.layer1, *self.layer2, *self.layer3):
            x = block(x)
        return self.linear(x.mean((1, 2)))


class Stack(nnx.Module):
    """A block of MLPerf Tiny's ResNet-8."""

    def __init__(self, inside: int, outside: int, rngs: nnx.Rngs) -> None:
        conv, norm = partial(nnx.Conv, rngs=rngs), partial(nnx.BatchNorm, epsilon=1e-3, rngs=rngs)
        strides = 1 if inside == outside else 2
        self.first, self.norm1 = conv(inside, outside, (3, 3), strides=strides), norm(outside)
        self.second, self.norm2 = conv(outside, outside, (3, 3)), norm(outside)
        self.aside = conv(inside, outside, (1, 1), strides=strides) if strides > 1 else None

    def __call__(self, x: Array) -> Array:
        y = self.norm2(self.second(nnx.relu(self.norm1(self.first(x)))))
        return nnx.relu((x if self.aside is None else self.aside(x)) + y)


class ResNet8(nnx.Module):
    """MLPerf Tiny's image classifier, with names of its own; its outputs are logits."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem, self.norm = nnx.Conv(3, 16, (3, 3), rngs=rngs), nnx.BatchNorm(16, epsilon=1e-3, rngs=rngs)
        self.stacks = nnx.List([Stack(16, 16, rngs), Stack(16, 32, rngs), Stack(32, 64, rngs)])
        self.head = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.norm(self.stem(x)))
        for stack in self.stacks:
            x = stack(x)
        return self.head(x.mean((1, 2)))
