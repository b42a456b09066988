"""Steps of networks that are not for images, written as ONNX and C: look-ups, windows, counts, choices, edges."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exported import STRICT
from flax import nnx
from jax import Array

from synevo.deploy.formats import c_float
from synevo.deploy.formats.c.checker import open_file
from synevo.deploy.formats.graph import graph_of
from synevo.deploy.interface import at_another_size, given, wanted, with_free_sizes
from synevo.deploy.reload import Reloaded
from synevo.errors import ExportError
from synevo.model.arguments import structure_of
from synevo.model.network import take_apart

pytestmark = pytest.mark.slow

TABLE = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
FLAGS = np.array([True, False, True])

STEPS: dict[str, Callable[[Array, Array], Any]] = {
    "places outside": lambda _, p: (jnp.asarray(TABLE)[p], jnp.take(jnp.asarray(TABLE), p, axis=0)),
    "places that are limited": lambda _, p: jnp.take(jnp.asarray(TABLE), p, axis=0, mode="clip"),
    "flags and integers outside": lambda _, p: (jnp.take(jnp.asarray(FLAGS), p), jnp.take(jnp.arange(3), p)),
    "places of each example": lambda x, p: jnp.take_along_axis(x, (p % 6)[:, :, None], axis=1),
    "a point of each example": lambda x, p: x[jnp.arange(x.shape[0]), p[:, 0] % 6],
    "a window": lambda x, _: x[:, 1:4, 1:3],
    "a window that moves": lambda x, p: jax.lax.dynamic_slice(x, (0, p[0, 0], 0), (x.shape[0], 2, 4)),
    "sums so far": lambda x, p: (jnp.cumsum(x, axis=1), jax.lax.cumsum(p, axis=1, reverse=True)),
    "the largest": lambda x, _: (jax.lax.top_k(x, 2), x.argmax(axis=1), x.argmin(axis=2)),
    "truths": lambda x, _: ((x > 0).any(axis=1), (x > 0).all(axis=2), jnp.where(x > 0, x > 1, x < -1)),
    "numbers": lambda x, p: (jnp.exp2(x), jnp.log1p(jnp.abs(x)), jnp.round(x), jnp.isfinite(x), p % 3, p**2, p // 3),
    "angles": lambda x, _: (jnp.arctan(x), jnp.sinh(x), jnp.tan(x), jnp.arcsinh(x)),
    "edges": lambda x, _: jax.lax.pad(x, 0.0, ((0, 0, 0), (-1, 2, 0), (1, -1, 0))),
    "a product of three": lambda x, _: jnp.einsum("nij,nkj,jl->nikl", x, x, jnp.asarray(TABLE[:4])),
    "arrays that are stacked": lambda x, p: jnp.stack([x[:, :3], jnp.repeat(p[:, :, None], 4, 2).astype(x.dtype)], 2),
    "a size as a number": lambda x, _: x.sum(axis=1) / x.shape[1] + jnp.arange(4)[None, :],
    "an output that nothing moves": lambda x, p: {"x": x, "one": jnp.ones((x.shape[0], 2)) + p[:, :2]},
}


class Of(nnx.Module):
    """A function of an array and of places."""

    def __init__(self, function: Callable[[Array, Array], Any]) -> None:
        self.function = function
        self.scale = nnx.Param(jnp.ones(()))

    def __call__(self, x: Array, places: Array) -> Any:
        return self.function(x * self.scale[...], places)


def in_memory(model: nnx.Module, *inputs: Any) -> Reloaded:
    """A network as if it had been reloaded."""
    arguments = [{"shape": list(leaf.shape[1:]), "dtype": str(leaf.dtype)} for leaf in jax.tree.leaves(inputs)]
    return Reloaded(
        take_apart(model),
        {"generation": 1, "task": "steps:problem", "arguments": arguments, "structure": structure_of(inputs)},
    )


def arrays(count: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(count)
    return random.normal(size=(count, 6, 4)).astype(np.float32), random.integers(-7, 8, (count, 3)).astype(np.int32)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_gives_in_onnx_runtime_what_it_gives_in_jax(name: str, tmp_path: Path) -> None:
    from synevo.deploy.formats import onnx

    reloaded = in_memory(Of(STEPS[name]), *arrays(2))
    (tmp_path / "a.onnx").write_bytes(onnx.write(reloaded))
    run = onnx.open_file(tmp_path / "a.onnx")
    for count in (5, 1):
        x, places = arrays(count)
        expected = jax.tree.leaves(STEPS[name](jnp.asarray(x), jnp.asarray(places)))
        found = jax.tree.leaves(run(x, places))
        for one, other, leaf in zip(found, expected, wanted(reloaded), strict=True):
            assert (one.shape, str(one.dtype)) == (other.shape, leaf.dtype)
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("name", STEPS)
def test_a_step_gives_in_c_what_it_gives_in_jax(name: str, tmp_path: Path) -> None:
    reloaded = in_memory(Of(STEPS[name]), *arrays(2))
    if name == "the largest":
        with pytest.raises(ExportError, match=r"top_k \(test_steps\.py:\d+\) cannot be written as C"):
            c_float.write(reloaded)
        return
    (tmp_path / "a.c").write_bytes(c_float.write(reloaded))
    run = open_file(tmp_path / "a.c", ("-std=c99", "-O0", *STRICT))
    assert run is not None
    x, places = arrays(5)
    found = jax.tree.leaves(run(x, places))
    for place in range(len(x)):
        one = slice(place, place + 1)
        expected = jax.tree.leaves(STEPS[name](jnp.asarray(x[one]), jnp.asarray(places[one])))
        for made, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(made[one], other, rtol=1e-5, atol=1e-6)


class Scaled(nnx.Module):
    """A map that may have any height and width, and a sequence that may not be longer than its table."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(2, 3, (3, 3), strides=2, rngs=rngs)
        self.positions = nnx.Embed(6, 4, rngs=rngs)

    def __call__(self, batch: dict[str, Array]) -> dict[str, Array]:
        x, tokens = batch["map"], batch["tokens"]
        n, height, width, _ = x.shape
        small = self.conv(x)
        table = self.positions(jnp.arange(tokens.shape[1]))
        return {
            "map": jax.image.resize(small, (n, height, width, 3), "bilinear"),
            "mean": small.mean(axis=(1, 2)),
            "tokens": table[None] * tokens[..., None],
        }


def test_sizes_are_free_where_the_code_runs_at_others(tmp_path: Path) -> None:
    from synevo.deploy.formats import onnx

    random = np.random.default_rng(0)
    batch = {"map": random.normal(size=(2, 8, 8, 2)).astype(np.float32), "tokens": np.ones((2, 6), np.int32)}
    reloaded = with_free_sizes(in_memory(Scaled(nnx.Rngs(0)), batch))
    assert [leaf.shape for leaf in given(reloaded)] == [("n", "2*height", "2*width", 2), ("n", "2*length")]
    assert [leaf.name for leaf in wanted(reloaded)] == ["map", "mean", "tokens"]
    assert reloaded.free is not None
    assert reloaded.free.at_most["length"] == 3
    (tmp_path / "a.onnx").write_bytes(onnx.write(reloaded))
    run = onnx.open_file(tmp_path / "a.onnx")
    other = at_another_size(reloaded, jax.tree.leaves(batch))
    assert other is not None
    assert other[1].shape == (2, 4)
    expected = reloaded.network(dict(zip(sorted(batch), map(jnp.asarray, other), strict=True)))
    for one, wants in zip(run(*other), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, wants, atol=1e-5)


def test_a_dense_layer_leaves_no_size_free() -> None:
    reloaded = in_memory(nnx.Linear(5, 3, rngs=nnx.Rngs(0)), np.zeros((2, 5), np.float32))
    assert with_free_sizes(reloaded).free is None
    (leaf,) = given(reloaded)
    assert (leaf.name, leaf.shape) == ("inputs", ("n", 5))


def test_a_step_without_a_rule_is_named_with_its_line() -> None:
    from synevo.deploy.formats import onnx

    with pytest.raises(ExportError, match=r"fft \(test_steps\.py:\d+\) cannot be written as ONNX"):
        onnx.write(in_memory(Of(lambda x, _: jnp.abs(jnp.fft.rfft(x[..., 0]))), *arrays(2)))
    with pytest.raises(ExportError, match=r"any number of examples: .* \(test_steps\.py:\d+\)"):
        graph_of(in_memory(Of(lambda x, _: x.reshape(int(x.shape[0]), -1)), *arrays(2)))
