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
from flax import linen, nnx
from jax import Array

from synevo.errors import AncestorError
from synevo.model.blueprint import Blueprint
from synevo.model.fitting import refit
from synevo.model.linen import as_nnx

Arrays = dict[str, Array]
Inputs = tuple[Any, ...]
"""The arguments of a model: pytrees of arrays, or of their shapes and dtypes alone."""


@partial(jax.tree_util.register_dataclass, data_fields=["parameters", "statistics"], meta_fields=["blueprint"])
@dataclass(frozen=True)
class Network:
    """A model: its trained `parameters`, its `statistics` (such as running means), and its blueprint."""

    parameters: Arrays
    statistics: Arrays
    blueprint: Blueprint

    def __call__(self, *inputs: Any) -> Any:
        """Return the model's outputs for these inputs, in evaluation mode."""
        return put_together(self)(*inputs)

    def train(self, key: Array, *inputs: Any) -> tuple[Any, "Network"]:
        """Return the model's outputs in training mode, and the network with its statistics updated.

        `key` is the source of randomness, as for dropout.
        """
        model = self.blueprint.model(self.arrays, key)
        outputs = model(*inputs)
        if not self.statistics:
            return outputs, self
        leaves = dict(nnx.to_flat_state(nnx.state(model)))
        paths = self.blueprint.paths
        return outputs, replace(self, statistics={name: leaves[paths[name]].get_value() for name in self.statistics})

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
    """Return the network of a model in memory; the model stays as it is."""
    graphs = {}
    copy = nnx.clone(model)
    for mode in ("eval", "train"):
        getattr(copy, mode)()
        graphs[mode], state = nnx.split(copy)
    leaves = dict(nnx.to_flat_state(state))
    names = {"/".join(str(part) for part in path): path for path in leaves}
    streams = tuple(
        (path, isinstance(leaf, nnx.RngKey)) for path, leaf in leaves.items() if isinstance(leaf, nnx.RngState)
    )
    parameters, statistics = {}, {}
    for name, path in names.items():
        leaf = leaves[path]
        if isinstance(leaf, nnx.Param):
            parameters[name] = jnp.asarray(leaf.get_value())
        elif not isinstance(leaf, nnx.RngState):
            statistics[name] = jnp.asarray(leaf.get_value())
    return Network(parameters, statistics, Blueprint(graphs["train"], graphs["eval"], names, streams))


def put_together(network: Network) -> Any:
    """Return the nnx.Module of a network, in evaluation mode."""
    return network.blueprint.model(network.arrays, None)


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
            remedy="An ancestor is a callable of an nnx.Rngs, or for images of their shape (height, width, channels), "
            "the number of classes and an nnx.Rngs.",
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
