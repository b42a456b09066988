"""A U-Net in Flax Linen as most train it: padded convolutions, batch normalisation, its mode told in the call."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jax import Array


class TwoConvolutions(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:  # noqa: FBT001
        for _ in range(2):
            x = nn.Conv(self.width, (3, 3), padding="SAME", use_bias=False)(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return x


class LinenUNet(nn.Module):
    """Logits of every class at every place."""

    widths: Sequence[int] = (64, 128, 256, 512, 1024)
    classes: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool = True) -> Array:  # noqa: FBT001, FBT002
        skips = []
        for width in self.widths[:-1]:
            x = TwoConvolutions(width)(x, train)
            skips.append(x)
            x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = TwoConvolutions(self.widths[-1])(x, train)
        x = nn.Dropout(0.3, deterministic=not train)(x)
        for width, skip in zip(reversed(self.widths[:-1]), reversed(skips), strict=True):
            x = nn.ConvTranspose(width, (2, 2), strides=(2, 2))(x)
            x = TwoConvolutions(width)(jnp.concatenate([skip, x], axis=-1), train)
        return nn.Conv(self.classes, (1, 1))(x)
