"""A network as flat arrays beside its blueprint: what every other part of the science works on.

The blueprint is how a model runs and never changes as it evolves; the arrays are what is inherited, masked and sliced.
Arrays are named by their path in the model, such as `conv1/kernel`. Shapes follow Flax: kernels are
[height, width, in, out], matrices [in, out].
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax import Array

from synevo.errors import AncestorError
from synevo.model.linen import adopt

Arrays = dict[str, Array]


@dataclass(frozen=True)
class Blueprint:
    """The static part of a model: its graph in training and in evaluation mode, and what each of its paths holds."""

    training: Any
    evaluation: Any
    paths: Mapping[str, tuple[Any, ...]] = field(compare=False)
    streams: tuple[tuple[tuple[Any, ...], bool], ...]  # random-number state: path, and whether it is a key


@dataclass(frozen=True)
class Network:
    """The arrays of a model: trained `parameters`, and `statistics` that it keeps itself, such as running means."""

    parameters: Arrays
    statistics: Arrays

    @property
    def arrays(self) -> Arrays:
        """Parameters and statistics together."""
        return self.parameters | self.statistics

    def map(self, change: Callable[[str, Array], Array]) -> "Network":
        """The network with every array replaced by `change(name, array)`."""
        return Network(
            {name: change(name, array) for name, array in self.parameters.items()},
            {name: change(name, array) for name, array in self.statistics.items()},
        )


jax.tree_util.register_dataclass(Network, data_fields=["parameters", "statistics"], meta_fields=[])


def build(
    factory: Callable[..., Any], shape: tuple[int, int, int], classes: int, key: Array
) -> tuple[Blueprint, Network]:
    """The blueprint of a factory's model and a freshly initialised network; AncestorError where it cannot be built."""
    rngs = nnx.Rngs(key)
    try:
        model = factory(shape, classes, rngs)
    except Exception as error:
        raise AncestorError(
            f"The ancestor could not be built for images of {shape} and {classes} classes: "
            f"{type(error).__name__}: {error}",
            remedy="An ancestor is a callable of the input shape, the number of classes and an nnx.Rngs.",
        ) from error
    if isinstance(model, linen.Module):
        model = adopt(model, shape, rngs=rngs)
    if not isinstance(model, nnx.Module):
        raise AncestorError(
            f"The ancestor is a {type(model).__name__}, not an nnx.Module.",
            remedy="Return an nnx.Module or a flax.linen.Module from the factory.",
        )
    return dismantle(model)


def outline(factory: Callable[..., Any], shape: tuple[int, int, int], classes: int) -> tuple[Blueprint, Network]:
    """The blueprint of a factory's model, and its network of shapes alone: nothing is initialised where that can be.

    Errors are those of `build`.
    """
    blueprints = []

    def trace() -> Network:
        blueprint, network = build(factory, shape, classes, jax.random.key(0))
        blueprints.append(blueprint)
        return network

    try:
        network = jax.eval_shape(trace)
    except AncestorError:  # the factory looks at its numbers
        return build(factory, shape, classes, jax.random.key(0))
    return blueprints[0], network


def dismantle(model: nnx.Module) -> tuple[Blueprint, Network]:
    """The blueprint and the arrays of a model in memory, which is left as it was."""
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
    return Blueprint(graphs["train"], graphs["eval"], names, streams), Network(parameters, statistics)


def assemble(blueprint: Blueprint, network: Network, *, key: Array | None = None) -> Any:
    """The nnx.Module of these arrays: in evaluation mode, or in training mode with randomness from `key`."""
    leaves: dict[Any, Any] = {blueprint.paths[name]: array for name, array in network.arrays.items()}
    source = jax.random.key(0) if key is None else key
    for position, (path, is_key) in enumerate(blueprint.streams):
        leaves[path] = jax.random.fold_in(source, position) if is_key else jnp.zeros((), jnp.uint32)
    graph = blueprint.evaluation if key is None else blueprint.training
    return nnx.merge(graph, nnx.from_flat_state(leaves))


def forward(blueprint: Blueprint, network: Network, x: Array) -> Array:
    """Logits [n, classes] in evaluation mode of normalised images [n, height, width, channels]."""
    logits: Array = assemble(blueprint, network)(x)
    return logits


def forward_training(blueprint: Blueprint, network: Network, x: Array, key: Array) -> tuple[Array, Network]:
    """Logits in training mode, and the network with its statistics updated."""
    model = assemble(blueprint, network, key=key)
    logits = model(x)
    if not network.statistics:
        return logits, network
    leaves = dict(nnx.to_flat_state(nnx.state(model)))
    statistics = {name: leaves[blueprint.paths[name]].get_value() for name in network.statistics}
    return logits, replace(network, statistics=statistics)


def normalise(pixels: Array, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Array:
    """Images as the network sees them: float32 (pixel / 255 - mean) / deviation, a channel at a time."""
    shift, scale = (np.asarray(values, np.float32).reshape(1, 1, 1, -1) for values in (mean, deviation))
    return (pixels.astype(jnp.float32) / 255 - shift) / scale
