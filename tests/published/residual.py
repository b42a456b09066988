"""ResNet-50 (He et al., arXiv 1512.03385), with the stride in the 3 x 3 convolution, as most train it."""

from collections.abc import Sequence

from flax import nnx
from jax import Array

EXPANSION = 4


class Bottleneck(nnx.Module):
    def __init__(self, before: int, width: int, stride: int, *, rngs: nnx.Rngs) -> None:
        after = EXPANSION * width
        self.conv1 = nnx.Conv(before, width, (1, 1), use_bias=False, rngs=rngs)
        self.bn1 = nnx.BatchNorm(width, rngs=rngs)
        self.conv2 = nnx.Conv(width, width, (3, 3), strides=stride, padding=1, use_bias=False, rngs=rngs)
        self.bn2 = nnx.BatchNorm(width, rngs=rngs)
        self.conv3 = nnx.Conv(width, after, (1, 1), use_bias=False, rngs=rngs)
        self.bn3 = nnx.BatchNorm(after, scale_init=nnx.initializers.zeros, rngs=rngs)
        self.projects = stride != 1 or before != after
        if self.projects:
            self.shortcut = nnx.Conv(before, after, (1, 1), strides=stride, use_bias=False, rngs=rngs)
            self.shortcut_bn = nnx.BatchNorm(after, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        identity = self.shortcut_bn(self.shortcut(x)) if self.projects else x
        x = nnx.relu(self.bn1(self.conv1(x)))
        x = nnx.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return nnx.relu(x + identity)


class ResNet50(nnx.Module):
    def __init__(
        self, classes: int = 1000, width: int = 64, stages: Sequence[int] = (3, 4, 6, 3), *, rngs: nnx.Rngs
    ) -> None:
        self.stem = nnx.Conv(3, width, (7, 7), strides=2, padding=3, use_bias=False, rngs=rngs)
        self.bn = nnx.BatchNorm(width, rngs=rngs)
        blocks, before = [], width
        for stage, depth in enumerate(stages):
            inner = width * 2**stage
            for block in range(depth):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(Bottleneck(before, inner, stride, rngs=rngs))
                before = EXPANSION * inner
        self.blocks = nnx.List(blocks)
        self.fc = nnx.Linear(before, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.bn(self.stem(x)))
        x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for block in self.blocks:
            x = block(x)
        return self.fc(x.mean(axis=(1, 2)))
