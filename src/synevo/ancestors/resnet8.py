"""ResNet-8: the image classifier of MLPerf Tiny (mlcommons/tiny), for 32×32 images of pixels that are not scaled.

Its convolutions have biases, and its normalisations the epsilon of Keras. It returns logits; the reference ends in a
softmax.
"""

from functools import partial

from flax import nnx
from jax import Array


class Stack(nnx.Module):
    """Two 3×3 convolutions, and a shortcut around them: a 1×1 convolution where the picture gets smaller."""

    def __init__(self, inputs: int, filters: int, strides: int, rngs: nnx.Rngs) -> None:
        norm = partial(nnx.BatchNorm, filters, epsilon=1e-3, rngs=rngs)
        self.conv1, self.norm1 = nnx.Conv(inputs, filters, (3, 3), strides=strides, rngs=rngs), norm()
        self.conv2, self.norm2 = nnx.Conv(filters, filters, (3, 3), rngs=rngs), norm()
        self.narrows = strides > 1
        if self.narrows:
            self.shortcut = nnx.Conv(inputs, filters, (1, 1), strides=strides, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the output [n, height, width, filters] for a signal [n, height, width, inputs]."""
        y = self.norm2(self.conv2(nnx.relu(self.norm1(self.conv1(x)))))
        return nnx.relu((self.shortcut(x) if self.narrows else x) + y)


class ResNet8(nnx.Module):
    """A stem, three stacks of 16, 32 and 64 filters, a mean over the picture, and the classifier."""

    native_size = 32

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(shape[-1], 16, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(16, epsilon=1e-3, rngs=rngs)
        self.stacks = nnx.List([Stack(16, 16, 1, rngs), Stack(16, 32, 2, rngs), Stack(32, 64, 2, rngs)])
        self.classifier = nnx.Linear(64, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the logits [n, classes] of images [n, height, width, channels]."""
        x = nnx.relu(self.norm(self.stem(x)))
        for stack in self.stacks:
            x = stack(x)
        return self.classifier(x.mean(axis=(1, 2)))
