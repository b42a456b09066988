"""Masked and compacted networks are one network: architectures of today, and random ones made of their parts.

`SYNEVO_FUZZ=3000 pytest tests/test_wiring_real.py` tries thousands.
"""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import ARCHITECTURES, Shape
from flax import nnx
from jax import Array
from specimens import Specimen, hatch, images

from synevo.model.network import Network, take_apart
from synevo.wiring import cutting
from synevo.wiring.dissection import check, dissect
from synevo.wiring.units import keep_one

pytestmark = pytest.mark.slow

CASES = int(os.environ.get("SYNEVO_FUZZ", "200"))
MASKS = 8
SHAPE = (8, 8, 1)
TOLERANCE = 1e-5


def dissected(factory: Callable[..., nnx.Module], shape: Shape) -> Specimen:
    network = take_apart(hatch(factory, shape, 4))
    return Specimen(network, dissect(network, shape), shape)


def difference(of: Specimen, alive: np.ndarray) -> float:
    """The largest difference of masked and compacted logits, relative to the largest logit."""
    check(of.network, of.anatomy, alive)
    compact = cutting.cut(of.network, of.wiring, alive)
    masked = cutting.uncut(compact, of.wiring, alive, of.network)
    x = jnp.asarray(images(2, of.shape))
    large = np.asarray(_run(masked, x))
    small = np.asarray(_run(compact, x))
    return float(np.abs(large - small).max() / np.abs(large).max())


_run = jax.jit(
    Network.__call__,
    compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True},
)


def random_units(of: Specimen, seed: int) -> np.ndarray:
    """Flags of units, of which a random share is dead."""
    random = np.random.default_rng(seed)
    return keep_one(of.wiring, random.random(of.wiring.units) >= random.choice([0.1, 0.3, 0.5, 0.8, 1.0]))


def arrays(of: Specimen, alive: np.ndarray) -> int:
    """How many numbers are left."""
    return sum(array.size for array in cutting.cut(of.network, of.wiring, alive).arrays.values())


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def architecture(request: pytest.FixtureRequest) -> tuple[str, Specimen]:
    return request.param, dissected(ARCHITECTURES[request.param], SHAPE)


SMALLEST = {
    "DenseBlock": 0.1,
    "Inception": 0.15,
    "SqueezeExcite": 0.1,
    "UNet": 0.1,
    "TransposeNet": 0.1,
    "ViT": 0.5,
    "Packed": 0.1,
    "Mixer": 0.35,
    "ResNeXt": 0.1,
    "Shuffle": 0.25,
    "GroupNormed": 0.2,
    "GatedUnits": 0.15,
    "Recurrent": 0.15,
    "Stubborn": 0.9,
}


def test_masked_and_compacted_are_one_network(architecture: tuple[str, Specimen]) -> None:
    _, of = architecture
    for seed in range(2):
        assert difference(of, random_units(of, seed)) < TOLERANCE


def test_nearly_everything_can_go(architecture: tuple[str, Specimen]) -> None:
    """The share of all numbers that is left when one element of each axis is: the others could all be removed."""
    name, of = architecture
    least = keep_one(of.wiring, np.zeros(of.wiring.units, bool))
    assert arrays(of, least) / arrays(of, np.ones_like(least)) <= SMALLEST[name]
    assert difference(of, least) < TOLERANCE


def test_what_is_frozen_has_a_reason_and_a_line(architecture: tuple[str, Specimen]) -> None:
    _, of = architecture
    for frozen in of.wiring.frozen:
        assert frozen.reason
        assert ".py:" in frozen.reason or frozen.reason.startswith("The")


def test_a_compacted_network_trains(architecture: tuple[str, Specimen]) -> None:
    _, of = architecture
    compact = cutting.cut(of.network, of.wiring, random_units(of, 5))
    _, after = jax.eval_shape(Network.train, compact, jax.random.key(0), jnp.asarray(images(2, of.shape)))
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, compact)


class Body:
    """Random parts on a signal [n, height, width, channels]; each returns how it is applied."""

    def __init__(self, random: np.random.Generator, rngs: nnx.Rngs) -> None:
        self.random, self.rngs = random, rngs
        self.modules: list[nnx.Module] = []
        self.steps: list[Callable[[list[nnx.Module], Array], Array]] = []

    def add(self, module: nnx.Module) -> int:
        self.modules.append(module)
        return len(self.modules) - 1

    def width(self) -> int:
        return int(self.random.choice([4, 6, 8, 12]))

    def grow(self, width: int) -> int:
        """Append a random part to a signal of `width` channels; the width behind it."""
        part = self.random.choice([name for name in dir(self) if name.startswith("part_")])
        return getattr(self, str(part))(width)

    def part_conv(self, width: int) -> int:
        out, side = self.width(), int(self.random.choice([1, 3]))
        options: dict[str, Any] = {"kernel_dilation": int(self.random.choice([1, 2]))}
        conv = self.add(
            nnx.Conv(width, out, (side, side), use_bias=bool(self.random.integers(2)), rngs=self.rngs, **options)
        )
        activate = [nnx.relu, nnx.gelu, nnx.sigmoid, nnx.silu, nnx.softplus, nnx.leaky_relu][self.random.integers(6)]
        self.steps.append(lambda m, x: activate(m[conv](x)))
        return out

    def part_transposed(self, width: int) -> int:
        out = self.width()
        conv = self.add(nnx.ConvTranspose(width, out, (2, 2), strides=(2, 2), rngs=self.rngs))
        self.steps.append(lambda m, x: nnx.max_pool(nnx.tanh(m[conv](x)), (2, 2), (2, 2)))
        return out

    def part_norm(self, width: int) -> int:
        kinds = [lambda: nnx.BatchNorm(width, rngs=self.rngs), lambda: nnx.GroupNorm(width, 2, rngs=self.rngs)]
        kinds.append(lambda: nnx.LayerNorm(width, rngs=self.rngs))
        norm = self.add(kinds[self.random.choice(3, p=[0.7, 0.2, 0.1])]())
        self.steps.append(lambda m, x: m[norm](x))
        return width

    def part_residual(self, width: int) -> int:
        inner = self.width()
        first = self.add(nnx.Conv(width, inner, (3, 3), rngs=self.rngs))
        second = self.add(nnx.Conv(inner, width, (1, 1), rngs=self.rngs))
        self.steps.append(lambda m, x: x + m[second](nnx.relu(m[first](x))))
        return width

    def part_dense(self, width: int) -> int:
        conv = self.add(nnx.Conv(width, 4, (3, 3), rngs=self.rngs))
        self.steps.append(lambda m, x: jnp.concatenate([x, nnx.relu(m[conv](x))], axis=-1))
        return width + 4

    def part_branches(self, width: int) -> int:
        outs = [self.width() for _ in range(2)]
        convs = [self.add(nnx.Conv(width, out, (1, 1), rngs=self.rngs)) for out in outs]
        self.steps.append(lambda m, x: jnp.concatenate([nnx.relu(m[conv](x)) for conv in convs], axis=-1))
        return sum(outs)

    def part_grouped(self, width: int) -> int:
        out = self.width()
        conv = self.add(nnx.Conv(width, out, (3, 3), feature_group_count=2, rngs=self.rngs))
        self.steps.append(lambda m, x: nnx.relu(m[conv](x)))
        return out

    def part_depthwise(self, width: int) -> int:
        conv = self.add(nnx.Conv(width, width, (3, 3), feature_group_count=width, rngs=self.rngs))
        self.steps.append(lambda m, x: nnx.relu(m[conv](x)))
        return width

    def part_squeeze(self, width: int) -> int:
        squeeze = self.add(nnx.Linear(width, 4, rngs=self.rngs))
        excite = self.add(nnx.Linear(4, width, rngs=self.rngs))
        self.steps.append(
            lambda m, x: x * nnx.sigmoid(m[excite](nnx.relu(m[squeeze](x.mean(axis=(1, 2)))))[:, None, None, :])
        )
        return width

    def part_attention(self, width: int) -> int:
        inner = int(self.random.choice([2, 4]))
        q, k, v = (self.add(nnx.LinearGeneral(width, (2, inner), rngs=self.rngs)) for _ in range(3))
        out = self.add(nnx.LinearGeneral((2, inner), width, axis=(-2, -1), rngs=self.rngs))

        def attend(m: list[nnx.Module], x: Array) -> Array:
            tokens = x.reshape(x.shape[0], -1, x.shape[-1])
            weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", m[q](tokens), m[k](tokens)))
            return x + m[out](jnp.einsum("bhqk,bkhd->bqhd", weights, m[v](tokens))).reshape(x.shape)

        self.steps.append(attend)
        return width

    def part_gated(self, width: int) -> int:
        inner = self.width()
        both = self.add(nnx.Linear(width, 2 * inner, rngs=self.rngs))

        def gate(m: list[nnx.Module], x: Array) -> Array:
            a, b = jnp.split(m[both](x), 2, axis=-1)
            return a * nnx.sigmoid(b)

        self.steps.append(gate)
        return inner

    def part_shape(self, width: int) -> int:
        steps: list[Callable[[Any, Array], Array]] = [
            lambda _, x: jnp.pad(x, ((0, 0), (1, 0), (0, 1), (0, 0)))[:, :-1, 1:],
            lambda _, x: x[:, ::-1],
            lambda _, x: nnx.avg_pool(x, (3, 3), padding="SAME"),
            lambda _, x: jnp.moveaxis(jnp.moveaxis(x, -1, 1), 1, -1),
            lambda _, x: jnp.roll(x, 1, axis=1),
            lambda _, x: x.reshape(x.shape[0], -1, x.shape[-1]).reshape(x.shape),
            lambda _, x: x[..., ::-1],
            lambda _, x: x / jnp.sqrt(1 + jnp.square(x)),
        ]
        self.steps.append(steps[self.random.integers(len(steps))])
        return width

    def part_shuffled(self, width: int) -> int:
        self.steps.append(lambda _, x: jnp.swapaxes(x.reshape(*x.shape[:-1], 2, -1), -1, -2).reshape(x.shape))
        return width

    def part_normalised(self, width: int) -> int:
        self.steps.append(lambda _, x: x - x.mean(axis=-1, keepdims=True) if self.random_bit else jnp.cumsum(x, axis=1))
        self.random_bit = bool(self.random.random() < 0.2)
        return width


class Random(nnx.Module):
    """A few random parts between a stem and a classifier, behind a flatten or a mean."""

    def __init__(self, seed: int, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        random = np.random.default_rng(seed)
        self.stem = nnx.Conv(shape[-1], 6, (3, 3), strides=int(random.choice([1, 2])), rngs=rngs)
        body = Body(random, rngs)
        width = 6
        for _ in range(random.integers(2, 6)):
            width = body.grow(width)
        self.flat = bool(random.integers(2))
        side = shape[0] // self.stem.strides
        self.steps = tuple(body.steps)
        self.parts = nnx.List(body.modules)
        self.classifier = nnx.Linear(width * (side * side if self.flat else 1), classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = self.stem(x)
        for step in self.steps:
            x = step(self.parts, x)
        return self.classifier(x.reshape(x.shape[0], -1) if self.flat else x.mean(axis=(1, 2)))


@pytest.mark.parametrize("seed", range(CASES // MASKS))
def test_random_architectures_are_compacted_exactly_or_frozen_with_a_reason(seed: int) -> None:
    shape = (4, 4, 2)
    of = dissected(lambda *arguments: Random(seed, *arguments), shape)
    for mask in range(MASKS):
        assert difference(of, random_units(of, MASKS * seed + mask)) < TOLERANCE
    assert all(frozen.reason for frozen in of.wiring.frozen)
    assert of.wiring.units or any(".py:" in frozen.reason for frozen in of.wiring.frozen)
