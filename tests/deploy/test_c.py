"""C files: compiled by the machine's compiler, they say what their source says, and stay within their arrays."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import ARCHITECTURES
from flax import nnx
from jax import Array, lax
from specimens import Attentive, ChannelsFirst, Gated, Grouped, Joined, LayerNormed, hatch
from typer.testing import CliRunner

from synevo import ancestors
from synevo.cli.app import app
from synevo.deploy.formats import c_float, c_int8
from synevo.deploy.formats.c.checker import FLAGS, costs, open_file
from synevo.deploy.reload import Reloaded, reload
from synevo.errors import ExportError
from synevo.model.network import take_apart
from synevo.runs import compacting
from synevo.runs.rundir import RunDir

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler"),
]

STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror")
QUICK = ("-std=c99", "-O1", *STRICT)

BUILT_IN = ("lenet5", "lenet5-caffe", "lenet-300-100", "resnet8")
USERS = (Joined, Gated, Attentive, ChannelsFirst, Grouped, LayerNormed)
WRITTEN = ("DenseBlock", "SqueezeExcite", "UNet", "TransposeNet", "Recurrent")
SMALL = (*USERS, *map(ancestors.find, ("lenet-300-100", "resnet8")))
MODELS: dict[str, Any] = {name: ancestors.find(name) for name in BUILT_IN}
MODELS |= {kind.__name__: kind for kind in USERS} | {name: ARCHITECTURES[name] for name in WRITTEN}


def half_dead(factory: Callable[..., nnx.Module], shape: tuple[int, int, int] = (16, 16, 3)) -> Reloaded:
    """A network of random weights, half of its synapses dead, as if it had been reloaded."""
    shape = (8, 8, 3) if factory in SMALL else shape
    random = np.random.default_rng(0)
    network = take_apart(hatch(factory, shape)).map(
        lambda name, array: array * (random.random(array.shape) < 0.5) if name.endswith("kernel") else array
    )
    about = {"shape": shape, "mean": (0.4, 0.5, 0.3)[: shape[2]], "deviation": (0.2, 0.3, 0.25)[: shape[2]]}
    return Reloaded(network, {"input": about, "classes": list("0123"), "generation": 1, "ancestor": "own:HalfDead"})


def pixels(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), np.uint8)


def source(reloaded: Reloaded, x: np.ndarray) -> np.ndarray:
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return np.asarray(jax.jit(reloaded.logits, compiler_options=options)(reloaded.network, jnp.asarray(x)))


def compiled(content: bytes, folder: Path, flags: tuple[str, ...] = QUICK) -> Callable[[np.ndarray], np.ndarray]:
    (folder / "net.c").write_bytes(content)
    run = open_file(folder / "net.c", flags)
    assert run is not None
    return run


def assert_near(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", list(MODELS))
def test_a_network_says_the_same_in_c_and_compiles_without_a_warning(name: str, tmp_path: Path) -> None:
    reloaded = half_dead(MODELS[name])
    run = compiled(c_float.write(reloaded), tmp_path)
    x = pixels(3, reloaded.shape)
    assert_near(run(x), source(reloaded, x))
    np.testing.assert_array_equal(run(x[1:2]), run(x)[1:2])  # buffers keep nothing from one image to the next


@pytest.mark.parametrize("name", ["SqueezeExcite", "lenet5-caffe"])
def test_sanitizers_find_nothing_in_floats_or_in_whole_numbers(name: str, tmp_path: Path) -> None:
    reloaded = half_dead(MODELS[name])
    x = pixels(3, reloaded.shape)
    expected = source(reloaded, x)
    contents = {2e-5: c_float.write(reloaded), 0.05: c_int8.write(reloaded, np.concatenate([x, x]))}
    for tolerance, content in contents.items():
        (tmp_path / "net.c").write_bytes(content)
        words = ["cc", *QUICK, "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-DHALF_DEAD_G01_MAIN"]
        subprocess.run([*words, tmp_path / "net.c", "-lm", "-o", tmp_path / "net"], check=True)
        done = subprocess.run([tmp_path / "net"], input=x.tobytes(), capture_output=True, check=True)
        found = np.array([line.split() for line in done.stdout.decode().splitlines()], np.float32)
        assert np.abs(found - expected).max() <= tolerance * np.abs(expected).max()


def test_a_file_is_a_header_and_a_c_plus_plus_source_as_well(tmp_path: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("needs a C++ compiler")
    reloaded = half_dead(Gated)
    (tmp_path / "net.c").write_bytes(c_float.write(reloaded))
    (tmp_path / "main.cpp").write_text(
        '#define HALF_DEAD_G01_HEADER\n#include "net.c"\n#include <stdio.h>\n'
        "int main() { static uint8_t in[HALF_DEAD_G01_PIXELS]; float out[HALF_DEAD_G01_LOGITS];\n"
        'half_dead_g01(in, out); printf("%.9g", double(out[3])); }\n'
    )
    for made in ("net.c", "main.cpp"):
        subprocess.run(["c++", "-x", "c++", *STRICT, "-c", tmp_path / made, "-o", tmp_path / f"{made}.o"], check=True)
    subprocess.run(["c++", tmp_path / "net.c.o", tmp_path / "main.cpp.o", "-lm", "-o", tmp_path / "main"], check=True)
    said = float(subprocess.run([tmp_path / "main"], capture_output=True, check=True, text=True).stdout)
    expected = source(reloaded, np.zeros((1, *reloaded.shape), np.uint8))[0, 3]
    assert abs(said - expected) <= 2e-5 * max(1, abs(expected))


class TwoLayers(nnx.Module):
    """A convolution and a dense layer, whose multiply-adds and buffers are counted on paper."""

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(shape[-1], 2, (3, 3), padding="VALID", rngs=rngs)
        self.out = nnx.Linear((shape[0] - 2) * (shape[1] - 2) * 2, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.conv(x))
        return self.out(x.reshape(x.shape[0], -1))


def test_dead_synapses_cost_neither_time_nor_space_and_buffers_are_used_again() -> None:
    reloaded = half_dead(TwoLayers, (8, 8, 1))
    conv, dense = np.zeros((3, 3, 1, 2)), np.zeros((72, 4))
    conv[0, 0], conv[2, 1, 0, 1], dense[:, 2], dense[5, 0] = 1, 1, 1, 1
    arrays = {"conv/kernel": conv, "out/kernel": dense}
    network = reloaded.network.map(lambda name, array: jnp.asarray(arrays.get(name, array), jnp.float32))
    found = costs(c_float.write(replace(reloaded, network=network)))
    assert found["living_multiply_adds"] == 36 * 3 + 73
    assert found["stored_multiply_adds"] == 36 * 18 + 288
    # 64 pixels and 72 results at once, then 72 results and 4 logits; 16 × 8 are read at once, up to the edge of a block
    assert 4 * (64 + 72) <= found["bytes_of_buffers"] <= 4 * (64 + 72 + 2 * 8 + 16)
    assert found["bytes_of_constants"] < 4 * (18 + 288)


class Sorted(nnx.Module):
    """A network with a step that C files have no rule for."""

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.out = nnx.Linear(shape[0] * shape[1] * shape[2], classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return lax.sort(self.out(x.reshape(x.shape[0], -1)))


def test_a_step_without_a_rule_is_named_with_its_line() -> None:
    with pytest.raises(ExportError, match=r"sort \(test_c.py:\d+\) cannot be written as C"):
        c_float.write(half_dead(Sorted, (4, 4, 1)))


@pytest.mark.parametrize("name", ["LayerNormed", "Attentive"])
def test_whole_numbers_stay_near_their_source(name: str, tmp_path: Path) -> None:
    reloaded = half_dead(MODELS[name])
    x = pixels(7, reloaded.shape)
    run = compiled(c_int8.write(reloaded, x), tmp_path)
    expected = source(reloaded, x)
    assert np.abs(run(x) - expected).max() <= 0.05 * np.abs(expected).max()


def test_an_export_is_compiled_compared_and_timed_and_says_what_it_costs(finished: RunDir, tmp_path: Path) -> None:
    for name in ("c", "c-int8"):
        file = tmp_path / f"{name}.c"
        done = CliRunner().invoke(app, ["export", str(finished.path), "--to", name, "--output", str(file), "--json"])
        assert done.exit_code == 0, done.stderr
        said, contract = json.loads(done.stdout), json.loads((tmp_path / f"{name}.c.json").read_text())
        assert said["latency_ms"] > 0
        assert said["top1_agreement"] >= (1 if name == "c" else 0.95)
        buffers = int(re.findall(r"static buffers: (\d+) bytes", file.read_text())[0])
        declared = re.findall(
            r"^static (float|int8_t|int32_t) (?:floats|bytes|words)\[(\d+)\];$", file.read_text(), re.MULTILINE
        )
        assert buffers == sum({"float": 4, "int8_t": 1, "int32_t": 4}[kind] * int(size) for kind, size in declared)
        assert contract["costs"]["bytes_of_buffers"] == buffers
        assert contract["costs"]["living_multiply_adds"] <= contract["costs"]["stored_multiply_adds"]


def test_padding_takes_no_room_in_a_c_file(finished: RunDir, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "run")
    run, found, filters = RunDir(tmp_path / "run"), [], []
    for multiple in (1, 16):
        made = compacting.compact(run, run.load_plan(), generation=2, round_to=multiple)
        filters.append(made["architecture"]["units"]["alive"])
        found.append(costs(c_float.write(reload(run.path, generation=2))))
    assert filters[0] < filters[1]
    assert found[0] == found[1]


def test_without_a_compiler_the_file_is_written_and_said_to_be_unchecked(
    finished: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    file = tmp_path / "net.c"
    done = CliRunner().invoke(app, ["export", str(finished.path), "--to", "c", "--output", str(file)])
    assert done.exit_code == 0, done.stderr
    assert "Not checked" in done.stdout
    assert file.stat().st_size == json.loads((tmp_path / "net.c.json").read_text())["bytes"]
    assert json.loads((tmp_path / "net.c.json").read_text())["checked"] is None


def test_a_file_that_computes_something_else_is_deleted(
    finished: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = c_float.write
    monkeypatch.setattr(c_float, "write", lambda reloaded: write(reloaded).replace(b"pixels[", b"7 + pixels["))
    words = ["export", str(finished.path), "--to", "c", "--output", str(tmp_path / "net.c")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "was deleted, because it is not its source" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_default_flags_are_those_that_the_guide_promises() -> None:
    assert "-O2" in FLAGS
    assert "-ffast-math" not in FLAGS
