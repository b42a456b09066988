"""An optimiser and an augmentation of one's own: they are used to the bit, and what is wrong with them is said."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import Array
from specimens import line_of, random_masks, sketch, specimen
from test_training import copy, same, train

from synevo import keys
from synevo.errors import TrainingError
from synevo.model.network import Network
from synevo.plan.fields import TrainingPlan
from synevo.tasks.classification import moved
from synevo.tasks.distillation import Taught, distilled, taught
from synevo.tasks.task import Batch, InMemory, Problem
from synevo.training import own
from synevo.training.evaluation import outputs_of
from synevo.training.fit import State, fit, rehearse, start
from synevo.training.teaching import as_trained
from synevo.wiring import masks
from synevo.wiring.masks import Masks

pytestmark = pytest.mark.slow

ASKED: list[tuple[float, int]] = []


def restless(learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Momentum, weight decay, noise and a state that is the parameters themselves: all that could revive the dead."""
    ASKED.append((learning_rate, steps))
    schedule = optax.linear_schedule(learning_rate, 0.0, steps)
    return optax.chain(remembering(), optax.lion(schedule, weight_decay=0.1))


def remembering() -> optax.GradientTransformation:
    """Draws parameters away from where they were at first, by random amounts; it keeps that twice, and a key."""

    def update(updates: Any, state: Any, parameters: Any) -> Any:
        at, again, key = state
        key, own = jax.random.split(key)
        far = jax.random.uniform(own)
        return jax.tree.map(lambda u, p, a: u + 0.01 * (p - a + far), updates, parameters, at), (at, again, key)

    return optax.GradientTransformation(lambda parameters: (parameters, parameters, jax.random.key(3)), update)


def plain(learning_rate: float, steps: int) -> optax.GradientTransformation:
    del steps
    return optax.sgd(learning_rate)


def clipped(learning_rate: float, steps: int) -> optax.GradientTransformation:
    del steps
    return optax.chain(optax.clip_by_global_norm(0.01), optax.sgd(learning_rate))


def waiting(learning_rate: float, steps: int) -> optax.GradientTransformation:
    del steps
    return optax.chain(optax.sgd(learning_rate), optax.contrib.reduce_on_plateau(patience=1))


def named(name: str, **fields: Any) -> TrainingPlan:
    usual = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-2, "optimiser": f"{__name__}:{name}"}
    return TrainingPlan(**usual | fields)


Small: Any = sketch(lambda model, x: model.second(nnx.relu(model.first(x))), first=16, second=0)


@pytest.fixture(scope="module")
def alive() -> Masks:
    return random_masks(specimen(Small), 0.6, 1)


@pytest.fixture(scope="module")
def sparse(alive: Masks) -> Network:
    return masks.apply(alive, specimen(Small).network)


@pytest.fixture(scope="module")
def states(digits: Problem, alive: Masks, sparse: Network) -> list[State]:
    ASKED.clear()
    return train(sparse, digits, alive, named("restless"))


def test_an_optimiser_is_made_for_the_rate_and_the_steps_of_its_training(states: list[State]) -> None:
    assert len(states) == 2
    assert set(ASKED) == {(1e-2, 2 * 256 // 16)}


def test_whatever_an_optimiser_does_the_dead_stay_exactly_zero_and_the_living_move(
    states: list[State], alive: Masks, sparse: Network
) -> None:
    for state in states:
        for name, mask in alive.items():
            trained = np.asarray(state.network.parameters[name])
            assert (trained[~mask] == 0).all()
            assert (trained[mask] != np.asarray(sparse.parameters[name])[mask]).mean() > 0.9


def test_a_training_goes_on_with_its_optimiser_as_if_it_had_never_stopped(
    digits: Problem, alive: Masks, sparse: Network, states: list[State]
) -> None:
    plan = named("restless")
    kept = [
        leaf if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else np.asarray(leaf) for leaf in states[0].leaves()
    ]
    begun = start(copy(sparse), plan, digits.train).filled(kept, epoch=1)
    (last,) = train(sparse, digits, alive, plan, state=begun)
    assert same(last.network, states[-1].network)
    assert last.loss == states[-1].loss


def test_as_one_program_an_own_optimiser_trains_the_same_but_for_rounding(
    digits: Problem, alive: Masks, sparse: Network
) -> None:
    plan = named("waiting", epochs=1)
    one, other = (train(sparse, digits, alive, plan, scanned=scanned)[-1] for scanned in (False, True))
    for name, array in one.network.parameters.items():
        np.testing.assert_allclose(array, other.network.parameters[name], atol=1e-5)


def test_the_norm_of_a_gradient_is_that_of_the_living(digits: Problem, alive: Masks, sparse: Network) -> None:
    plan = named("clipped", epochs=1, batch_size=256, learning_rate=1.0)
    (state,) = train(sparse, digits, alive, plan)
    steps = [
        np.asarray(array, np.float64) - np.asarray(sparse.parameters[name], np.float64)
        for name, array in state.network.parameters.items()
    ]
    assert np.sqrt(sum((step**2).sum() for step in steps)) == pytest.approx(0.01, rel=1e-3)


def test_a_schedule_of_one_s_own_may_follow_the_loss(digits: Problem, alive: Masks, sparse: Network) -> None:
    *_, state = train(sparse, digits, alive, named("waiting", learning_rate=1e-6, epochs=3))
    scale = state.optimiser[-1].scale
    assert scale < 1


def test_a_constant_rate_is_the_peak_from_the_first_step_to_the_last(digits: Problem, sparse: Network) -> None:
    plan = TrainingPlan(epochs=1, batch_size=256, learning_rate=1e-3, schedule="constant")
    (state,) = train(sparse, digits, {}, plan)
    steps = [np.abs(np.asarray(a) - np.asarray(sparse.parameters[n])) for n, a in state.network.parameters.items()]
    assert max(step.max() for step in steps) == pytest.approx(1e-3, rel=1e-2)  # the first step of Adam is the rate


# Augmentation


def darker(key: Array, batch: Batch) -> Batch:
    factors = jax.random.uniform(key, (len(batch["image"]), 1, 1, 1), minval=0.5)
    return {**batch, "image": batch["image"] * factors}


def blank(key: Array, batch: Batch) -> Batch:
    del key
    return {**batch, "image": jnp.zeros_like(batch["image"])}


class Blank:
    """A callable that cannot be hashed."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __call__(self, key: Array, batch: Batch) -> Batch:
        return blank(key, batch)


UNHASHABLE = Blank()


def augmenting(name: str) -> TrainingPlan:
    return TrainingPlan(epochs=1, batch_size=64, augment=f"{__name__}:{name}")


@pytest.mark.parametrize("name", ["blank", "UNHASHABLE"])
def test_a_network_is_trained_on_the_images_that_an_augmentation_returns(
    digits: Problem, sparse: Network, name: str
) -> None:
    images = digits.train.arrays["image"]  # type: ignore[attr-defined]
    dark = digits._replace(train=InMemory({**digits.train.arrays, "image": np.zeros_like(images)}))  # type: ignore[attr-defined]
    plan = augmenting(name)
    (expected,) = train(sparse, dark, {}, plan.model_copy(update={"augment": None}))
    (found,) = train(sparse, digits._replace(task=own.augmented(digits.task, plan)), {}, plan)
    assert same(found.network, expected.network)


def test_an_augmentation_follows_the_built_in_ones_and_is_drawn_anew_for_every_step(digits: Problem) -> None:
    batch = jax.tree.map(jnp.asarray, digits.train[np.arange(8)])
    task = own.augmented(moved(digits.task, shift=1, flip=False), augmenting("darker"))
    one, other = (task.augment(keys.root(seed), batch)["image"] for seed in (0, 1))
    assert (np.asarray(one) != np.asarray(other)).any()
    moves = moved(digits.task, shift=1, flip=False).augment(keys.root(0), batch)["image"]
    ratio = np.asarray(one)[np.asarray(moves) > 0] / np.asarray(moves)[np.asarray(moves) > 0]
    assert ratio.min() >= 0.5
    assert ratio.max() <= 1
    assert own.augmented(digits.task, augmenting("darker")) == own.augmented(digits.task, augmenting("darker"))


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_lineage_trains_on_what_is_augmented(digits: Problem, share: float) -> None:
    plan = augmenting("blank").model_copy(update={"distillation": share})
    batch: Any = jax.tree.map(jnp.asarray, digits.train[np.arange(8)])
    found = as_trained(digits.task, plan).augment(keys.root(0), Taught(batch, 0) if share else batch)
    assert not (found.batch if share else found)["image"].any()


def test_what_is_augmented_may_be_distilled(digits: Problem, sparse: Network) -> None:
    answers = outputs_of(sparse, digits.task, digits.train)
    task = distilled(own.augmented(digits.task, augmenting("darker")), share=0.5, temperature=4.0)
    plan = augmenting("darker")
    lessons = taught(digits.train, answers)
    (state,) = fit(keys.root(0), start(copy(sparse), plan, lessons), task, lessons, plan, masks={})
    assert np.isfinite(state.loss)


# What is wrong


def raising(learning_rate: float, steps: int) -> optax.GradientTransformation:
    raise ValueError(f"no {learning_rate} for {steps} steps")


def no_optimiser(learning_rate: float, steps: int) -> Any:
    return learning_rate * steps


def of_one_argument(learning_rate: float) -> Any:
    return optax.sgd(learning_rate)


def raising_later(learning_rate: float, steps: int) -> optax.GradientTransformation:
    def update(updates: Any, state: Any, parameters: Any = None) -> Any:
        del parameters
        return {name: array @ array for name, array in updates.items()}, state  # shapes

    del steps
    return optax.GradientTransformation(optax.sgd(learning_rate).init, update)


def broken_init(learning_rate: float, steps: int) -> optax.GradientTransformation:
    del steps
    return optax.GradientTransformation(lambda parameters: parameters["no such"], optax.sgd(learning_rate).update)


def smaller(learning_rate: float, steps: int) -> optax.GradientTransformation:
    def update(updates: Any, state: Any, parameters: Any = None) -> Any:
        del parameters
        return jax.tree.map(lambda update: update.sum(), updates), state

    del steps
    return optax.GradientTransformation(optax.sgd(learning_rate).init, update)


def empty(learning_rate: float, steps: int) -> optax.GradientTransformation:
    del learning_rate, steps
    return optax.GradientTransformation(lambda _: jnp.zeros((0, 2)), lambda updates, state, _=None: (updates, state))


def growing(learning_rate: float, steps: int) -> optax.GradientTransformation:
    del learning_rate, steps
    return optax.GradientTransformation(lambda _: jnp.zeros(2), lambda updates, state, _=None: (updates, state[:1]))


@pytest.mark.parametrize(
    ("name", "words", "function", "text"),
    [
        ("raising", "raised ValueError: no 0.01 for 32 steps", raising, "raise ValueError"),
        ("no_optimiser", "returned a float, not an optax.GradientTransformation", no_optimiser, "def no_optimiser"),
        ("of_one_argument", "raised TypeError: .*positional argument", of_one_argument, "def of_one_argument"),
        ("raising_later", "raised .*Error: ", raising_later, "array @ array"),
        ("broken_init", "raised KeyError: 'no such'", broken_init, "no such"),
        ("smaller", r"gives updates unlike the parameters: float32 \[\], not float32 \[", smaller, "def smaller"),
        ("empty", "an array without values in its state", empty, "def empty"),
        ("growing", r"changes the form of its state: float32 \[1\], not float32 \[2\]", growing, "def growing"),
    ],
)
def test_an_optimiser_that_cannot_be_used_is_named_with_its_line_before_any_step(
    digits: Problem, sparse: Network, name: str, words: str, function: Callable[..., Any], text: str
) -> None:
    with pytest.raises(TrainingError, match=words) as caught:
        start(sparse, named(name), digits.train)
    assert caught.value.problem.startswith(f"The optimiser {__name__}:{name} ")
    assert f"({line_of(function, text)})" in caught.value.problem
    assert caught.value.remedy


def gone(key: Array, batch: Batch) -> Batch:
    del key
    return {"image": batch["image"]}


def cropped(key: Array, batch: Batch) -> Batch:
    del key
    return {**batch, "image": batch["image"][:, 1:]}


def soft(key: Array, batch: Batch) -> Batch:
    del key
    return {**batch, "image": batch["image"] / 2, "label": batch["label"] / 2}


def looking(key: Array, batch: Batch) -> Batch:
    del key
    return batch if batch["image"].max() > 0 else {}


def nothing(key: Array, batch: Batch) -> Batch:
    del key, batch


@pytest.mark.parametrize(
    ("function", "words", "text"),
    [
        (gone, r"another batch than it is given: nothing, not int32 \[64\], at \['label'\]", "def gone"),
        (cropped, r"uint8 \[64, 7, 8, 1\], not uint8 \[64, 8, 8, 1\], at \['image'\]", "def cropped"),
        (soft, r"float32 \[64\], not int32 \[64\], at \['label'\]", "def soft"),
        (looking, "raised TracerBoolConversionError", "max()"),
        (nothing, "nothing, not uint8", "def nothing"),
    ],
)
def test_an_augmentation_that_cannot_be_used_is_named_with_its_line(
    digits: Problem, sparse: Network, function: Callable[..., Any], words: str, text: str
) -> None:
    with pytest.raises(TrainingError, match=words) as caught:
        rehearse(sparse, digits.task, digits.train, augmenting(function.__name__))
    assert caught.value.problem.startswith(f"The augmentation {__name__}:{function.__name__} ")
    assert f"({line_of(function, text)})" in caught.value.problem
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"optimiser": "no_such_module:lion"}, "The module 'no_such_module' of the optimiser could not be imported"),
        ({"optimiser": f"{__name__}:plane"}, "has no callable 'plane'. Did you mean 'plain'?"),
        ({"augment": "no_such_module:f"}, "The module 'no_such_module' of the augmentation could not be imported"),
    ],
)
def test_a_function_that_is_not_there_is_named(
    digits: Problem, sparse: Network, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(TrainingError, match=re.escape(words)):
        rehearse(sparse, digits.task, digits.train, TrainingPlan(**fields))


def test_a_rehearsal_of_what_is_built_in_reads_no_example(digits: Problem, sparse: Network) -> None:
    rehearse(sparse, digits.task, None, TrainingPlan())  # type: ignore[arg-type]


def test_a_state_of_another_optimiser_is_not_taken_over(digits: Problem, sparse: Network, states: list[State]) -> None:
    with pytest.raises(ValueError, match="another network"):
        start(sparse, named("plain"), digits.train).filled(states[0].leaves(), epoch=1)
