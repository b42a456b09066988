"""Networks as users of Flax Linen write them, in sizes that run in a moment."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array


class LeNet(nn.Module):
    """Compact style, told its mode in the call."""

    classes: int

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:  # noqa: FBT001
        x = nn.max_pool(nn.relu(nn.Conv(6, (3, 3))(x)), (2, 2), (2, 2))
        x = nn.max_pool(nn.relu(nn.Conv(8, (3, 3))(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Dense(12)(x.reshape(x.shape[0], -1)))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(self.classes)(x)


class Residual(nn.Module):
    """In the style of `setup`, told its mode by a field; a depthwise convolution, and a scale of stated size."""

    classes: int
    training: bool = True

    def setup(self) -> None:
        self.stem = nn.Conv(6, (3, 3), use_bias=False)
        self.norms = [nn.BatchNorm(use_running_average=not self.training) for _ in range(3)]
        self.convs = [nn.Conv(8, (3, 3)), nn.Conv(6, (1, 1))]
        self.scale = self.param("scale", nn.initializers.ones, (6,))
        self.down = nn.Conv(6, (3, 3), feature_group_count=6, strides=2)
        self.head = nn.Dense(self.classes)

    def __call__(self, x: Array) -> Array:
        x = nn.relu(self.norms[0](self.stem(x)))
        y = nn.relu(self.norms[1](self.convs[0](x)))
        x = x + self.norms[2](self.convs[1](y)) * self.scale[None, None, None]
        return self.head(nn.relu(self.down(nn.relu(x))).mean((1, 2)))


class Block(nn.Module):
    """A block of a vision transformer."""

    @nn.compact
    def __call__(self, x: Array, deterministic: bool) -> Array:  # noqa: FBT001
        y = nn.MultiHeadDotProductAttention(4, dropout_rate=0.1)(nn.LayerNorm()(x), deterministic=deterministic)
        x = x + y
        y = nn.Dense(x.shape[-1])(nn.gelu(nn.Dense(10)(nn.LayerNorm()(x))))
        return x + nn.Dropout(0.1)(y, deterministic=deterministic)


class ViT(nn.Module):
    """A vision transformer whose block is computed again in the backward pass."""

    classes: int

    @nn.compact
    def __call__(self, x: Array, *, deterministic: bool = True) -> Array:
        x = nn.Conv(8, (4, 4), strides=(4, 4))(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        token = self.param("token", nn.initializers.zeros, (1, 1, 8))
        x = jnp.concatenate([jnp.tile(token, (x.shape[0], 1, 1)), x], axis=1)
        x = x + self.param("positions", nn.initializers.normal(0.02), (1, 5, 8))
        x = nn.remat(Block, static_argnums=2)()(x, deterministic)
        return nn.Dense(self.classes)(nn.LayerNorm()(x)[:, 0])


class Grouped(nn.Module):
    """Normalisation and convolution in groups, a stack of one layer's replicas, and an Einsum."""

    classes: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(nn.GroupNorm(4)(nn.Conv(8, (3, 3))(x)))
        x = nn.Conv(12, (3, 3), feature_group_count=4, strides=2)(x)
        x = nn.relu(nn.GroupNorm(num_groups=None, group_size=3)(x)).mean((1, 2))
        replicas: Any = nn.vmap(
            nn.Dense, variable_axes={"params": 0}, split_rngs={"params": True}, in_axes=None, out_axes=1, axis_size=3
        )
        x = nn.relu(replicas(7)(x))
        x = nn.relu(nn.Einsum((7, 2, 5), "brd,dhe->brhe")(x))
        x = nn.relu(nn.DenseGeneral((2, 3), axis=(-2, -1))(x))
        return nn.Dense(self.classes)(x.reshape(x.shape[0], -1))


class Repeated(nn.Module):
    """A layer that `nn.scan` repeats, between ordinary ones."""

    classes: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(nn.Dense(12)(x.reshape(x.shape[0], -1)))
        x = nn.relu(nn.Dense(6)(x))

        def body(layer: nn.Module, x: Array, _: None) -> tuple[Array, None]:
            return nn.relu(layer(x)), None

        repeat: Any = nn.scan(body, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        x, _ = repeat(nn.Dense(6, name="again"), x, None)
        return nn.Dense(self.classes)(nn.relu(nn.jit(nn.Dense)(9)(x)))


class Kept(nn.Module):
    """Cells, and a matrix that is divided by its norm, in front of an ordinary layer."""

    classes: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.RNN(nn.GRUCell(5))(x.reshape(*x.shape[:2], -1))
        cell = nn.SimpleCell(4)
        carry = cell.initialize_carry(jax.random.key(0), x[:, 0].shape)
        for step in range(2):
            carry, _ = cell(carry, x[:, step])
        x = nn.relu(nn.SpectralNorm(nn.Dense(6))(carry, update_stats=False))
        return nn.Dense(self.classes)(nn.relu(nn.Dense(9)(x)))


class Stated(nn.Module):
    """Code that states a width in a reshape: it cannot go, another one can."""

    classes: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(nn.Dense(9)(x.reshape(x.shape[0], -1)))
        x = nn.relu(nn.Dense(8)(x)).reshape(-1, 4, 2).reshape(-1, 8)
        return nn.Dense(self.classes)(x)


ARCHITECTURES = {kind.__name__: kind for kind in (LeNet, Residual, ViT, Grouped, Repeated, Kept, Stated)}


class Perceptron(nn.Module):
    """A small one with statistics and dropout."""

    classes: int

    @nn.compact
    def __call__(self, x: Array, *, is_training: bool) -> Array:
        x = nn.Dense(16)(x.reshape(x.shape[0], -1))
        x = nn.relu(nn.BatchNorm(use_running_average=not is_training)(x))
        x = nn.relu(nn.Dense(12)(nn.Dropout(0.1)(x, deterministic=not is_training)))
        return nn.Dense(self.classes)(x)


def perceptron(shape: tuple[int, int, int], classes: int, rngs: Any) -> nn.Module:
    """A factory as `--ancestor` names it."""
    del shape, rngs
    return Perceptron(classes)


def undecided(shape: tuple[int, int, int], classes: int, rngs: Any) -> nn.Module:
    """A module that nobody tells whether it is trained."""
    del shape, rngs
    return nn.Sequential([nn.Conv(4, (3, 3)), nn.BatchNorm(), lambda x: x.mean((1, 2)), nn.Dense(classes)])
