"""Heredity: what of a parent decides which synapses its offspring inherits.

`cluster` is the paper's. The others are the rivals and the controls that show what the paper's is worth: they share the
loop, the environment and the training, and differ in nothing but the lines of `HEREDITIES`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import inf

import jax
import jax.numpy as jnp
import optax
from jax import Array

from synevo.model.network import Arrays, Blueprint, Network, forward, normalise
from synevo.plan.fields import HeredityName
from synevo.tasks.images import Dataset

BATCH, BATCHES = 64, 16
"""Images a batch, and batches, over which the influence of a synapse is averaged."""

SENSED = 1024
"""The training images, the first ones, over which the sensitivity to a synapse is averaged."""

Worth = Callable[[Blueprint, Network, Dataset], Arrays]


@dataclass(frozen=True)
class Heredity:
    """The `worth` of each synapse, and what synthesis does with it.

    Without `clustered`, synapses are drawn alone (1606.04393). `sharpness` multiplies the plan's: at 0 all have the
    same chance, at infinity the strongest survive for certain. `measured` clusters are as strong as what the loss gains
    without them (`synevo.genetics.removal`). Where worth is `comparable`, layers that share a factor share z.
    `shuffled` keeps how many are drawn in each layer, not which. Without `inherited`, the offspring starts from new
    weights and trains as long as its whole lineage did.
    """

    worth: Worth
    clustered: bool = True
    sharpness: float = 1.0
    measured: bool = False
    comparable: bool = False
    shuffled: bool = False
    inherited: bool = True


def size(blueprint: Blueprint, network: Network, dataset: Dataset) -> Arrays:
    """|w| of each parameter."""
    del blueprint, dataset
    return {name: jnp.abs(array) for name, array in network.parameters.items()}


def influence(blueprint: Blueprint, network: Network, dataset: Dataset) -> Arrays:
    """|w · ∂L/∂w| of each parameter, the mean over batches of training images: what the loss would feel of its death.

    To first order, as in Molchanov et al., arXiv 1611.06440. A batch's gradient is taken with all its images at once.
    """
    total = {name: jnp.zeros_like(array) for name, array in network.parameters.items()}
    count = min(BATCH, len(dataset.train))
    batches = min(BATCHES, len(dataset.train) // count)
    for first in range(0, batches * count, count):
        images = normalise(jnp.asarray(dataset.train.pixels[first : first + count]), dataset.mean, dataset.deviation)
        gradient = _gradient(blueprint, network, images, jnp.asarray(dataset.train.labels[first : first + count]))
        total = {name: total[name] + jnp.abs(array * gradient[name]) for name, array in network.parameters.items()}
    return {name: array / batches for name, array in total.items()}


def sensitivity(blueprint: Blueprint, network: Network, dataset: Dataset) -> Arrays:
    """|w| · √E‖∂y/∂w‖² of each parameter: how far an image's logits y move, to first order, when it dies.

    The mean is over `SENSED` training images, y is without its mean, to which probabilities are blind, and ‖∂y/∂w‖² is
    estimated as (s · ∂y/∂w)² with random signs s, new for each image (Hutchinson, 1990). Unlike the gradient of a loss,
    it does not vanish where the network has learned its images. An image at a time: that is faster on CPUs than several
    gradients at once, and it takes the memory of one.
    """
    count = min(SENSED, len(dataset.train))
    signs = draw_signs(count, len(dataset.classes))
    total = {name: jnp.zeros_like(array) for name, array in network.parameters.items()}
    for image in range(count):
        pixels = jnp.asarray(dataset.train.pixels[image : image + 1])
        total = _feel(blueprint, network, total, normalise(pixels, dataset.mean, dataset.deviation), signs[image])
    return {name: jnp.abs(array) * jnp.sqrt(total[name] / count) for name, array in network.parameters.items()}


def draw_signs(images: int, classes: int) -> Array:
    """The signs [images, classes] with which `sensitivity` weighs logits: each 1 or -1, the same ones every time."""
    return jax.random.rademacher(jax.random.key(0), (images, classes), jnp.float32)


def nothing(blueprint: Blueprint, network: Network, dataset: Dataset) -> Arrays:
    """1 for each parameter: all are worth the same."""
    del blueprint, dataset
    return {name: jnp.ones_like(array) for name, array in network.parameters.items()}


HEREDITIES: dict[HeredityName, Heredity] = {
    "cluster": Heredity(size),
    "synapse": Heredity(size, clustered=False),
    "magnitude": Heredity(size, sharpness=inf),
    "taylor": Heredity(influence),
    "removal": Heredity(size, measured=True),
    "sensitivity": Heredity(sensitivity, measured=True, comparable=True),
    "random": Heredity(nothing, sharpness=0.0),
    "shuffled": Heredity(size, shuffled=True),
    "scratch": Heredity(size, inherited=False),
}


def deal(key: Array, network: Network) -> Network:
    """New weights: those of an untrained `network`, each parameter's values dealt anew."""
    names = sorted(network.parameters)
    keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
    parameters = {
        name: jax.random.permutation(keys[name], array.ravel()).reshape(array.shape)
        for name, array in network.parameters.items()
    }
    return Network(parameters, network.statistics)


@partial(jax.jit, static_argnums=0)
def _gradient(blueprint: Blueprint, network: Network, images: Array, labels: Array) -> Arrays:
    def loss(parameters: Arrays) -> Array:
        logits = forward(blueprint, Network(parameters, network.statistics), images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    return jax.grad(loss)(network.parameters)


@partial(jax.jit, static_argnums=0)
def _feel(blueprint: Blueprint, network: Network, total: Arrays, image: Array, signs: Array) -> Arrays:
    """`total` and (s · ∂y/∂w)² of an image [1, height, width, channels] with its signs [classes]."""

    def weigh(parameters: Arrays) -> Array:
        logits = forward(blueprint, Network(parameters, network.statistics), image)[0]
        return jnp.dot(signs, logits - logits.mean())

    gradient = jax.grad(weigh)(network.parameters)
    return {name: array + jnp.square(gradient[name]) for name, array in total.items()}
