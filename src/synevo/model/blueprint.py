"""A blueprint: a model without its arrays. As a network evolves, only the sizes in its blueprint change."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

Path = tuple[Any, ...]


@dataclass(frozen=True)
class Stream:
    """A part of the random-number state of a model: a key or a counter, or several of them in one array."""

    path: Path
    is_key: bool
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Blueprint:
    """The static part of a model: its graph in training and in evaluation mode, and the paths of its arrays.

    `paths` maps the name of each array to its path. `streams` are the random-number state. `constants` are what hangs
    on the model without being an array of the network, by path: NumPy arrays that are no Variables. `takes_modes` says
    whether its call takes its mode or keys. `averages` names the arrays that are averages over batches. A blueprint is
    hashable, whatever the model keeps in its attributes, so that it selects the compiled program.
    """

    training: Any = field(repr=False)
    evaluation: Any = field(repr=False)
    paths: Mapping[str, Path] = field(repr=False)
    streams: tuple[Stream, ...]
    constants: Mapping[Path, Any] = field(default_factory=dict, repr=False)
    takes_modes: bool = False
    averages: frozenset[str] = frozenset()

    @property
    def has_modes(self) -> bool:
        """Whether the model may run another program in training than in evaluation."""
        return self.takes_modes or self.training != self.evaluation

    def model(self, arrays: Mapping[str, Any], key: Array | None) -> Any:
        """Return the nnx.Module of these arrays: in evaluation mode, or in training mode with randomness from `key`."""
        leaves: dict[Any, Any] = {self.paths[name]: array for name, array in arrays.items()} | dict(self.constants)
        source = jax.random.key(0) if key is None else key
        for position, stream in enumerate(self.streams):
            leaves[stream.path] = _randomness(stream, jax.random.fold_in(source, position))
        return nnx.merge(self.evaluation if key is None else self.training, nnx.from_flat_state(leaves))

    @cached_property
    def _identity(self) -> Any:
        """What two blueprints share if and only if they are the same."""
        return _hashable((self.training, self.evaluation, self.streams, dict(self.constants)))

    @cached_property
    def _hash(self) -> int:
        return hash(self._identity)

    def __eq__(self, other: object) -> bool:
        """Return whether another blueprint is of the same model, sizes included."""
        return self is other or (isinstance(other, Blueprint) and self._identity == other._identity)

    def __hash__(self) -> int:
        """Return the same number for equal blueprints."""
        return self._hash


def _randomness(stream: Stream, key: Array) -> Array:
    if not stream.is_key:
        return jnp.zeros(stream.shape, jnp.uint32)
    return jax.random.split(key, stream.shape) if stream.shape else key


@dataclass(frozen=True, eq=False)
class _Same:
    """A thing that equals only itself."""

    thing: Any

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.thing is other.thing

    def __hash__(self) -> int:
        return id(self.thing)


def _hashable(value: Any) -> Any:
    """Return something hashable that is equal for equal values; what cannot be compared equals only itself."""
    try:
        hash(value)
    except TypeError:
        return _taken_apart(value)
    return value


def _taken_apart(value: Any) -> Any:
    """Return a `_hashable` form of a value that has none of its own."""
    kind = type(value)
    if isinstance(value, Mapping):
        return kind, tuple((_hashable(key), _hashable(one)) for key, one in value.items())
    if isinstance(value, list | tuple):
        return kind, tuple(map(_hashable, value))
    if isinstance(value, set):
        return kind, frozenset(value)
    if isinstance(value, np.ndarray) and value.dtype != object:
        return kind, value.shape, str(value.dtype), value.tobytes()
    if is_dataclass(value):
        return kind, tuple(_hashable(getattr(value, one.name)) for one in fields(value))
    return _Same(value)
