"""LeNet-5 as Caffe ships it (20-50-500-10), with 430,500 synapses; most of the literature compresses this network."""

from flax import nnx
from jax import Array

from synevo.ancestors.pooling import max_pool


class LeNet5Caffe(nnx.Module):
    """Two 5×5 convolutions without padding, each max-pooled, then 500 units and the classifier."""

    native_size = 28

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        height, width, channels = shape
        window = (((height - 4) // 2 - 4) // 2) * (((width - 4) // 2 - 4) // 2)
        self.conv1 = nnx.Conv(channels, 20, (5, 5), padding="VALID", rngs=rngs)
        self.conv2 = nnx.Conv(20, 50, (5, 5), padding="VALID", rngs=rngs)
        self.full = nnx.Linear(window * 50, 500, rngs=rngs)
        self.classifier = nnx.Linear(500, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the logits [n, classes] of images [n, height, width, channels]."""
        x = max_pool(self.conv1(x))
        x = max_pool(self.conv2(x))
        x = nnx.relu(self.full(x.reshape(x.shape[0], -1)))
        return self.classifier(x)
