"""Flax Linen modules: compacted exactly, trained, evolved and loaded again, as any model; Linen itself is the judge."""

import os
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from jax import Array
from linen_architectures import ARCHITECTURES, LeNet, Residual
from specimens import CLASSES, SHAPE, Specimen, Tiny, hatch, images, outputs, specimen
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.compaction import in_memory
from synevo.compaction.in_memory import compact
from synevo.data import datasets
from synevo.errors import AncestorError, CompactionError
from synevo.model.linen import MODES, as_nnx
from synevo.model.network import Network, put_together, take_apart
from synevo.plan.compose import compose
from synevo.runs import compacting, organisms, stages
from synevo.runs.rundir import RunDir
from synevo.tasks.classification import normalise
from synevo.wiring import cutting
from synevo.wiring.dissection import check, dissect, example_of
from synevo.wiring.units import keep_one

pytestmark = pytest.mark.slow

SILENT: dict[str, dict[str, Any]] = {"LeNet": {"train": False}, "ViT": {"deterministic": True}}

UNITS = {
    "LeNet": 6 + 8 + 12,
    "Residual": 6 + 8,
    "ViT": 4 + 2 + 10,
    "Grouped": 4 + 7 + (2 + 5) + (2 + 3),
    "Repeated": 12 + 6 + 9,
    "Kept": 6 + 9,
    "Stated": 9,
}
"""By hand. What shares a fate is one unit: a residual signal, a group. Heads and the places of their values go each by
itself; the signal of a transformer is averaged and the places of its keys are counted, so that these stay."""

FACTORIES = {
    name: lambda shape, classes, rngs, kind=kind: as_nnx(kind(classes), example_of(shape), rngs=rngs)
    for name, kind in ARCHITECTURES.items()
}

in_training = jax.jit(Network.train)

FRESH = """
import sys
import numpy as np
from synevo.deploy.reload import load
np.save(sys.argv[3], load(sys.argv[1])(np.load(sys.argv[2])))
"""


@pytest.fixture(params=list(ARCHITECTURES))
def named(request: pytest.FixtureRequest) -> tuple[str, Specimen]:
    return request.param, adopted(request.param)


def adopted(name: str) -> Specimen:
    """An architecture taken apart, with random arrays."""
    with jax.debug_key_reuse(False):  # Flax's own scan gives one key to all that it repeats
        return specimen(FACTORIES[name])


def half(of: Specimen) -> np.ndarray:
    """Flags of units, of which every other one is dead."""
    return keep_one(of.wiring, np.arange(of.wiring.units) % 2 == 1)


def masked(of: Specimen, alive: np.ndarray) -> dict[str, Any]:
    """Variables in their full shapes, in which all that dead units own is zero."""
    whole = cutting.uncut(cutting.cut(of.network, of.wiring, alive), of.wiring, alive, of.network)
    variables: dict[str, Any] = put_together(whole).variables
    return variables


def assert_same(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(np.asarray(wanted)).max())


def test_what_is_left_says_what_linen_says_of_the_masked_variables(named: tuple[str, Specimen]) -> None:
    name, of = named
    alive, x = half(of), jnp.asarray(images(4))
    check(of.network, of.anatomy, alive)
    found = outputs(cutting.cut(of.network, of.wiring, alive), x)
    module = Residual(CLASSES, training=False) if name == "Residual" else ARCHITECTURES[name](CLASSES)
    assert_same(found, jax.jit(lambda v, x: module.apply(v, x, **SILENT.get(name, {})))(masked(of, alive), x))


def test_the_units_are_those_counted_by_hand(named: tuple[str, Specimen]) -> None:
    name, of = named
    assert of.wiring.units == UNITS[name]


def test_what_is_left_trains(named: tuple[str, Specimen]) -> None:
    _, of = named
    small = cutting.cut(of.network, of.wiring, half(of))
    _, after = jax.eval_shape(Network.train, small, jax.random.key(0), images(4))
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, small)


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("Kept", "GRUCell_0/hn/kernel", r"would not run: .*\(linen_architectures\.py:\d+\)"),
        ("Stated", "Dense_1/kernel", r"would not run: .*\(linen_architectures\.py:\d+\)"),
        ("Grouped", "VmapDense_0/kernel", r"would not run: .*\(linen_architectures\.py:\d+\)"),
        ("ViT", "CheckpointBlock_0/MultiHeadDotProductAttention_0/key/kernel", "the number .* became .*"),
    ],
)
def test_what_cannot_be_removed_is_frozen_by_name_and_line(name: str, array: str, reason: str) -> None:
    reasons = [one.reason for one in adopted(name).wiring.frozen if one.array == array]
    assert any(re.search(reason, found) for found in reasons)


def test_training_updates_statistics_as_linen_does() -> None:
    of, x = adopted("Residual"), jnp.asarray(images(8))
    model = put_together(of.network)
    wanted, updates = jax.jit(lambda v, x: Residual(CLASSES).apply(v, x, mutable=["batch_stats"]))(model.variables, x)
    logits, after = in_training(of.network, jax.random.key(0), x)
    assert_same(logits, wanted)
    assert len(after.statistics) == 6
    for name, found in after.statistics.items():
        layer, statistic = name.split("/")
        assert_same(found, updates["batch_stats"][layer][statistic])
        assert (found != of.network.statistics[name]).any()


def test_dropout_is_random_in_training_alone() -> None:
    of, x = adopted("LeNet"), jnp.asarray(images(8))
    one, again, other = (in_training(of.network, jax.random.key(k), x)[0] for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert (one != other).any()
    np.testing.assert_array_equal(outputs(of.network, x), outputs(of.network, x))


class Bridged(nnx.Module):
    def __init__(self) -> None:
        self.linen = nnx.bridge.ToNNX(nn.Dense(6), rngs=nnx.Rngs(0)).lazy_init(jnp.zeros((2, 64)))
        self.hidden, self.out = nnx.Linear(6, 5, rngs=nnx.Rngs(1)), nnx.Linear(5, 4, rngs=nnx.Rngs(2))

    def __call__(self, x: Array) -> Array:
        return self.out(nnx.relu(self.hidden(nnx.relu(self.linen(x.reshape(x.shape[0], -1))))))


def test_a_linen_module_within_an_nnx_module_keeps_its_widths() -> None:
    anatomy = dissect(take_apart(Bridged()), SHAPE)
    assert anatomy.wiring.units == 5
    assert {one.array for one in anatomy.wiring.frozen} >= {"linen/kernel", "linen/bias"}


class ToldInCall(nn.Module):
    def __call__(
        self, x: Array, train: Any, training: Any, is_training: Any, deterministic: Any, use_running_average: Any = None
    ) -> Array:
        told = (train, training, is_training, deterministic, use_running_average)
        return jnp.tile(jnp.array([told], jnp.float32), (len(x), 1))


class ToldInFields(nn.Module):
    train: bool = False
    training: bool = True
    is_training: bool = False
    deterministic: bool | None = None
    use_running_average: bool = False

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return ToldInCall()(x, *(getattr(self, name) for name in MODES))


@pytest.mark.parametrize("kind", [ToldInCall, ToldInFields])
def test_a_module_is_told_its_mode_by_whatever_name_it_asks_for(kind: type[nn.Module]) -> None:
    model = as_nnx(kind(), example_of(SHAPE))
    model.train()
    assert model(images(2)).tolist() == [[1, 1, 1, 0, 0]] * 2
    model.eval()
    assert model(images(2)).tolist() == [[0, 0, 0, 1, 1]] * 2


class Counting(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        calls = self.variable("memory", "calls", lambda: jnp.zeros(()))
        if self.is_mutable_collection("memory"):
            calls.value += 1
        self.sow("losses", "size", jnp.abs(x).mean())
        return nn.Dense(2)(x.mean((1, 2)))


def test_training_keeps_what_init_makes_and_not_what_is_sown() -> None:
    model = as_nnx(Counting(), example_of(SHAPE))
    assert set(model.variables) == {"params", "memory"}
    before = model.variables["memory"]["calls"]
    for mode in (model.train, model.eval):
        mode()
        model(images(2))
        assert model.variables["memory"]["calls"] == before + 1


@pytest.fixture(scope="module")
def smaller() -> in_memory.Compacted:
    """A LeNet compacted in memory, by the zeros among its variables."""
    of = adopted("LeNet")
    return compact(LeNet(CLASSES), SHAPE, variables=masked(of, half(of)))


def test_linen_runs_with_the_smaller_variables_where_it_is_fitted(smaller: in_memory.Compacted) -> None:
    model: Any = smaller.model
    x, module = jnp.asarray(images(4)), LeNet(CLASSES)
    assert model.variables["params"]["Conv_1"]["kernel"].shape == (3, 3, 3, 4)
    assert smaller.kept["Dense_1/kernel"][0].tolist() == [1, 3, 5, 7, 9, 11]
    with nn.intercept_methods(model.fit):
        assert_same(module.apply(model.variables, x, train=False), model(x))
    with pytest.raises(Exception, match="expected to generate shape"):
        module.apply(model.variables, x, train=False)


def test_a_smaller_model_trains_on_and_compacts_again(smaller: in_memory.Compacted) -> None:
    model: Any = nnx.clone(smaller.model)
    optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    x, labels = jnp.asarray(images(16)), jnp.arange(16) % CLASSES

    @nnx.jit
    def step(model: Any, optimizer: Any) -> Array:
        def loss(model: Any) -> Array:
            return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()

        value, gradients = nnx.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    model.train()
    losses = [float(step(model, optimizer)) for _ in range(30)]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    model.eval()
    masks = {f"Conv_1/{name}": np.ones(model.Conv_1[name].shape, bool) for name in ("kernel", "bias")}
    for mask in masks.values():
        mask[..., 0] = False
    again: Any = compact(model, SHAPE, masks=masks).model
    assert again.variables["params"]["Conv_1"]["kernel"].shape == (3, 3, 3, 3)


class Dense(nn.Module):
    """A result for every place, as in segmentation."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        x = nn.relu(nn.Conv(6, (3, 3))(x))
        return nn.Conv(3, (1, 1))(x)


class Twofold(nn.Module):
    """Two results, one of which is what came in."""

    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        return nn.Dense(2)(nn.relu(nn.Conv(6, (3, 3))(x)).mean((1, 2))), x


class Named(nn.Module):
    """Results by name, of several ranks and dtypes, told its mode."""

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> dict[str, Any]:
        h = nn.Dropout(0.5, deterministic=not train)(nn.relu(nn.Conv(6, (3, 3))(x)))
        logits = nn.Dense(4)(h.mean((1, 2)))
        return {"heads": [logits, nn.Conv(2, (3, 3), strides=2)(h)], "class": logits.argmax(-1)}


class Masked(nn.Module):
    """Two inputs, images and a number for each of them."""

    @nn.compact
    def __call__(self, x: Array, mask: Array) -> Array:
        return nn.Dense(2)(nn.relu(nn.Conv(6, (3, 3))(x)).mean((1, 2)) * mask[:, None])


class Uncounted(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> tuple[Array, Array]:
        return nn.Dense(2)(x.mean((1, 2))), x.mean((0, 1))


class Restless(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        return nn.Dense(2)(nn.Dropout(0.5, deterministic=False)(x.mean((1, 2))))


class Updating(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        return nn.Dense(2)(nn.BatchNorm(use_running_average=False)(x).mean((1, 2)))


class Misnamed(nn.Module):
    @nn.compact
    def __call__(self, x: Array) -> Array:
        return nn.Dense(2, name="rngs")(x.mean((1, 2)))


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (Uncounted(), r"the result in mode 'train' is \(\(2, 2\), \(8, 1\)\)"),
        (Masked(), "missing 1 required positional argument: 'mask'"),
        (Restless(), "RNG"),
        (Updating(), "immutable"),
        (Misnamed(), "two things would have the name rngs"),
    ],
)
def test_a_module_that_does_not_run_on_its_inputs_alone_is_refused(module: nn.Module, words: str) -> None:
    with pytest.raises(AncestorError, match=words) as error:
        as_nnx(module, example_of(SHAPE))
    assert "use_running_average" in error.value.remedy


@pytest.mark.parametrize(
    ("module", "keywords"), [(Dense(), {}), (Twofold(), {}), (Named(), {"train": False}), (Masked(), {})]
)
def test_dense_outputs_several_results_and_several_inputs_are_compacted_with_equal_outputs(
    module: nn.Module, keywords: dict[str, bool]
) -> None:
    inputs = (jnp.asarray(images(5)), *([jnp.arange(5.0)] if isinstance(module, Masked) else []))
    variables = jax.jit(partial(module.init, **keywords))(jax.random.key(0), *inputs)
    hidden = {name: array.at[..., :2].set(0) for name, array in variables["params"]["Conv_0"].items()}
    variables["params"]["Conv_0"] = hidden
    done = compact(module, inputs, variables=variables)
    assert (done.removed, done.units) == (2, 6)
    small: Any = done.model
    assert small.variables["params"]["Conv_0"]["kernel"].shape == (3, 3, 1, 4)
    found, wanted = nnx.jit(lambda m, x: m(*x))(small, inputs), module.apply(variables, *inputs, **keywords)
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), found) == jax.tree.map(
        lambda leaf: (leaf.shape, leaf.dtype), wanted
    )
    jax.tree.map(assert_same, found, wanted)


def test_variables_of_another_module_are_refused() -> None:
    of = adopted("LeNet")
    with pytest.raises(AncestorError, match="expected to generate shape"):
        compact(LeNet(CLASSES + 1), SHAPE, variables=masked(of, half(of)))


def test_a_linen_module_without_variables_and_an_nnx_module_with_some_are_refused() -> None:
    with pytest.raises(CompactionError, match="comes with its variables"):
        compact(LeNet(CLASSES), SHAPE)
    with pytest.raises(CompactionError, match="comes with its variables"):
        compact(hatch(Tiny), SHAPE, variables={})


def test_a_lineage_of_a_linen_ancestor_is_loaded_in_a_fresh_process(tmp_path: Path) -> None:
    options = {
        "ancestor.name": "linen_architectures:perceptron",
        "data.image_size": 8,
        "ancestor_training.epochs": 1,
        "training.epochs": 1,
        "encoding.cluster": "filter",
        "environment.keep_clusters": 0.6,
        "environment.keep_synapses": 0.5,
        "evolution.generations": 2,
        "evolution.max_drop": 1.0,
    }
    run, plan = RunDir(tmp_path / "run"), organisms.resolve(compose(options=options))
    for stage in (stages.train_ancestor, stages.evolve):
        list(stage(run, plan))
    units = compacting.compact(run, plan, generation=2)["architecture"]["units"]
    assert 0 < units["alive"] < units["all"] == 16 + 12
    data = datasets.load(plan.data, seed=plan.seed)
    np.save(tmp_path / "x.npy", np.asarray(normalise(jnp.asarray(data.test.pixels), data.mean, data.deviation)))
    words = [sys.executable, "-c", FRESH, "run", "x.npy", "logits.npy"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    classes = np.load(tmp_path / "logits.npy").argmax(-1)
    np.testing.assert_array_equal(classes, run.load_predictions(2)["best"])
    assert len(set(classes)) > 2


def test_the_command_line_says_what_is_wrong_with_a_linen_ancestor(tmp_path: Path) -> None:
    words = ["train-ancestor", "--ancestor", "linen_architectures:undecided", "--run", str(tmp_path / "run")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "use_running_average" in done.output
    assert "Traceback" not in done.output
