"""Heredity: the rule that decides which synapses an offspring inherits from its parent.

`cluster` is the paper's. The others are rivals and controls, for comparison with the paper's: they share the loop, the
environment and the training, and differ only in the lines of `HEREDITIES`. To add one, write a `Measure` of what
synapses are worth; name it in `HEREDITIES` and in `synevo.plan.fields`.
"""

from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.genetics import removal
from synevo.genetics.organism import Organism
from synevo.genetics.removal import NO_PRICES, Prices
from synevo.model.network import Arrays, Network
from synevo.model.rewriting import as_products
from synevo.plan.fields import EncodingPlan, HeredityName
from synevo.tasks.task import Batch, Examples, Outputs, Task, at_once, first

BATCH, BATCHES = 64, 16
"""The examples in a batch, and the number of batches, over which the influence of a synapse is averaged."""

SENSED = 1024
"""The number of training examples, the first ones, over which the sensitivity to a synapse is averaged."""

SENSED_AT_ONCE = 16
"""The most examples of which one backward pass feels the outputs, where not all is measured exactly."""


class Worth(NamedTuple):
    """The worth of a parent's `synapses` (arrays by layer, in its own shapes) and of its `clusters`.

    `clusters` [units + derived units] is the increase of the loss without each filter, for what the filter costs
    (`removal.costs_of`). It is None where clusters are as strong as their synapses together.
    """

    synapses: Arrays
    clusters: NDArray[np.float64] | None = None


class Measure(Protocol):
    """A measure of an organism for a task, on training examples; `prices` are the times of filters (`removal`)."""

    def __call__(
        self, parent: Organism, task: Task, examples: Examples, plan: EncodingPlan, /, *, prices: Prices = NO_PRICES
    ) -> Worth:
        """Return what synapses and clusters are worth."""
        ...


@dataclass(frozen=True)
class Heredity:
    """A measure of what synapses and clusters are worth, and how synthesis uses it.

    - `clustered`: clusters are drawn first; without, synapses are drawn alone (1606.04393).
    - `sharpness` multiplies the plan's: at 0 all have the same chance, at infinity the strongest survive for certain.
    - `comparable`: worth compares across layers, so layers that share a factor share z.
    - `shuffled`: the number drawn in each layer is kept; their places are random.
    - `measured`: the worth is measured on examples, which takes a while; it is kept with the parent.
    - `inherited`: without, an offspring starts from new weights and trains as long as its whole lineage did.
    """

    worth: Measure
    clustered: bool = True
    sharpness: float = 1.0
    comparable: bool = False
    shuffled: bool = False
    measured: bool = False
    inherited: bool = True


def size(parent: Organism, task: Task, examples: Examples, plan: EncodingPlan, *, prices: Prices = NO_PRICES) -> Worth:
    """Return |w| of each parameter."""
    del task, examples, plan, prices
    return by_size(parent)


def by_size(parent: Organism) -> Worth:
    """Return |w| of each parameter of an organism; in NumPy, so that no program is compiled for its shapes."""
    return Worth({name: jnp.array(np.abs(array)) for name, array in parent.network.parameters.items()})


def influence(
    parent: Organism, task: Task, examples: Examples, plan: EncodingPlan, *, prices: Prices = NO_PRICES
) -> Worth:
    """Return |w · ∂L/∂w| of each parameter, the mean over batches of examples.

    To first order, this is the change of the loss when the parameter becomes zero (Molchanov et al., arXiv 1611.06440).
    A batch's gradient is taken with all its examples at once.
    """
    del plan, prices
    parameters = parent.network.parameters
    total = {name: jnp.zeros_like(array) for name, array in parameters.items()}
    count = min(BATCH, len(examples))
    batches = min(BATCHES, len(examples) // count)
    for start in range(0, batches * count, count):
        gradient = _gradient(parent.network, task, examples[np.arange(start, start + count)])
        total = {name: total[name] + jnp.abs(array * gradient[name]) for name, array in parameters.items()}
    return Worth({name: array / batches for name, array in total.items()})


def sensitivity(
    parent: Organism, task: Task, examples: Examples, plan: EncodingPlan, *, prices: Prices = NO_PRICES
) -> Worth:
    """Return |w| · √E‖∂y/∂w‖² of each parameter, and what filters are worth by their removal.

    With an `audit` of 1, each of the examples is felt alone (`feel`), as each of the filters is removed.
    """
    felt = feel(parent, task, examples, together=1 if plan.audit == 1 else at_once(examples, SENSED_AT_ONCE))
    return Worth(felt, removal.gains(parent, task, examples, audit=plan.audit, cost=plan.cost, prices=prices))


def feel(parent: Organism, task: Task, examples: Examples, *, together: int) -> Arrays:
    """Return |w| · √E‖∂y/∂w‖² of each parameter.

    To first order, this is the change of the outputs y for an example when the synapse becomes zero. The mean E is over
    `SENSED` training examples. ‖∂y/∂w‖² is estimated as (s · ∂y/∂w)² with random signs s, new for each example
    (Hutchinson, 1990). The signs of different examples are independent, so the squared gradient of so many examples
    `together` has the mean of the sum of theirs: a batch takes one pass, and costs some of the precision. If the loss
    ignores a constant added to the outputs, as for logits, the mean of the outputs is subtracted. Unlike the gradient
    of a loss, this measure does not vanish where the network has learned its examples.
    """
    count, network = min(SENSED, len(examples)), parent.network
    centred = _ignored_constants(network, task, first(examples, BATCH))
    signs = draw_signs(count, _outputs_of_one(network, task, first(examples, 1)))
    total: Any = {name: np.zeros(array.shape, array.dtype) for name, array in network.parameters.items()}
    for start in range(0, count, together):
        places = np.arange(start, min(start + together, count))
        total = _feel(network, task, total, examples[places], signs[start : start + together], centred=centred)
    return _felt(network.parameters, total, count)


def removed(
    parent: Organism, task: Task, examples: Examples, plan: EncodingPlan, *, prices: Prices = NO_PRICES
) -> Worth:
    """Return |w| of each parameter, and the increase of the loss without each filter (`synevo.genetics.removal`)."""
    return by_size(parent)._replace(
        clusters=removal.gains(parent, task, examples, audit=plan.audit, cost=plan.cost, prices=prices)
    )


def draw_signs(examples: int, outputs: int) -> Array:
    """Return the signs [examples, outputs] with which `sensitivity` weighs outputs: 1 or -1, the same every time."""
    return jax.random.rademacher(jax.random.key(0), (examples, outputs), jnp.float32)


def nothing(
    parent: Organism, task: Task, examples: Examples, plan: EncodingPlan, *, prices: Prices = NO_PRICES
) -> Worth:
    """Return 1 for each parameter: all are worth the same."""
    del task, examples, plan, prices
    return Worth({name: jnp.ones_like(array) for name, array in parent.network.parameters.items()})


HEREDITIES: dict[HeredityName, Heredity] = {
    "cluster": Heredity(size),
    "synapse": Heredity(size, clustered=False),
    "magnitude": Heredity(size, sharpness=inf),
    "taylor": Heredity(influence, measured=True),
    "removal": Heredity(removed, measured=True),
    "sensitivity": Heredity(sensitivity, comparable=True, measured=True),
    "random": Heredity(nothing, sharpness=0.0),
    "shuffled": Heredity(size, shuffled=True),
    "scratch": Heredity(size, inherited=False),
}


def permute(key: Array, network: Network) -> Network:
    """Return an untrained `network` with new weights: the values of each parameter in random order."""
    names = sorted(network.parameters)
    keys = dict(zip(names, jax.random.split(key, len(names)), strict=True))
    parameters = {
        name: jax.random.permutation(keys[name], array.ravel()).reshape(array.shape)
        for name, array in network.parameters.items()
    }
    return replace(network, parameters=parameters)


@partial(jax.jit, static_argnums=1)
def _gradient(network: Network, task: Task, batch: Batch) -> Arrays:
    def loss(parameters: Arrays) -> Array:
        run = as_products(replace(network, parameters=parameters))
        return task.loss(run(*task.inputs(batch)), batch).mean()

    return jax.grad(loss)(network.parameters)


@jax.jit
def _felt(parameters: Arrays, total: Arrays, count: int) -> Arrays:
    """Return |w| · √(Σ (s · ∂y/∂w)² / count) of each parameter, from the sums `total`."""
    return {name: jnp.abs(array) * jnp.sqrt(total[name] / count) for name, array in parameters.items()}


@partial(jax.jit, static_argnums=1)
def _outputs(network: Network, task: Task, batch: Batch) -> Outputs:
    return as_products(network)(*task.inputs(batch))


def _outputs_of_one(network: Network, task: Task, batch: Batch) -> int:
    """Return the number of outputs of a network for one example."""
    outputs = jax.eval_shape(lambda network, batch: network(*task.inputs(batch)), network, batch)
    return sum(int(np.prod(leaf.shape[1:])) for leaf in jax.tree.leaves(outputs))


def _ignored_constants(network: Network, task: Task, batch: Batch) -> tuple[bool, ...]:
    """Return for each array of outputs whether the loss ignores a constant along its last axis, as with logits."""
    leaves, tree = jax.tree.flatten(_outputs(network, task, batch))
    loss = jax.jit(task.loss)
    before = loss(jax.tree.unflatten(tree, leaves), batch)

    def ignored(place: int) -> bool:
        leaf = leaves[place]
        if leaf.ndim < 2 or leaf.shape[-1] < 2:  # noqa: PLR2004
            return False
        rows = jnp.arange(1, leaf[..., 0].size + 1, dtype=leaf.dtype).reshape(*leaf.shape[:-1], 1)
        moved = [*leaves[:place], leaf + rows / rows.size, *leaves[place + 1 :]]
        after = loss(jax.tree.unflatten(tree, moved), batch)
        return np.allclose(before, after, rtol=1e-3, atol=1e-4)

    return tuple(map(ignored, range(len(leaves))))


def _vectors(outputs: Outputs, centred: tuple[bool, ...]) -> Array:
    """Return the outputs as a vector for each example, without the mean along the last axis of `centred` arrays."""
    leaves = jax.tree.leaves(outputs)
    parts = [
        leaf - leaf.mean(axis=-1, keepdims=True) if centre else leaf
        for leaf, centre in zip(leaves, centred, strict=True)
    ]
    return jnp.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


@partial(jax.jit, static_argnums=1, static_argnames="centred")
def _feel(
    network: Network, task: Task, total: Arrays, batch: Batch, signs: Array, *, centred: tuple[bool, ...]
) -> Arrays:
    """Add (Σ s · ∂y/∂w)² over the examples of a batch, with their signs s [examples, outputs], to `total`."""

    def weigh(parameters: Arrays) -> Array:
        outputs = as_products(replace(network, parameters=parameters))(*task.inputs(batch))
        return jnp.vdot(signs, _vectors(outputs, centred))

    gradient = jax.grad(weigh)(network.parameters)
    return {name: array + jnp.square(gradient[name]) for name, array in total.items()}
