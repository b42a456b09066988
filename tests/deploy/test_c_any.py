"""C files of networks of many kinds: several arrays of several types, looked-up places, and what cannot be written."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from exported import STRICT, as_program, difference, expected, of_arrays
from flax import nnx
from jax import Array
from numpy.typing import NDArray

from synevo.deploy.formats import c_float, c_int8
from synevo.deploy.formats.c.checker import called, open_file
from synevo.deploy.reload import Reloaded
from synevo.errors import ExportError
from synevo.model.arguments import structure_of
from synevo.model.network import take_apart

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")]

KINDS = ("Sensors", "Tagger", "Waveform", "Resized", "MLP of a vector", "Residual, Linen")


def run_in_c(content: bytes, folder: Path, leaves: list[NDArray[Any]]) -> list[NDArray[Any]]:
    (folder / "net.c").write_bytes(content)
    run = open_file(folder / "net.c", ("-std=c99", "-O1", *STRICT))
    assert run is not None
    found = run(*leaves)
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize("name", KINDS)
def test_a_network_of_any_kind_says_the_same_in_c(name: str, tmp_path: Path) -> None:
    reloaded, leaves = of_arrays(name)
    wanted = expected(reloaded, leaves)
    found = run_in_c(c_float.write(reloaded), tmp_path, leaves)
    assert difference(found, wanted) < 2e-5
    assert [one.dtype for one in found] == [np.uint8 if one.dtype == bool else one.dtype for one in wanted]
    if name == "Sensors":
        assert difference(as_program(tmp_path / "net.c", leaves), wanted) < 2e-5


def test_whole_numbers_of_a_network_with_several_arrays_stay_near_their_source(tmp_path: Path) -> None:
    reloaded, leaves = of_arrays("Sensors")
    content = c_int8.write(reloaded, *leaves)
    wanted = expected(reloaded, leaves)
    assert difference(run_in_c(content, tmp_path, leaves), wanted) < 0.05
    assert difference(as_program(tmp_path / "net.c", leaves), wanted) < 0.05


class Embedded(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(5, 3, rngs=rngs)

    def __call__(self, tokens: Array) -> Array:
        return self.embed(tokens)


def own(kind: Callable[..., nnx.Module], *inputs: Any) -> Reloaded:
    leaves = [leaf for one in inputs for leaf in (one.values() if isinstance(one, dict) else [one])]
    arguments = [{"shape": list(leaf.shape[1:]), "dtype": str(leaf.dtype)} for leaf in leaves]
    document = {"arguments": arguments, "structure": structure_of(inputs), "generation": 1, "ancestor": "own:Net"}
    return Reloaded(take_apart(kind(rngs=nnx.Rngs(0))), {**document, "task": "own"})


def test_a_token_outside_the_vocabulary_reads_no_memory_beside_the_table(tmp_path: Path) -> None:
    tokens = np.array([[0, 4, 5, -1, 2**31 - 1, -(2**31)]], np.int32)
    reloaded = own(Embedded, tokens)
    (wanted,) = expected(reloaded, [tokens])
    (found,) = run_in_c(c_float.write(reloaded), tmp_path, [tokens])
    np.testing.assert_array_equal(found, wanted)
    (again,) = as_program(tmp_path / "net.c", [tokens])
    np.testing.assert_array_equal(np.isnan(again), np.isnan(wanted))


class Named(nnx.Module):
    """Arguments whose names are words of C, or names that the file has for its own."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(2, 2, rngs=rngs)

    def __call__(self, inputs: dict[str, Array]) -> dict[str, Any]:
        x = sum(inputs.values())
        return {"float": self.dense(x), "floats": nnx.tanh(x), "inputs/x0": x * 2, "main": x.sum(axis=-1) > 0}


def test_names_of_arrays_do_not_clash_with_c_or_with_the_file(tmp_path: Path) -> None:
    arrays = {name: np.full((2, 2), place, np.float32) for place, name in enumerate(("class", "x0", "Über/*/"))}
    reloaded = own(Named, arrays)
    leaves = [arrays[name] for name in sorted(arrays)]
    content = c_float.write(reloaded)
    names = [one["name"] for one in called(content)["arguments"]]
    assert len(set(names)) == len(names) == 7
    for found in (run_in_c(content, tmp_path, leaves), as_program(tmp_path / "net.c", leaves)):
        assert difference(found, expected(reloaded, leaves)) < 2e-5


class Halved(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(2, 2, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.dense(x.astype(jnp.bfloat16).astype(jnp.float32))


class Averaged(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(2, 2, rngs=rngs)

    def __call__(self, x: Array) -> tuple[Array, Array]:
        return self.dense(x), x.mean()


def test_what_c_has_no_numbers_for_is_refused_with_its_line_or_its_name() -> None:
    x = np.zeros((1, 2), np.float32)
    with pytest.raises(ExportError, match=r"convert_element_type \(test_c_any.py:\d+\) .* computes in bfloat16"):
        c_float.write(own(Halved, x))
    with pytest.raises(ExportError, match="x is made of float16"):
        c_float.write(own(Halved, x.astype(np.float16)))
    with pytest.raises(ExportError, match=r"output1 has the sizes \[\], .* one row an example"):
        c_float.write(own(Averaged, x))
