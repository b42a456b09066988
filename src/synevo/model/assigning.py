"""Whole assignments to the variables of a model, `variable[...] = value`, at a cost that does not grow with the model.

Flax asks a new value for its `sharding` before it takes it in the place of the old one. While JAX traces a program, a
value has none, and the message of the error that says so is made from a search of the whole program so far. A network
with n normalisations is searched n times as long: half a minute for three hundred layers, where tracing takes seconds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
from flax import nnx
from jax.core import Tracer

_AS_WRITTEN = nnx.Variable.__setitem__


@contextmanager
def whole_assignments() -> Iterator[None]:
    """Assign whole values to variables without asking for their sharding; the variables are the same afterwards."""
    nnx.Variable.__setitem__ = _assign
    try:
        yield
    finally:
        nnx.Variable.__setitem__ = _AS_WRITTEN


def _assign(variable: Any, places: Any, value: Any) -> None:
    if places is ... and _replaces(variable.get_raw_value(), value):
        variable.set_value(value)
    else:
        _AS_WRITTEN(variable, places, value)


def _replaces(old: Any, new: Any) -> bool:
    """Return whether both are values of a program that is traced, and alike: Flax puts one in the other's place."""
    traced = isinstance(old, Tracer) and isinstance(new, Tracer) and isinstance(old, jax.Array)
    return traced and old.shape == new.shape and old.dtype == new.dtype
