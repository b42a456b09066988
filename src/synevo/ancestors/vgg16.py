"""VGG-16 with batch normalisation for 32×32 images: one layer of 512 units before the classifier, as is usual there."""

from flax import nnx
from jax import Array

from synevo.ancestors.pooling import max_pool

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nnx.Module):
    """Thirteen 3×3 convolutions in five stages, each stage max-pooled, then 512 units and the classifier."""

    native_size = 32

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        height, width, channels = shape
        self.convs, self.norms = nnx.List(), nnx.List()
        for filters in (filters for stage in STAGES for filters in stage):
            self.convs.append(nnx.Conv(channels, filters, (3, 3), use_bias=False, rngs=rngs))
            self.norms.append(nnx.BatchNorm(filters, rngs=rngs))
            channels = filters
        self.full = nnx.Linear((height // 32) * (width // 32) * 512, 512, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.classifier = nnx.Linear(512, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Return the logits [n, classes] of images [n, height, width, channels]."""
        layers = zip(self.convs, self.norms, strict=True)
        for stage in STAGES:
            for _ in stage:
                conv, norm = next(layers)
                x = nnx.relu(norm(conv(x)))
            x = max_pool(x)
        x = self.dropout(nnx.relu(self.full(x.reshape(x.shape[0], -1))))
        return self.classifier(x)
