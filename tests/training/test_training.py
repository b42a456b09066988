"""Training: it learns, it repeats itself to the bit, and it brings nothing back to life."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from specimens import Normed, Specimen, random_masks, specimen

from synevo import keys
from synevo.errors import DivergenceError
from synevo.model.network import Network
from synevo.plan.fields import TrainingPlan
from synevo.tasks.images import Dataset, Images
from synevo.training import compiling, fit
from synevo.training.fit import State, augment
from synevo.wiring import masks
from synevo.wiring.masks import Masks

PLAN = TrainingPlan(epochs=3, batch_size=16, learning_rate=1e-2, shift=1)
DECAYING = PLAN.model_copy(update={"weight_decay": 0.5})


def copy(tree: Any) -> Any:
    """Arrays of their own: a training step reuses the memory of those that it is given."""
    return jax.tree.map(jnp.array, tree)


def train(
    of: Specimen,
    dataset: Dataset,
    alive: Masks,
    plan: TrainingPlan = PLAN,
    *,
    seed: int = 0,
    network: Network | None = None,
    state: State | None = None,
) -> list[State]:
    """The state after each epoch."""
    if state is None:
        state = fit.start(copy(of.network if network is None else network), dataset, plan, of.blueprint)
    return [
        replace(after, network=copy(after.network), optimiser=copy(after.optimiser))
        for after in fit.fit(keys.root(seed), of.blueprint, state, alive, dataset, plan)
    ]


def same(one: Network, other: Network) -> bool:
    """Equality to the bit."""
    return all(
        np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(one.arrays.values(), other.arrays.values(), strict=True)
    )


@pytest.fixture(scope="module")
def alive(tiny: Specimen) -> Masks:
    return random_masks(tiny, 0.6, 1)


@pytest.fixture(scope="module")
def sparse(tiny: Specimen, alive: Masks) -> Network:
    return masks.apply(alive, tiny.network)


@pytest.fixture(scope="module")
def states(tiny: Specimen, digits: Dataset, alive: Masks, sparse: Network) -> list[State]:
    """The training that most tests look at."""
    return train(tiny, digits, alive, network=sparse)


def test_a_network_learns_digits(tiny: Specimen, digits: Dataset) -> None:
    states = train(tiny, digits, masks.full(tiny.wiring, tiny.network))
    assert fit.accuracy(tiny.blueprint, tiny.network, digits.test, digits) < 0.5
    assert fit.accuracy(tiny.blueprint, states[-1].network, digits.test, digits) > 0.65
    assert states[0].loss > states[1].loss > states[2].loss > 0
    assert [state.epoch for state in states] == [1, 2, 3]


@pytest.mark.parametrize("plan", [PLAN, DECAYING], ids=["adam", "weight decay"])
def test_the_dead_are_exactly_zero_after_training_and_the_living_have_moved(
    tiny: Specimen, digits: Dataset, alive: Masks, sparse: Network, plan: TrainingPlan
) -> None:
    for state in train(tiny, digits, alive, plan, network=sparse):
        for name, mask in alive.items():
            trained = np.asarray(state.network.parameters[name])
            assert (trained[~mask] == 0).all()
            assert (trained[mask] != np.asarray(sparse.parameters[name])[mask]).mean() > 0.5


def test_weights_without_a_mask_are_all_alive(tiny: Specimen, digits: Dataset) -> None:
    (state,) = train(tiny, digits, {}, PLAN.model_copy(update={"epochs": 1}))
    for name, array in state.network.parameters.items():
        assert (np.asarray(array) != 0).all(), name


def test_weight_decay_draws_synapses_to_zero_and_leaves_biases_alone(tiny: Specimen, digits: Dataset) -> None:
    """A unit that never fires has no gradient, so all that moves it is decay."""
    whole = masks.full(tiny.wiring, tiny.network)
    bias = tiny.network.parameters["full/bias"].at[3].set(-1000.0)
    network = Network(tiny.network.parameters | {"full/bias": bias}, {})
    after = train(tiny, digits, whole, DECAYING, network=network)[-1].network.parameters
    assert after["full/bias"][3] == -1000
    ratios = np.asarray(after["full/kernel"][:, 3] / network.parameters["full/kernel"][:, 3])
    assert ratios.min() > 0.5
    assert ratios.max() < 0.999
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)


def test_training_is_a_function_of_its_key(
    tiny: Specimen, digits: Dataset, alive: Masks, sparse: Network, states: list[State]
) -> None:
    again, other = (train(tiny, digits, alive, network=sparse, seed=seed)[-1] for seed in (0, 1))
    assert same(again.network, states[-1].network)
    assert again.loss == states[-1].loss
    assert not same(other.network, states[-1].network)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_resuming_equals_not_stopping_to_the_bit(
    tiny: Specimen, digits: Dataset, alive: Masks, states: list[State], epoch: int
) -> None:
    before = states[epoch - 1]
    kept = replace(before, network=copy(before.network), optimiser=copy(before.optimiser), loss=float("nan"))
    resumed = train(tiny, digits, alive, state=kept)
    assert [state.epoch for state in resumed] == [1, 2, 3][epoch:]
    for state, expected in zip(resumed, states[epoch:], strict=True):
        assert same(state.network, expected.network)
        assert state.loss == expected.loss


def test_a_step_is_compiled_once_for_a_shape(
    tiny: Specimen, digits: Dataset, alive: Masks, states: list[State], sparse: Network
) -> None:
    assert states
    compiled = fit._dispatch()._cache_size()
    train(tiny, digits, {name: ~mask for name, mask in alive.items()}, network=sparse, seed=5)
    assert fit._dispatch()._cache_size() == compiled


def test_a_cpu_s_step_has_xla_s_own_convolutions() -> None:
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    arrays = jnp.ones((128, 28, 28, 1)), jnp.ones((5, 5, 1, 20))  # large enough for YNNPACK
    own = jax.jit(convolve, compiler_options=compiling.options()).lower(*arrays).compile()
    assert "ynn_fusion" not in own.as_text()
    np.testing.assert_allclose(own(*arrays), np.full((128, 24, 24, 20), 25.0))


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiling, "_OWN_CONVOLUTIONS", {"xla_cpu_no_such_option": "1"})
    compiling.options.cache_clear()
    try:
        assert compiling.options() == {}
    finally:
        compiling.options.cache_clear()


def test_an_epoch_on_an_accelerator_is_the_same_epoch(
    tiny: Specimen, digits: Dataset, alive: Masks, sparse: Network, states: list[State], monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned = fit._scan._cache_size()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with jax.enable_checks(False):  # they take the loop's key, folded anew in each step, for reused
        found = train(tiny, digits, alive, network=sparse)
    assert fit._scan._cache_size() == scanned + 1
    for state, expected in zip(found, states, strict=True):
        assert state.loss == pytest.approx(expected.loss, rel=1e-3)
        for name, array in expected.network.parameters.items():
            np.testing.assert_allclose(state.network.parameters[name], array, atol=2e-3)
    assert all((np.asarray(found[-1].network.parameters[name])[~mask] == 0).all() for name, mask in alive.items())


def test_an_absurd_learning_rate_is_a_divergence_that_names_a_gentler_one(
    tiny: Specimen, digits: Dataset, alive: Masks
) -> None:
    absurd = PLAN.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(DivergenceError, match="loss") as error:
        train(tiny, digits, alive, absurd)
    assert "training.learning_rate=2.5e+29" in error.value.remedy


def test_a_network_that_is_not_finite_is_a_divergence_in_the_first_epoch(
    tiny: Specimen, digits: Dataset, alive: Masks
) -> None:
    broken = tiny.network.map(lambda _name, array: array.at[(0,) * array.ndim].set(jnp.nan))
    with pytest.raises(DivergenceError, match="epoch 1"):
        train(tiny, digits, alive, network=broken)


def test_statistics_follow_the_images_in_training_and_rest_in_evaluation(digits: Dataset) -> None:
    of = specimen(Normed)
    before = copy(of.network.statistics)
    fit.accuracy(of.blueprint, of.network, digits.test, digits)
    plan = PLAN.model_copy(update={"epochs": 1})
    (state,) = train(of, digits, masks.full(of.wiring, of.network), plan)
    assert before.keys() == state.network.statistics.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(of.network.statistics[name], array)
        assert (np.asarray(state.network.statistics[name]) != np.asarray(array)).all()


def test_score_counts_every_image_once(tiny: Specimen, digits: Dataset) -> None:
    """320 images are one batch of 256 and a part of one; what pads that part is not counted."""
    pixels = np.concatenate([digits.train.pixels, digits.validation.pixels])
    scaled = (pixels.astype(np.float32) / 255 - np.float32(0.3)) / np.float32(0.4)
    predicted = tiny.logits(tiny.network, scaled).argmax(-1)
    for count in (320, 256, 257, 3):
        labels = predicted[:count].astype(np.int32)
        labels[:2] = (labels[:2] + 1) % 4
        found = fit.accuracy(tiny.blueprint, tiny.network, Images(pixels[:count], labels), digits)
        assert found == (count - 2) / count


def picture(count: int = 200) -> Array:
    """Pictures of which no two places look alike."""
    return jnp.asarray(np.random.default_rng(0).integers(1, 256, (count, 6, 5, 2), dtype=np.uint8))


def moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """An image moved, with black where it came from."""
    result = np.zeros_like(image)
    height, width = image.shape[:2]
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                result[y, x] = image[y - down, x - right]
    return result


def test_shifted_images_are_moved_by_at_most_so_many_pixels_in_every_direction() -> None:
    before = picture()
    after = np.asarray(augment(keys.root(0), before, shift=1, flip=False))
    assert after.shape == before.shape
    assert after.dtype == np.uint8
    seen = set()
    for image, result in zip(np.asarray(before), after, strict=True):
        steps = [
            (down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (moved(image, down, right) == result).all()
        ]
        assert len(steps) == 1
        seen.add(steps[0])
    assert len(seen) == 9


def test_mirrored_images_are_about_half_of_all() -> None:
    before = np.asarray(picture())
    after = np.asarray(augment(keys.root(0), jnp.asarray(before), shift=0, flip=True))
    mirrored = (after == before[:, :, ::-1]).all((1, 2, 3))
    untouched = (after == before).all((1, 2, 3))
    assert (mirrored ^ untouched).all()
    assert 70 < mirrored.sum() < 130


def test_without_augmentation_images_are_left_alone() -> None:
    np.testing.assert_array_equal(augment(keys.root(0), picture(), shift=0, flip=False), picture())


def test_augmentation_depends_on_the_key_alone() -> None:
    one, again, other = (np.asarray(augment(keys.root(seed), picture(), shift=2, flip=True)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()


def test_distillation_is_the_divergence_of_softened_answers() -> None:
    """By hand, in NumPy: T^2 * sum of q (log q - log p), the mean over images."""
    random = np.random.default_rng(3)
    logits, lesson = random.normal(size=(2, 5, 4)) * 3
    temperature = 2.5
    q, p = (np.exp(values / temperature) for values in (lesson, logits))
    q, p = (values / values.sum(axis=1, keepdims=True) for values in (q, p))
    expected = temperature**2 * (q * (np.log(q) - np.log(p))).sum(axis=1).mean()
    found = fit.distil(jnp.asarray(logits), jnp.asarray(lesson), temperature=temperature)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    assert float(fit.distil(jnp.asarray(lesson), jnp.asarray(lesson), temperature=4.0)) == pytest.approx(0)


def test_a_network_learns_what_its_teacher_says_where_the_labels_say_nothing(tiny: Specimen, digits: Dataset) -> None:
    longer = PLAN.model_copy(update={"epochs": 12})
    everything = masks.full(tiny.wiring, tiny.network)
    teacher = train(tiny, digits, everything, longer)[-1].network
    lessons = fit.answer(tiny.blueprint, teacher, digits.train, digits)
    labels = np.random.default_rng(0).permutation(digits.train.labels)
    muddled = replace(digits, train=Images(digits.train.pixels, labels))
    plan = longer.model_copy(update={"distillation": 1.0})
    said = fit.predict(tiny.blueprint, teacher, digits.test, digits)

    def agreement(plan: TrainingPlan) -> float:
        state = fit.start(copy(tiny.network), muddled, plan, tiny.blueprint)
        for after in fit.fit(keys.root(0), tiny.blueprint, state, everything, muddled, plan, lessons):
            network = copy(after.network)
        return float((fit.predict(tiny.blueprint, network, digits.test, digits) == said).mean())

    assert agreement(plan) > 0.85
    assert agreement(plan.model_copy(update={"distillation": 0.0})) < 0.6


def test_a_plan_that_does_not_distil_trains_the_same_with_lessons(
    tiny: Specimen, digits: Dataset, alive: Masks, sparse: Network, states: list[State]
) -> None:
    lessons = fit.answer(tiny.blueprint, states[-1].network, digits.train, digits)
    start = fit.start(copy(sparse), digits, PLAN, tiny.blueprint)
    *_, last = fit.fit(keys.root(0), tiny.blueprint, start, alive, digits, PLAN, lessons)
    assert same(last.network, states[-1].network)
