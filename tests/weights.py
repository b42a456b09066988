"""Weights that are computed: ways in which published networks make a kernel of the arrays that they train."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

Shape = tuple[int, ...]
Recipe = Callable[[Array, Array], Array]
"""Make a kernel [..., inputs, outputs] of an array of that shape and a gain [..., 1, outputs]."""


def normalised(w: Array, gain: Array) -> Array:
    """Salimans and Kingma, arXiv 1602.07868."""
    return w * jax.lax.rsqrt((w * w).sum(range(w.ndim - 1), keepdims=True) + 1e-6) * gain


def normalised_flat(w: Array, gain: Array) -> Array:
    flat = w.reshape(-1, w.shape[-1])
    return (flat / jnp.sqrt((flat**2).sum(0, keepdims=True) + 1e-6)).reshape(w.shape) * gain


def normalised_whole(w: Array, gain: Array) -> Array:
    return gain * w / jnp.sqrt(jnp.sum(w**2) + 1e-6)


def quantised(w: Array, gain: Array) -> Array:
    """Eight bits with one scale, and the gradient passed straight through."""
    scale = jnp.max(jnp.abs(w)) / 127
    return gain * (w + jax.lax.stop_gradient(jnp.clip(jnp.round(w / scale), -128, 127) * scale - w))


def quantised_by_filter(w: Array, gain: Array) -> Array:
    scale = jnp.max(jnp.abs(w), axis=tuple(range(w.ndim - 1)), keepdims=True) / 127 + 1e-8
    return gain * (w + jax.lax.stop_gradient(jnp.round(w / scale) * scale - w))


def clipped(w: Array, gain: Array) -> Array:
    return jnp.tanh(jnp.clip(w, -1, 1)) * gain


def thinned(w: Array, gain: Array) -> Array:
    return jnp.where(jnp.abs(w) > 0.01, w, 0) * gain


def cast(w: Array, gain: Array) -> Array:
    return normalised(w, gain).astype(jnp.bfloat16)


def shifted(w: Array, gain: Array) -> Array:
    """A synapse acts although it is zero."""
    return w - gain


def standardised(w: Array, gain: Array) -> Array:
    """Qiao et al., arXiv 1903.10520."""
    axes = tuple(range(w.ndim - 1))
    return (w - w.mean(axes, keepdims=True)) / (w.std(axes, keepdims=True) + 1e-5) * gain


def signed(w: Array, gain: Array) -> Array:
    """Even a filter of zeros acts."""
    return jnp.where(w >= 0, 1.0, -1.0) + 0 * gain


def undefined(w: Array, gain: Array) -> Array:
    """A filter of zeros is divided by zero."""
    return w / jnp.linalg.norm(w, axis=0, keepdims=True) * gain


class Dense(nnx.Module):
    """Three dense layers, the second with computed weights."""

    def __init__(self, recipe: Recipe, *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(8, 6, rngs=rngs)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (6, 5)))
        self.gain = nnx.Param(jnp.linspace(1, 2, 5)[None])
        self.last = nnx.Linear(5, 3, rngs=rngs)
        self.recipe = recipe

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.first(x))
        return self.last(nnx.relu(x @ self.recipe(self.kernel[...], self.gain[...])))


class Convolutional(nnx.Module):
    """Convolutions, the second with computed weights, in groups."""

    def __init__(self, recipe: Recipe, groups: int, *, rngs: nnx.Rngs) -> None:
        class Computed(nnx.Conv):
            def __call__(self, x: Array) -> Array:
                own = self.kernel[...]
                self.kernel.set_value(recipe(own, jnp.ones((1, 1, 1, own.shape[-1]))))
                x = super().__call__(x)
                self.kernel.set_value(own)
                return x

        self.first = nnx.Conv(3, 6, (3, 3), rngs=rngs)
        self.computed = Computed(6, 6, (3, 3), use_bias=False, feature_group_count=groups, rngs=rngs)
        self.last = nnx.Conv(6, 5, (1, 1), rngs=rngs)
        self.classifier = nnx.Linear(5, 4, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.computed(nnx.relu(self.first(x))))
        return self.classifier(nnx.relu(self.last(x)).mean((1, 2)))


class Product(nnx.Module):
    """A low-rank layer, whose two matrices an einsum multiplies in the order that is cheaper."""

    def __init__(self, inputs: int, rank: int, outputs: int, *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(8, inputs, rngs=rngs)
        self.down = nnx.Param(jax.random.normal(rngs.params(), (inputs, rank)))
        self.up = nnx.Param(jax.random.normal(rngs.params(), (rank, outputs)))
        self.last = nnx.Linear(outputs, 3, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.first(x))
        return self.last(nnx.relu(jnp.einsum("bi,ij,jk->bk", x, self.down[...], self.up[...])))


class Adapted(nnx.Module):
    """A matrix with a low-rank adapter (Hu et al., arXiv 2106.09685), merged before use."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(8, 6, rngs=rngs)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (6, 7)))
        self.down = nnx.Param(jax.random.normal(rngs.params(), (6, 4)))
        self.up = nnx.Param(jax.random.normal(rngs.params(), (4, 7)))
        self.last = nnx.Linear(7, 3, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.first(x))
        return self.last(nnx.relu(x @ (self.kernel[...] + 0.5 * self.down[...] @ self.up[...])))


class Wrapped(nnx.Module):
    """A dense layer in one of the library's own wrappers."""

    def __init__(self, wrapper: Callable[..., Any], *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(8, 6, rngs=rngs)
        self.wrapped = wrapper(nnx.Linear(6, 5, rngs=rngs), rngs=rngs)
        self.last = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.last(nnx.relu(self.wrapped(nnx.relu(self.first(x)))))


class Reused(nnx.Module):
    """One normalised matrix, used twice."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(8, 6, rngs=rngs)
        self.kernel = nnx.Param(jax.random.normal(rngs.params(), (6, 6)))
        self.last = nnx.Linear(6, 3, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        kernel = normalised(self.kernel[...], jnp.ones(()))
        x = nnx.relu(nnx.relu(self.first(x)) @ kernel)
        return self.last(nnx.relu(x @ kernel + x))


class Attention(nnx.Module):
    """Projections of two heads through weight normalisation."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        def normed(inputs: Any, outputs: Any, axes: Any, **options: Any) -> nnx.WeightNorm:
            return nnx.WeightNorm(
                nnx.LinearGeneral(inputs, outputs, rngs=rngs, **options), feature_axes=axes, rngs=rngs
            )

        self.first = nnx.Linear(3, 8, rngs=rngs)
        self.query, self.key, self.value = (normed(8, (2, 4), (-2, -1)) for _ in range(3))
        self.out = normed((2, 4), 8, -1, axis=(-2, -1))
        self.last = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.first(x.reshape(x.shape[0], -1, x.shape[-1])))
        weights = nnx.softmax(jnp.einsum("bqhd,bkhd->bhqk", self.query(x), self.key(x)))
        x = x + self.out(jnp.einsum("bhqk,bkhd->bqhd", weights, self.value(x)))
        return self.last(x.mean(1))


class Projected(nnx.Module):
    """A fixed random projection between two layers, as a Variable, an array, or numbers of the code."""

    def __init__(self, kind: Callable[[Array], Any], *, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(8, 6, rngs=rngs)
        self.fixed = kind(jax.random.normal(rngs.params(), (6, 5)))
        self.last = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.last(nnx.relu(nnx.relu(self.first(x)) @ self.fixed))
