"""U-Net (Ronneberger et al., arXiv 1505.04597): convolutions without padding, cropped skips that are concatenated."""

import jax.numpy as jnp
from flax import nnx
from jax import Array


class TwoConvolutions(nnx.Module):
    def __init__(self, before: int, after: int, *, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(before, after, (3, 3), padding="VALID", rngs=rngs)
        self.conv2 = nnx.Conv(after, after, (3, 3), padding="VALID", rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return nnx.relu(self.conv2(nnx.relu(self.conv1(x))))


def crop(x: Array, height: int, width: int) -> Array:
    """The middle of a picture."""
    top, left = (x.shape[1] - height) // 2, (x.shape[2] - width) // 2
    return x[:, top : top + height, left : left + width, :]


class UNet(nnx.Module):
    """Two logits at every place."""

    def __init__(self, channels: int = 1, classes: int = 2, width: int = 64, depth: int = 4, *, rngs: nnx.Rngs) -> None:
        widths = [width * 2**level for level in range(depth + 1)]
        self.down = nnx.List(
            [
                TwoConvolutions(channels if level == 0 else widths[level - 1], widths[level], rngs=rngs)
                for level in range(depth)
            ]
        )
        self.bottom = TwoConvolutions(widths[-2], widths[-1], rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.up = nnx.List(
            [
                nnx.ConvTranspose(widths[level + 1], widths[level], (2, 2), strides=(2, 2), rngs=rngs)
                for level in reversed(range(depth))
            ]
        )
        self.merge = nnx.List(
            [TwoConvolutions(widths[level + 1], widths[level], rngs=rngs) for level in reversed(range(depth))]
        )
        self.head = nnx.Conv(width, classes, (1, 1), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        skips = []
        for down in self.down:
            x = down(x)
            skips.append(x)
            x = nnx.max_pool(x, (2, 2), strides=(2, 2))
        x = self.dropout(self.bottom(x))
        for up, merge in zip(self.up, self.merge, strict=True):
            x = up(x)
            skip = crop(skips.pop(), x.shape[1], x.shape[2])
            x = merge(jnp.concatenate([skip, x], axis=-1))
        return self.head(x)
