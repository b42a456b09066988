"""A blueprint: a model without its arrays. As a network evolves, only the sizes in its blueprint change."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array


@dataclass(frozen=True)
class Blueprint:
    """The static part of a model: its graph in training and in evaluation mode, and the paths of its arrays.

    `paths` maps the name of each array to its path. `streams` are the paths of the random-number state, each with
    whether it is a key. A blueprint is hashable, so that it selects the compiled program.
    """

    training: Any = field(repr=False)
    evaluation: Any = field(repr=False)
    paths: Mapping[str, tuple[Any, ...]] = field(compare=False, repr=False)
    streams: tuple[tuple[tuple[Any, ...], bool], ...]

    def model(self, arrays: Mapping[str, Any], key: Array | None) -> Any:
        """Return the nnx.Module of these arrays: in evaluation mode, or in training mode with randomness from `key`."""
        leaves: dict[Any, Any] = {self.paths[name]: array for name, array in arrays.items()}
        source = jax.random.key(0) if key is None else key
        for position, (path, is_key) in enumerate(self.streams):
            leaves[path] = jax.random.fold_in(source, position) if is_key else jnp.zeros((), jnp.uint32)
        return nnx.merge(self.evaluation if key is None else self.training, nnx.from_flat_state(leaves))
