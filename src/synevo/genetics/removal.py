"""Removal: the increase of the loss without each filter.

The sizes of weights are a poor guide to which filters of a narrow layer can be removed, and none to which layer can
lose one; this measure shows both. `measure` takes the filters out one at a time, each with a pass over the examples.
`estimate` takes a few backward passes for all of them: the slopes of the outputs by the gates of the filters
(`synevo.genetics.gates`) say how far the outputs of each example move without a filter, and the task says what it loses
by that. Only what follows a filter is taken for linear, not the loss. `gains` estimates all filters and measures the
weakest, of which some are going to die.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.errors import PlanError
from synevo.genetics.gates import Run, gated
from synevo.genetics.organism import Organism
from synevo.model.network import Arrays, Inputs, Network
from synevo.model.rewriting import as_products
from synevo.tasks.task import Batch, Examples, Task, at_once, first
from synevo.wiring.masks import Masks
from synevo.wiring.units import PERMANENT, Wiring

EXAMPLES = 512
"""The number of training examples, the first ones, over which the loss is averaged."""

BATCH = 64
"""The number of examples of an estimate that pass backward at once, where they are not large."""

OUTPUTS = 16
"""The most outputs of an example of which each gets a backward pass of its own; of more, see `_by_curvature`."""

PROBES = 8
"""The number of pairs of backward passes for networks with more outputs."""

SYNAPSES = "synapses"

LATENCY = "latency"

Prices = Mapping[str, float]
"""The microseconds that a filter of each layer costs, by the layer's name; nothing here measures them."""

NO_PRICES: Prices = {}

Presence = list[dict[str, tuple[NDArray[np.bool_], ...]]]
"""For each part of a unit, which places along each axis of each array hold it. The unit's elements hold all of them."""


def gains(
    parent: Organism,
    task: Task,
    examples: Examples,
    *,
    audit: float,
    cost: str = SYNAPSES,
    prices: Prices = NO_PRICES,
) -> NDArray[np.float64]:
    """Return the increase of the mean loss without each filter, for what it costs: by default a living synapse.

    One number for each unit, followed by one for each derived unit, [units + derived]: negative where the loss falls, 0
    for units that no layer makes. The share `audit` of the filters, the weakest ones, is measured, the others are
    estimated; with 1, all are measured. For `cost` and `prices`, see `costs_of`.
    """
    wiring = parent.species.anatomy.wiring.restrict(parent.units)
    units, costs = made(wiring), costs_of(parent, cost, prices)
    found = np.zeros(wiring.units + len(wiring.derived))
    if audit < 1:
        found = estimate(parent, task, examples) / costs
        units = units[np.argsort(found[units], kind="stable")][: round(audit * len(units))]
    found[units] = (measure(parent.network, wiring, task, examples, units=units) / costs)[units]
    return found


def costs_of(parent: Organism, cost: str, prices: Prices = NO_PRICES) -> NDArray[np.float64]:
    """Return what goes with each unit and each derived unit [units + derived], more than 0.

    By `cost`, that is the number of living `synapses`, or the stored network's multiply-adds for an example (`macs`) or
    `bytes`, each at least 1; or the time by the `prices` of the layers that make the unit (`latency`). Of several,
    joined by +, it is the geometric mean, as in `macs+bytes`.

    Raises:
        PlanError: for `latency`, where a layer has no price.
    """
    wiring = parent.species.anatomy.wiring.restrict(parent.units)
    network, names = parent.network, cost.split("+")
    stored = {name: np.ones(array.shape, bool) for name, array in network.arrays.items() if name in wiring.slots}
    sizes = {name: network.arrays[name].dtype.itemsize for name in stored}
    uses = {layer.name: layer.positions for layer in wiring.contracted}
    counted: dict[str, Callable[[], NDArray[Any]]] = {
        "synapses": lambda: np.maximum(1, freed(wiring, parent.living)),
        "macs": lambda: np.maximum(1, freed(wiring, {name: stored[name] for name in uses}, uses)),
        "bytes": lambda: np.maximum(1, freed(wiring, stored, sizes)),
        LATENCY: lambda: _times(wiring, prices),
    }
    each = {name: counted[name]().astype(np.float64) for name in set(names)}
    if len(each) == 1:
        return each[names[0]]
    return np.exp(np.mean([np.log(each[name]) for name in names], axis=0))


def _times(wiring: Wiring, prices: Prices) -> NDArray[np.float64]:
    """Return the price of each unit and each derived unit [units + derived]; 1 for those that no layer makes."""
    found = np.zeros(wiring.units + len(wiring.derived))
    for layer in wiring.layers:
        outputs = layer.outputs[layer.outputs != PERMANENT]
        if not len(outputs):
            continue
        if not prices.get(layer.name, 0) > 0:
            raise PlanError(
                f"The cost latency needs the time of a filter of {layer.name}, and nobody has measured it.",
                remedy="`synevo evolve` measures it; or give prices, in microseconds by layer, to synevo.evolve.",
            )
        found[outputs] = prices[layer.name]
    return np.where(found > 0, found, 1.0)


def measure(
    network: Network,
    wiring: Wiring,
    task: Task,
    examples: Examples,
    *,
    units: NDArray[np.int64] | None = None,
) -> NDArray[np.float64]:
    """Return the increase of the loss without each filter, or without each of some `units`, [units + derived].

    `wiring` is that of `network`. A unit is measured with all its arrays set to zero, as they are before compaction
    cuts it out.
    """
    units = made(wiring) if units is None else units
    found = np.zeros(wiring.units + len(wiring.derived))
    if not len(units):
        return found
    batch = jax.tree.map(jnp.asarray, first(examples, EXAMPLES))
    whole = float(_loss(network, task, [], batch))
    losses = [_loss(network, task, _presence(wiring, wiring.parts(unit)), batch) for unit in units.tolist()]
    found[units] = np.array(jax.device_get(losses), np.float64) - whole
    return found


def made(wiring: Wiring) -> NDArray[np.int64]:
    """Return the units and derived units that layers make, in order."""
    outputs = [layer.outputs[layer.outputs != PERMANENT] for layer in wiring.layers]
    return np.unique(np.concatenate([np.zeros(0, np.int64), *outputs]))


def estimate(parent: Organism, task: Task, examples: Examples) -> NDArray[np.float64]:
    """Return the increase of the loss without each filter, [units + derived], from a few backward passes."""
    anatomy, network = parent.species.anatomy, parent.network
    wiring = anatomy.wiring.restrict(parent.units)
    units, found = made(wiring), np.zeros(wiring.units + len(wiring.derived))
    if not len(units):
        return found
    inputs = task.inputs(jax.tree.map(jnp.asarray, first(examples, 1)))
    run = gated(network, anatomy, parent.units, inputs)
    if run is None:
        network = parent.whole
        run = gated(network, anatomy, np.ones_like(parent.units), inputs)
    assert run is not None, "the ancestor contracts in its own order"
    count = at_once(examples, min(BATCH, len(examples)))
    starts = range(0, min(EXAMPLES, len(examples)) // count * count, count)
    part = jax.jit(partial(_increases, run, task, units, len(found)))
    batches = (examples[np.arange(start, start + count)] for start in starts)
    parts = [part(network.arrays, batch, number) for number, batch in enumerate(batches)]
    found[units] = np.mean(np.asarray(parts, np.float64), axis=0)
    return found


def _increases(
    run: Run, task: Task, units: NDArray[np.int64], size: int, arrays: Arrays, batch: Batch, number: Array
) -> Array:
    """Return the estimated increase of the mean loss of a batch without each of the `units` [units]."""
    inputs = task.inputs(batch)
    count = len(jax.tree.leaves(inputs)[0])
    like = jax.eval_shape(run, jnp.ones(size), arrays, jax.tree.map(lambda array: array[0], inputs))
    ends = np.cumsum([leaf.size for leaf in jax.tree.leaves(like)])[:-1].tolist()

    def outputs(gates: Array, inputs: Inputs) -> Array:
        """Return the outputs for one example as a vector, with the gates [units] of the units."""
        leaves = jax.tree.leaves(as_products(run)(jnp.ones(size).at[units].set(gates), arrays, inputs))
        return jnp.concatenate([leaf.ravel().astype(jnp.float32) for leaf in leaves])

    def losses(vectors: Array) -> Array:
        """Return the loss of each example from its outputs as a vector."""
        leaves, tree = jax.tree.flatten(like)
        parts = zip(jnp.split(vectors, ends, axis=1), leaves, strict=True)
        arrays = [part.reshape(count, *leaf.shape).astype(leaf.dtype) for part, leaf in parts]
        return task.loss(jax.tree.unflatten(tree, arrays), batch)

    open_ = jnp.ones((count, len(units)))
    vectors, pull = jax.vjp(lambda gates: jax.vmap(outputs)(gates, inputs), open_)
    by = _by_outputs if vectors.shape[1] <= OUTPUTS else partial(_by_curvature, jax.random.key(number))
    return by(losses, vectors, lambda directions: pull(directions)[0])


def _by_outputs(losses: Callable[[Array], Array], vectors: Array, pull: Callable[[Array], Array]) -> Array:
    """Return the increase of the loss [units] at the outputs where each unit's slopes lead: a pass for each output."""
    examples, count = vectors.shape
    directions = jnp.broadcast_to(jnp.eye(count)[:, None], (count, examples, count))
    slopes = jax.vmap(pull)(directions)  # [outputs, examples, units]
    moved = jax.lax.map(lambda slope: losses(vectors - slope.T).mean(), jnp.moveaxis(slopes, 2, 0), batch_size=256)
    return moved - losses(vectors).mean()


def _by_curvature(
    key: Array, losses: Callable[[Array], Array], vectors: Array, pull: Callable[[Array], Array]
) -> Array:
    """Return the increase of the loss [units] to second order, -g·J + ½ J·H·J for slopes J, by random probes.

    g and H are the loss's first and second derivatives by the outputs; J·H·J is the mean of (s·J)(H·s·J) over random
    signs s (Hutchinson, 1990).
    """
    slope = jax.grad(lambda vectors: losses(vectors).sum())
    first_order = pull(slope(vectors))
    signs = jax.random.rademacher(key, (PROBES, *vectors.shape), vectors.dtype)
    bent = jax.vmap(lambda sign: jax.jvp(slope, (vectors,), (sign,))[1])(signs)
    second_order = (jax.vmap(pull)(signs) * jax.vmap(pull)(bent)).mean(axis=0)
    return (second_order / 2 - first_order).mean(axis=0)


def freed(wiring: Wiring, masks: Masks, prices: Mapping[str, int] | None = None) -> NDArray[np.int64]:
    """Return the number of living synapses that go with each unit and each derived unit, [units + derived].

    With `prices`, each synapse of an array counts as often as the price of the array says.
    """
    counts = np.zeros(wiring.units + len(wiring.derived), np.int64)
    for name, mask in masks.items():
        price = 1 if prices is None else prices[name]
        places = [_places(wiring, axis) for axis in wiring.slots[name]]
        held = {part for axis in places for part in axis}
        for part in held:
            counts[part] += price * _count(mask, places, (part,))
        for number, parts in enumerate(wiring.derived, wiring.units):
            if held.issuperset(parts):
                counts[number] += price * _count(mask, places, parts)
    return counts


def _places(wiring: Wiring, axis: NDArray[np.int64]) -> dict[int, list[int]]:
    """Return the places along an axis that belong to each unit."""
    found: dict[int, list[int]] = {}
    for place, unit in enumerate(axis.tolist()):
        for part in wiring.parts(unit):
            found.setdefault(part, []).append(place)
    return found


def _count(mask: NDArray[np.bool_], places: Sequence[dict[int, list[int]]], parts: tuple[int, ...]) -> int:
    """Count the living synapses of an array that belong to all of the parts, each on any axis."""
    whole = [np.arange(size) for size in mask.shape]
    return sum(int(mask[np.ix_(*box)].sum()) for box in _boxes(whole, places, parts))


def _boxes(
    box: list[NDArray[np.int64]], places: Sequence[dict[int, list[int]]], parts: tuple[int, ...]
) -> Iterator[list[NDArray[np.int64]]]:
    """Yield boxes of an array, none overlapping, that together hold what belongs to all of the parts."""
    if not parts:
        yield box
        return
    for axis, held in enumerate(places):
        inside = np.isin(box[axis], held.get(parts[0], []))
        if inside.any():
            yield from _boxes([*box[:axis], box[axis][inside], *box[axis + 1 :]], places, parts[1:])
            box = [*box[:axis], box[axis][~inside], *box[axis + 1 :]]


def _presence(wiring: Wiring, parts: tuple[int, ...]) -> Presence:
    """Return which places along each axis of each array hold each of the parts of a unit."""
    holding = [~np.append(wiring.fates(np.arange(wiring.units) != part), True) for part in parts]
    return [{name: tuple(held[axis] for axis in axes) for name, axes in wiring.slots.items()} for held in holding]


def without(wiring: Wiring, unit: int) -> Callable[[str, Array], Array]:
    """Return a function of the name of an array and the array, which sets to zero what belongs to a unit."""
    return partial(_zeroed, _presence(wiring, wiring.parts(unit)))


def _zeroed(presence: Presence, name: str, array: Array) -> Array:
    """Return an array with zeros at the places that hold all the parts of a unit; with all its parts for none."""
    if not presence:
        return array
    gone = jnp.ones((1,) * array.ndim, bool)
    for part in presence:
        own = jnp.zeros((1,) * array.ndim, bool)
        for axis, held in enumerate(part[name]):
            own = own | held.reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        gone = gone & own
    return array * (~gone).astype(array.dtype)


@partial(jax.jit, static_argnums=1)
def _loss(network: Network, task: Task, presence: Presence, batch: Batch) -> Array:
    """Return the mean loss of a batch, without a unit that is present so."""
    left = network.map(partial(_zeroed, presence))
    return task.loss(as_products(left)(*task.inputs(batch)), batch).mean()
