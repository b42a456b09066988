"""The library: any model in memory, compacted, proven, trained on and compacted again."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compilations import compiled
from flax import nnx
from specimens import (
    SHAPE,
    Attentive,
    Gated,
    Grouped,
    Joined,
    Normed,
    Residual,
    Strange,
    Tiny,
    hatch,
    images,
    sketch,
)

from synevo.compaction.in_memory import compact
from synevo.errors import CompactionError
from synevo.model.network import take_apart

pytestmark = pytest.mark.slow


def logits(model: Any, x: Any) -> np.ndarray:
    model.eval()
    return np.asarray(nnx.jit(lambda m, x: m(x))(model, jnp.asarray(x)))


def change(model: nnx.Module, **zeros: tuple[Any, ...]) -> nnx.Module:
    """The model with places of its arrays zero; `conv1_kernel=(…, [0, 1])` are the first two filters."""
    for name, place in zeros.items():
        layer, array = name.rsplit("_", 1)
        variable = getattr(getattr(model, layer), array)
        variable.set_value(variable.get_value().at[place].set(0))
    return model


def assert_same(small: Any, model: Any, shape: tuple[int, int, int] = SHAPE) -> None:
    x = images(40, shape)
    np.testing.assert_allclose(logits(small, x), logits(model, x), rtol=0, atol=1e-4 * np.abs(logits(model, x)).max())


def test_filters_that_are_zero_are_removed_with_all_that_knows_them() -> None:
    model: Any = change(hatch(Tiny), conv1_kernel=(..., [0, 2]), conv1_bias=([0, 2],))
    done = compact(model, SHAPE)
    small: Any = done.model
    assert small.conv1.kernel.shape == (3, 3, 1, 4)
    assert small.conv1.bias.shape == (4,)
    assert small.conv2.kernel.shape == (3, 3, 4, 8)
    assert small.conv1.out_features == 4
    assert done.removed == 2
    assert done.kept["conv1/kernel"][3].tolist() == [1, 3, 4, 5]
    assert done.proof.examples == 0
    assert done.proof.random_examples > 0
    assert model.conv1.kernel.shape == (3, 3, 1, 6)
    assert_same(small, model)


def test_a_filter_that_nobody_reads_is_removed_whatever_its_bias_says() -> None:
    model = change(hatch(Tiny), conv2_kernel=(slice(None), slice(None), [1, 4]))
    done = compact(model, SHAPE)
    assert done.model.conv1.kernel.shape[-1] == 4  # type: ignore[attr-defined]
    assert_same(done.model, model)


def test_nothing_is_compiled_but_the_networks_that_are_run() -> None:
    model: Any = change(hatch(Tiny), conv1_kernel=(..., [0, 2]), conv1_bias=([0, 2],))
    with compiled() as names:
        compact(model, SHAPE)
    large = [name for name in names if "threefry" not in name and "stage" not in name]
    assert large.count("jit(heard)") == 1
    assert set(large) <= {"jit(heard)", "jit(__call__)"}


def test_masks_say_the_same_as_zeros() -> None:
    model = hatch(Tiny)
    alive = {"conv1/kernel": np.ones((3, 3, 1, 6), bool), "conv1/bias": np.ones(6, bool)}
    alive["conv1/kernel"][..., :3] = False
    alive["conv1/bias"][:3] = False
    masked = compact(model, SHAPE, masks=alive)
    zeroed = compact(change(hatch(Tiny), conv1_kernel=(..., slice(3)), conv1_bias=(slice(3),)), SHAPE)
    assert masked.removed == zeroed.removed == 3
    x = images(5)
    np.testing.assert_array_equal(logits(masked.model, x), logits(zeroed.model, x))


def test_a_filter_whose_bias_is_not_masked_is_a_constant_and_stays_by_name() -> None:
    """Its bias is positive, so that it says something behind the activation; that of the other one is negative."""
    model: Any = change(hatch(sketch(lambda m, x: m.out(nnx.relu(m.hidden(x))), hidden=6, out=0)))
    model.hidden.kernel.set_value(model.hidden.kernel.get_value().at[:, :2].set(0))
    model.hidden.bias.set_value(model.hidden.bias.get_value().at[:2].set(jnp.array([0.5, -0.5])))
    done = compact(model, SHAPE)
    assert done.removed == 1
    assert done.kept["hidden/kernel"][1].tolist() == [0, 2, 3, 4, 5]
    (constant,) = [one for one in done.frozen if "bias or normalisation is not masked" in one.reason]
    assert (constant.array, constant.axis, constant.count) == ("hidden/kernel", 1, 1)
    assert_same(done.model, model)


def test_a_constant_too_small_for_any_image_of_a_sample_to_show_it_is_still_no_zero() -> None:
    """It is heard by a unit that is off on ordinary images; on others it is not."""
    model: Any = hatch(sketch(lambda m, x: m.out(nnx.relu(m.inner(nnx.relu(m.hidden(x))))), hidden=6, inner=5, out=0))
    model.hidden.kernel.set_value(model.hidden.kernel.get_value().at[:, 0].set(0))
    model.hidden.bias.set_value(model.hidden.bias.get_value().at[0].set(0.5))
    model.inner.bias.set_value(jnp.full(5, -1000.0))
    with pytest.raises(CompactionError, match="all of its 11 removable units live"):
        compact(model, SHAPE)


@pytest.mark.parametrize("factory", [Normed, Residual, Joined, Grouped, Gated])
@pytest.mark.parametrize("seed", range(2))
def test_whatever_is_zero_the_smaller_model_is_the_same(factory: Any, seed: int) -> None:
    """Whole filters of any layer are zeroed, with their bias or normalisation or without."""
    random, model = np.random.default_rng(seed), hatch(factory)
    network = take_apart(model)
    masks = {}
    for name, array in network.parameters.items():
        masks[name] = np.ones(array.shape, bool)
        if not name.startswith(("classifier", "out/")) and (array.ndim > 1 or random.random() < 0.7):
            masks[name][..., random.random(array.shape[-1]) < 0.5] = False
    masked = hatch(factory)
    state = dict(nnx.to_flat_state(nnx.state(masked)))
    for path, variable in state.items():
        name = "/".join(str(part) for part in path)
        if name in masks:
            variable.set_value(jnp.where(masks[name], variable.get_value(), 0))
    nnx.update(masked, nnx.from_flat_state(state))
    try:
        done = compact(model, SHAPE, masks=masks)
    except CompactionError as error:
        assert "nothing to remove" in error.problem  # noqa: PT017  (one of the two must hold)
        return
    assert_same(done.model, masked)


def test_most_of_those_lose_something() -> None:
    model = change(hatch(Normed), conv1_kernel=(..., slice(3)), norm1_bias=(slice(3),), norm1_scale=(slice(3),))
    done = compact(model, SHAPE)
    assert done.removed == 3
    assert done.model.norm1.mean.shape == (3,)  # type: ignore[attr-defined]


def test_a_smaller_model_trains_on_and_compacts_again() -> None:
    model = change(hatch(Normed), conv1_kernel=(..., slice(3)), norm1_bias=(slice(3),), norm1_scale=(slice(3),))
    small: Any = compact(model, SHAPE).model
    optimizer = nnx.Optimizer(small, optax.adam(1e-2), wrt=nnx.Param)
    x, labels = jnp.asarray(images(16)), jnp.arange(16) % 4

    @nnx.jit
    def step(model: Any, optimizer: Any) -> jax.Array:
        def loss(model: Any) -> jax.Array:
            return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    small.train()
    losses = [float(step(small, optimizer)) for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]
    small.eval()
    again = compact(change(small, conv2_kernel=(..., [0]), norm2_bias=([0],), norm2_scale=([0],)), SHAPE)
    assert again.model.conv2.kernel.shape == (3, 3, 3, 7)  # type: ignore[attr-defined]
    assert_same(again.model, small)


def test_a_model_without_dead_units_is_told_so() -> None:
    with pytest.raises(CompactionError, match="all of its 26 removable units live"):
        compact(hatch(Tiny), SHAPE)


def test_a_model_that_is_all_frozen_is_told_where_and_why() -> None:
    frozen = sketch(lambda m, x: m.out(nnx.softmax(m.hidden(x))), hidden=6, out=0)
    with pytest.raises(CompactionError, match=r"every unit is frozen.*test_library\.py:\d+"):
        compact(hatch(frozen), SHAPE)


@pytest.mark.parametrize("factory", [Attentive, Strange])
def test_what_is_frozen_stays_and_is_listed(factory: Any) -> None:
    model = hatch(factory)
    for layer in ("hidden1", "hidden2"):
        change(model, **{f"{layer}_kernel": (..., [0]), f"{layer}_bias": ([0],)})
    try:
        done = compact(model, SHAPE)
    except CompactionError as error:
        assert "hidden2" in error.problem or "frozen" in error.problem.lower()  # noqa: PT017
    else:
        assert {"hidden2/kernel"} <= {one.array for one in done.frozen}
        assert_same(done.model, model)


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        ({"conv9/kernel": np.ones(3, bool)}, "no array 'conv9/kernel'"),
        ({"conv1/bias": np.ones(3, bool)}, r"boolean \[6\]; found bool \[3\]"),
        ({"conv1/bias": np.ones(6)}, r"boolean \[6\]; found float64 \[6\]"),
    ],
)
def test_masks_that_do_not_fit_are_refused(masks: Any, words: str) -> None:
    with pytest.raises(CompactionError, match=words):
        compact(hatch(Tiny), SHAPE, masks=masks)


class Captioned(nnx.Module):
    """Images with three words each, and results of three kinds: classes, a map of places, the likeliest class."""

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(shape[-1], 6, (3, 3), rngs=rngs)
        self.words = nnx.Embed(11, 5, rngs=rngs)
        self.hidden = nnx.Linear(6 + 5, 7, rngs=rngs)
        self.classes = nnx.Linear(7, classes, rngs=rngs)
        self.places = nnx.Conv(6, 2, (1, 1), rngs=rngs)

    def __call__(self, image: jax.Array, token: jax.Array) -> dict[str, Any]:
        seen = nnx.relu(self.conv(image))
        both = jnp.concatenate([seen.mean((1, 2)), self.words(token).mean(1)], axis=-1)
        classes = self.classes(nnx.relu(self.hidden(both)))
        return {"classes": classes, "maps": [self.places(seen)], "likeliest": classes.argmax(-1)}


DEAD = {
    "conv/kernel": (..., [1, 4]),
    "conv/bias": ([1, 4],),
    "hidden/kernel": (..., [0, 2, 6]),
    "hidden/bias": ([0, 2, 6],),
}


def captions(count: int) -> tuple[np.ndarray, np.ndarray]:
    return images(count), np.random.default_rng(1).integers(0, 11, (count, 3)).astype(np.int32)


def test_a_model_of_two_inputs_and_a_dictionary_of_outputs_is_compacted_leaf_by_leaf() -> None:
    model, real = hatch(Captioned), captions(16)
    arrays, masks = take_apart(model).arrays, {}
    for name, place in DEAD.items():
        masks[name] = np.ones(arrays[name].shape, bool)
        masks[name][place] = False
    done = compact(model, real, masks=masks, inputs=real)
    small: Any = done.model
    assert (done.removed, done.units) == (2 + 3, 6 + 5 + 7)
    assert small.conv.kernel.shape == (3, 3, 1, 4)
    assert small.hidden.kernel.shape == (4 + 5, 4)
    assert small.places.kernel.shape == (1, 1, 4, 2)
    assert (small.words.num_embeddings, small.words.features) == (11, 5)
    assert done.kept["hidden/kernel"][0].tolist() == [0, 2, 3, 5, 6, 7, 8, 9, 10]
    assert (done.proof.examples, done.proof.random_examples) == (16, 16)
    assert done.proof.top1_agreement is None
    zeroed: Any = change(hatch(Captioned), **{name.replace("/", "_"): place for name, place in DEAD.items()})
    found, wanted = (nnx.jit(lambda m, x: m(*x))(one, captions(40)) for one in (small, zeroed))
    assert {name: jax.tree.map(jnp.shape, leaf) for name, leaf in found.items()} == {
        "classes": (40, 4),
        "maps": [(40, 8, 8, 2)],
        "likeliest": (40,),
    }
    np.testing.assert_allclose(found["classes"], wanted["classes"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(found["maps"][0], wanted["maps"][0], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(found["likeliest"], wanted["likeliest"])
    assert found["likeliest"].dtype == wanted["likeliest"].dtype == jnp.int32


def test_a_proof_without_real_inputs_is_of_random_ones_of_every_dtype() -> None:
    model = change(hatch(Captioned), **{name.replace("/", "_"): place for name, place in DEAD.items()})
    done = compact(model, (jax.ShapeDtypeStruct((1, *SHAPE), jnp.float32), jax.ShapeDtypeStruct((1, 3), jnp.int32)))
    assert done.removed == 5
    assert (done.proof.examples, done.proof.random_examples) == (0, 128)


def test_one_array_of_real_inputs_needs_no_tuple() -> None:
    model = change(hatch(Tiny), conv1_kernel=(..., [0, 2]), conv1_bias=([0, 2],))
    for inputs in (images(12), (images(12),)):
        done = compact(model, SHAPE, inputs=inputs)
        assert (done.proof.examples, done.proof.random_examples) == (12, 12)
        assert done.proof.top1_agreement == 1
