"""The residual networks for CIFAR-10 as published (1512.03385, section 4.2): shortcuts without weights (option A).

Where a stage begins, the shortcut takes every other pixel, and zeros for the new channels. The names of the layers are
those of the best known trained ones (akamaster/pytorch_resnet_cifar10), so that these can be adopted as they are.
"""

from functools import partial

import jax.numpy as jnp
from flax import nnx
from jax import Array


class Block(nnx.Module):
    """Two 3×3 convolutions, and a shortcut around them."""

    def __init__(self, inputs: int, filters: int, strides: int, rngs: nnx.Rngs) -> None:
        conv = partial(nnx.Conv, kernel_size=(3, 3), padding=((1, 1), (1, 1)), use_bias=False, rngs=rngs)
        self.conv1, self.bn1 = conv(inputs, filters, strides=strides), nnx.BatchNorm(filters, rngs=rngs)
        self.conv2, self.bn2 = conv(filters, filters), nnx.BatchNorm(filters, rngs=rngs)
        self.added = filters - inputs

    def __call__(self, x: Array) -> Array:
        """Return the block's output [n, height, width, filters] for a signal [n, height, width, inputs]."""
        y = self.bn2(self.conv2(nnx.relu(self.bn1(self.conv1(x)))))
        if self.added:
            x = jnp.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (self.added // 2, self.added // 2)))
        return nnx.relu(y + x)


class ResNetZeros(nnx.Module):
    """A stem, three stages of `depth` blocks, a mean over the picture, and the classifier: 6 `depth` + 2 layers."""

    native_size = 32
    depth = 3

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(shape[-1], 16, (3, 3), padding=((1, 1), (1, 1)), use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(16, rngs=rngs)
        for stage, filters in enumerate((16, 32, 64), 1):
            first = Block(max(16, filters // 2), filters, 1 if stage == 1 else 2, rngs)
            others = [Block(filters, filters, 1, rngs) for _ in range(self.depth - 1)]
            setattr(self, f"layer{stage}", nnx.List([first, *others]))
        self.linear = nnx.Linear(64, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the logits [n, classes] of images [n, height, width, channels]."""
        x = nnx.relu(self.bn1(self.conv1(x)))
        for block in (*self.layer1, *self.layer2, *self.layer3):
            x = block(x)
        return self.linear(x.mean(axis=(1, 2)))


class ResNet20Zeros(ResNetZeros):
    """A residual network of 20 layers: nine blocks."""


class ResNet56Zeros(ResNetZeros):
    """A residual network of 56 layers: twenty-seven blocks."""

    depth = 9
