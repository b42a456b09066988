"""A network: flat arrays, together with the blueprint that runs them.

    logits = network(images)                          evaluation
    logits, network = network.train(key, images)      training; the network with its statistics updated
    smaller = network.like(arrays)                    the same model with other arrays, of other sizes too

The arrays are inherited, masked and sliced. They are named by their path in the model, such as `conv1/kernel`, and
their shapes follow Flax: kernels are [height, width, in, out], matrices [in, out]. A network is a pytree of its arrays
alone. Its blueprint is static, so that a compiled function of a network is compiled once for each blueprint.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax import Array

from synevo.errors import AncestorError
from synevo.model.assigning import whole_assignments
from synevo.model.blueprint import Blueprint, Stream
from synevo.model.fitting import refit
from synevo.model.linen import as_nnx
from synevo.model.modes import as_written, evaluating, run, takes_modes, under_axes

Arrays = dict[str, Array]
Inputs = tuple[Any, ...]
"""The arguments of a model: pytrees of arrays, or of their shapes and dtypes alone."""


@partial(jax.tree_util.register_dataclass, data_fields=["parameters", "statistics"], meta_fields=["blueprint"])
@dataclass(frozen=True)
class Network:
    """A model: its trained `parameters`, its `statistics` (such as running means), and its blueprint.

    The statistics are all arrays that are not trained: counters, fixed matrices, frozen weights.
    """

    parameters: Arrays
    statistics: Arrays
    blueprint: Blueprint

    def __call__(self, *inputs: Any) -> Any:
        """Return the model's outputs for these inputs, in evaluation mode."""
        return self.evaluate(*inputs)[0]

    def evaluate(self, *inputs: Any) -> tuple[Any, Arrays]:
        """Return the model's outputs in evaluation mode, and its statistics after the call: no average has changed."""
        found: tuple[Any, Arrays] = under_axes(self._run, None, *inputs)
        return found

    def train(self, key: Array, *inputs: Any) -> tuple[Any, "Network"]:
        """Return the model's outputs in training mode, and the network with its statistics updated.

        `key` is the source of randomness, as for dropout.
        """
        outputs, updated = under_axes(self._run, key, *inputs)
        return outputs, replace(self, statistics=updated) if self.statistics else self

    def _run(self, key: Array | None, *inputs: Any) -> tuple[Any, Arrays]:
        """Return the outputs and the statistics after a call, in evaluation mode or in training with a key."""
        model = self.blueprint.model(self.arrays, key)
        own = None if key is None else jax.random.fold_in(key, len(self.blueprint.streams))
        with whole_assignments():
            return run(model, inputs, own), self.statistics_of(model)

    def statistics_of(self, model: Any) -> Arrays:
        """Return the statistics of this network's model, after a call."""
        leaves = dict(nnx.to_flat_state(nnx.state(model))) if self.statistics else {}
        return {name: _value(leaves[self.blueprint.paths[name]]) for name in self.statistics}

    @property
    def arrays(self) -> Arrays:
        """Parameters and statistics together."""
        return self.parameters | self.statistics

    def map(self, change: Callable[[str, Array], Array]) -> "Network":
        """Return the network with every array replaced by `change(name, array)`, of the same shape."""
        parameters = {name: change(name, array) for name, array in self.parameters.items()}
        return replace(
            self, parameters=parameters, statistics={name: change(name, a) for name, a in self.statistics.items()}
        )

    def like(self, arrays: Mapping[str, Any], *, groups: Mapping[str, int] | None = None) -> "Network":
        """Return the same model with other arrays, named as its own; their sizes may differ.

        `groups` is the number of groups of each grouped convolution's kernel, by name; it matters only where sizes
        change.

        Raises:
            KeyError: where an array is missing.
        """
        parameters, statistics = ({name: arrays[name] for name in own} for own in (self.parameters, self.statistics))
        same = all(jnp.shape(array) == jnp.shape(arrays[name]) for name, array in self.arrays.items())
        blueprint = self.blueprint if same else refit(self.blueprint, parameters | statistics, groups or {})
        return Network(parameters, statistics, blueprint)


call = jax.jit(Network.__call__)
"""A network's outputs, compiled: `call(network, *inputs)`."""


def take_apart(model: nnx.Module) -> Network:
    """Return the network of a model in memory; the model stays as it is.

    Raises:
        AncestorError: where something hangs on the model that is neither an array nor constant.
    """
    graphs = {}
    copy = as_written(nnx.clone(model))
    for mode in ("eval", "train"):
        getattr(copy, mode)()
        graphs[mode], state = nnx.split(copy)
    parameters: Arrays = {}
    statistics: Arrays = {}
    streams, constants = [], {}
    leaves, names = dict(nnx.to_flat_state(state)), {}
    for path, leaf in leaves.items():
        name, value = "/".join(str(part) for part in path), _value(leaf)
        if isinstance(leaf, nnx.RngState):
            streams.append(Stream(path, isinstance(leaf, nnx.RngKey), jnp.shape(value)))
        elif isinstance(leaf, np.ndarray) or _is_constant(name, value):
            constants[path] = leaf
        else:
            names[name], array = path, jnp.asarray(value)
            trained = isinstance(leaf, nnx.Param) and jnp.issubdtype(array.dtype, jnp.inexact)
            (parameters if trained else statistics)[name] = array
    averages = frozenset(name for name, path in names.items() if isinstance(leaves[path], nnx.BatchStat))
    blueprint = Blueprint(
        graphs["train"], graphs["eval"], names, tuple(streams), constants, takes_modes(copy), averages
    )
    return Network(parameters, statistics, blueprint)


def _value(leaf: Any) -> Any:
    """Return the value of a Variable; an array on a module that is none is its own."""
    return leaf.get_value() if isinstance(leaf, nnx.Variable) else leaf


def _is_constant(name: str, value: Any) -> bool:
    """Return whether a value on a model is no array at all, and holds none.

    Raises:
        AncestorError: where it holds arrays or keys.
    """
    if isinstance(value, bool | int | float | complex):
        return False
    if hasattr(value, "dtype") and not jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        return False
    if any(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(value)):
        raise AncestorError(
            f"The model keeps a {type(value).__name__} with arrays or random keys as {name}.",
            remedy="Keep each array in an nnx.Variable of its own, and keys in an nnx.Rngs.",
        )
    return True


def path_of(keys: tuple[Any, ...]) -> str:
    """Return the path of a leaf of a pytree, as arrays are named: without the part that a Variable adds."""
    parts = [str(getattr(part, "key", getattr(part, "name", getattr(part, "idx", part)))) for part in keys]
    return "/".join(parts[:-1] if parts[-1:] == ["value"] else parts)


def put_together(network: Network) -> Any:
    """Return the nnx.Module of a network, in evaluation mode, also where its call takes its mode."""
    return evaluating(network.blueprint.model(network.arrays, None))


def build(make: Callable[[nnx.Rngs], Any], inputs: Inputs, key: Array) -> Network:
    """Build the model that `make` returns for an nnx.Rngs; return it as a freshly initialised network.

    `inputs` are the arguments of a call, on which a Linen module is initialised.

    Raises:
        AncestorError: where it cannot be built, or is not a Flax module.
    """
    rngs = nnx.Rngs(key)
    try:
        model = make(rngs)
    except Exception as error:
        raise AncestorError(
            f"The ancestor could not be built: {type(error).__name__}: {error}",
            remedy="An ancestor is a callable of an input's shape (height, width, channels of an image), the number "
            "of classes or outputs, and an nnx.Rngs; or of an nnx.Rngs alone; or of nothing.",
        ) from error
    if isinstance(model, linen.Module):
        model = as_nnx(model, inputs, rngs=rngs)
    if not isinstance(model, nnx.Module):
        raise AncestorError(
            f"The ancestor is a {type(model).__name__}, not an nnx.Module.",
            remedy="Return an nnx.Module or a flax.linen.Module from the factory.",
        )
    return take_apart(model)


def outline(make: Callable[[nnx.Rngs], Any], inputs: Inputs) -> Network:
    """Return the network of `build` as shapes and dtypes alone.

    Nothing is initialised, unless the factory reads its own numbers.

    Raises:
        AncestorError: as in `build`.
    """
    try:
        return jax.eval_shape(lambda: build(make, inputs, jax.random.key(0)))
    except AncestorError:  # the factory reads its numbers
        return build(make, inputs, jax.random.key(0))
