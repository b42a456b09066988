"""Training: it learns, it repeats itself to the bit, and it brings nothing back to life."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import compiled
from flax import nnx
from specimens import Normed, Specimen, random_masks, specimen
from test_evaluation import Read

from synevo import keys
from synevo.errors import DivergenceError
from synevo.model.network import Network
from synevo.plan.fields import TrainingPlan
from synevo.tasks.classification import moved
from synevo.tasks.distillation import distilled, taught
from synevo.tasks.task import Examples, InMemory, Problem, Task
from synevo.training import compiling
from synevo.training import fit as fitting
from synevo.training.evaluation import evaluate, outputs_of
from synevo.training.fit import State, fit, start
from synevo.wiring import masks
from synevo.wiring.masks import Masks

pytestmark = pytest.mark.slow

PLAN = TrainingPlan(epochs=3, batch_size=16, learning_rate=1e-2, shift=1)
DECAYING = PLAN.model_copy(update={"weight_decay": 0.5})


def copy(tree: Any) -> Any:
    """Arrays of their own: a training step reuses the memory of those that it is given."""
    return jax.tree.map(jnp.array, tree)


def train(
    network: Network,
    problem: Problem,
    alive: Masks,
    plan: TrainingPlan = PLAN,
    *,
    seed: int = 0,
    state: State | None = None,
    scanned: bool | None = None,
) -> list[State]:
    """The state after each epoch."""
    state = start(copy(network), plan, problem.train) if state is None else state
    task = moved(problem.task, shift=plan.shift, flip=plan.flip)
    return [
        replace(after, network=copy(after.network), optimiser=copy(after.optimiser))
        for after in fit(keys.root(seed), state, task, problem.train, plan, masks=alive, scanned=scanned)
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
def states(digits: Problem, alive: Masks, sparse: Network) -> list[State]:
    """The training that most tests look at."""
    return train(sparse, digits, alive)


def test_a_network_learns_digits(tiny: Specimen, digits: Problem) -> None:
    states = train(tiny.network, digits, masks.full(tiny.wiring, tiny.network))
    assert evaluate(tiny.network, digits.task, digits.test) < 0.5
    assert evaluate(states[-1].network, digits.task, digits.test) > 0.65
    assert states[0].loss > states[1].loss > states[2].loss > 0
    assert [state.epoch for state in states] == [1, 2, 3]


@pytest.mark.parametrize("plan", [PLAN, DECAYING], ids=["adam", "weight decay"])
def test_the_dead_are_exactly_zero_after_training_and_the_living_have_moved(
    digits: Problem, alive: Masks, sparse: Network, plan: TrainingPlan
) -> None:
    for state in train(sparse, digits, alive, plan):
        for name, mask in alive.items():
            trained = np.asarray(state.network.parameters[name])
            assert (trained[~mask] == 0).all()
            assert (trained[mask] != np.asarray(sparse.parameters[name])[mask]).mean() > 0.5


def test_weights_without_a_mask_are_all_alive(tiny: Specimen, digits: Problem) -> None:
    (state,) = train(tiny.network, digits, {}, PLAN.model_copy(update={"epochs": 1}))
    for name, array in state.network.parameters.items():
        assert (np.asarray(array) != 0).all(), name


def test_weight_decay_draws_synapses_to_zero_and_leaves_biases_alone(tiny: Specimen, digits: Problem) -> None:
    """A unit that never fires has no gradient, so all that moves it is decay."""
    whole = masks.full(tiny.wiring, tiny.network)
    bias = tiny.network.parameters["full/bias"].at[3].set(-1000.0)
    network = replace(tiny.network, parameters=tiny.network.parameters | {"full/bias": bias})
    after = train(network, digits, whole, DECAYING)[-1].network.parameters
    assert after["full/bias"][3] == -1000
    ratios = np.asarray(after["full/kernel"][:, 3] / network.parameters["full/kernel"][:, 3])
    assert ratios.min() > 0.5
    assert ratios.max() < 0.999
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-4)


def test_training_is_a_function_of_its_key(digits: Problem, alive: Masks, sparse: Network, states: list[State]) -> None:
    again, other = (train(sparse, digits, alive, seed=seed)[-1] for seed in (0, 1))
    assert same(again.network, states[-1].network)
    assert again.loss == states[-1].loss
    assert not same(other.network, states[-1].network)


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_resuming_equals_not_stopping_to_the_bit(
    digits: Problem, alive: Masks, sparse: Network, states: list[State], epoch: int
) -> None:
    before = states[epoch - 1]
    kept = replace(before, network=copy(before.network), optimiser=copy(before.optimiser), loss=float("nan"))
    resumed = train(sparse, digits, alive, state=kept)
    assert [state.epoch for state in resumed] == [1, 2, 3][epoch:]
    for state, expected in zip(resumed, states[epoch:], strict=True):
        assert same(state.network, expected.network)
        assert state.loss == expected.loss


def test_a_state_is_filled_with_the_arrays_of_another_of_its_shapes_alone(
    tiny: Specimen, digits: Problem, states: list[State]
) -> None:
    fresh = start(tiny.network, PLAN, digits.train)
    kept = [np.asarray(leaf) for leaf in states[1].leaves()]
    filled = fresh.filled(kept, epoch=2)
    assert filled.epoch == 2
    for leaf, expected in zip(filled.leaves(), states[1].leaves(), strict=True):
        np.testing.assert_array_equal(leaf, expected)
    with pytest.raises(ValueError, match="another network"):
        start(specimen(Normed).network, PLAN, digits.train).filled(kept, epoch=2)


def test_examples_that_are_read_a_batch_at_a_time_train_as_those_in_memory_to_the_bit(
    digits: Problem, alive: Masks, sparse: Network, states: list[State]
) -> None:
    assert isinstance(digits.train, InMemory)
    lazy = digits._replace(train=Read(digits.train.arrays))
    for state, expected in zip(train(sparse, lazy, alive), states, strict=True):
        assert same(state.network, expected.network)
        assert state.loss == expected.loss


@pytest.mark.parametrize("plan", [PLAN, DECAYING], ids=["adam", "weight decay"])
def test_the_first_state_is_the_optimiser_s_own_and_nothing_is_compiled_for_it(
    digits: Problem, sparse: Network, plan: TrainingPlan
) -> None:
    with compiled() as programs:
        found = start(sparse, plan, digits.train).optimiser
    assert programs == []
    expected = fitting._adam(plan, 7).init(sparse.parameters)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


def test_a_step_is_compiled_for_its_shapes_and_its_plan_and_not_again_for_each_network(
    digits: Problem, alive: Masks, sparse: Network, states: list[State]
) -> None:
    assert states
    with compiled() as programs:
        train(sparse, digits, {name: ~mask for name, mask in alive.items()}, seed=5)
    assert programs == []
    with compiled() as programs:
        train(sparse, digits, alive, PLAN.model_copy(update={"learning_rate": 2e-2}))
    assert len(programs) == 1


class Separated(nnx.Module):
    """A network of a user's own with a depthwise and a pointwise convolution."""

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(shape[-1], 6, (3, 3), rngs=rngs)
        self.depthwise = nnx.Conv(6, 6, (3, 3), strides=2, feature_group_count=6, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.pointwise = nnx.Conv(6, 8, (1, 1), rngs=rngs)
        self.classifier = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.depthwise(nnx.relu(self.stem(x)))))
        return self.classifier(nnx.relu(self.pointwise(x)).mean(axis=(1, 2)))


def test_a_network_of_1x1_and_depthwise_convolutions_trains_as_written_but_for_rounding_and_resumes_exactly(
    digits: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, plan, tables = specimen(Separated).network, PLAN.model_copy(update={"epochs": 2}), []
    known = fitting._compiled
    monkeypatch.setattr(fitting, "_compiled", lambda **given: tables.append(given["table"]) or known(**given))
    first, last = train(network, digits, {}, plan)
    written = train(network, digits, {}, plan.model_copy(update={"convolutions": "as-written"}))[-1]
    assert set(tables[:2]) == {compiling.OWN_SUMS}
    assert set(tables[2:]) == {compiling.OWN_CONVOLUTIONS}
    assert not same(last.network, written.network)
    for name, array in written.network.arrays.items():
        np.testing.assert_allclose(last.network.arrays[name], array, rtol=0.02, atol=0.02 * np.abs(array).max())
    np.testing.assert_allclose(last.loss, written.loss, rtol=1e-3)
    kept = replace(first, network=copy(first.network), optimiser=copy(first.optimiser), loss=float("nan"))
    (resumed,) = train(network, digits, {}, plan, state=kept)
    assert same(resumed.network, last.network)
    assert resumed.loss == last.loss


def test_a_cpu_s_step_has_xla_s_own_convolutions() -> None:
    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    arrays = jnp.ones((128, 28, 28, 1)), jnp.ones((5, 5, 1, 20))  # large enough for YNNPACK
    own = jax.jit(convolve, compiler_options=compiling.options()).lower(*arrays).compile()
    assert "ynn_fusion" not in own.as_text()
    np.testing.assert_allclose(own(*arrays), np.full((128, 24, 24, 20), 25.0))


def test_an_option_of_the_compiler_is_given_where_xla_knows_it_and_left_out_where_it_does_not() -> None:
    assert compiling.options((("xla_cpu_prefer_vector_width", "256"),)) == {"xla_cpu_prefer_vector_width": "256"}
    assert compiling.options((("xla_cpu_no_such_option", "1"),)) == {}


def test_an_epoch_that_is_one_program_is_the_epoch_that_is_driven_step_by_step(
    digits: Problem, alive: Masks, sparse: Network
) -> None:
    with jax.enable_x64(True):
        exact = sparse.map(lambda _, array: array.astype(jnp.float64))
        stepwise, scanned = (train(exact, digits, alive, scanned=scanned) for scanned in (False, True))
        for state, expected in zip(scanned, stepwise, strict=True):
            assert state.loss == pytest.approx(expected.loss, rel=1e-10)
            for name, array in expected.network.parameters.items():
                assert array.dtype == jnp.float64
                np.testing.assert_allclose(state.network.parameters[name], array, rtol=0, atol=1e-10)
    assert all((np.asarray(scanned[-1].network.parameters[name])[~mask] == 0).all() for name, mask in alive.items())


def cross_entropy(network: Network, problem: Problem) -> float:
    """Of the training images as they are, in double precision."""
    logits = np.asarray(outputs_of(network, problem.task, problem.train), np.float64)
    labels = problem.train.arrays["label"]  # type: ignore[attr-defined]
    return float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels]).mean())


@pytest.mark.parametrize("scanned", [False, True], ids=["dispatched", "scanned"])
def test_a_training_of_a_single_step_takes_this_step(
    digits: Problem, alive: Masks, sparse: Network, *, scanned: bool
) -> None:
    assert len(digits.train) == 256
    plan = TrainingPlan(epochs=1, batch_size=256, learning_rate=1e-2, shift=0)
    (state,) = train(sparse, digits, alive, plan, scanned=scanned)
    before = cross_entropy(sparse, digits)
    assert (state.epoch, state.loss) == (1, pytest.approx(before, rel=1e-5))
    assert cross_entropy(state.network, digits) < before


def test_an_absurd_learning_rate_is_a_divergence_that_names_a_gentler_one(
    tiny: Specimen, digits: Problem, alive: Masks
) -> None:
    absurd = PLAN.model_copy(update={"learning_rate": 1e30})
    with pytest.raises(DivergenceError, match="loss") as error:
        train(tiny.network, digits, alive, absurd)
    assert "training.learning_rate=2.5e+29" in error.value.remedy


def test_a_network_that_is_not_finite_is_a_divergence_in_the_first_epoch(
    tiny: Specimen, digits: Problem, alive: Masks
) -> None:
    broken = tiny.network.map(lambda _name, array: array.at[(0,) * array.ndim].set(jnp.nan))
    with pytest.raises(DivergenceError, match="epoch 1"):
        train(broken, digits, alive)


def test_statistics_follow_the_images_in_training_and_rest_in_evaluation(digits: Problem) -> None:
    of = specimen(Normed)
    before = copy(of.network.statistics)
    evaluate(of.network, digits.task, digits.test)
    plan = PLAN.model_copy(update={"epochs": 1})
    (state,) = train(of.network, digits, masks.full(of.wiring, of.network), plan)
    assert before.keys() == state.network.statistics.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(of.network.statistics[name], array)
        assert (np.asarray(state.network.statistics[name]) != np.asarray(array)).all()


def last(network: Network, task: Task, examples: Examples, plan: TrainingPlan, alive: Masks) -> Network:
    """The network after a training of a task."""
    *_, state = fit(keys.root(0), start(copy(network), plan, examples), task, examples, plan, masks=alive)
    return state.network


def test_a_network_learns_what_its_teacher_says_where_the_labels_say_nothing(tiny: Specimen, digits: Problem) -> None:
    longer = PLAN.model_copy(update={"epochs": 12})
    everything = masks.full(tiny.wiring, tiny.network)
    seen = moved(digits.task, shift=longer.shift, flip=longer.flip)
    teacher = last(tiny.network, seen, digits.train, longer, everything)
    arrays = digits.train.arrays  # type: ignore[attr-defined]
    muddled = InMemory({**arrays, "label": np.random.default_rng(0).permutation(arrays["label"])})
    lessons = taught(muddled, outputs_of(teacher, digits.task, muddled))
    said = outputs_of(teacher, digits.task, digits.test).argmax(-1)

    def agreement(share: float) -> float:
        student = last(tiny.network, distilled(seen, share=share, temperature=4.0), lessons, longer, everything)
        return float((outputs_of(student, digits.task, digits.test).argmax(-1) == said).mean())

    assert agreement(1.0) > 0.85
    assert agreement(0.0) < 0.6


def test_a_task_that_asks_nothing_of_the_teacher_trains_the_same_with_lessons(
    digits: Problem, alive: Masks, sparse: Network, states: list[State]
) -> None:
    lessons = taught(digits.train, outputs_of(states[-1].network, digits.task, digits.train))
    seen = moved(digits.task, shift=PLAN.shift, flip=PLAN.flip)
    student = last(sparse, distilled(seen, share=0.0, temperature=4.0), lessons, PLAN, alive)
    assert same(student, states[-1].network)
