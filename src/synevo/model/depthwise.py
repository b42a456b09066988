"""Depthwise convolution as sums of shifted products, with derivatives of the same form.

    y[o]  = Σ_q w[q] · s[step·o + apart·q - low]        `convolve`: the output
    s'[x] = Σ_q w[q] · g[(x + low - apart·q) / step]    `spread`: the derivative by the signal
    w'[q] = Σ_o s[step·o + apart·q - low] · g[o]        `correlate`: the derivative by the weights

Each is linear in both of its operands, and the transpose of each by either operand is another one of the three. So
they are primitives of JAX that have derivatives of every order, in both directions. Derived from `convolve` alone,
those would add up a padded array for each place of the kernel and keep another, which took twice the time and 1.3
times the memory of a training step of `mobilenet`. `tests/bench_training.py` measures what this form brings.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array, lax
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


@dataclass(frozen=True)
class Window:
    """How a kernel moves: the `channels` axis and the `spatial` axes of a signal of a `shape`, and how far along each.

    Along a spatial axis a kernel has so many `places`, `apart` from each other; it moves by a `step` over a signal with
    `low` and `high` more zeros at its ends, less where they are negative.
    """

    shape: tuple[int, ...]
    channels: int
    spatial: tuple[int, ...]
    places: tuple[int, ...]
    step: tuple[int, ...]
    apart: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]

    @property
    def made(self) -> tuple[int, ...]:
        """The shape of the output; its axes are those of the signal."""
        found = list(self.shape)
        for number, axis in enumerate(self.spatial):
            reach = (self.places[number] - 1) * self.apart[number] + 1
            room = self.shape[axis] + self.low[number] + self.high[number]
            found[axis] = max(0, (room - reach) // self.step[number] + 1)
        return tuple(found)

    @property
    def others(self) -> tuple[int, ...]:
        """The axes that a kernel does not know: those of examples."""
        return tuple(axis for axis in range(len(self.shape)) if axis != self.channels and axis not in self.spatial)


def convolve(signal: Array, weights: Array, window: Window) -> Array:
    """Return the output for a signal and the weights [channels, places…] of a kernel for each channel."""
    found: Array = _CONVOLVE.bind(signal, weights, window=window)
    return found


def _convolve(signal: Array, weights: Array, *, window: Window) -> Array:
    shifted = _shifted(signal, window)
    return _weighted(shifted, weights, window)


def _spread(slopes: Array, weights: Array, *, window: Window) -> Array:
    edges, made = [(0, 0, 0)] * slopes.ndim, window.made
    for number, axis in enumerate(window.spatial):
        reach, step = (window.places[number] - 1) * window.apart[number], window.step[number]
        low, covered = window.low[number], (made[axis] - 1) * step + 1
        edges[axis] = (reach - low, window.shape[axis] + low - covered, step - 1)
    apart = lax.pad(slopes, np.zeros((), slopes.dtype), edges)
    shifted = []
    for place in np.ndindex(window.places):
        starts, ends = [0] * slopes.ndim, list(window.shape)
        for number, axis in enumerate(window.spatial):
            starts[axis] = (window.places[number] - 1 - place[number]) * window.apart[number]
            ends[axis] += starts[axis]
        shifted.append(lax.slice(apart, starts, ends))
    return _weighted(shifted, weights, window)


def _correlate(signal: Array, slopes: Array, *, window: Window) -> Array:
    terms = [shifted * slopes for shifted in _shifted(signal, window)]
    zeros = [np.zeros((), slopes.dtype)] * len(terms)
    sums = lax.reduce(terms, zeros, lambda one, other: [a + b for a, b in zip(one, other, strict=True)], window.spatial)
    left = tuple(axis - sum(axis > spatial for spatial in window.spatial) for axis in window.others)
    each = [lax.reduce(one, np.zeros((), one.dtype), lax.add, left) for one in sums]
    columns = lax.concatenate([lax.expand_dims(one, (1,)) for one in each], 1)
    return lax.reshape(columns, (window.shape[window.channels], *window.places))


def _shifted(signal: Array, window: Window) -> list[Array]:
    """Return for each place of the kernel the signal that it meets, in the shape of the output."""
    edges, made = [(0, 0, 0)] * signal.ndim, window.made
    for number, axis in enumerate(window.spatial):
        edges[axis] = (window.low[number], window.high[number], 0)
    padded = lax.pad(signal, np.zeros((), signal.dtype), edges)
    found = []
    for place in np.ndindex(window.places):
        starts, ends, steps = [0] * signal.ndim, list(padded.shape), [1] * signal.ndim
        for number, axis in enumerate(window.spatial):
            starts[axis], steps[axis] = place[number] * window.apart[number], window.step[number]
            ends[axis] = starts[axis] + (made[axis] - 1) * steps[axis] + 1
        found.append(lax.slice(padded, starts, ends, steps))
    return found


def _weighted(shifted: list[Array], weights: Array, window: Window) -> Array:
    """Return the sum of shifted signals, each times its weight of each channel."""
    terms = (
        one * lax.broadcast_in_dim(weights[(slice(None), *place)], one.shape, (window.channels,))
        for one, place in zip(shifted, np.ndindex(window.places), strict=True)
    )
    return sum(terms, start=next(terms))


def _primitive(name: str, compute: Callable[..., Array], shape: Callable[[Window], tuple[int, ...]]) -> Primitive:
    """Return a primitive that is lowered to what it computes; batches of it are batches of that."""
    made = Primitive(name)
    made.def_impl(jax.jit(compute, static_argnames="window"))
    made.def_abstract_eval(lambda one, _, *, window: ShapedArray(shape(window), one.dtype))
    mlir.register_lowering(made, mlir.lower_fun(compute, multiple_results=False))
    batching.primitive_batchers[made] = partial(_batched, compute)
    return made


def _batched(compute: Callable[..., Array], operands: Any, axes: Any, *, window: Window) -> tuple[Array, int]:
    mapped = jax.vmap(partial(compute, window=window), in_axes=axes)
    return mapped(*operands), 0


_CONVOLVE = _primitive("depthwise_convolve", _convolve, lambda window: window.made)
_SPREAD = _primitive("depthwise_spread", _spread, lambda window: window.shape)
_CORRELATE = _primitive(
    "depthwise_correlate", _correlate, lambda window: (window.shape[window.channels], *window.places)
)

ad.defbilinear(
    _CONVOLVE,
    lambda slopes, _, weights, *, window: _SPREAD.bind(slopes, weights, window=window),
    lambda slopes, signal, _, *, window: _CORRELATE.bind(signal, slopes, window=window),
)
ad.defbilinear(
    _SPREAD,
    lambda slopes, _, weights, *, window: _CONVOLVE.bind(slopes, weights, window=window),
    lambda slopes, signal, _, *, window: _CORRELATE.bind(slopes, signal, window=window),
)
ad.defbilinear(
    _CORRELATE,
    lambda slopes, _, signal, *, window: _SPREAD.bind(signal, slopes, window=window),
    lambda slopes, signal, _, *, window: _CONVOLVE.bind(signal, slopes, window=window),
)
