"""Training: fit a network's living synapses, and score it.

One step is one pure function. How it is driven depends on the backend and is decided in `drive` alone: on an
accelerator an epoch is one scan; on a CPU the step is dispatched from Python, because convolutions inside a loop lose
XLA's multi-threaded path there (measured at 14 to 18 times slower).

Dead synapses are exactly zero after every step: the optimiser starts fresh and its updates are masked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from synevo.model.network import Blueprint, Network, forward, forward_training, normalise
from synevo.plan.fields import TrainingPlan
from synevo.tasks.images import Dataset, Images
from synevo.training import compiling

EVALUATION_BATCH = 256


@dataclass(frozen=True)
class State:
    """A training in progress: after `epoch` epochs, with the mean loss of the last one."""

    network: Network
    optimiser: Any
    epoch: int
    loss: float

    def leaves(self) -> list[Array]:
        """All arrays of the state, in an order that `filled` knows."""
        leaves: list[Array] = jax.tree.leaves((self.network, self.optimiser))
        return leaves

    def filled(self, leaves: Sequence[Any], *, epoch: int) -> "State":
        """This state with the arrays of another one of its shapes; ValueError where they do not fit."""
        own = self.leaves()
        if [np.shape(leaf) for leaf in leaves] != [leaf.shape for leaf in own]:
            raise ValueError("these are the arrays of another network")
        arrays = [jnp.asarray(leaf, like.dtype) for leaf, like in zip(leaves, own, strict=True)]
        network, optimiser = jax.tree.unflatten(jax.tree.structure((self.network, self.optimiser)), arrays)
        return State(network, optimiser, epoch, float("nan"))


@dataclass(frozen=True)
class _Recipe:
    """All that is constant while a network trains; hashable, so that it selects the compiled step."""

    blueprint: Blueprint
    plan: TrainingPlan
    steps: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam with a warm-up of 5 % of all steps and a cosine decay to 1 % of the peak."""
        peak, total = self.plan.learning_rate, self.steps * self.plan.epochs
        schedule = optax.warmup_cosine_decay_schedule(peak * 0.1, peak, max(1, total // 20), total, peak * 0.01)
        if self.plan.weight_decay:
            return optax.adamw(schedule, weight_decay=self.plan.weight_decay, mask=_is_matrix)
        return optax.adam(schedule)


class _School(NamedTuple):
    """What stays as it is while a network trains: images, what is known of them, and the living synapses."""

    pixels: Array
    labels: Array
    lessons: Array | None
    masks: dict[str, Array]


def start(network: Network, dataset: Dataset, plan: TrainingPlan, blueprint: Blueprint) -> State:
    """A network before its first epoch, with a fresh optimiser."""
    optimiser = _recipe(blueprint, dataset, plan).optimiser.init(network.parameters)
    return State(network, optimiser, 0, float("nan"))


def fit(
    key: Array,
    blueprint: Blueprint,
    state: State,
    masks: dict[str, Any],
    dataset: Dataset,
    plan: TrainingPlan,
    lessons: NDArray[np.float32] | None = None,
) -> Iterator[State]:
    """Train from `state` to the plan's last epoch, yielding the state after each; resuming from any is exact.

    `masks` are boolean arrays by parameter name in the network's shapes; parameters without one are all alive.
    `lessons` are a teacher's logits [images, classes] for the training images, for a plan that distils; an augmented
    image has the lesson of its original. The next epoch reuses the memory of the state before it: copy what is to be
    kept.

    Raises:
        DivergenceError: when the loss is no longer finite.
    """
    recipe = _recipe(blueprint, dataset, plan)
    school = _School(
        jnp.asarray(dataset.train.pixels),
        jnp.asarray(dataset.train.labels),
        jnp.asarray(lessons) if lessons is not None and plan.distillation else None,
        {name: jnp.asarray(mask) for name, mask in masks.items()},
    )
    network, optimiser = state.network, state.optimiser
    for epoch in range(state.epoch, plan.epochs):
        epoch_key = derive(key, "epoch", epoch)
        order = jax.random.permutation(derive(epoch_key, "order"), len(dataset.train))
        batches = order[: recipe.steps * _batch_size(plan, dataset)].reshape(recipe.steps, -1)
        network, optimiser, loss = drive(recipe, network, optimiser, school, batches, derive(epoch_key, "augmentation"))
        if not np.isfinite(loss):
            raise DivergenceError(
                f"The loss was {loss} in epoch {epoch + 1}.",
                remedy=f"Lower the learning rate, for example --set training.learning_rate={plan.learning_rate / 4:g}.",
            )
        yield State(network, optimiser, epoch + 1, loss)


def drive(
    recipe: _Recipe, network: Network, optimiser: Any, school: _School, batches: Array, key: Array
) -> tuple[Network, Any, float]:
    """One epoch over `batches` of image numbers [steps, batch], and its mean loss."""
    if jax.default_backend() != "cpu":
        network, optimiser, losses = _scan(recipe, network, optimiser, school, batches, key)
        return network, optimiser, float(losses.mean())
    step, total = _dispatch(), jnp.zeros(())
    for number, batch in enumerate(np.asarray(batches)):
        network, optimiser, loss = step(recipe, network, optimiser, school, batch, key, number)
        total = total + loss
    return network, optimiser, float(total) / len(batches)


def accuracy(blueprint: Blueprint, network: Network, images: Images, dataset: Dataset) -> float:
    """The share of `images` that a network classifies correctly."""
    right = int((predict(blueprint, network, images, dataset) == images.labels).sum())
    return right / len(images)


def predict(blueprint: Blueprint, network: Network, images: Images, dataset: Dataset) -> NDArray[np.int32]:
    """The class [n] that a network gives each image."""
    return answer(blueprint, network, images, dataset).argmax(axis=1).astype(np.int32)


def answer(blueprint: Blueprint, network: Network, images: Images, dataset: Dataset) -> NDArray[np.float32]:
    """The logits [n, classes] that a network gives each image."""
    parts = []
    for first in range(0, len(images), EVALUATION_BATCH):
        pixels = images.pixels[first : first + EVALUATION_BATCH]
        padded = np.pad(pixels, ((0, EVALUATION_BATCH - len(pixels)), (0, 0), (0, 0), (0, 0)))
        logits = _answer(blueprint, network, padded, dataset.mean, dataset.deviation)
        parts.append(np.asarray(logits)[: len(pixels)])
    return np.concatenate(parts)


@partial(jax.jit, static_argnums=(0, 3, 4))
def _answer(
    blueprint: Blueprint, network: Network, pixels: Array, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> Array:
    return forward(blueprint, network, normalise(pixels, mean, deviation))


def augment(key: Array, pixels: Array, *, shift: int, flip: bool) -> Array:
    """Images [n, height, width, channels], each moved by up to `shift` pixels and mirrored with probability ½."""
    if shift:
        padded = jnp.pad(pixels, ((0, 0), (shift, shift), (shift, shift), (0, 0)))
        corners = jax.random.randint(derive(key, "shift"), (len(pixels), 2), 0, 2 * shift + 1)

        def crop(image: Array, corner: Array) -> Array:
            return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), pixels.shape[1:])

        pixels = jax.vmap(crop)(padded, corners)
    if flip:
        mirrored = jax.random.bernoulli(derive(key, "flip"), shape=(len(pixels), 1, 1, 1))
        pixels = jnp.where(mirrored, pixels[:, :, ::-1], pixels)
    return pixels


def distil(logits: Array, lesson: Array, *, temperature: float) -> Array:
    """T² · KL(lesson || answer) of logits [n, classes] softened by T, the mean over images (arXiv 1503.02531)."""
    answer, wanted = (jax.nn.log_softmax(values / temperature) for values in (logits, lesson))
    return temperature**2 * (jnp.exp(wanted) * (wanted - answer)).sum(axis=-1).mean()


def _recipe(blueprint: Blueprint, dataset: Dataset, plan: TrainingPlan) -> _Recipe:
    steps = len(dataset.train) // _batch_size(plan, dataset)
    return _Recipe(blueprint, plan, steps, dataset.mean, dataset.deviation)


def _batch_size(plan: TrainingPlan, dataset: Dataset) -> int:
    return min(plan.batch_size, len(dataset.train))


def _is_matrix(parameters: dict[str, Array]) -> dict[str, bool]:
    return {name: array.ndim > 1 for name, array in parameters.items()}


def _step(
    recipe: _Recipe, network: Network, optimiser: Any, school: _School, batch: Array, key: Array, number: Array
) -> tuple[Network, Any, Array]:
    """Step `number` of an epoch, on the images of `batch` [n]: the network and optimiser after it, and its loss."""
    key = jax.random.fold_in(key, number)
    labels = school.labels[batch]
    pixels = augment(derive(key, "augment"), school.pixels[batch], shift=recipe.plan.shift, flip=recipe.plan.flip)
    x = normalise(pixels, recipe.mean, recipe.deviation)

    def loss_of(parameters: dict[str, Array]) -> tuple[Array, Network]:
        candidate = Network(parameters, network.statistics)
        logits, updated = forward_training(recipe.blueprint, candidate, x, derive(key, "dropout"))
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
        if school.lessons is not None:
            lesson = distil(logits, school.lessons[batch], temperature=recipe.plan.temperature)
            loss = (1 - recipe.plan.distillation) * loss + recipe.plan.distillation * lesson
        return loss, updated

    (loss, updated), gradient = jax.value_and_grad(loss_of, has_aux=True)(network.parameters)
    updates, optimiser = recipe.optimiser.update(gradient, optimiser, network.parameters)
    parameters = optax.apply_updates(network.parameters, updates)
    alive = school.masks
    parameters = {name: jnp.where(alive[name], p, 0) if name in alive else p for name, p in parameters.items()}
    return Network(parameters, updated.statistics), optimiser, loss


@cache
def _dispatch() -> Any:
    return jax.jit(_step, static_argnums=0, donate_argnums=(1, 2), compiler_options=compiling.options())


@partial(jax.jit, static_argnums=0, donate_argnums=(1, 2))
def _scan(
    recipe: _Recipe, network: Network, optimiser: Any, school: _School, batches: Array, key: Array
) -> tuple[Network, Any, Array]:
    def body(carry: tuple[Network, Any], item: tuple[Array, Array]) -> tuple[tuple[Network, Any], Array]:
        network, optimiser, loss = _step(recipe, *carry, school, item[0], key, item[1])
        return (network, optimiser), loss

    (network, optimiser), losses = jax.lax.scan(body, (network, optimiser), (batches, jnp.arange(len(batches))))
    return network, optimiser, losses
