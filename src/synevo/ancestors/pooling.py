"""Pooling by reshape and reduce, where the window equals the stride.

On a CPU the backward pass of this form is several times faster than that of a windowed reduction.
"""

from jax import Array


def max_pool(x: Array, side: int = 2) -> Array:
    """Return the largest value of each side × side window of `x` [n, height, width, channels]."""
    return _windows(x, side).max(axis=(2, 4))


def average_pool(x: Array, side: int = 2) -> Array:
    """Return the mean of each side × side window of `x` [n, height, width, channels]."""
    return _windows(x, side).mean(axis=(2, 4))


def _windows(x: Array, side: int) -> Array:
    n, height, width, channels = x.shape
    x = x[:, : height // side * side, : width // side * side]
    return x.reshape(n, height // side, side, width // side, side, channels)
