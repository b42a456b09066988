"""A call is told its mode and given keys by name; a network whose modes are not two is refused, and named."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from specimens import CLASSES, SHAPE, hatch, images

from synevo import keys
from synevo.compaction.in_memory import compact
from synevo.errors import AncestorError
from synevo.model.linen import as_nnx
from synevo.model.network import Network, put_together, take_apart
from synevo.wiring.dissection import dissect, example_of


class Parts(nnx.Module):
    """A normalised layer under a head, to be called in many ways."""

    def __init__(self, shape: tuple[int, ...], classes: int, rngs: nnx.Rngs) -> None:
        self.a = nnx.Linear(int(np.prod(shape)), 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.bare = nnx.Dropout(0.5)
        self.head = nnx.Linear(8, classes, rngs=rngs)

    def through(self, x: Any, *, training: bool | None = None, drop: bool = False) -> Any:
        average = None if training is None else not training
        x = nnx.relu(self.norm(self.a(x.reshape(x.shape[0], -1)), use_running_average=average))
        return self.head(self.drop(x, deterministic=not training) if drop else x)


class WantsTrain(Parts):
    def __call__(self, x: Any, *, train: bool) -> Any:
        return self.through(x, training=train, drop=True)


class TrainsByDefault(Parts):
    def __call__(self, x: Any, training: bool = True) -> Any:  # noqa: FBT001, FBT002
        return self.through(x, training=training, drop=True)


class WantsDeterministic(Parts):
    def __call__(self, x: Any, deterministic: bool) -> Any:  # noqa: FBT001
        return self.through(x, training=not deterministic, drop=True)


class WantsAverage(Parts):
    def __call__(self, x: Any, use_running_average: bool = False) -> Any:  # noqa: FBT001, FBT002
        return self.through(x, training=not use_running_average, drop=True)


class TakesKeys(Parts):
    def __call__(self, x: Any, rngs: nnx.Rngs | None = None) -> Any:
        return self.bare(self.through(x), rngs=rngs)


class TakesAKey(Parts):
    def __call__(self, x: Any, *, key: Any = None) -> Any:
        return self.bare(self.through(x), rngs=key)


class WantsRngs(Parts):
    def __call__(self, x: Any, rng: nnx.Rngs) -> Any:
        return self.bare(self.through(x), rngs=rng)


TOLD = [WantsTrain, TrainsByDefault, WantsDeterministic, WantsAverage]
GIVEN = [TakesKeys, TakesAKey, WantsRngs]


@pytest.mark.parametrize("kind", [*TOLD, *GIVEN])
def test_a_call_evaluates_without_randomness_and_trains_with_it(kind: type[Parts]) -> None:
    model = hatch(kind)
    network, x = take_apart(model), jnp.asarray(images(6))
    model.eval()
    wanted = model.through(x, training=False)
    np.testing.assert_allclose(network(x), wanted, rtol=1e-5, atol=1e-6)
    one, after = network.train(keys.root(0), x)
    other, _ = network.train(keys.root(1), x)
    assert (np.asarray(one) != np.asarray(other)).any()
    assert (after.statistics["norm/mean"] != network.statistics["norm/mean"]).any()


@pytest.mark.parametrize("kind", [*TOLD, TakesKeys, TakesAKey])
def test_a_model_that_is_put_together_evaluates_where_a_call_says_nothing_of_its_mode(kind: type[Parts]) -> None:
    model, x = put_together(take_apart(hatch(kind))), jnp.asarray(images(6))
    assert isinstance(model, kind)
    np.testing.assert_allclose(model(x)[:2], model(x[:2]), rtol=1e-5, atol=1e-6)


def test_what_a_call_says_of_its_mode_holds() -> None:
    x = jnp.asarray(images(6))
    model = put_together(take_apart(hatch(TrainsByDefault)))
    assert (np.asarray(model(x, training=True)) != np.asarray(model(x))).any()
    np.testing.assert_array_equal(model(x, False), model(x))


def test_a_model_that_is_taken_apart_again_is_the_same_model() -> None:
    network = take_apart(hatch(TrainsByDefault))
    again = take_apart(put_together(network))
    assert again.blueprint == network.blueprint
    assert nnx.split(put_together(again))[0] == nnx.split(put_together(network))[0]


@pytest.mark.parametrize("kind", [*TOLD, *GIVEN])
def test_a_call_that_is_told_its_mode_is_compacted(kind: type[Parts]) -> None:
    alive = np.arange(8) < 5
    masks = {"a/kernel": np.broadcast_to(alive, (64, 8)), "a/bias": alive, "norm/scale": alive, "norm/bias": alive}
    small = compact(hatch(kind), SHAPE, masks=masks)
    assert small.model.a.kernel.shape == (64, 5)
    assert small.model.norm.mean.shape == (5,)


class WantsIsTrain(Parts):
    def __call__(self, x: Any, is_train: Any) -> Any:
        return self.through(x, training=is_train, drop=True)


class Infers(Parts):
    def __call__(self, x: Any, inference: bool = False) -> Any:  # noqa: FBT001, FBT002
        return self.through(x, training=not inference, drop=True)


class SaysTest(Parts):
    def __call__(self, x: Any, *, test: bool | None = None) -> Any:
        return self.through(x, training=test is not None and not test, drop=True)


class DropsOn(Parts):
    def __call__(self, x: Any, *, training: bool, dropout_on: bool = True) -> Any:
        x = nnx.relu(self.norm(self.a(x.reshape(x.shape[0], -1)), use_running_average=not training))
        return self.head(self.drop(x, deterministic=not dropout_on))


@pytest.mark.parametrize("kind", [WantsIsTrain, Infers, SaysTest, DropsOn])
def test_a_name_of_the_same_meaning_is_told_too(kind: type[Parts]) -> None:
    model = hatch(kind)
    network, x = take_apart(model), jnp.asarray(images(6))
    model.eval()
    np.testing.assert_allclose(network(x), model.through(x, training=False), rtol=1e-5, atol=1e-6)
    one, after = network.train(keys.root(0), x)
    assert (np.asarray(one) != np.asarray(network.train(keys.root(1), x)[0])).any()
    assert (after.statistics["norm/mean"] != network.statistics["norm/mean"]).any()
    np.testing.assert_allclose(put_together(network)(x), network(x), rtol=1e-5, atol=1e-6)


class NoMode(Parts):
    """Arguments with names that could be modes and values that are none."""

    def __call__(self, x: Any, test: int = 3, *, evaluate: str = "no", use_dropout: float = 0.5) -> Any:
        assert (test, evaluate, use_dropout) == (3, "no", 0.5)
        return self.through(x)


def test_an_argument_that_takes_neither_true_nor_false_is_left_alone() -> None:
    network, x = take_apart(hatch(NoMode)), jnp.asarray(images(6))
    assert np.isfinite(network(x)).all()
    assert np.isfinite(network.train(keys.root(0), x)[0]).all()


class LinenInfers(linen.Module):
    inference: bool = False

    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = linen.BatchNorm(use_running_average=self.inference)(linen.Dense(8)(x.reshape(x.shape[0], -1)))
        return linen.Dense(CLASSES)(x)


class LinenUnheard(linen.Module):
    @linen.compact
    def __call__(self, x: Any, learning: bool = False) -> Any:  # noqa: FBT001, FBT002
        x = linen.BatchNorm(use_running_average=not learning)(linen.Dense(8)(x.reshape(x.shape[0], -1)))
        return linen.Dense(CLASSES)(x)


class ToldLinen(LinenUnheard):
    def __call__(self, x: Any, *, train: bool) -> Any:
        return super().__call__(x, learning=train)


@pytest.mark.parametrize("kind", [LinenInfers, ToldLinen])
def test_a_linen_module_is_told_by_a_name_of_its_own(kind: type[linen.Module]) -> None:
    network = take_apart(hatch(lambda *_: as_nnx(kind(), example_of(SHAPE))))
    x = jnp.asarray(images(6))
    (name,) = (name for name in network.statistics if name.endswith("/mean"))
    np.testing.assert_array_equal(network.evaluate(x)[1][name], network.statistics[name])
    assert (network.train(keys.root(0), x)[1].statistics[name] != network.statistics[name]).any()
    assert dissect(network, SHAPE).wiring.units == 8


def test_a_linen_module_that_trains_only_by_an_unknown_name_is_refused() -> None:
    with pytest.raises(AncestorError, match=r"only with learning=True, which nobody gives \(test_modes\.py:\d+\)"):
        dissect(take_apart(hatch(lambda *_: as_nnx(LinenUnheard(), example_of(SHAPE)))), SHAPE)


class AlwaysTrains(Parts):
    def __call__(self, x: Any) -> Any:
        return self.through(x, training=True)


class TrainsUnheard(Parts):
    def __call__(self, x: Any, is_learning: bool = False) -> Any:  # noqa: FBT001, FBT002
        return self.through(x, training=is_learning)


class DropsUnheard(Parts):
    def __call__(self, x: Any, *, noisy: bool = False) -> Any:
        x = self.a(x.reshape(x.shape[0], -1))
        return self.head(self.drop(x, deterministic=not noisy))


class LearnsByDefault(Parts):
    def __call__(self, x: Any, is_learning: bool = True) -> Any:  # noqa: FBT001, FBT002
        return self.through(x, training=is_learning, drop=True)


class NoisyByDefault(Parts):
    def __call__(self, x: Any, *, silent: bool = False) -> Any:
        return self.head(self.drop(self.a(x.reshape(x.shape[0], -1)), deterministic=silent))


class MovesUnheard(Parts):
    """Dropout is told the mode; the normalisation is not."""

    def __call__(self, x: Any, *, train: bool, moving: bool = False) -> Any:
        x = nnx.relu(self.norm(self.a(x.reshape(x.shape[0], -1)), use_running_average=not moving))
        return self.head(self.drop(x, deterministic=not train))


class WantsLearning(Parts):
    def __call__(self, x: Any, learning: bool) -> Any:  # noqa: FBT001
        return self.through(x, training=learning, drop=True)


class ToldLearning(WantsLearning):
    def __call__(self, x: Any, *, train: bool) -> Any:  # type: ignore[override]
        return super().__call__(x, learning=train)


def test_the_class_that_an_error_shows_tells_the_mode() -> None:
    with pytest.raises(AncestorError) as error:
        compact(hatch(WantsLearning), SHAPE)
    wanted = (
        "class Told(WantsLearning):\n    def __call__(self, x, *, train):\n"
        "        return super().__call__(x, learning=train)"
    )
    assert wanted in error.value.remedy
    assert dissect(take_apart(hatch(ToldLearning)), SHAPE).wiring.units == 8


class WantsAMask(Parts):
    def __call__(self, x: Any, mask: Any) -> Any:
        return self.through(x * mask)


class Raises(Parts):
    def __call__(self, x: Any) -> Any:
        return self.a(x)  # its rows are 64 long


@pytest.mark.parametrize(
    ("kind", "problem", "remedy"),
    [
        (AlwaysTrains, "updates norm/mean, norm/var", "named one of train"),
        (TrainsUnheard, "only with is_learning=True", "Rename is_learning"),
        (DropsUnheard, "only with noisy=True", "Rename noisy"),
        (LearnsByDefault, "never evaluates .* only with is_learning=False", "x, is_learning=train)"),
        (NoisyByDefault, r"never evaluates .* only with silent=True.*\(test_modes.py:\d+\)", "silent=not train)"),
        (MovesUnheard, "never trains .* only with moving=True", "class Told(MovesUnheard)"),
        (WantsLearning, r"wants learning in its call \(test_modes.py:\d+\)", "x, learning=train)"),
        (WantsAMask, "cannot be called with 1 input: missing a required argument: 'mask'", "a default"),
        (
            Raises,
            r"not run in evaluation mode on float32 \[n, 8, 8, 1\]: .*\(test_modes.py:\d+\)",
            "its arrays are for 64",
        ),
    ],
)
def test_a_call_that_cannot_be_evaluated_and_trained_is_refused_in_words(
    kind: type[Parts], problem: str, remedy: str
) -> None:
    with pytest.raises(AncestorError, match=problem) as error:
        compact(hatch(kind), SHAPE)
    assert remedy in error.value.remedy


class Still(Parts):
    """A normalisation that never moves, as in fine-tuning, and a switch that is none of training."""

    def __call__(self, x: Any, features: bool = False) -> Any:  # noqa: FBT001, FBT002
        x = nnx.relu(self.norm(self.a(x.reshape(x.shape[0], -1)), use_running_average=True))
        return x if features else self.head(x)


def test_a_network_that_is_kept_still_on_purpose_is_followed() -> None:
    anatomy = dissect(take_apart(hatch(Still)), SHAPE)
    assert anatomy.wiring.units == 8


class Averaged(nnx.Module):
    def __init__(self, shape: tuple[int, ...], classes: int, rngs: nnx.Rngs) -> None:
        self.a = nnx.Linear(int(np.prod(shape)), 8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, axis_name="devices", rngs=rngs)
        self.head = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.head(nnx.relu(self.norm(self.a(x.reshape(x.shape[0], -1)))))


class AveragedLinen(linen.Module):
    axis: str | None = "devices"

    @linen.compact
    def __call__(self, x: Any, train: bool = True) -> Any:  # noqa: FBT001, FBT002
        x = linen.Dense(8)(x.reshape(x.shape[0], -1))
        x = linen.BatchNorm(use_running_average=not train, axis_name=self.axis)(x)
        return linen.Dense(CLASSES)(linen.relu(x))


def test_a_normalisation_over_a_named_axis_of_devices_sees_the_whole_batch() -> None:
    network, x = take_apart(hatch(Averaged)), jnp.asarray(images(6))
    kernel, bias = (np.asarray(network.parameters[f"a/{name}"]) for name in ("kernel", "bias"))
    hidden = np.asarray(x).reshape(6, -1) @ kernel + bias
    _, after = jax.jit(Network.train)(network, keys.root(0), x)
    wanted = 0.99 * network.statistics["norm/mean"] + 0.01 * hidden.mean(0)
    np.testing.assert_allclose(after.statistics["norm/mean"], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["nnx", "linen"])
def test_units_are_followed_through_an_average_over_a_named_axis(kind: str) -> None:
    model = hatch(Averaged) if kind == "nnx" else as_nnx(AveragedLinen(), example_of(SHAPE))
    assert dissect(take_apart(model), SHAPE).wiring.units == 8


def test_another_name_that_is_unknown_is_the_users_own_mistake() -> None:
    class Misspelt(Parts):
        def __call__(self, x: Any) -> Any:
            return self.through(x) + undefined  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(AncestorError, match="NameError: name 'undefined' is not defined"):
        compact(Misspelt(SHAPE, CLASSES, nnx.Rngs(0)), SHAPE)
