"""LeNet-5 as the family of papers counts it: 143,136 synapses and 7,200 kernels before the classifier.

The layers are those of 1609.01360 and 1709.02043 with one input channel; the figures follow from them by arithmetic.
"""

from flax import nnx
from jax import Array

from synevo.ancestors.pooling import average_pool, max_pool


class LeNet5(nnx.Module):
    """Three 5×5 convolutions of 32, 32 and 64 filters, a full-window layer of 64 units, and the classifier."""

    native_size = 32

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        height, width, channels = shape
        window = (height // 8) * (width // 8)
        self.conv1 = nnx.Conv(channels, 32, (5, 5), rngs=rngs)
        self.conv2 = nnx.Conv(32, 32, (5, 5), rngs=rngs)
        self.conv3 = nnx.Conv(32, 64, (5, 5), rngs=rngs)
        self.full = nnx.Linear(window * 64, 64, rngs=rngs)
        self.classifier = nnx.Linear(64, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the logits [n, classes] of images [n, height, width, channels]."""
        x = nnx.relu(max_pool(self.conv1(x)))
        x = average_pool(nnx.relu(self.conv2(x)))
        x = average_pool(nnx.relu(self.conv3(x)))
        x = nnx.relu(self.full(x.reshape(x.shape[0], -1)))
        return self.classifier(x)
