"""Models as users write them, small enough to compile in a moment, with arrays that are all alive.

The arrays are filled by NumPy instead of the models' initialisers, which leave biases at zero and normalisations at
rest, and would cost a compilation each.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from synevo import keys, masks
from synevo.ancestors.pooling import average_pool, max_pool
from synevo.masks import Masks
from synevo.network import Blueprint, Network, dismantle, forward
from synevo.wiring import PERMANENT, Anatomy, Layer, Wiring, dissect

Shape = tuple[int, int, int]

SHAPE = (8, 8, 1)
CLASSES = 4


@dataclass(frozen=True)
class Specimen:
    """A model taken apart."""

    blueprint: Blueprint
    network: Network
    anatomy: Anatomy
    shape: Shape

    @property
    def wiring(self) -> Wiring:
        return self.anatomy.wiring

    def logits(self, network: Network, x: Any) -> np.ndarray:
        """What `network` makes of images, as NumPy."""
        return np.asarray(_forward(self.blueprint, network, jnp.asarray(x)))


@jax.jit(static_argnums=0)
def _forward(blueprint: Blueprint, network: Network, x: Array) -> Array:
    return forward(blueprint, network, x)


@cache
def specimen(factory: Callable[..., nnx.Module], shape: Shape = SHAPE, classes: int = CLASSES) -> Specimen:
    """The specimen of a model; always the same one, so do not give its arrays to what reuses their memory."""
    blueprint, network = dismantle(hatch(factory, shape, classes))
    return Specimen(blueprint, network, dissect(blueprint, network, shape), shape)


def hatch(factory: Callable[..., nnx.Module], shape: Shape = SHAPE, classes: int = CLASSES) -> nnx.Module:
    """A model whose arrays are random, its biases and statistics included."""
    graph, state = nnx.split(nnx.eval_shape(lambda: factory(shape, classes, nnx.Rngs(0))))
    random = np.random.default_rng(len(graph.nodes))
    leaves = {}
    for path, leaf in nnx.to_flat_state(state):
        leaves[path] = leaf.replace(_fill(random, str(path[-1]), leaf.get_value()))
    return nnx.merge(graph, nnx.from_flat_state(leaves))


def _fill(random: np.random.Generator, name: str, like: jax.ShapeDtypeStruct) -> Any:
    if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
        return keys.root(0)
    if jnp.issubdtype(like.dtype, jnp.integer):
        return jnp.zeros(like.shape, like.dtype)
    if name in {"scale", "var"}:
        return jnp.asarray(random.uniform(0.5, 1.5, like.shape), like.dtype)
    fan_in = np.prod(like.shape[:-1]) if len(like.shape) > 1 else 4
    return jnp.asarray(random.normal(size=like.shape) / np.sqrt(fan_in), like.dtype)


def images(count: int, shape: Shape = SHAPE, seed: int = 0) -> np.ndarray:
    """Normalised images [count, height, width, channels]."""
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def random_masks(of: Specimen, density: float, seed: int) -> Masks:
    """Masks in which every synapse lives with probability `density`."""
    random = np.random.default_rng(seed)
    whole = masks.full(of.wiring, of.network)
    return {name: random.random(mask.shape) < density for name, mask in whole.items()}


def tiny_plain(network: Network) -> Network:
    """A network without biases, as far as it adds any."""
    return replace(network, parameters={k: v * 0 if k.endswith("bias") else v for k, v in network.parameters.items()})


def chain(*widths: int) -> Wiring:
    """Dense layers `layer0`, `layer1`, … between inputs and outputs that stay, with hidden units numbered from 0."""
    hidden = iter(range(sum(widths)))
    axes = [
        np.full(width, PERMANENT) if place in {0, len(widths) - 1} else np.array([next(hidden) for _ in range(width)])
        for place, width in enumerate(widths)
    ]
    layers = tuple(
        Layer(f"layer{n}", 0, 1, before, after, 1) for n, (before, after) in enumerate(itertools.pairwise(axes))
    )
    slots = {layer.name: (layer.inputs, layer.outputs) for layer in layers}
    return Wiring(layers, slots, sum(widths[1:-1]), ())


class Tiny(nnx.Module):
    """Two convolutions, a flatten, two matrices: what most of the tests evolve."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        height, width, channels = shape
        self.conv1 = nnx.Conv(channels, 6, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(6, 8, (3, 3), rngs=rngs)
        self.full = nnx.Linear(height // 4 * (width // 4) * 8, 12, rngs=rngs)
        self.classifier = nnx.Linear(12, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(max_pool(self.conv1(x)))
        x = average_pool(nnx.relu(self.conv2(x)))
        x = nnx.relu(self.full(x.reshape(x.shape[0], -1)))
        return self.classifier(x)


class Normed(nnx.Module):
    """Batch normalisation, library pooling and a global mean."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(shape[-1], 6, (3, 3), use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(6, rngs=rngs)
        self.conv2 = nnx.Conv(6, 8, (3, 3), use_bias=False, rngs=rngs)
        self.norm2 = nnx.BatchNorm(8, rngs=rngs)
        self.classifier = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.max_pool(nnx.relu(self.norm1(self.conv1(x))), (2, 2), (2, 2))
        x = nnx.avg_pool(nnx.relu(self.norm2(self.conv2(x))), (2, 2), (2, 2))
        return self.classifier(x.mean(axis=(1, 2)))


class Residual(nnx.Module):
    """A stem and two residual blocks of one width: all three write to the same units."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(shape[-1], 5, (3, 3), rngs=rngs)
        self.block1 = nnx.Conv(5, 5, (3, 3), rngs=rngs)
        self.inner2 = nnx.Conv(5, 7, (3, 3), rngs=rngs)
        self.outer2 = nnx.Conv(7, 5, (1, 1), rngs=rngs)
        self.classifier = nnx.Linear(5, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.stem(x))
        x = x + nnx.relu(self.block1(x))
        x = nnx.relu(x + self.outer2(nnx.relu(self.inner2(x))))
        return self.classifier(x.mean(axis=(1, 2)))


class Joined(nnx.Module):
    """Concatenation, as in DenseNet and Inception, before a convolution and before a flatten."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.left = nnx.Conv(shape[-1], 3, (3, 3), rngs=rngs)
        self.right = nnx.Conv(shape[-1], 4, (5, 5), rngs=rngs)
        self.both = nnx.Conv(7, 5, (3, 3), strides=2, rngs=rngs)
        self.classifier = nnx.Linear(2 * 2 * (5 + 7), classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = average_pool(jnp.concatenate([nnx.relu(self.left(x)), nnx.relu(self.right(x))], axis=-1))
        x = jnp.concatenate([max_pool(x), nnx.relu(self.both(x))], axis=-1)
        return self.classifier(x.reshape(x.shape[0], -1))


class Gated(nnx.Module):
    """Activations that do not leave zero at zero, and a gate on every channel from a squeeze of all of them."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(shape[-1], 6, (3, 3), rngs=rngs)
        self.squeeze = nnx.Linear(6, 4, rngs=rngs)
        self.excite = nnx.Linear(4, 6, rngs=rngs)
        self.hidden = nnx.Linear(6, 9, rngs=rngs)
        self.classifier = nnx.Linear(9, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.softplus(self.conv(x)).mean(axis=(1, 2))
        x = x * nnx.sigmoid(self.excite(nnx.gelu(self.squeeze(x))))
        return self.classifier(jnp.cos(self.hidden(x)))


class Attentive(nnx.Module):
    """A softmax over units, which makes all of them depend on each."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.hidden1 = nnx.Linear(int(np.prod(shape)), 7, rngs=rngs)
        self.hidden2 = nnx.Linear(7, 6, rngs=rngs)
        self.classifier = nnx.Linear(6, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.hidden1(x.reshape(x.shape[0], -1)))
        return self.classifier(nnx.softmax(self.hidden2(x)))


class Strange(nnx.Module):
    """Primitives without a rule: a Fourier transform over units, and a scatter into them."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.hidden1 = nnx.Linear(int(np.prod(shape)), 7, rngs=rngs)
        self.hidden2 = nnx.Linear(7, 6, rngs=rngs)
        self.hidden3 = nnx.Linear(6, 5, rngs=rngs)
        self.classifier = nnx.Linear(5, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.hidden1(x.reshape(x.shape[0], -1)))
        x = self.hidden2(jnp.fft.fft(x).real)
        x = nnx.relu(self.hidden3(nnx.relu(x).at[:, 0].add(1.0)))
        return self.classifier(x)


class Deep(nnx.Module):
    """Layers in nested lists, with dropout between them."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        inputs = int(np.prod(shape))
        self.blocks = nnx.List(
            [
                nnx.List([nnx.Linear(inputs, 6, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)]),
                nnx.List([nnx.Linear(6, 5, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)]),
            ]
        )
        self.classifier = nnx.Linear(5, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = x.reshape(x.shape[0], -1)
        for dense, dropout in self.blocks:
            x = dropout(nnx.relu(dense(x)))
        return self.classifier(x)
