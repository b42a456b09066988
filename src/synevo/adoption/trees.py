"""Nested trees of arrays, as of Flax, as flat arrays by path; and the MessagePack files in which Flax writes them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import serialization

from synevo.adoption.reading import Arrays, Contents, is_number


def flatten(tree: Any) -> Arrays:
    """Return the arrays and numbers of a nested tree by path, such as `params/Conv_0/kernel`; other leaves are left."""
    return {"/".join(path): array for path, array in _leaves(tree, ())}


def _leaves(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, Mapping):
        for name, branch in tree.items():
            yield from _leaves(branch, (*path, str(name)))
    elif isinstance(tree, list | tuple):
        for number, branch in enumerate(tree):
            yield from _leaves(branch, (*path, str(number)))
    elif isinstance(tree, np.ndarray | np.generic | bool | int | float | complex):
        array = np.asarray(tree)
        if path and is_number(array):
            yield path, array


def read_msgpack(path: Path, content: bytes) -> Contents:
    """Return the arrays of a file of `flax.serialization.to_bytes` or `msgpack_serialize`."""
    del path
    return flatten(serialization.msgpack_restore(content)), {}
