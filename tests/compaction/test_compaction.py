"""Compaction: the masked network and the compacted one are the same network, and a proof that is none is refused."""

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array
from specimens import (
    SHAPE,
    Attentive,
    ChannelsFirst,
    Deep,
    Gated,
    Grouped,
    Joined,
    LayerNormed,
    Normed,
    Patches,
    Residual,
    Specimen,
    Strange,
    Tied,
    Tiny,
    halves,
    hatch,
    images,
    lay_out,
    line_of,
    outputs,
    random_masks,
    silence,
    sketch,
    specimen,
)

from synevo import keys
from synevo.ancestors.lenet5 import LeNet5
from synevo.ancestors.lenet5_caffe import LeNet5Caffe
from synevo.ancestors.lenet_300_100 import LeNet300100
from synevo.compaction import proof
from synevo.compaction.proof import Proof
from synevo.errors import ProofError
from synevo.genetics.viability import make_viable
from synevo.model.network import Network, take_apart
from synevo.wiring import cutting, masks
from synevo.wiring.comparison import compare_programs
from synevo.wiring.dissection import dissect, program_of
from synevo.wiring.units import PERMANENT, keep_one

MODELS: dict[str, Callable[[], Specimen]] = {
    "plain": lambda: specimen(Tiny),
    "normalised": lambda: specimen(Normed),
    "residual": lambda: specimen(Residual),
    "concatenated": lambda: specimen(Joined),
    "gated": lambda: specimen(Gated),
    "softmax over units": lambda: specimen(Attentive),
    "unknown primitives": lambda: specimen(Strange),
    "nested lists": lambda: specimen(Deep),
    "lenet5": lambda: specimen(LeNet5, (16, 16, 3)),
    "lenet5-caffe": lambda: specimen(LeNet5Caffe, (16, 16, 1)),
    "lenet-300-100": lambda: specimen(LeNet300100),
    "channels first": lambda: specimen(ChannelsFirst),
    "halves": lambda: specimen(sketch(halves, hidden=8, out=0)),
    "tied": lambda: specimen(Tied),
    "dense on every place": lambda: specimen(Patches, (8, 8, 3)),
    "groups": lambda: specimen(Grouped),
    "layer normalisation": lambda: specimen(LayerNormed),
}


def some_alive(of: Specimen, share: float, seed: int) -> np.ndarray:
    """Units of which about a share lives, at least one of each layer."""
    random = np.random.default_rng(seed)
    alive = random.random(of.wiring.units) < share
    for layer in of.wiring.layers:
        if not (layer.outputs == PERMANENT).all():
            unit = random.choice(layer.outputs[layer.outputs != PERMANENT])
            alive[list(of.wiring.parts(int(unit)))] = True
    return keep_one(of.wiring, alive)


def without(of: Specimen, *units: int) -> np.ndarray:
    return ~np.isin(np.arange(of.wiring.units), units)


def prove(of: Specimen, alive: np.ndarray, compact: Network | None = None) -> Proof:
    """The proof of a network without the units that do not live, or of what is claimed to be one."""
    cut = cutting.cut(of.network, of.wiring, alive)
    return proof.prove(
        keys.root(0),
        of.anatomy,
        alive,
        masked=silence(of, of.network, alive),
        compact=cut if compact is None else compact,
        inputs=(jnp.asarray(images(20, of.shape)),),
    )


def compare(of: Specimen, alive: np.ndarray, compact: Network | None = None) -> int:
    found = program_of(compact or cutting.cut(of.network, of.wiring, alive), of.anatomy.inputs)
    return compare_programs(of.anatomy.program, of.anatomy.survivors(alive), found)


@pytest.mark.parametrize(
    ("name", "share", "density"),
    [*((name, 0.3, 0.6) for name in MODELS), ("plain", 0.0, 1.0), ("plain", 0.8, 0.1), ("residual", 0.0, 1.0)],
)
def test_a_masked_network_and_the_compacted_one_are_the_same(name: str, share: float, density: float) -> None:
    """Largest difference of the outputs of random images, relative to the largest output: at most 1e-5."""
    of = MODELS[name]()
    alive = some_alive(of, share, 1)
    sparse = masks.apply(random_masks(of, density, 2), of.network)
    masked, compact = silence(of, sparse, alive), cutting.cut(sparse, of.wiring, alive)
    x = images(16, of.shape)
    large, small = outputs(masked, x), outputs(compact, x)
    assert np.abs(large - small).max() <= 1e-5 * np.abs(large).max()
    assert compare(of, alive, compact) == len(of.anatomy.program.steps)
    sizes = {
        key: sum(array.size for array in network.arrays.values())
        for key, network in (("large", masked), ("small", compact))
    }
    assert sizes["small"] < sizes["large"] or of.wiring.units == 0


@pytest.mark.parametrize("name", MODELS)
def test_a_compacted_network_laid_out_again_is_the_masked_one(name: str) -> None:
    of = MODELS[name]()
    alive = some_alive(of, 0.5, 3)
    masked = silence(of, of.network, alive)
    again = cutting.uncut(cutting.cut(of.network, of.wiring, alive), of.wiring, alive, of.network)
    assert again.arrays.keys() == masked.arrays.keys()
    for array, other in zip(again.arrays.values(), masked.arrays.values(), strict=True):
        np.testing.assert_array_equal(array, other)


@pytest.mark.parametrize("name", ["plain", "concatenated"])
def test_masks_are_cut_and_laid_out_as_their_network_is(name: str) -> None:
    of = MODELS[name]()
    viable, alive, _ = make_viable(
        of.wiring, of.network.parameters, masks.full(of.wiring, of.network), random_masks(of, 0.1, 4)
    )
    small = cutting.cut_masks(viable, of.wiring, alive)
    compact = cutting.cut(of.network, of.wiring, alive)
    assert all(mask.shape == compact.parameters[key].shape for key, mask in small.items())
    assert sum(mask.sum() for mask in small.values()) == sum(mask.sum() for mask in viable.values())
    again = lay_out(small, of.wiring, alive, of.network)
    assert all((again[key] == viable[key]).all() for key in viable)


def test_what_is_left_of_an_array_is_what_lives_by_hand(tiny: Specimen) -> None:
    """Filter 2 of the second convolution goes, and with it rows 2, 10, 18, 26 of the matrix behind the flatten."""
    alive = without(tiny, int(tiny.wiring.layers[1].outputs[2]))
    before, after = tiny.network.parameters, cutting.cut(tiny.network, tiny.wiring, alive).parameters
    np.testing.assert_array_equal(after["conv2/kernel"], np.delete(before["conv2/kernel"], 2, axis=3))
    np.testing.assert_array_equal(after["conv2/bias"], np.delete(before["conv2/bias"], 2))
    np.testing.assert_array_equal(after["full/kernel"], np.delete(before["full/kernel"], [2, 10, 18, 26], axis=0))
    np.testing.assert_array_equal(after["classifier/kernel"], before["classifier/kernel"])


def test_a_proof_says_what_was_compared(tiny: Specimen) -> None:
    alive = without(tiny, 1, 9, 20)
    proof = prove(tiny, alive)
    assert (proof.examples, proof.random_examples) == (20, 20)
    assert proof.steps == len(tiny.anatomy.program.steps)
    assert proof.top1_agreement == 1
    logits = outputs(silence(tiny, tiny.network, alive), images(20))
    assert proof.largest_output >= np.abs(logits).max() * (1 - 1e-6)
    assert proof.max_difference <= 1e-5 * proof.largest_output


@pytest.mark.parametrize("change", [0.1, float("nan")])
def test_a_number_that_is_not_the_masked_network_s_is_found_in_the_outputs(tiny: Specimen, change: float) -> None:
    alive = without(tiny, 1, 9, 20)
    compact = cutting.cut(tiny.network, tiny.wiring, alive)
    bias = compact.parameters["classifier/bias"].at[2].add(change)
    wrong = replace(compact, parameters=compact.parameters | {"classifier/bias": bias})
    with pytest.raises(ProofError, match="outputs"):
        prove(tiny, alive, wrong)


def test_a_network_that_lost_other_units_than_it_says_is_found_by_its_shapes(tiny: Specimen) -> None:
    first, second = (int(layer.outputs[0]) for layer in tiny.wiring.layers[:2])
    with pytest.raises(ProofError, match="shape"):
        compare(tiny, without(tiny, first), cutting.cut(tiny.network, tiny.wiring, without(tiny, second)))


def untried(model: Callable[..., nnx.Module], monkeypatch: pytest.MonkeyPatch) -> Specimen:
    """A model whose units were followed, but not tried: all that no rule forbids may go."""
    network = take_apart(hatch(model))
    with monkeypatch.context() as patch:
        patch.setattr("synevo.wiring.dissection._TRIALS", ())
        return Specimen(network, dissect(network, SHAPE), SHAPE)


def divides_by_its_width(m: Any, x: Array) -> Array:
    h = nnx.relu(m.hidden(x))
    return m.out(h / jnp.sqrt(h.shape[-1]))


def adds_when_narrow(m: Any, x: Array) -> Array:
    h = nnx.relu(m.hidden(x))
    return m.out(h + 1 if h.shape[-1] < 6 else h)


def subtracts_the_other_way(m: Any, x: Array) -> Array:
    h = nnx.relu(m.hidden(x))
    a, b = (h, jnp.sin(h)) if h.shape[-1] == 6 else (jnp.sin(h), h)
    return m.out(a - b)


def takes_the_cosine_when_narrow(m: Any, x: Array) -> Array:
    h = m.hidden(x)
    return m.out(jnp.sin(h) if h.shape[-1] == 6 else jnp.cos(h))


def raises_to_its_width(m: Any, x: Array) -> Array:
    h = m.hidden(x)
    return m.out(h ** h.shape[-1])


def subtracts_swapped(m: Any, x: Array) -> Array:
    h = nnx.relu(m.hidden(x))
    a, b = jnp.sin(h), jnp.sin(h * 2)
    return m.out(a - b if h.shape[-1] == 6 else b - a)


def has_a_width_in_its_code(m: Any, x: Array) -> Array:
    return m.out(nnx.relu(m.hidden(x)).reshape(-1, 1, 6).sum(axis=1))


def weighs_with_its_width(m: Any, x: Array) -> Array:
    h = nnx.relu(m.hidden(x))
    return m.out(h) * np.full((1, 4), 1 / h.shape[-1], np.float32)


DEPENDS_ON_ITS_WIDTH: dict[Callable[[Any, Array], Array], str] = {
    divides_by_its_width: "the number 6.0 became",
    adds_when_narrow: "dot_general was predicted, add was traced",
    subtracts_the_other_way: "another value",
    takes_the_cosine_when_narrow: "sin was predicted, cos was traced",
    raises_to_its_width: "of integer_pow was predicted",
    subtracts_swapped: "another value",
    has_a_width_in_its_code: "would not run: TypeError",
    weighs_with_its_width: "an array that the model computes from its widths has changed",
}


@pytest.mark.parametrize("body", DEPENDS_ON_ITS_WIDTH, ids=lambda body: body.__name__)
def test_units_of_a_model_that_depends_on_their_number_are_frozen_with_the_line(
    body: Callable[[Any, Array], Array],
) -> None:
    wiring = specimen(sketch(body, hidden=6, out=0)).wiring
    assert wiring.units == 0
    lines, first = inspect.getsourcelines(body)
    for name, axis in (("hidden/kernel", 1), ("hidden/bias", 0), ("out/kernel", 0)):
        (reason,) = [found.reason for found in wiring.frozen if (found.array, found.axis) == (name, axis)]
        assert DEPENDS_ON_ITS_WIDTH[body] in reason
        place = re.search(r"\(test_compaction\.py:(\d+)\)", reason)
        if body is not weighs_with_its_width:  # an array that is computed before the model runs has no line
            assert place
            assert first < int(place[1]) < first + len(lines)


@pytest.mark.parametrize("body", DEPENDS_ON_ITS_WIDTH, ids=lambda body: body.__name__)
def test_what_no_trial_has_found_is_refused_before_anything_is_written(
    body: Callable[[Any, Array], Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    of = untried(sketch(body, hidden=6, out=0), monkeypatch)
    assert of.wiring.units == 6
    assert prove(of, without(of)).max_difference == 0
    with pytest.raises(ProofError, match=DEPENDS_ON_ITS_WIDTH[body]) as caught:
        prove(of, without(of, 2))
    assert "x.shape" in (caught.value.remedy or "")


class TakesTheMiddle(nnx.Module):
    """Units 2 and 3 of six, by their numbers, and all six."""

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(int(np.prod(shape)), 6, rngs=rngs)
        self.whole = nnx.Linear(6, classes, rngs=rngs)
        self.middle = nnx.Linear(2, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        h = nnx.relu(self.hidden(x.reshape(x.shape[0], -1)))
        return self.whole(h) + self.middle(h[:, 2:4])


class TakesEverySecond(TakesTheMiddle):
    """Units 0, 2 and 4 of six, by their numbers, and all six."""

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        super().__init__(shape, classes, rngs)
        self.middle = nnx.Linear(3, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        h = nnx.relu(self.hidden(x.reshape(x.shape[0], -1)))
        return self.whole(h) + self.middle(h[:, ::2])


@pytest.mark.parametrize(
    ("model", "gone", "complaint"),
    [(TakesTheMiddle, [0], r"start_indices|shape"), (TakesEverySecond, [1, 4], "taken in steps")],
)
def test_a_model_that_would_take_other_units_of_as_many_is_refused_and_frozen(
    model: type[nnx.Module], gone: list[int], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shapes agree; the units that the slice takes do not."""
    wiring = specimen(model).wiring
    assert (wiring.slots["hidden/kernel"][1] == PERMANENT).all()
    (reason,) = [found.reason for found in wiring.frozen if (found.array, found.axis) == ("hidden/kernel", 1)]
    assert line_of(model, "return self.whole") in reason
    of = untried(model, monkeypatch)
    units = of.wiring.slots["hidden/kernel"][1][gone]
    if (units == PERMANENT).all():
        assert complaint in reason
        return
    with pytest.raises(ProofError, match=complaint):
        compare(of, without(of, *units.tolist()))


def joins_ones(m: Any, x: Array) -> Array:
    return m.out(nnx.relu(jnp.concatenate([m.hidden(x), jnp.ones((x.shape[0], 6))], axis=-1)[:, 3:9]))


def test_numbers_that_are_joined_to_units_cannot_be_cut_by_surprise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ones that the code joins to the units are as many as the code says, however small the network becomes."""
    of = specimen(sketch(joins_ones, hidden=6, out=0))
    assert (of.wiring.slots["out/kernel"][0] == PERMANENT).all()
    of = untried(sketch(joins_ones, hidden=6, out=0), monkeypatch)
    free = [unit for unit in of.wiring.slots["out/kernel"][0].tolist() if unit != PERMANENT]
    assert free
    for unit in free:
        with pytest.raises(ProofError):
            prove(of, without(of, unit))


@pytest.mark.parametrize("name", ["plain", "residual", "concatenated", "normalised"])
@pytest.mark.parametrize("multiple", [1, 3, 4, 100])
def test_widths_are_rounded_up_with_dead_units_and_the_network_stays_the_same(name: str, multiple: int) -> None:
    of = MODELS[name]()
    alive = keep_one(of.wiring, np.random.default_rng(1).random(of.wiring.units) < 0.4)
    rounded = cutting.round_up(of.wiring, alive, multiple)
    assert (alive <= rounded).all()
    if multiple == 1:
        assert (alive == rounded).all()
    small = cutting.cut(of.network, of.wiring, alive)
    masked = cutting.uncut(small, of.wiring, alive, of.network)
    wide = cutting.cut(masked, of.wiring, rounded)
    for layer in of.wiring.layers:
        axes = layer.output_axis if isinstance(layer.output_axis, tuple) else (layer.output_axis,)
        width = np.prod([wide.parameters[layer.name].shape[axis] for axis in axes])
        assert width % multiple == 0 or width == len(layer.outputs) or len(set(layer.outputs)) < len(layer.outputs)
    x = (jnp.asarray(images(4, of.shape)),)
    found = proof.prove(keys.root(0), of.anatomy, rounded, masked=masked, compact=wide, inputs=x)
    assert found.top1_agreement == 1


def test_random_arguments_are_normal_fractions_and_real_integers_in_another_order() -> None:
    tokens = np.arange(200, dtype=np.int32).reshape(100, 2)
    real = (jnp.zeros((100, 8, 8, 1)), {"tokens": jnp.asarray(tokens), "seen": jnp.asarray(tokens[:, 0] % 2 == 0)})
    pictures, rest = proof.draw(keys.root(0), real)
    assert (pictures.shape, pictures.dtype) == ((100, 8, 8, 1), jnp.float32)
    assert abs(float(pictures.mean())) < 0.05
    assert abs(float(pictures.std()) - 1) < 0.05
    assert (rest["tokens"].dtype, rest["seen"].dtype) == (jnp.int32, jnp.bool_)
    found = np.asarray(rest["tokens"])
    assert (found != tokens).any()
    np.testing.assert_array_equal(found[found[:, 0].argsort()], tokens)
    assert int(rest["seen"].sum()) == 100
