"""MobileNet (1704.04861) for 32×32 images: it halves the picture three times instead of five."""

from flax import nnx
from jax import Array

STAGES = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 1), (1024, 1))
"""The filters and the stride of each separable convolution."""


class Separable(nnx.Module):
    """A 3×3 convolution of each channel alone, then a 1×1 convolution of all."""

    def __init__(self, inputs: int, filters: int, strides: int, rngs: nnx.Rngs) -> None:
        self.depthwise = nnx.Conv(
            inputs, inputs, (3, 3), strides=strides, feature_group_count=inputs, use_bias=False, rngs=rngs
        )
        self.norm1 = nnx.BatchNorm(inputs, rngs=rngs)
        self.pointwise = nnx.Conv(inputs, filters, (1, 1), use_bias=False, rngs=rngs)
        self.norm2 = nnx.BatchNorm(filters, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the block's output [n, height, width, filters] for a signal [n, height, width, inputs]."""
        x = nnx.relu(self.norm1(self.depthwise(x)))
        return nnx.relu(self.norm2(self.pointwise(x)))


class MobileNet(nnx.Module):
    """A stem, thirteen separable convolutions, a mean over the picture, and the classifier."""

    native_size = 32

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(shape[-1], 32, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(32, rngs=rngs)
        self.blocks, inputs = nnx.List(), 32
        for filters, strides in STAGES:
            self.blocks.append(Separable(inputs, filters, strides, rngs))
            inputs = filters
        self.classifier = nnx.Linear(1024, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the logits [n, classes] of images [n, height, width, channels]."""
        x = nnx.relu(self.norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        return self.classifier(x.mean(axis=(1, 2)))
