"""AlexNet for 32×32 images: the first layer has 5×5 kernels in place of 11×11, as the papers do for CIFAR-10."""

from flax import nnx
from jax import Array

from synevo.ancestors.pooling import max_pool


class AlexNet(nnx.Module):
    """Five convolutions (96-256-384-384-256), three of them max-pooled, then 4096-4096 units and the classifier."""

    native_size = 32

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        height, width, channels = shape
        window = (height // 8) * (width // 8)
        self.conv1 = nnx.Conv(channels, 96, (5, 5), rngs=rngs)
        self.conv2 = nnx.Conv(96, 256, (5, 5), rngs=rngs)
        self.conv3 = nnx.Conv(256, 384, (3, 3), rngs=rngs)
        self.conv4 = nnx.Conv(384, 384, (3, 3), rngs=rngs)
        self.conv5 = nnx.Conv(384, 256, (3, 3), rngs=rngs)
        self.full1 = nnx.Linear(window * 256, 4096, rngs=rngs)
        self.full2 = nnx.Linear(4096, 4096, rngs=rngs)
        self.classifier = nnx.Linear(4096, classes, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the logits [n, classes] of images [n, height, width, channels]."""
        x = max_pool(nnx.relu(self.conv1(x)))
        x = max_pool(nnx.relu(self.conv2(x)))
        x = nnx.relu(self.conv3(x))
        x = nnx.relu(self.conv4(x))
        x = max_pool(nnx.relu(self.conv5(x)))
        x = self.dropout(nnx.relu(self.full1(x.reshape(x.shape[0], -1))))
        x = self.dropout(nnx.relu(self.full2(x)))
        return self.classifier(x)
