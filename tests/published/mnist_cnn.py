"""The network of Flax's own introduction, on MNIST: keys for dropout are an argument of the call."""

from functools import partial

from flax import nnx
from jax import Array


class CNN(nnx.Module):
    def __init__(
        self, width: int = 32, hidden: int = 256, classes: int = 10, side: int = 28, *, rngs: nnx.Rngs
    ) -> None:
        self.conv1 = nnx.Conv(1, width, kernel_size=(3, 3), rngs=rngs)
        self.batch_norm1 = nnx.BatchNorm(width, rngs=rngs)
        self.dropout1 = nnx.Dropout(rate=0.025)
        self.conv2 = nnx.Conv(width, 2 * width, kernel_size=(3, 3), rngs=rngs)
        self.batch_norm2 = nnx.BatchNorm(2 * width, rngs=rngs)
        self.avg_pool = partial(nnx.avg_pool, window_shape=(2, 2), strides=(2, 2))
        self.linear1 = nnx.Linear(2 * width * (side // 4) ** 2, hidden, rngs=rngs)
        self.dropout2 = nnx.Dropout(rate=0.025)
        self.linear2 = nnx.Linear(hidden, classes, rngs=rngs)

    def __call__(self, x: Array, rngs: nnx.Rngs | None = None) -> Array:
        x = self.avg_pool(nnx.relu(self.batch_norm1(self.dropout1(self.conv1(x), rngs=rngs))))
        x = self.avg_pool(nnx.relu(self.batch_norm2(self.conv2(x))))
        x = x.reshape(x.shape[0], -1)
        x = nnx.relu(self.dropout2(self.linear1(x), rngs=rngs))
        return self.linear2(x)
