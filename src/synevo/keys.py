"""Random keys by name: each is derived from the seed and its purpose, and never passed on from one use to the next.

So a generation can be resumed, repeated or rebuilt alone, and gets the same random numbers as in its lineage.
"""

import zlib

import jax
from jax import Array


def root(seed: int) -> Array:
    """Return the key of a seed; all randomness of a run is derived from it."""
    return jax.random.key(seed, impl="threefry2x32")


def derive(key: Array, *names: str | int) -> Array:
    """Return the key named by a path such as `"generation", 4, "synthesis"`; different paths give independent keys."""
    for name in names:
        if isinstance(name, str):
            key = jax.random.fold_in(key, zlib.crc32(name.encode()))
        else:
            key = jax.random.fold_in(jax.random.fold_in(key, name >> 32), name & 0xFFFFFFFF)
    return key
