"""Reasons: what is frozen says truly which step of which line keeps it, and what nobody would remove is not listed."""

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array
from specimens import SHAPE, Normed, Shape, Tiny, hatch, line_of, sketch, specimen

from synevo.compaction.in_memory import compact
from synevo.errors import CompactionError
from synevo.model.network import take_apart
from synevo.wiring import cutting
from synevo.wiring.dissection import check, dissect
from synevo.wiring.identities import MET, TOLD, Identities, stays
from synevo.wiring.units import PERMANENT, keep_one

WIDTH = 8


def between(body: Callable[[Any, Array], Array]) -> Callable[[Any, Array], Array]:
    """A body that acts between a hidden layer and the next one."""
    return lambda m, x: m.out(nnx.relu(m.next(body(m, m.hidden(x)))))


BETWEEN: dict[str, tuple[Callable[[Any, Array], Array], str]] = {
    "softmax": (lambda _, h: nnx.softmax(h), "under a softmax (softmax, {}): every share depends on all others"),
    "mean": (lambda _, h: h - h.mean(-1, keepdims=True), "averaged over (mean, {}): the mean changes with the width"),
    "norm": (lambda _, h: h / jnp.linalg.norm(h, axis=-1, keepdims=True), "summed over (norm, {})"),
    "max": (lambda _, h: h * h.max(-1, keepdims=True), "compared with each other (max, {})"),
    "argmax": (lambda _, h: h * jax.nn.one_hot(h.argmax(-1), WIDTH), "compared with each other (argmax, {})"),
    "cumsum": (lambda _, h: jnp.cumsum(h, -1), "accumulated one after the other (cumsum, {})"),
    "sort": (lambda _, h: jnp.sort(h, -1), "sorted (sort, {})"),
    "top_k": (
        lambda _, h: jnp.where(h > jax.lax.top_k(h, 3)[0][:, :1], h, 0),
        "meets a step without a rule (top_k, {})",
    ),
    "fft": (lambda _, h: jnp.fft.fft(h).real, "meets a step without a rule (fft, {})"),
    "arange": (lambda _, h: h * jnp.arange(8.0)[None], "multiplied with the number of each place ({})"),
    "stated": (
        lambda _, h: h + np.linspace(0, 1, 8, dtype=np.float32)[None],
        "added to numbers that the code states ({})",
    ),
    "pooled": (lambda _, h: nnx.avg_pool(h[..., None], (2,), (1,), "SAME")[..., 0], "pooled over (avg_pool, {})"),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_the_step_that_freezes_a_width_is_named_on_all_that_has_it(name: str) -> None:
    body, reason = BETWEEN[name]
    wiring = specimen(sketch(between(body), hidden=WIDTH, next=6, out=0)).wiring
    place = rf"test_reasons\.py:{body.__code__.co_firstlineno}"
    found = {(one.array, one.axis): one.reason for one in wiring.frozen}
    assert found.keys() == {("hidden/kernel", 1), ("hidden/bias", 0), ("next/kernel", 0)}
    for one in found.values():
        assert re.fullmatch(re.escape(reason).replace(r"\{\}", place), one)


class Residual(nnx.Module):
    """A residual stream under a normalisation, with a layer of its own in every block."""

    norms: Any = nnx.LayerNorm

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Linear(int(np.prod(shape)), 8, rngs=rngs)
        self.norm = self.norms(8, rngs=rngs)
        self.up, self.down = nnx.Linear(8, 6, rngs=rngs), nnx.Linear(6, 8, rngs=rngs)
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.head = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.stem(x.reshape(x.shape[0], -1))
        x = x + self.down(nnx.gelu(self.up(self.norm(x))))
        return self.head(self.drop(x))


class ResidualRms(Residual):
    norms = nnx.RMSNorm


STREAM = {"stem/kernel", "stem/bias", "norm/scale", "up/kernel", "down/kernel", "down/bias", "head/kernel"}


@pytest.mark.parametrize(("kind", "what"), [(Residual, "mean and deviation"), (ResidualRms, "the mean of the squares")])
def test_a_residual_width_is_frozen_by_its_normalisation_in_every_layer(kind: type[nnx.Module], what: str) -> None:
    """Its training program, which is followed after that of evaluation, does not hide why."""
    (norm,) = {one.reason.split(" (")[1].split(",")[0] for one in specimen(kind).wiring.frozen}
    assert norm in {"LayerNorm", "RMSNorm"}
    wiring, line = specimen(kind).wiring, line_of(Residual, "self.norm(x)")
    assert {one.array for one in wiring.frozen} - {"norm/bias"} == STREAM
    assert {one.reason for one in wiring.frozen} == {
        f"normalised over ({norm}, {line}): {what} change{'' if 'and' in what else 's'} with the width"
    }


class Vision(nnx.Module):
    """Patches, a class token and positions, and one block with attention."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.patch = nnx.Conv(shape[-1], 8, (4, 4), strides=(4, 4), rngs=rngs)
        self.token, self.place = nnx.Param(jnp.ones((1, 1, 8))), nnx.Param(jnp.ones((1, 5, 8)))
        self.norm = nnx.LayerNorm(8, rngs=rngs)
        self.query, self.key, self.value = (nnx.Linear(8, 8, rngs=rngs) for _ in range(3))
        self.drop = nnx.Dropout(0.1, rngs=rngs)
        self.head = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.patch(x).reshape(x.shape[0], -1, 8)
        x = jnp.concatenate([jnp.broadcast_to(self.token[...], (x.shape[0], 1, 8)), x], axis=1) + self.place[...]
        y = self.norm(x)
        weights = nnx.softmax(self.query(y) @ self.key(y).swapaxes(1, 2))
        return self.head(self.drop(x + weights @ self.value(y))[:, 0])


def test_the_width_of_a_vision_transformer_is_frozen_by_its_normalisation_and_positions_are_not_listed() -> None:
    wiring = specimen(Vision).wiring
    line = line_of(Vision, "self.norm(x)")
    assert {one.reason for one in wiring.frozen} == {
        f"normalised over (LayerNorm, {line}): mean and deviation change with the width"
    }
    listed = {(one.array, one.axis) for one in wiring.frozen}
    assert {("token", 2), ("place", 2), ("patch/kernel", 3), ("head/kernel", 0)} <= listed
    assert not {("token", 0), ("place", 0), ("place", 1), ("head/kernel", 1), ("patch/kernel", 0)} & listed


def added(m: Any, x: Array) -> Array:
    return m.out(nnx.relu(m.next(x + m.hidden(x))))


def test_a_width_that_is_added_to_the_input_says_so_where_a_layer_makes_it() -> None:
    wiring = specimen(sketch(added, hidden=64, next=6, out=0)).wiring
    reason = f"added to the input of the network (test_reasons.py:{added.__code__.co_firstlineno + 1})"
    assert {(one.array, one.reason) for one in wiring.frozen} == {("hidden/kernel", reason), ("hidden/bias", reason)}
    assert (wiring.slots["next/kernel"][0] == PERMANENT).all()


class Tokens(nnx.Module):
    """Tokens and their positions, embedded."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.token, self.place = nnx.Embed(11, 8, rngs=rngs), nnx.Embed(5, 8, rngs=rngs)
        self.head = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, tokens: Array) -> Array:
        return self.head(nnx.relu(self.token(tokens) + self.place(jnp.arange(5))[None]).mean(1))


def test_the_rows_of_an_embedding_are_tokens_and_those_of_positions_are_not_listed() -> None:
    model = hatch(lambda _shape, _classes, rngs: Tokens(rngs))
    wiring = dissect(take_apart(model), (jax.ShapeDtypeStruct((2, 5), jnp.int32),)).wiring
    (one,) = wiring.frozen
    assert (one.array, one.axis, one.count) == ("token/embedding", 0, 11)
    assert one.reason == f"the rows of an embedding (Embed, {line_of(Tokens, 'self.token(')}): one for each token"
    assert wiring.units == 8


@pytest.mark.parametrize("kind", [Tiny, Normed], ids=lambda kind: kind.__name__)
def test_of_a_network_whose_widths_can_all_go_nothing_is_listed(kind: type[nnx.Module]) -> None:
    wiring = specimen(kind).wiring
    assert wiring.frozen == ()
    assert (wiring.slots["conv1/kernel"][0] == PERMANENT).all()


def both(m: Any, x: Array) -> tuple[Array, Array]:
    h = nnx.relu(m.hidden(x))
    return m.out(h), h


def test_a_width_that_is_an_output_and_is_read_is_listed_and_the_classes_are_not() -> None:
    wiring = specimen(sketch(both, hidden=6, out=0)).wiring  # type: ignore[arg-type]  # of two outputs
    assert {(one.array, one.reason) for one in wiring.frozen} == {
        (name, "an output of the network") for name in ("hidden/kernel", "hidden/bias", "out/kernel")
    }
    assert {one.axis for one in wiring.frozen if one.array == "out/kernel"} == {0}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1)])
def test_the_reason_that_explains_most_counts_in_whatever_order_sets_are_tied(order: tuple[int, ...]) -> None:
    identities = Identities()
    first, second, third = (identities.fresh(2) for _ in range(3))
    identities.begin("add", "net.py:1")
    identities.freeze(first, identities.because("an output", MET))
    identities.begin("reduce_sum", "net.py:2")
    identities.freeze(second, identities.because("normalised", TOLD))
    identities.begin("reduce_max", "net.py:3")
    identities.freeze(third, identities.because("compared", TOLD))
    pairs = [(first, second), (second, third), (stays(2), first)]
    for place in order:
        identities.unite(*pairs[place])
    for axis in (first, second, third):
        assert [identities.reason(int(one)).text for one in axis.ids] == ["normalised"] * 2
    assert "place" in identities.reason(int(stays(1).ids[0])).text


class Shallow(nnx.Module):
    """Inputs and outputs alone."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.only = nnx.Linear(int(np.prod(shape)), classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.only(x.reshape(x.shape[0], -1))


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Shallow, r"nothing that could be removed: it has only inputs and outputs\."),
        (Tiny, r"all of its 26 removable units live\.$"),
        (
            Residual,
            r"6 removable units live. Frozen are 8 on axis 0 of down/bias, .*, 5 more axes: normalised over \(Layer",
        ),
    ],
    ids=["shallow", "tiny", "residual"],
)
def test_an_error_names_how_many_places_of_which_axes_are_frozen(kind: type[nnx.Module], words: str) -> None:
    with pytest.raises(CompactionError) as error:
        compact(hatch(kind), SHAPE)
    assert re.search(words, error.value.problem)


class Shuffled(nnx.Module):
    """Grouped convolutions around a shuffle of channels, as in ShuffleNet."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        self.groups, self.width = 2, 8
        self.places = self.width // self.groups
        self.first = nnx.Conv(shape[-1], 8, (1, 1), rngs=rngs)
        self.before = nnx.Conv(8, 8, (1, 1), feature_group_count=2, rngs=rngs)
        self.behind = nnx.Conv(8, 8, (3, 3), feature_group_count=8, rngs=rngs)
        self.last = nnx.Conv(8, 6, (1, 1), rngs=rngs)
        self.head = nnx.Linear(6, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.shuffle(nnx.relu(self.before(nnx.relu(self.first(x)))))
        return self.head(nnx.relu(self.last(self.behind(x))).mean((1, 2)))


class ByShape(Shuffled):
    def shuffle(self, x: Array) -> Array:
        n, h, w, c = x.shape
        return x.reshape(n, h, w, self.groups, c // self.groups).swapaxes(3, 4).reshape(n, h, w, c)


class Inferred(Shuffled):
    def shuffle(self, x: Array) -> Array:
        n, h, w, _ = x.shape
        return x.reshape(n, h, w, self.groups, -1).swapaxes(3, 4).reshape(n, h, w, -1)


class ByPlaces(Shuffled):
    def shuffle(self, x: Array) -> Array:
        n, h, w, _ = x.shape
        return x.reshape(n, h, w, -1, self.places).swapaxes(3, 4).reshape(n, h, w, -1)


class ByLayer(Shuffled):
    def shuffle(self, x: Array) -> Array:
        n, h, w, c = x.shape
        groups = self.before.feature_group_count
        return x.reshape(n, h, w, groups, c // groups).swapaxes(3, 4).reshape(n, h, w, c)


class Stated(Shuffled):
    def shuffle(self, x: Array) -> Array:
        n, h, w, _ = x.shape
        return x.reshape(n, h, w, self.groups, self.places).swapaxes(3, 4).reshape(n, h, w, self.width)


@pytest.mark.parametrize("kind", [ByShape, Inferred, ByPlaces, ByLayer, Stated])
def test_a_shuffle_of_channels_lets_groups_and_places_go(kind: type[nnx.Module]) -> None:
    """Down to one of each, also where attributes of the module state the numbers: these follow."""
    of = specimen(kind)
    least = keep_one(of.wiring, np.zeros(of.wiring.units, bool))
    assert check(of.network, of.anatomy, least)
    small = cutting.cut(of.network, of.wiring, least)
    assert of.wiring.groups_left(least)["before/kernel"] == 1
    assert small.arrays["before/kernel"].shape[-1] == small.arrays["behind/kernel"].shape[-1] == 1
    assert small.arrays["last/kernel"].shape == (1, 1, 1, 1)
    assert of.wiring.frozen == ()


@pytest.mark.slow
def test_a_shuffled_network_without_places_and_groups_is_the_same_network() -> None:
    model: Any = hatch(ByLayer)
    group, place = np.arange(8) // 4, np.arange(8) % 4
    alive = {"first": group == 0, "before": (group == 0) & (place < 2), "behind": np.isin(np.arange(8), [0, 2])}
    masks = {f"{name}/bias": flags for name, flags in alive.items()}
    for name, shape in (("first", (1, 1, 1, 8)), ("before", (1, 1, 4, 8)), ("behind", (3, 3, 1, 8))):
        masks[f"{name}/kernel"] = np.broadcast_to(alive[name], shape)
    done: Any = compact(model, SHAPE, masks=masks)
    assert done.model.before.feature_group_count == 1
    assert done.model.behind.kernel.shape[-1] == 2
    assert done.proof.max_difference < 1e-4
