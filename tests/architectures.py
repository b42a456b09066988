"""Networks of today as their users write them, in sizes that run in a moment"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

Shape = tuple[int, int, int]


class DenseBlock(nnx.Module):
    """Each layer reads all before it."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(shape[-1], 6, (3, 3), rngs=rngs)
        self.norms = nnx.List([nnx.BatchNorm(6 + 4 * n, rngs=rngs) for n in range(3)])
        self.convs = nnx.List([nnx.Conv(6 + 4 * n, 4, (3, 3), use_bias=False, rngs=rngs) for n in range(3)])
        self.classifier = nnx.Linear(18, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = jnp.concatenate([x, conv(nnx.relu(norm(x)))], axis=-1)
        return self.classifier(nnx.avg_pool(x, (2, 2), (2, 2)).mean(axis=(1, 2)))


class Inception(nnx.Module):
    """Four branches side by side, one of them pooled."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(shape[-1], 6, (3, 3), strides=2, rngs=rngs)
        self.one = nnx.Conv(6, 3, (1, 1), rngs=rngs)
        self.reduce3 = nnx.Conv(6, 4, (1, 1), rngs=rngs)
        self.three = nnx.Conv(4, 5, (3, 3), rngs=rngs)
        self.reduce5 = nnx.Conv(6, 3, (1, 1), rngs=rngs)
        self.five = nnx.Conv(3, 4, (3, 3), kernel_dilation=2, rngs=rngs)
        self.pooled = nnx.Conv(6, 3, (1, 1), rngs=rngs)
        self.classifier = nnx.Linear(15, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.stem(x))
        branches = [
            self.one(x),
            self.three(nnx.relu(self.reduce3(x))),
            self.five(nnx.relu(self.reduce5(x))),
            self.pooled(nnx.max_pool(x, (3, 3), padding="SAME")),
        ]
        return self.classifier(nnx.relu(jnp.concatenate(branches, axis=-1)).mean(axis=(1, 2)))


class SqueezeExcite(nnx.Module):
    """Channels gated by a squeeze of all of them, within a residual block."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(shape[-1], 8, (3, 3), rngs=rngs)
        self.conv = nnx.Conv(8, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.squeeze = nnx.Linear(8, 4, rngs=rngs)
        self.excite = nnx.Linear(4, 8, rngs=rngs)
        self.classifier = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.silu(self.stem(x))
        y = nnx.silu(self.norm(self.conv(x)))
        gate = nnx.sigmoid(self.excite(nnx.relu(self.squeeze(y.mean(axis=(1, 2), keepdims=True)))))
        return self.classifier((x + y * gate).mean(axis=(1, 2)))


class UNet(nnx.Module):
    """Down, up by a transposed convolution, and a skip connection that is concatenated."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.down1 = nnx.Conv(shape[-1], 5, (3, 3), rngs=rngs)
        self.down2 = nnx.Conv(5, 7, (3, 3), strides=2, rngs=rngs)
        self.bottom = nnx.Conv(7, 8, (3, 3), rngs=rngs)
        self.up = nnx.ConvTranspose(8, 6, (2, 2), strides=(2, 2), rngs=rngs)
        self.merge = nnx.Conv(11, 6, (3, 3), rngs=rngs)
        self.head = nnx.Conv(6, classes, (1, 1), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        skip = nnx.relu(self.down1(x))
        x = nnx.relu(self.bottom(nnx.relu(self.down2(skip))))
        x = jnp.concatenate([nnx.relu(self.up(x)), skip], axis=-1)
        return self.head(nnx.relu(self.merge(x))).max(axis=(1, 2))


class TransposeNet(nnx.Module):
    """Transposed convolutions, one with the kernel of its forward counterpart; resizing; a reversed picture."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.down = nnx.Conv(shape[-1], 6, (3, 3), strides=2, rngs=rngs)
        self.up1 = nnx.ConvTranspose(6, 5, (3, 3), strides=2, transpose_kernel=True, rngs=rngs)
        self.up2 = nnx.ConvTranspose(5, 4, (3, 3), strides=1, padding="VALID", rngs=rngs)
        self.classifier = nnx.Linear(4, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.up1(nnx.relu(self.down(x))))
        x = nnx.relu(self.up2(x[:, ::-1] + jnp.flip(x, axis=2)))
        x = jnp.repeat(x, 2, axis=1)[:, 1:-1:2]
        return self.classifier(jnp.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0))).mean(axis=(1, 2)))


class Block(nnx.Module):
    """A block of a vision transformer."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, width, dropout_rate=0.1, decode=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, rngs=rngs)
        self.mlp1 = nnx.Linear(width, 10, rngs=rngs)
        self.mlp2 = nnx.Linear(10, width, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = x + self.attention(self.norm1(x))
        return x + self.dropout(self.mlp2(nnx.gelu(self.mlp1(self.norm2(x)))))


class ViT(nnx.Module):
    """A vision transformer: patches, positions, a class token."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.patches = nnx.Conv(shape[-1], 8, (4, 4), strides=(4, 4), rngs=rngs)
        tokens = (shape[0] // 4) * (shape[1] // 4) + 1
        self.token = nnx.Param(jnp.zeros((1, 1, 8)))
        self.positions = nnx.Param(jnp.zeros((1, tokens, 8)))
        self.blocks = nnx.List([Block(8, 4, rngs) for _ in range(2)])
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.classifier = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.patches(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        x = jnp.concatenate([jnp.tile(self.token[...], (x.shape[0], 1, 1)), x], axis=1) + self.positions[...]
        for block in self.blocks:
            x = block(x)
        return self.classifier(self.norm(x)[:, 0])


class Packed(nnx.Module):
    """Attention whose queries, keys and values come from one matrix, written by hand with a fixed scale."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Linear(shape[1] * shape[-1], 8, rngs=rngs)
        self.qkv = nnx.Linear(8, 3 * 2 * 6, rngs=rngs)
        self.out = nnx.Linear(12, 8, rngs=rngs)
        self.classifier = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.embed(x.reshape(*x.shape[:2], -1))
        q, k, v = jnp.moveaxis(self.qkv(x).reshape(*x.shape[:2], 3, 2, -1), 2, 0)
        weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / 2.5)
        y = jnp.einsum("bhqk,bkhd->bqhd", weights, v)
        x = x + self.out(y.reshape(*y.shape[:2], -1))
        return self.classifier(x.mean(axis=1))


class Mixer(nnx.Module):
    """Tokens are mixed, then channels."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        tokens = (shape[0] // 2) * (shape[1] // 2)
        self.patches = nnx.Conv(shape[-1], 8, (2, 2), strides=2, rngs=rngs)
        self.norm1 = nnx.LayerNorm(8, rngs=rngs)
        self.token1 = nnx.Linear(tokens, 9, rngs=rngs)
        self.token2 = nnx.Linear(9, tokens, rngs=rngs)
        self.norm2 = nnx.LayerNorm(8, rngs=rngs)
        self.channel1 = nnx.Linear(8, 11, rngs=rngs)
        self.channel2 = nnx.Linear(11, 8, rngs=rngs)
        self.classifier = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.patches(x).reshape(x.shape[0], -1, 8)
        y = jnp.swapaxes(self.norm1(x), 1, 2)
        x = x + jnp.swapaxes(self.token2(nnx.gelu(self.token1(y))), 1, 2)
        x = x + self.channel2(nnx.gelu(self.channel1(self.norm2(x))))
        return self.classifier(x.mean(axis=1))


class ResNeXt(nnx.Module):
    """Convolutions in groups within a residual, and a depthwise one with two filters a channel."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(shape[-1], 6, (3, 3), rngs=rngs)
        self.narrow = nnx.Conv(6, 8, (1, 1), rngs=rngs)
        self.grouped = nnx.Conv(8, 12, (3, 3), feature_group_count=4, rngs=rngs)
        self.norm = nnx.BatchNorm(12, rngs=rngs)
        self.widen = nnx.Conv(12, 6, (1, 1), rngs=rngs)
        self.depthwise = nnx.Conv(6, 12, (3, 3), feature_group_count=6, strides=2, rngs=rngs)
        self.classifier = nnx.Linear(12, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.stem(x))
        x = x + self.widen(nnx.relu(self.norm(self.grouped(nnx.relu(self.narrow(x))))))
        return self.classifier(nnx.relu(self.depthwise(nnx.relu(x))).mean(axis=(1, 2)))


class Shuffle(nnx.Module):
    """Channels shuffled between two convolutions in groups."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(shape[-1], 8, (3, 3), rngs=rngs)
        self.first = nnx.Conv(8, 8, (1, 1), feature_group_count=2, rngs=rngs)
        self.second = nnx.Conv(8, 8, (3, 3), feature_group_count=2, rngs=rngs)
        self.classifier = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.first(nnx.relu(self.stem(x))))
        x = jnp.swapaxes(x.reshape(*x.shape[:3], 2, -1), 3, 4).reshape(x.shape)
        return self.classifier(nnx.relu(self.second(x)).mean(axis=(1, 2)))


class GroupNormed(nnx.Module):
    """Group normalisation: whole groups only."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(shape[-1], 8, (3, 3), rngs=rngs)
        self.norm1 = nnx.GroupNorm(8, num_groups=4, rngs=rngs)
        self.conv2 = nnx.Conv(8, 9, (3, 3), rngs=rngs)
        self.norm2 = nnx.GroupNorm(9, num_groups=None, group_size=3, rngs=rngs)
        self.classifier = nnx.Linear(9, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.norm1(self.conv1(x)))
        x = nnx.relu(self.norm2(self.conv2(x)))
        return self.classifier(x.mean(axis=(1, 2)))


class GatedUnits(nnx.Module):
    """Gated linear units from one matrix, an Einsum layer, a low-rank layer, and several axes at once."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.gated = nnx.Linear(shape[1] * shape[-1], 12, rngs=rngs)
        self.einsum = nnx.Einsum("btd,dhe->bthe", (6, 3, 4), (3, 4), rngs=rngs)
        self.general = nnx.LinearGeneral((3, 4), 7, axis=(-2, -1), rngs=rngs)
        self.down = nnx.Linear(7, 3, use_bias=False, rngs=rngs)
        self.classifier = nnx.Linear(3, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        a, b = jnp.split(self.gated(x.reshape(*x.shape[:2], -1)), 2, axis=-1)
        x = self.general(nnx.relu(self.einsum(a * nnx.sigmoid(b))))
        return self.classifier(self.down(nnx.elu(x)).max(axis=1))


class Recurrent(nnx.Module):
    """A cell in a loop of the user's own."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.cell = nnx.OptimizedLSTMCell(shape[1] * shape[-1], 6, rngs=rngs)
        self.classifier = nnx.Linear(6, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = x.reshape(*x.shape[:2], -1)
        carry = (jnp.zeros((x.shape[0], self.cell.hidden_features)),) * 2
        for step in range(3):
            carry, y = self.cell(carry, x[:, step])
        return self.classifier(y)


class Stubborn(nnx.Module):
    """Code that states or uses its widths: those cannot go, the others can."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(shape[0] * shape[1] * shape[2], 6, rngs=rngs)
        self.second = nnx.Linear(6, 8, rngs=rngs)
        self.third = nnx.Linear(8, 6, rngs=rngs)
        self.classifier = nnx.Linear(6, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.first(x.reshape(x.shape[0], -1))
        x = self.second(nnx.relu(x) / jnp.sqrt(x.shape[-1]))
        x = nnx.relu(x.reshape(-1, 4, 2).reshape(x.shape[0], 8))
        return self.classifier(nnx.relu(self.third(x)))


ARCHITECTURES: dict[str, Callable[[Shape, int, nnx.Rngs], nnx.Module]] = {
    kind.__name__: kind
    for kind in (
        DenseBlock,
        Inception,
        SqueezeExcite,
        UNet,
        TransposeNet,
        ViT,
        Packed,
        Mixer,
        ResNeXt,
        Shuffle,
        GroupNormed,
        GatedUnits,
        Recurrent,
        Stubborn,
    )
}
