"""Training: fit a network's living synapses to a task.

One step is one pure function. How it is driven depends on the backend and is decided in `fit` alone. On an accelerator
an epoch is one scan. On a CPU the step is dispatched from Python, because convolutions inside a loop lose XLA's
multi-threaded path there (measured at 14 to 18 times slower). Examples in memory stay on the device; others are read
ahead of the step, a batch at a time. The order is a function of the key and the epoch, and what augmentation does to an
example one of the key, the epoch and its place in that order; so an epoch may be left, and gone on with, at any step.
On several devices, the step is the same function of the whole batch (`synevo.training.placement`).

Dead synapses are exactly zero after every step, because the masks are applied after each update.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from numpy.typing import NDArray

from synevo.errors import DivergenceError
from synevo.keys import derive
from synevo.model.network import Arrays, Network
from synevo.model.rewriting import as_products, kinds
from synevo.plan.fields import TrainingPlan
from synevo.tasks.task import Batch, Examples, InMemory, Task, first
from synevo.training import compiling, own
from synevo.training.placement import Placement, here, placement
from synevo.training.precision import in_bfloat16
from synevo.training.reading import batches


@dataclass(frozen=True)
class State:
    """A training in progress: its state after `epoch` epochs and `step` steps of the next one.

    `loss` is the mean loss of the last epoch; within an epoch, it is the sum over its steps so far.
    """

    network: Network
    optimiser: Any
    epoch: int
    loss: float
    step: int = 0

    def leaves(self) -> list[Array]:
        """Return all arrays of the state, each whole, in the order that `filled` expects."""
        leaves: list[Array] = jax.tree.leaves(here((self.network, self.optimiser)))
        return leaves

    def filled(self, leaves: Sequence[Any], *, epoch: int, step: int = 0, loss: float = float("nan")) -> "State":
        """Return this state with the arrays of another one of the same shapes; ValueError where they do not fit."""
        own = self.leaves()
        if [np.shape(leaf) for leaf in leaves] != [leaf.shape for leaf in own]:
            raise ValueError("these are the arrays of another network")
        arrays = [jnp.asarray(leaf, like.dtype) for leaf, like in zip(leaves, own, strict=True)]
        network, optimiser = jax.tree.unflatten(jax.tree.structure((self.network, self.optimiser)), arrays)
        return State(network, optimiser, epoch, loss, step)


@dataclass(frozen=True)
class _Recipe:
    """All that is constant while a network trains; hashable, so that it selects the compiled step."""

    task: Task
    plan: TrainingPlan
    steps: int
    maker: own.Maker | None
    placement: Placement


class _Constants(NamedTuple):
    """What is constant during an epoch: the living synapses, the key of its augmentation, and a teacher to ask."""

    masks: Mapping[str, Array]
    key: Array
    teacher: Network | None


def start(network: Network, plan: TrainingPlan, examples: Examples) -> State:
    """Return the state of a network before its first epoch on `examples`, with a fresh optimiser.

    Raises:
        TrainingError: if the plan names an optimiser of the user's own that cannot be used.
    """
    maker = own.find_maker(plan) if plan.epochs else None
    total = _steps(plan, examples) * plan.epochs
    if maker is None:
        return State(network, _at_rest(plan.weight_decay > 0, network.parameters), 0, float("nan"))
    return State(network, own.first_state(maker, plan, total, network.parameters), 0, float("nan"))


def rehearse(network: Network, task: Task, examples: Examples, plan: TrainingPlan) -> None:
    """Try the devices and the user's own functions of a plan, these on shapes, without training.

    Raises:
        PlanError: if there are fewer devices, or a batch cannot be shared equally among them.
        TrainingError: if a function cannot be used.
    """
    if not plan.epochs:
        return
    placed(plan, examples)
    if own.find_maker(plan) is not None:
        start(network, plan, examples)
    if plan.augment is not None:
        own.try_augment(task, plan, first(examples, plan.batch_size))


def placed(plan: TrainingPlan, examples: Examples) -> Placement:
    """Return where a plan trains on examples; errors of the plan as in `rehearse`."""
    found = placement(plan.devices, shard=plan.shard)
    if found.parts > 1:
        found.require_shares(min(plan.batch_size, len(examples)))
    return found


def fit(
    key: Array,
    state: State,
    task: Task,
    examples: Examples,
    plan: TrainingPlan,
    *,
    masks: Mapping[str, Any],
    teacher: Network | None = None,
    scanned: bool | None = None,
    pause: int | None = None,
) -> Iterator[State]:
    """Train from `state` to the plan's last epoch; yield the state after each epoch. Resuming from any state is exact.

    `masks` are boolean arrays by parameter name in the network's shapes; parameters without one are all alive. The next
    step reuses the memory of the state before it: copy what is to be kept. A `teacher` answers augmented batches of a
    distilled task, whose examples are then taught nothing but `ASKED`. With `scanned`, an epoch of examples in
    memory is one compiled program; by default the backend decides. Other epochs also yield the state within them, every
    `pause` steps.

    Raises:
        DivergenceError: when the loss is no longer finite.
        PlanError: if there are fewer devices than the plan asks for, or a batch cannot be shared equally among them.
        TrainingError: if the plan names an optimiser of the user's own that cannot be used.
    """
    compiling.forget_programs(sum(array.size for array in state.network.arrays.values()))
    size, place = min(plan.batch_size, len(examples)), placed(plan, examples)
    place.meet()
    place.require_free(state.network, *task.inputs(first(examples, 1)))
    recipe = _Recipe(task, plan, _steps(plan, examples), own.find_maker(plan), place)
    source = InMemory(place.whole(examples.arrays)) if isinstance(examples, InMemory) else examples
    if scanned is None:
        scanned = jax.default_backend() != "cpu" and isinstance(source, InMemory)
    alive, teacher = place.whole(dict(masks)), place.put(teacher)
    state = replace(state, network=place.put(state.network), optimiser=place.put(state.optimiser))
    for epoch in range(state.epoch, plan.epochs):
        epoch_key = derive(key, "epoch", epoch)
        order = jax.random.permutation(derive(epoch_key, "order"), len(examples))
        places = order[: recipe.steps * size].reshape(recipe.steps, size)
        constants = _Constants(alive, place.put(derive(epoch_key, "augmentation")), teacher)
        if scanned and not state.step:
            state = _scanned(recipe, state, constants, source, places)
        else:
            for state in _dispatched(recipe, state, constants, source, places, pause or recipe.steps):  # noqa: B020
                if state.step:
                    yield state
        if not np.isfinite(state.loss):
            raise DivergenceError(
                f"The loss was {state.loss} in epoch {epoch + 1}.",
                remedy=f"Lower the learning rate, for example --set training.learning_rate={plan.learning_rate / 4:g}.",
            )
        yield state


def _dispatched(
    recipe: _Recipe, state: State, constants: _Constants, examples: Examples, places: Array, pause: int
) -> Iterator[State]:
    """Take the steps that are left of an epoch on the examples at `places` [steps, batch], one at a time.

    Yields the state every `pause` steps, and after the last one. At most two steps on examples that are not in memory
    wait for the device, so that their batches do not pile up.
    """
    network, optimiser, total = state.network, state.optimiser, jnp.zeros(()) + (state.loss if state.step else 0)
    resident = isinstance(examples, InMemory)
    step, before = None, total
    with _sources(examples, np.asarray(places)[state.step :], recipe.placement) as sources:
        for number, source in enumerate(sources, start=state.step):
            step = step or _compiled(resident=resident, table=_options(recipe, network, source, resident=resident))
            network, optimiser, loss = step(recipe, network, optimiser, constants, source, number)
            total = total + loss
            if not resident:
                jax.block_until_ready(before)
                before = loss
            if (number + 1) % pause == 0 and number + 1 < len(places):
                yield State(network, optimiser, state.epoch, float(total), number + 1)
    yield State(network, optimiser, state.epoch + 1, float(total) / len(places))


@contextmanager
def _sources(examples: Examples, places: NDArray[np.intp], place: Placement) -> Iterator[Iterator[Any]]:
    """Give an iterator over what each step is given: a batch, or arrays on the devices and the places in them."""
    if isinstance(examples, InMemory):
        yield ((examples.arrays, batch) for batch in places)
        return
    with batches(examples, [place.own(batch) for batch in places]) as read:
        yield map(place.assemble, read)


def _scanned(recipe: _Recipe, state: State, constants: _Constants, examples: Any, places: Array) -> State:
    """Return the state after an epoch on the examples at `places` [steps, batch], as one program."""
    own, spread = (state.network, state.optimiser), recipe.placement.whole(places)
    network, optimiser, losses = _scan(recipe, *own, constants, examples.arrays, spread)
    return State(network, optimiser, state.epoch + 1, float(losses.mean()))


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


def _at_rest(decays: bool, parameters: Arrays) -> Any:  # noqa: FBT001
    """Return the state of Adam before its first step, all zeros; it depends on no other part of the plan.

    Nothing is compiled for it, as a program would be for each generation's shapes.
    """
    shapes = jax.eval_shape(_adam(TrainingPlan(weight_decay=float(decays)), 1).init, parameters)
    return jax.tree.map(lambda like: jnp.array(np.zeros(like.shape, like.dtype)), shapes)


def _is_matrix(parameters: Arrays) -> dict[str, bool]:
    return {name: array.ndim > 1 for name, array in parameters.items()}


def _step(
    recipe: _Recipe, network: Network, optimiser: Any, constants: _Constants, batch: Batch, number: Array
) -> tuple[Network, Any, Array]:
    """Take step `number` of an epoch, on a batch; return the network and optimiser after it, and its loss."""
    task, key = recipe.task, jax.random.fold_in(constants.key, number)
    batch = task.augment(derive(key, "augment"), batch)
    if constants.teacher is not None:
        batch = batch._replace(answers=_form(recipe, constants.teacher)(*task.inputs(batch)))

    def train(candidate: Network, *inputs: Any) -> tuple[Any, Network]:
        return candidate.train(derive(key, "dropout"), *inputs)

    run = in_bfloat16(train) if recipe.plan.precision == "bfloat16" else _form(recipe, train)

    def loss_of(parameters: Arrays) -> tuple[Array, Network]:
        outputs, updated = run(replace(network, parameters=parameters), *task.inputs(batch))
        return task.loss(outputs, batch).mean(), updated

    (loss, updated), gradient = jax.value_and_grad(loss_of, has_aux=True)(network.parameters)
    alive = constants.masks
    if recipe.maker is not None:  # an optimiser that looks at the whole gradient, such as at its norm, sees the living
        gradient = _masked(gradient, alive)
    updates, optimiser = _optimiser(recipe).update(gradient, optimiser, network.parameters, value=loss)
    parameters = optax.apply_updates(network.parameters, updates)
    parameters = _masked(parameters, alive)  # masking the update itself would round living synapses differently
    network = replace(network, parameters=parameters, statistics=updated.statistics)
    network, optimiser = recipe.placement.keep((network, optimiser))
    return network, optimiser, recipe.placement.gather(loss)


def _form(recipe: _Recipe, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function in the form that the plan asks for."""
    return as_products(function) if recipe.plan.convolutions == "products" else function


def _masked(arrays: Arrays, alive: Mapping[str, Array]) -> dict[str, Array]:
    """Return arrays by name, with zeros for what is dead."""
    return {name: jnp.where(alive[name], array, 0) if name in alive else array for name, array in arrays.items()}


def _resident_step(
    recipe: _Recipe, network: Network, optimiser: Any, constants: _Constants, source: tuple[Batch, Array], number: Array
) -> tuple[Network, Any, Array]:
    """Take a `_step` on some examples of arrays that are on the device: `source` is the arrays and the places."""
    return _step(recipe, network, optimiser, constants, recipe.placement.spread(_taken(*source)), number)


def _taken(arrays: Batch, places: Array) -> Batch:
    """Return the examples at some places of arrays."""
    return jax.tree.map(lambda array: array[places], arrays)


def _options(recipe: _Recipe, network: Network, source: Any, *, resident: bool) -> compiling.Table:
    """Return the options that suit the products in a step."""
    if recipe.plan.convolutions != "products" or recipe.plan.precision != "float32":
        return compiling.OWN_CONVOLUTIONS
    batch = jax.eval_shape(_taken, *source) if resident else source
    rewritten = kinds(_outputs.trace(recipe, network, batch).jaxpr)
    return compiling.OWN_SUMS if "depthwise" in rewritten else compiling.OWN_CONVOLUTIONS


@partial(jax.jit, static_argnums=0)
def _outputs(recipe: _Recipe, network: Network, batch: Batch) -> Any:
    """Run a network as a step does; it is only traced, and that once for each program."""
    batch = recipe.task.augment(jax.random.key(0), batch)
    return network.train(jax.random.key(0), *recipe.task.inputs(batch))


@cache
def _compiled(*, resident: bool, table: compiling.Table) -> Any:
    """Compile the step with these options for a CPU; it reuses the memory of network and optimiser."""
    step = _resident_step if resident else _step
    return jax.jit(step, static_argnums=0, donate_argnums=(1, 2), compiler_options=compiling.options(table))


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
