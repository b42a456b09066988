"""Residual networks for 32×32 images (1512.03385, section 4.2): three stages of 16, 32 and 64 filters, 6n + 2 layers.

Where a stage begins, the shortcut is a 1×1 convolution (option B), so that all units of a stage may be removed. With
the zeros of option A, half of them could never be removed; `synevo.ancestors.resnet_zeros` has them.
"""

from flax import nnx
from jax import Array


class Block(nnx.Module):
    """Two 3×3 convolutions, and a shortcut around them."""

    def __init__(self, inputs: int, filters: int, strides: int, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(inputs, filters, (3, 3), strides=strides, use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(filters, rngs=rngs)
        self.conv2 = nnx.Conv(filters, filters, (3, 3), use_bias=False, rngs=rngs)
        self.norm2 = nnx.BatchNorm(filters, rngs=rngs)
        self.narrows = inputs != filters
        if self.narrows:
            self.shortcut = nnx.Conv(inputs, filters, (1, 1), strides=strides, use_bias=False, rngs=rngs)
            self.shortcut_norm = nnx.BatchNorm(filters, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the block's output [n, height, width, filters] for a signal [n, height, width, inputs]."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return nnx.relu(y + (self.shortcut_norm(self.shortcut(x)) if self.narrows else x))


class ResNet(nnx.Module):
    """A stem, three stages of `depth` blocks, a mean over the picture, and the classifier."""

    native_size = 32
    depth = 3

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(shape[-1], 16, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.blocks, inputs = nnx.List(), 16
        for stage, filters in enumerate((16, 32, 64)):
            for number in range(self.depth):
                self.blocks.append(Block(inputs, filters, 2 if stage and not number else 1, rngs))
                inputs = filters
        self.classifier = nnx.Linear(64, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the logits [n, classes] of images [n, height, width, channels]."""
        x = nnx.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean(axis=(1, 2)))


class ResNet20(ResNet):
    """A residual network of 20 layers: nine blocks."""


class ResNet56(ResNet):
    """A residual network of 56 layers: twenty-seven blocks."""

    depth = 9
