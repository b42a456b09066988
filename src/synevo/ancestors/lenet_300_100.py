"""LeNet-300-100: the fully connected network of the compression literature, 266,200 synapses on 28×28 images."""

from flax import nnx
from jax import Array


class LeNet300100(nnx.Module):
    """Two hidden layers of 300 and 100 units."""

    native_size = 28

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        height, width, channels = shape
        self.hidden1 = nnx.Linear(height * width * channels, 300, rngs=rngs)
        self.hidden2 = nnx.Linear(300, 100, rngs=rngs)
        self.classifier = nnx.Linear(100, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the logits [n, classes] of images [n, height, width, channels]."""
        x = nnx.relu(self.hidden1(x.reshape(x.shape[0], -1)))
        x = nnx.relu(self.hidden2(x))
        return self.classifier(x)
