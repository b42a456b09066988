"""Exports: every file is run by the software that it is for, and says what its source says, to any number of images."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import ARCHITECTURES
from flax import nnx
from specimens import (
    Attentive,
    ChannelsFirst,
    Gated,
    Grouped,
    Joined,
    LayerNormed,
    Pipeline,
    Strange,
    hatch,
)
from typer.testing import CliRunner

from synevo.ancestors.lenet5 import LeNet5
from synevo.cli.app import app
from synevo.compaction.proof import TOLERANCE
from synevo.deploy import delivery
from synevo.deploy.formats import safetensors
from synevo.deploy.reload import Reloaded, load, reload
from synevo.errors import ExportError
from synevo.model.network import take_apart
from synevo.runs import organisms
from synevo.runs.rundir import RunDir
from synevo.tasks.task import Problem

pytestmark = pytest.mark.slow

SPECIMENS = (Joined, Gated, Attentive, ChannelsFirst, Grouped, LayerNormed, Pipeline)
MODELS: dict[str, Any] = {kind.__name__: kind for kind in (*SPECIMENS, LeNet5)}
MODELS |= {name: kind for name, kind in ARCHITECTURES.items() if name != "Stubborn"}

TENSORFLOW = [
    pytest.mark.filterwarnings("default"),  # TensorFlow's own
    pytest.mark.skipif(
        find_spec("tensorflow") is None or find_spec("ai_edge_litert") is None, reason="needs synevo[tflite]"
    ),
]


def in_memory(factory: Callable[..., nnx.Module]) -> Reloaded:
    """A model as if it had been reloaded; its images are normalised."""
    shape = (16, 16, 3) if factory in {LeNet5, *ARCHITECTURES.values()} else (8, 8, 3)
    about = {"shape": shape, "mean": (0.4, 0.5, 0.3), "deviation": (0.2, 0.3, 0.25)}
    return Reloaded(
        take_apart(hatch(factory, shape)), {"input": about, "classes": ["0", "1", "2", "3"], "generation": 1}
    )


def pixels(count: int, shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, *shape), np.uint8)


def source(reloaded: Reloaded, x: np.ndarray) -> np.ndarray:
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return np.asarray(jax.jit(reloaded.logits, compiler_options=options)(reloaded.network, jnp.asarray(x)))


def assert_runs(run: Callable[[np.ndarray], np.ndarray], reloaded: Reloaded) -> None:
    """The file says what its source says, to one image and to five."""
    for count in (5, 1):
        x = pixels(count, reloaded.shape)
        expected = source(reloaded, x)
        assert run(x).dtype == np.float32
        np.testing.assert_allclose(run(x), expected, rtol=0, atol=2e-5 * max(1, np.abs(expected).max()))


@pytest.fixture(scope="module")
def data(finished: RunDir) -> Problem:
    return organisms.problem_of(finished.load_plan())


# The formats


@pytest.mark.parametrize("name", list(MODELS))
def test_a_model_runs_in_onnx_runtime_as_in_jax(name: str, tmp_path: Path) -> None:
    from synevo.deploy.formats import onnx

    reloaded = in_memory(MODELS[name])
    (tmp_path / "a.onnx").write_bytes(onnx.write(reloaded))
    assert_runs(onnx.open_file(tmp_path / "a.onnx"), reloaded)


@pytest.mark.parametrize("name", ["onnx", "stablehlo", pytest.param("tflite", marks=TENSORFLOW)])
@pytest.mark.parametrize("numbers", [((0.0,), (1 / 255,)), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
def test_a_file_normalises_by_the_numbers_of_its_network_or_not_at_all(
    name: str, numbers: tuple[tuple[float, ...], tuple[float, ...]], tmp_path: Path
) -> None:
    module = import_module(f"synevo.deploy.formats.{name}")
    mean, deviation = numbers
    reloaded = in_memory(Gated)
    about = {**reloaded.architecture["input"], "mean": mean * (3 // len(mean)), "deviation": deviation}
    reloaded = replace(reloaded, architecture={**reloaded.architecture, "input": about})
    (tmp_path / "a").write_bytes(module.write(reloaded))
    x = pixels(5, reloaded.shape)
    seen = x if mean == (0.0,) else (x / 255 - mean) / deviation
    expected = np.asarray(reloaded.network(jnp.asarray(seen, jnp.float32)))
    np.testing.assert_allclose(source(reloaded, x), expected, atol=TOLERANCE * max(1, np.abs(expected).max()))
    found = module.open_file(tmp_path / "a")(x)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", ["safetensors", pytest.param("tflite-int8", marks=TENSORFLOW)])
def test_a_network_of_pixels_as_they_are_is_delivered_so(
    name: str, finished: RunDir, data: Problem, tmp_path: Path
) -> None:
    reloaded = reload(finished.path)
    about = {**reloaded.architecture["input"], "mean": [0.0], "deviation": [1 / 255]}
    architecture = {key: value for key, value in reloaded.architecture.items() if key != "program"}
    raw = replace(reloaded, architecture={**architecture, "input": about})
    done = delivery.deliver(raw, data, name, tmp_path / "a")
    contract = json.loads((tmp_path / "a.json").read_text())
    assert contract["input"]["meaning"].endswith("the network takes them as they are, as float32")
    assert (contract["input"]["mean"], contract["input"]["deviation"]) == ([0.0], [1 / 255])
    assert done.comparison.top1_agreement >= 0.95
    if name == "safetensors":
        again = reload(tmp_path / "a", ancestor=reloaded.ancestor)
        logits = again.logits(again.network, jnp.asarray(data.test[np.arange(20)]["image"]))
        np.testing.assert_array_equal(
            logits, again.network(jnp.asarray(data.test[np.arange(20)]["image"], jnp.float32))
        )


def test_an_onnx_file_turns_the_axes_of_a_convolutional_network_once_each_way() -> None:
    import onnx as onnx_library

    from synevo.deploy.formats import onnx

    model = onnx_library.load_from_string(onnx.write(in_memory(LeNet5)))
    operations = [node.op_type for node in model.graph.node]
    assert operations.count("Transpose") == 2
    assert operations.count("MaxPool") == 1
    assert operations.count("AveragePool") == 2
    assert operations.count("Relu") == 4
    (given,) = model.graph.input
    assert given.name == "pixels"
    assert given.type.tensor_type.shape.dim[0].dim_param == "n"
    assert json.loads({prop.key: prop.value for prop in model.metadata_props}["classes"]) == ["0", "1", "2", "3"]


def test_a_step_without_a_counterpart_is_named_with_its_line() -> None:
    from synevo.deploy.formats import onnx

    with pytest.raises(ExportError, match=r"fft \(specimens\.py:\d+\) cannot be written as ONNX"):
        onnx.write(in_memory(Strange))


class Fixed(nnx.Module):
    """Code that knows the number of images."""

    def __init__(self, shape: tuple[int, int, int], classes: int, rngs: nnx.Rngs) -> None:
        self.out = nnx.Linear(int(np.prod(shape)), classes, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.out(x.reshape(int(x.shape[0]), -1))


@pytest.mark.parametrize("name", ["stablehlo", "graph"])
def test_code_that_counts_the_images_is_refused(name: str) -> None:
    from synevo.deploy.formats import graph, stablehlo

    with pytest.raises(ExportError, match="cannot be written for any number of examples"):
        {"stablehlo": stablehlo.write, "graph": graph.graph_of}[name](in_memory(Fixed))


@pytest.mark.parametrize("name", ["Pipeline", "ViT", "TransposeNet"])
def test_a_stablehlo_file_holds_three_platforms_and_any_number_of_images(name: str, tmp_path: Path) -> None:
    from jax import export

    from synevo.deploy.formats import stablehlo

    reloaded = in_memory(MODELS[name])
    (tmp_path / "a").write_bytes(stablehlo.write(reloaded))
    assert set(export.deserialize(bytearray((tmp_path / "a").read_bytes())).platforms) == {"cpu", "cuda", "tpu"}
    assert_runs(stablehlo.open_file(tmp_path / "a"), reloaded)


ONLY_JAX = """
import sys
sys.modules |= dict.fromkeys(("synevo", "flax"))
import jax.export, numpy as np
np.save("out.npy", jax.export.deserialize(bytearray(open("a.stablehlo", "rb").read())).call(np.load("in.npy")))
"""


def test_a_stablehlo_file_needs_only_jax(finished: RunDir, tmp_path: Path) -> None:
    from synevo.deploy.formats import stablehlo

    reloaded, x = reload(finished.path), pixels(3, (8, 8, 1))
    (tmp_path / "a.stablehlo").write_bytes(stablehlo.write(reloaded))
    np.save(tmp_path / "in.npy", x)
    subprocess.run([sys.executable, "-c", ONLY_JAX], cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": ""})
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), source(reloaded, x), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", [pytest.param(name, marks=TENSORFLOW) for name in MODELS])
def test_a_model_runs_in_the_litert_interpreter_as_in_jax(name: str, tmp_path: Path) -> None:
    from synevo.deploy.formats import tflite

    reloaded = in_memory(MODELS[name])
    (tmp_path / "a.tflite").write_bytes(tflite.write(reloaded))
    assert_runs(tflite.open_file(tmp_path / "a.tflite"), reloaded)


@pytest.mark.parametrize("name", [pytest.param("tflite-int8", marks=TENSORFLOW)])
def test_whole_numbers_classify_as_floats_do(name: str, finished: RunDir, data: Problem, tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    done = delivery.deliver(reload(finished.path), data, name, tmp_path / "a.tflite")
    assert done.comparison.examples == len(data.test)
    assert done.comparison.top1_agreement >= 0.95
    interpreter = Interpreter(model_path=str(done.path))
    kinds = {detail["dtype"] for detail in interpreter.get_tensor_details()}
    assert np.float32 not in kinds
    assert interpreter.get_input_details()[0]["dtype"] == np.uint8
    output = json.loads((tmp_path / "a.tflite.json").read_text())["output"]
    assert output["dtype"] == "int8"
    assert output["scale"] == interpreter.get_output_details()[0]["quantization"][0]


def test_whole_numbers_in_onnx_classify_as_floats_do(finished: RunDir, data: Problem, tmp_path: Path) -> None:
    import onnx as onnx_library

    done = delivery.deliver(reload(finished.path), data, "onnx-int8", tmp_path / "a.onnx")
    assert done.comparison is not None
    assert done.comparison.examples == len(data.test)
    assert done.comparison.top1_agreement >= 0.95
    graph = onnx_library.load(tmp_path / "a.onnx").graph
    whole = [array for array in graph.initializer if array.data_type == onnx_library.TensorProto.INT8]
    assert len(whole) >= sum(name.endswith("kernel") for name in reload(finished.path).network.arrays)
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.node}


# The command


@pytest.mark.parametrize("name", ["safetensors", "stablehlo", "onnx"])
def test_the_command_writes_a_file_and_what_it_expects(
    name: str, finished: RunDir, data: Problem, tmp_path: Path
) -> None:
    file = tmp_path / f"net.{name}"
    done = CliRunner().invoke(app, ["export", str(finished.path), "--to", name, "--output", str(file), "--json"])
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["bytes"] == file.stat().st_size
    assert said["images"] == len(data.test)
    assert said["top1_agreement"] == 1
    assert said["max_difference"] <= 1e-4 * said["largest_logit"]
    assert said["latency_ms"] > 0
    contract = json.loads((tmp_path / f"net.{name}.json").read_text())
    assert contract["input"]["shape"] == ["n", 8, 8, 1]
    assert contract["classes"] == [str(digit) for digit in range(10)]
    assert contract["checked"]["accuracy"] == said["accuracy"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name, f"{file.name}.json"]


def test_an_exported_safetensors_file_loads_as_a_module_and_its_json_is_missed(
    finished: RunDir, data: Problem, tmp_path: Path
) -> None:
    delivery.deliver(reload(finished.path), data, "safetensors", tmp_path / "net.safetensors")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 8, 1)), jnp.float32)
    models: list[Any] = [load(finished.path), load(tmp_path / "net.safetensors")]
    np.testing.assert_array_equal(*(model(x) for model in models))
    (tmp_path / "net.safetensors.json").unlink()
    with pytest.raises(Exception, match="comes without its architecture"):
        load(tmp_path / "net.safetensors")


def test_a_packed_file_loads_alike_and_says_what_dense_ones_take(finished: RunDir, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "run")
    words = ["export", str(tmp_path / "run"), "--to", "safetensors", "--packed"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr
    file = tmp_path / "run/exports/g02.packed.safetensors"
    contract = json.loads(file.with_name(f"{file.name}.json").read_text())
    assert f"{file.stat().st_size:,} bytes;" in done.stdout
    assert (
        f"Dense it takes {contract['dense_bytes']:,} bytes, and {contract['dense_gzip_bytes']:,} gzipped."
        in done.stdout
    )
    dense = safetensors.write(reload(finished.path))
    assert contract["dense_bytes"] == len(dense)
    assert contract["dense_gzip_bytes"] == len(gzip.compress(dense))
    assert file.stat().st_size <= len(dense) + 128
    own, packed = reload(finished.path), reload(file, ancestor="specimens:Pipeline")
    assert all(np.array_equal(own.network.arrays[name], packed.network.arrays[name]) for name in own.network.arrays)
    checked = CliRunner().invoke(app, ["verify", "--quick", str(tmp_path / "run")])
    assert checked.exit_code == 0, checked.stdout


def test_only_safetensors_are_packed(finished: RunDir) -> None:
    done = CliRunner().invoke(app, ["export", str(finished.path), "--to", "onnx", "--packed"])
    assert done.exit_code == 2
    assert "--packed is for safetensors, not for onnx" in done.stderr


def test_without_output_the_file_is_put_into_the_run(finished: RunDir, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "run")
    done = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "--to", "safetensors"])
    assert (tmp_path / "run/exports/g02.safetensors").is_file()
    assert "top-1 agreement 100.00 %" in done.stdout
    assert "ms at batch 1" in done.stdout
    checked = CliRunner().invoke(app, ["verify", "--quick", str(tmp_path / "run")])
    assert checked.exit_code == 0, checked.stdout


def test_a_file_that_is_not_its_source_is_deleted(
    finished: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damage(reloaded: Reloaded) -> bytes:
        changed = reloaded.network.map(lambda name, array: array + 0.1 if name == "classifier/bias" else array)
        changed = changed.map(lambda name, array: array.at[0].add(0.01) if name == "classifier/bias" else array)
        return write(Reloaded(changed, reloaded.architecture))

    write = safetensors.write
    monkeypatch.setattr(safetensors, "write", damage)
    words = ["export", str(finished.path), "--to", "safetensors", "--output", str(tmp_path / "out" / "net.safetensors")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "was deleted, because it is not its source" in done.stderr
    assert "logits differs by 0.1" in done.stderr
    assert not done.stdout
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    ("name", "library", "line"),
    [
        ("onnx", "onnxruntime", "In the folder of synevo: pip install ."),
        ("tflite", "tensorflow", "pip install '.[tflite]'"),
        ("tflite-int8", "ai_edge_litert", "pip install '.[tflite]'"),
    ],
)
def test_an_extra_that_is_missing_is_named_with_the_line_that_installs_it(
    finished: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, library: str, line: str
) -> None:
    for module in [
        name for name in sys.modules if name.startswith(("synevo.deploy.formats.onnx", "synevo.deploy.formats.tflite"))
    ]:
        monkeypatch.delitem(sys.modules, module)
    for module in [name for name in sys.modules if name.split(".")[0] == library] or [library]:
        monkeypatch.setitem(sys.modules, module, None)
    words = ["export", str(finished.path), "--to", name, "--output", str(tmp_path / "net")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert line in done.stderr.splitlines()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--to", "keras"], "no format 'keras'.\n"),
        (["--to", "onx"], "no format 'onx'. Did you mean 'onnx'?"),
        ([], "No format was named"),
        (["--to", "onnx", "--generation", "1"], "Generation 1 of"),
    ],
)
def test_a_mistake_says_what_to_choose(finished: RunDir, words: list[str], problem: str) -> None:
    done = CliRunner().invoke(app, ["export", str(finished.path), *words])
    assert done.exit_code == 2
    assert problem in done.stderr
    assert len(done.stderr.splitlines()) == 2
