"""Training: fit a network's living synapses to a task.

One step is one pure function. How it is driven depends on the backend and is decided in `fit` alone. On an accelerator
an epoch is one scan. On a CPU the step is dispatched from Python, because convolutions inside a loop lose XLA's
multi-threaded path there (measured at 14 to 18 times slower). Examples in memory stay on the device; others are read a
batch at a time.

Dead synapses are exactly zero after every step, because the masks are applied after each update.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from synevo.errors import DivergenceError
from synevo.keys import derive
from synevo.model.network import Arrays, Network
from synevo.plan.fields import TrainingPlan
from synevo.tasks.task import Batch, Examples, InMemory, Task, first
from synevo.training import compiling, own


@dataclass(frozen=True)
class State:
    """A training in progress: its state after `epoch` epochs, with the mean loss of the last one."""

    network: Network
    optimiser: Any
    epoch: int
    loss: float

    def leaves(self) -> list[Array]:
        """Return all arrays of the state, in the order that `filled` expects."""
        leaves: list[Array] = jax.tree.leaves((self.network, self.optimiser))
        return leaves

    def filled(self, leaves: Sequence[Any], *, epoch: int) -> "State":
        """Return this state with the arrays of another one of the same shapes; ValueError where they do not fit."""
        own = self.leaves()
        if [np.shape(leaf) for leaf in leaves] != [leaf.shape for leaf in own]:
            raise ValueError("these are the arrays of another network")
        arrays = [jnp.asarray(leaf, like.dtype) for leaf, like in zip(leaves, own, strict=True)]
        network, optimiser = jax.tree.unflatten(jax.tree.structure((self.network, self.optimiser)), arrays)
        return State(network, optimiser, epoch, float("nan"))


@dataclass(frozen=True)
class _Recipe:
    """All that is constant while a network trains; hashable, so that it selects the compiled step."""

    task: Task
    plan: TrainingPlan
    steps: int
    maker: own.Maker | None


class _Constants(NamedTuple):
    """The arrays that are constant during an epoch: the living synapses, and the key of its augmentation."""

    masks: Mapping[str, Array]
    key: Array


def start(network: Network, plan: TrainingPlan, examples: Examples) -> State:
    """Return the state of a network before its first epoch on `examples`, with a fresh optimiser.

    Raises:
        TrainingError: if the plan names an optimiser of the user's own that cannot be used.
    """
    maker = own.find_maker(plan) if plan.epochs else None
    total = _steps(plan, examples) * plan.epochs
    if maker is None:
        return State(network, _adam(plan, total).init(network.parameters), 0, float("nan"))
    return State(network, own.first_state(maker, plan, total, network.parameters), 0, float("nan"))


def rehearse(network: Network, task: Task, examples: Examples, plan: TrainingPlan) -> None:
    """Try the user's own functions of a plan on shapes, without training; do nothing where it uses none.

    Raises:
        TrainingError: if one cannot be used.
    """
    if not plan.epochs:
        return
    if own.find_maker(plan) is not None:
        start(network, plan, examples)
    if plan.augment is not None:
        own.try_augment(task, plan, first(examples, plan.batch_size))


def fit(
    key: Array,
    state: State,
    task: Task,
    examples: Examples,
    plan: TrainingPlan,
    *,
    masks: Mapping[str, Any],
    scanned: bool | None = None,
) -> Iterator[State]:
    """Train from `state` to the plan's last epoch; yield the state after each epoch. Resuming from any state is exact.

    `masks` are boolean arrays by parameter name in the network's shapes; parameters without one are all alive. The next
    epoch reuses the memory of the state before it: copy what is to be kept. With `scanned`, an epoch of examples in
    memory is one compiled program; by default the backend decides.

    Raises:
        DivergenceError: when the loss is no longer finite.
        TrainingError: if the plan names an optimiser of the user's own that cannot be used.
    """
    size = min(plan.batch_size, len(examples))
    recipe = _Recipe(task, plan, _steps(plan, examples), own.find_maker(plan))
    source = InMemory(jax.tree.map(jnp.asarray, examples.arrays)) if isinstance(examples, InMemory) else examples
    if scanned is None:
        scanned = jax.default_backend() != "cpu" and isinstance(source, InMemory)
    alive = {name: jnp.asarray(mask) for name, mask in masks.items()}
    network, optimiser = state.network, state.optimiser
    for epoch in range(state.epoch, plan.epochs):
        epoch_key = derive(key, "epoch", epoch)
        order = jax.random.permutation(derive(epoch_key, "order"), len(examples))
        places = order[: recipe.steps * size].reshape(recipe.steps, size)
        constants = _Constants(alive, derive(epoch_key, "augmentation"))
        drive = _scanned if scanned else _dispatched
        network, optimiser, loss = drive(recipe, network, optimiser, constants, source, places)
        if not np.isfinite(loss):
            raise DivergenceError(
                f"The loss was {loss} in epoch {epoch + 1}.",
                remedy=f"Lower the learning rate, for example --set training.learning_rate={plan.learning_rate / 4:g}.",
            )
        yield State(network, optimiser, epoch + 1, loss)


def _dispatched(
    recipe: _Recipe, network: Network, optimiser: Any, constants: _Constants, examples: Examples, places: Array
) -> tuple[Network, Any, float]:
    """Train for one epoch on the examples at `places` [steps, batch], a step at a time; also return its mean loss."""
    resident = isinstance(examples, InMemory)
    step, total = _compiled(resident=resident), jnp.zeros(())
    for number, batch in enumerate(np.asarray(places)):
        source = (examples.arrays, batch) if isinstance(examples, InMemory) else examples[batch]
        network, optimiser, loss = step(recipe, network, optimiser, constants, source, number)
        total = total + loss
    return network, optimiser, float(total) / len(places)


def _scanned(
    recipe: _Recipe, network: Network, optimiser: Any, constants: _Constants, examples: Any, places: Array
) -> tuple[Network, Any, float]:
    """Train for one epoch on the examples at `places` [steps, batch], as one program; also return its mean loss."""
    network, optimiser, losses = _scan(recipe, network, optimiser, constants, examples.arrays, places)
    return network, optimiser, float(losses.mean())


def _steps(plan: TrainingPlan, examples: Examples) -> int:
    """Return the number of steps of an epoch."""
    return len(examples) // min(plan.batch_size, len(examples))


def _optimiser(recipe: _Recipe) -> optax.GradientTransformationExtraArgs:
    total = recipe.steps * recipe.plan.epochs
    if recipe.maker is not None:
        return own.make(recipe.maker, recipe.plan, total)
    return optax.with_extra_args_support(_adam(recipe.plan, total))


def _adam(plan: TrainingPlan, total: int) -> optax.GradientTransformation:
    """Return Adam for a training of `total` steps, with the schedule and the weight decay of the plan."""
    peak, total = plan.learning_rate, max(2, total)  # Optax's schedule needs at least 2 steps
    schedule = optax.constant_schedule(peak)
    if plan.schedule == "cosine":
        schedule = optax.warmup_cosine_decay_schedule(peak * 0.1, peak, max(1, total // 20), total, peak * 0.01)
    if plan.weight_decay:
        return optax.adamw(schedule, weight_decay=plan.weight_decay, mask=_is_matrix)
    return optax.adam(schedule)


def _is_matrix(parameters: Arrays) -> dict[str, bool]:
    return {name: array.ndim > 1 for name, array in parameters.items()}


def _step(
    recipe: _Recipe, network: Network, optimiser: Any, constants: _Constants, batch: Batch, number: Array
) -> tuple[Network, Any, Array]:
    """Take step `number` of an epoch, on a batch; return the network and optimiser after it, and its loss."""
    task, key = recipe.task, jax.random.fold_in(constants.key, number)
    batch = task.augment(derive(key, "augment"), batch)

    def loss_of(parameters: Arrays) -> tuple[Array, Network]:
        candidate = replace(network, parameters=parameters)
        outputs, updated = candidate.train(derive(key, "dropout"), *task.inputs(batch))
        return task.loss(outputs, batch).mean(), updated

    (loss, updated), gradient = jax.value_and_grad(loss_of, has_aux=True)(network.parameters)
    alive = constants.masks
    if recipe.maker is not None:  # an optimiser that looks at the whole gradient, such as at its norm, sees the living
        gradient = _masked(gradient, alive)
    updates, optimiser = _optimiser(recipe).update(gradient, optimiser, network.parameters, value=loss)
    parameters = optax.apply_updates(network.parameters, updates)
    parameters = _masked(parameters, alive)  # masking the update itself would round living synapses differently
    return replace(network, parameters=parameters, statistics=updated.statistics), optimiser, loss


def _masked(arrays: Arrays, alive: Mapping[str, Array]) -> dict[str, Array]:
    """Return arrays by name, with zeros for what is dead."""
    return {name: jnp.where(alive[name], array, 0) if name in alive else array for name, array in arrays.items()}


def _resident_step(
    recipe: _Recipe, network: Network, optimiser: Any, constants: _Constants, source: tuple[Batch, Array], number: Array
) -> tuple[Network, Any, Array]:
    """Take a `_step` on some examples of arrays that are on the device: `source` is the arrays and the places."""
    arrays, places = source
    batch = jax.tree.map(lambda array: array[places], arrays)
    return _step(recipe, network, optimiser, constants, batch, number)


@cache
def _compiled(*, resident: bool) -> Any:
    """Compile the step with the options for a CPU; it reuses the memory of network and optimiser."""
    step = _resident_step if resident else _step
    return jax.jit(step, static_argnums=0, donate_argnums=(1, 2), compiler_options=compiling.options())


@partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def _scan(
    recipe: _Recipe, network: Network, optimiser: Any, constants: _Constants, arrays: Batch, places: Array
) -> tuple[Network, Any, Array]:
    bits, impl = jax.random.key_data(constants.key), jax.random.key_impl(constants.key)

    def body(carry: tuple[Network, Any], item: tuple[Array, Array]) -> tuple[tuple[Network, Any], Array]:
        own = constants._replace(key=jax.random.wrap_key_data(bits, impl=impl))  # a loop's key counts as used up
        network, optimiser, loss = _resident_step(recipe, *carry, own, (arrays, item[0]), item[1])
        return (network, optimiser), loss

    (network, optimiser), losses = jax.lax.scan(body, (network, optimiser), (places, jnp.arange(len(places))))
    return network, optimiser, losses
