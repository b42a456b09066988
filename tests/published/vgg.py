"""VGG-19 (Simonyan and Zisserman, arXiv 1409.1556): a flatten, and a head of three matrices with dropout."""

from collections.abc import Sequence

from flax import nnx
from jax import Array

POOL = 0
CONFIGURATION_E = (
    *(64, 64, POOL),
    *(128, 128, POOL),
    *(256, 256, 256, 256, POOL),
    *(512, 512, 512, 512, POOL),
    *(512, 512, 512, 512, POOL),
)


class VGG19(nnx.Module):
    def __init__(
        self,
        classes: int = 1000,
        image_size: int = 224,
        configuration: Sequence[int] = CONFIGURATION_E,
        hidden: int = 4096,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        layers: list[object] = []
        channels, side = 3, image_size
        for width in configuration:
            if width == POOL:
                layers.append(lambda x: nnx.max_pool(x, (2, 2), strides=(2, 2)))
                side //= 2
            else:
                layers += [nnx.Conv(channels, width, (3, 3), padding="SAME", rngs=rngs), nnx.relu]
                channels = width
        self.features = nnx.Sequential(*layers)
        self.classifier = nnx.Sequential(
            nnx.Linear(channels * side * side, hidden, rngs=rngs),
            nnx.relu,
            nnx.Dropout(0.5, rngs=rngs),
            nnx.Linear(hidden, hidden, rngs=rngs),
            nnx.relu,
            nnx.Dropout(0.5, rngs=rngs),
            nnx.Linear(hidden, classes, rngs=rngs),
        )

    def __call__(self, x: Array) -> Array:
        x = self.features(x)
        x = x.reshape((x.shape[0], -1))
        return self.classifier(x)
