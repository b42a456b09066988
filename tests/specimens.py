"""Models as users write them, small enough to compile in a moment, with arrays that are all alive.

The arrays are filled by NumPy instead of the models' initialisers, which leave biases at zero and normalisations at
rest, and would cost a compilation each.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from synevo import keys
from synevo.ancestors.pooling import average_pool, max_pool
from synevo.genetics.organism import Organism, Species
from synevo.lineage.individuals import Counts, Individual, LayerCount, Scores
from synevo.model.network import Network, call, take_apart
from synevo.wiring import masks
from synevo.wiring.dissection import Anatomy, dissect
from synevo.wiring.masks import Masks
from synevo.wiring.units import PERMANENT, Layer, Wiring, survives

Shape = tuple[int, int, int]

SHAPE = (8, 8, 1)
CLASSES = 4


@dataclass(frozen=True)
class Specimen:
    """A model taken apart."""

    network: Network
    anatomy: Anatomy
    shape: Shape

    @property
    def wiring(self) -> Wiring:
        return self.anatomy.wiring

    @property
    def species(self) -> Species:
        return Species(self.anatomy, self.network)

    @property
    def organism(self) -> Organism:
        """The model as an ancestor."""
        return Organism.first(self.species, self.network)


def outputs(network: Network, x: Any) -> np.ndarray:
    """What a network makes of images, as NumPy."""
    return np.asarray(call(network, jnp.asarray(x)))


@cache
def specimen(factory: Callable[..., nnx.Module], shape: Shape = SHAPE, classes: int = CLASSES) -> Specimen:
    """The specimen of a model; always the same one, so do not give its arrays to what reuses their memory."""
    network = take_apart(hatch(factory, shape, classes))
    return Specimen(network, dissect(network, shape), shape)


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
    deviation = np.sqrt(2 / np.prod(like.shape[:-1])) if len(like.shape) > 1 else 0.2
    return jnp.asarray(random.normal(size=like.shape) * deviation, like.dtype)


def images(count: int, shape: Shape = SHAPE, seed: int = 0) -> np.ndarray:
    """Normalised images [count, height, width, channels]."""
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def random_masks(of: Specimen, density: float, seed: int) -> Masks:
    """Masks in which every synapse lives with probability `density`."""
    random = np.random.default_rng(seed)
    whole = masks.full(of.wiring, of.network)
    return {name: random.random(mask.shape) < density for name, mask in whole.items()}


def lay_out(masks: Masks, wiring: Wiring, alive: np.ndarray, like: Network) -> Masks:
    """Masks of a compacted network in the shapes of `like`, where all that was cut is dead."""
    fates = wiring.fates(alive)
    whole = {name: np.zeros(like.parameters[name].shape, bool) for name in masks}
    for name, mask in masks.items():
        whole[name][np.ix_(*(np.flatnonzero(survives(axis, fates)) for axis in wiring.slots[name]))] = mask
    return whole


def chain(*widths: int) -> Wiring:
    """Dense layers `layer0`, `layer1`, … between inputs and outputs that stay, with hidden units numbered from 0."""
    hidden = iter(range(sum(widths)))
    axes = [
        np.full(width, PERMANENT) if place in {0, len(widths) - 1} else np.array([next(hidden) for _ in range(width)])
        for place, width in enumerate(widths)
    ]
    layers = tuple(Layer(f"layer{n}", 0, 1, before, after, 1) for n, (before, after) in enumerate(pairwise(axes)))
    slots = {layer.name: (layer.inputs, layer.outputs) for layer in layers}
    return Wiring(layers, slots, sum(widths[1:-1]), ())


def sketch(body: Callable[[Any, Array], Array], **widths: int) -> type[nnx.Module]:
    """A model of dense layers of these widths, each fed by the one before, that `body` puts to use on flat images."""

    class Sketch(nnx.Module):
        def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
            before = int(np.prod(shape))
            for name, width in widths.items():
                setattr(self, name, nnx.Linear(before, width or classes, rngs=rngs))
                before = width

        def __call__(self, x: Array) -> Array:
            return body(self, x.reshape(x.shape[0], -1))

    return Sketch


def line_of(function: Callable[..., Any], text: str) -> str:
    """`file:line` of the only line of a function or class that holds a text."""
    lines, first = inspect.getsourcelines(function)
    (number,) = [number for number, line in enumerate(lines) if text in line]
    return f"{Path(inspect.getfile(function)).name}:{first + number}"


def silence(of: Specimen, network: Network, alive: np.ndarray) -> Network:
    """A network in which every slice of every array that belongs to a dead unit is zero."""
    fates = of.wiring.fates(alive)

    def zero(name: str, array: Array) -> Array:
        quiet = np.array(array)
        for axis, units in enumerate(of.wiring.slots[name]):
            np.moveaxis(quiet, axis, 0)[~survives(units, fates)] = 0
        return jnp.asarray(quiet)

    return network.map(zero)


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
        self.both = nnx.Conv(7, 5, (3, 3), rngs=rngs)
        self.classifier = nnx.Linear(2 * 2 * (5 + 7), classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = average_pool(jnp.concatenate([nnx.relu(self.left(x)), nnx.relu(self.right(x))], axis=-1))
        x = max_pool(jnp.concatenate([nnx.relu(self.both(x)), x], axis=-1))
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


class Softened(nnx.Module):
    """A softmax over all units that there are: every one is frozen."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(int(np.prod(shape)), 6, rngs=rngs)
        self.classifier = nnx.Linear(6, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.classifier(nnx.softmax(self.hidden(x.reshape(x.shape[0], -1))))


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


class ChannelsFirst(nnx.Module):
    """A flatten in the order of other frameworks: all places of one channel, then of the next."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(shape[-1], 3, (3, 3), strides=4, rngs=rngs)
        self.out = nnx.Linear(12, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.out(nnx.relu(self.conv(x)).transpose(0, 3, 1, 2).reshape(x.shape[0], -1))


class Patches(nnx.Module):
    """Two dense layers on every place of a picture: a 1 x 1 convolution in other words."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(shape[-1], 5, rngs=rngs)
        self.out = nnx.Linear(5, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.out(nnx.relu(self.hidden(x))).mean((1, 2))


class Grouped(nnx.Module):
    """A convolution in groups, as in ResNeXt and MobileNet."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(shape[-1], 6, (3, 3), rngs=rngs)
        self.groups = nnx.Conv(6, 6, (3, 3), feature_group_count=3, rngs=rngs)
        self.last = nnx.Conv(6, 5, (1, 1), rngs=rngs)
        self.out = nnx.Linear(5, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.last(nnx.relu(self.groups(nnx.relu(self.first(x)))))
        return self.out(nnx.relu(x).mean((1, 2)))


class Pipeline(nnx.Module):
    """What most deployed networks are made of: normalised convolutions, some in groups, pooling, a flatten, dropout."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(shape[-1], 8, (3, 3), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.groups = nnx.Conv(8, 16, (3, 3), strides=2, feature_group_count=8, rngs=rngs)
        self.full = nnx.Linear(2 * 2 * 16, 16, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.classifier = nnx.Linear(16, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.norm(self.first(x)))
        x = nnx.max_pool(nnx.relu(self.groups(x)), (2, 2), (2, 2))
        x = self.dropout(nnx.relu(self.full(x.reshape(x.shape[0], -1))))
        return self.classifier(x)


class LayerNormed(nnx.Module):
    """A normalisation across units."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(int(np.prod(shape)), 6, rngs=rngs)
        self.norm = nnx.LayerNorm(6, rngs=rngs)
        self.out = nnx.Linear(6, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.out(nnx.relu(self.norm(self.hidden(x.reshape(x.shape[0], -1)))))


class Tied(nnx.Module):
    """An autoencoder whose decoder is the transposed encoder, with one matrix."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(int(np.prod(shape)), 6, rngs=rngs)
        self.matrix = nnx.Param(jnp.ones((6, 3)))
        self.classifier = nnx.Linear(6, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.first(x.reshape(x.shape[0], -1)))
        return self.classifier(nnx.relu(x @ self.matrix) @ self.matrix.T)


def halves(m: Any, x: Array) -> Array:
    """Units of which the second half gates the first, and what comes of it twice."""
    h = m.hidden(x)
    half = h.shape[-1] // 2
    return m.out(jnp.concatenate([h[:, :half] * nnx.sigmoid(h[:, half:])] * 2, axis=-1))


def individual(generation: int, synapses: int, accuracy: float) -> Individual:
    """An individual of two small layers, for what reads lineages and needs no network."""
    layers = (
        LayerCount("conv/kernel", 1, 4, 4, synapses - 8, 36, 36 * 100),
        LayerCount("full/kernel", 16, 2, 8, 8, 32, 32),
    )
    return Individual(
        generation=generation,
        parents=() if generation == 1 else (generation - 1,),
        counts=Counts(layers, 74),
        scores=Scores(accuracy, accuracy - 0.01),
        expected_synapses=None,
        sampled_synapses=None,
        learning_rate=1e-3,
        epochs=2,
        seconds=1.5,
        latency_ms={"1": 0.25},
    )
