"""Exports of networks that are not for images: tokens, several arrays, maps, from `adopt` to the opened file."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax import Array
from published.gpt import GPT
from typer.testing import CliRunner

import synevo
from synevo.cli.app import app
from synevo.deploy.delivery import FORMATS
from synevo.deploy.formats import c_int8
from synevo.runs import compacting
from synevo.runs.rundir import RunDir
from synevo.tasks.task import InMemory, Problem, Task

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.integers(0, 11, (40, 9)).astype(np.int32)
PAIRS = {
    "x": RANDOM.normal(size=(40, 5)).astype(np.float32),
    "tokens": RANDOM.integers(0, 7, (40, 6)).astype(np.int32),
    "weight": RANDOM.uniform(size=(40, 1)).astype(np.float32),
}
MAPS = {"image": RANDOM.normal(size=(20, 8, 8, 1)).astype(np.float32), "mask": RANDOM.integers(0, 2, (20, 8, 8))}


class Decoder(GPT):
    def __init__(self, rngs: nnx.Rngs) -> None:
        super().__init__(vocabulary=11, context=8, width=16, depth=1, heads=2, dropout=0.0, rngs=rngs)


class Pair(nnx.Module):
    """Two arguments, one of which is a dictionary; a dictionary of outputs, one of which is made of integers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(5, 16, rngs=rngs)
        self.embed = nnx.Embed(7, 8, rngs=rngs)
        self.conv = nnx.Conv(8, 16, (3,), rngs=rngs)
        self.head = nnx.Linear(32, 3, rngs=rngs)

    def __call__(self, batch: dict[str, Array], weight: Array) -> dict[str, Array]:
        x = nnx.gelu(self.dense(batch["x"]), approximate=False)
        y = nnx.tanh(self.conv(self.embed(batch["tokens"]))).max(axis=1)
        logits = self.head(jnp.concatenate([x, y], axis=-1)) * weight
        return {"logits": logits, "class": logits.argmax(axis=-1)}


class SmallUNet(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(1, 8, (3, 3), rngs=rngs)
        self.down = nnx.Conv(8, 12, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(12, rngs=rngs)
        self.up = nnx.ConvTranspose(12, 8, (2, 2), strides=(2, 2), rngs=rngs)
        self.out = nnx.Conv(28, 2, (1, 1), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        top = nnx.relu(self.first(x))
        low = nnx.relu(self.norm(self.down(top)))
        near = jax.image.resize(low, (*top.shape[:3], low.shape[-1]), "nearest")
        return self.out(jnp.concatenate([top, self.up(low), near], axis=-1))


def _splits(arrays: Any, count: int) -> tuple[InMemory, ...]:
    parts = (slice(0, count // 2), slice(count // 2, 3 * count // 4), slice(3 * count // 4, count))
    return tuple(InMemory(jax.tree.map(lambda array: array[part], arrays)) for part in parts)  # noqa: B023


cross_entropy = optax.softmax_cross_entropy_with_integer_labels


def tokens() -> Problem:
    def nats(outputs: Array, batch: Array) -> Array:
        return cross_entropy(outputs, batch[:, 1:]).mean(axis=-1)

    task = Task(lambda batch: (batch[:, :-1],), nats, nats, name="nats", better="lower")
    return Problem(task, *_splits(TOKENS, 40))


def pairs() -> Problem:
    def error(outputs: Any, batch: Any) -> Array:
        return jnp.square(outputs["logits"].sum(axis=-1) - batch["weight"][:, 0])

    task = Task(
        lambda b: ({"x": b["x"], "tokens": b["tokens"]}, b["weight"]), error, error, name="error", better="lower"
    )
    return Problem(task, *_splits(PAIRS, 40))


def maps() -> Problem:
    def right(outputs: Array, batch: Any) -> Array:
        return (outputs.argmax(axis=-1) == batch["mask"]).mean(axis=(1, 2))

    def loss(outputs: Array, batch: Any) -> Array:
        return cross_entropy(outputs, batch["mask"]).mean(axis=(1, 2))

    return Problem(Task(lambda batch: (batch["image"],), loss, right, name="accuracy"), *_splits(MAPS, 20))


KINDS: dict[str, tuple[Any, Any]] = {"tokens": (Decoder, tokens), "pairs": (Pair, pairs), "maps": (SmallUNet, maps)}


@pytest.fixture(scope="module", autouse=True)
def promotion() -> Iterator[None]:
    """Published networks add arrays of different ranks."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunDir]]:
    """A run of each kind: an adopted network and an untrained offspring, compacted."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("any"))
        for name, (network, problem) in KINDS.items():
            names = {"ancestor": f"{__name__}:{network.__name__}", "task": f"{__name__}:{problem.__name__}"}
            run = synevo.adopt(network(nnx.Rngs(0)), problem(), run=name, **names)
            child = synevo.conceive(
                jax.random.key(1), [run.organism()], keep_synapses=0.5, keep_clusters=0.7, inputs=run.inputs
            )
            run.add(child)
            folder = RunDir(Path(name).resolve())
            compacting.compact(folder, folder.load_plan(), generation=2)
            found[name] = folder
        yield found


def export(run: RunDir, format_: str, file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the command says, and the JSON beside the file."""
    done = CliRunner().invoke(app, ["export", str(run.path), "--to", format_, "--output", str(file), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout), json.loads(file.with_name(f"{file.name}.json").read_text())


INTERFACES = {
    "tokens": (
        [{"name": "tokens", "dtype": "int32", "shape": ["n", "length"]}],
        [{"name": "output", "dtype": "float32", "shape": ["n", "length", 11]}],
    ),
    "pairs": (
        [
            {"name": "batch/tokens", "dtype": "int32", "shape": ["n", "length"]},
            {"name": "batch/x", "dtype": "float32", "shape": ["n", 5]},
            {"name": "weight", "dtype": "float32", "shape": ["n", 1]},
        ],
        [
            {"name": "class", "dtype": "int32", "shape": ["n"]},
            {"name": "logits", "dtype": "float32", "shape": ["n", 3]},
        ],
    ),
    "maps": (
        [{"name": "x", "dtype": "float32", "shape": ["n", "2*height", "2*width", 1]}],
        [{"name": "output", "dtype": "float32", "shape": ["n", "2*height", "2*width", 2]}],
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_network_of_any_kind_is_exported_compared_verified_and_loaded(name: str, runs: dict[str, RunDir]) -> None:
    run, problem = runs[name], KINDS[name][1]()
    exports = run.path / "exports"
    inputs = problem.task.inputs(jax.tree.map(jnp.asarray, problem.test[np.arange(5)]))
    model: Any = synevo.load(run.path)
    expected = jax.tree.leaves(model(*inputs))
    for format_ in ("onnx", "stablehlo", "safetensors"):
        file = exports / f"g02.{FORMATS[format_].ending}"
        done = CliRunner().invoke(app, ["export", str(run.path), "--to", format_, "--json"])
        assert done.exit_code == 0, done.output
        said, contract = json.loads(done.stdout), json.loads(file.with_name(f"{file.name}.json").read_text())
        assert list(contract)[:2] == ["inputs", "outputs"]
        assert (contract["inputs"], contract["outputs"]) == INTERFACES[name]
        assert contract["checked"]["score"] == said["score"]
        assert said["score"]["name"] == problem.task.name
        assert said["score"]["exported"] == pytest.approx(said["score"]["source"], rel=1e-5)
        assert [one["name"] for one in said["outputs"]] == [one["name"] for one in contract["outputs"]]
        assert max(one["relative_difference"] for one in said["outputs"]) < 1e-5
        assert ("top1_agreement" in said) == (name == "maps")
    assert (contract["free"].get("length", {}).get("at_most") == 8) == (name == "tokens")
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(inputs)]
    from synevo.deploy.formats import onnx

    found = jax.tree.leaves(onnx.open_file(exports / "g02.onnx")(*leaves))
    loaded: Any = synevo.load(exports / "g02.safetensors", ancestor=KINDS[name][0])
    for one, other, own in zip(found, jax.tree.leaves(loaded(*inputs)), expected, strict=True):
        np.testing.assert_allclose(one, own, rtol=0, atol=1e-5)
        np.testing.assert_allclose(other, own, rtol=0, atol=1e-6)
    checked = CliRunner().invoke(app, ["verify", "--quick", str(run.path)])
    assert checked.exit_code == 0, checked.output
    beside = exports / "g02.onnx.json"
    whole = beside.read_text()
    beside.write_text(whole.replace('"dtype": "float32"', '"dtype": "float16"', 1))
    assert CliRunner().invoke(app, ["verify", "--quick", str(run.path)]).exit_code == 2
    beside.write_text(whole)


def test_a_stablehlo_file_is_called_as_the_network_is_at_any_length(runs: dict[str, RunDir], tmp_path: Path) -> None:
    for name in ("tokens", "pairs"):
        export(runs[name], "stablehlo", tmp_path / name)
    model: Any = synevo.load(runs["tokens"].path)
    run = jax.export.deserialize(bytearray((tmp_path / "tokens").read_bytes())).call
    for length in (3, 8):
        np.testing.assert_allclose(run(TOKENS[:2, :length]), model(jnp.asarray(TOKENS[:2, :length])), atol=1e-5)
    pair: Any = synevo.load(runs["pairs"].path)
    inputs = pairs().task.inputs(jax.tree.map(lambda array: jnp.asarray(array[:3]), PAIRS))
    run = jax.export.deserialize(bytearray((tmp_path / "pairs").read_bytes())).call
    assert run(*inputs).keys() == {"logits", "class"}
    np.testing.assert_allclose(run(*inputs)["logits"], pair(*inputs)["logits"], atol=1e-5)


def test_what_a_file_takes_is_said_by_the_command(runs: dict[str, RunDir], tmp_path: Path) -> None:
    words = ["export", str(runs["tokens"].path), "--to", "safetensors", "--output", str(tmp_path / "a")]
    said = CliRunner().invoke(app, words).stdout
    assert "It takes tokens int32 [n, length]." in said
    assert "length is at most 8, as in training." in said
    assert "Its nats is " in said
    assert "lower is better" in said


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.parametrize("name", KINDS)
def test_a_c_file_has_a_pointer_for_each_array(name: str, runs: dict[str, RunDir], tmp_path: Path) -> None:
    given, wanted = INTERFACES[name]
    for format_ in ("c", "c-int8"):
        said, contract = export(runs[name], format_, tmp_path / f"{format_}.c")
        assert [(one["name"], one["dtype"]) for one in contract["inputs"]] == [
            (one["name"], one["dtype"]) for one in given
        ]
        called = contract["call"]["arguments"]
        assert [one["given"] for one in called] == ["to it"] * len(given) + ["by it"] * len(wanted)
        assert {one["type"] for one in called} <= {"int32_t", "float"}
        assert 0 < said["costs"]["bytes_of_constants"] < said["costs"]["bytes_compiled"]
        floats = [one["relative_difference"] for one in said["outputs"] if one["name"] != "class"]
        assert max(floats) < (1e-5 if format_ == "c" else 0.1)
    signature = (tmp_path / "c.c").read_text().split("void ", 1)[1].split(";")[0]
    if name == "pairs":
        assert signature == (
            "pair_g02(const int32_t *batch_tokens, const float *batch_x, const float *weight, "
            "int32_t *class_, float *logits)"
        )


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_whole_numbers_that_are_not_near_their_source_leave_no_file(
    runs: dict[str, RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = c_int8.write

    def too_narrow(reloaded: Any, *leaves: Any) -> bytes:
        return write(reloaded, *(leaf / 4 if leaf.dtype == np.float32 else leaf for leaf in leaves))

    monkeypatch.setattr(c_int8, "write", too_narrow)
    words = ["export", str(runs["pairs"].path), "--to", "c-int8", "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "was deleted, because it is not its source" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_bench_leaves_out_what_a_network_of_another_kind_cannot_be(runs: dict[str, RunDir]) -> None:
    words = ["bench", str(runs["pairs"].path), "--forms", "jax,onnx,onnx-int8", "--rounds", "2", "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["benches"]
    assert {row["form"] for row in found["rows"]} == {"jax", "onnx"}
    assert found["score"] == {"name": "error", "better": "lower"}
    assert all(row["score"] == pytest.approx(row["source_score"], rel=1e-5) for row in found["rows"])
    assert {one["form"]: one["network"] for one in found["left_out"]} == {"onnx-int8": "all"}
    assert "is for images of classes alone" in found["left_out"][0]["reason"]


def test_whole_numbers_of_tflite_are_for_images_alone(runs: dict[str, RunDir], tmp_path: Path) -> None:
    words = ["export", str(runs["tokens"].path), "--to", "tflite-int8", "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "tflite-int8 is for images of classes alone" in done.stderr
    assert "--to c-int8" in done.stderr
    assert not list(tmp_path.iterdir())


def test_predict_answers_arrays_in_a_file(
    runs: dict[str, RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("tokens.npy", TOKENS[:, :-1].astype(np.int64))
    done = CliRunner().invoke(app, ["predict", str(runs["tokens"].path), "tokens.npy", "--json"])
    assert done.exit_code == 0, done.output
    (about,) = json.loads(done.stdout)["answers"]
    assert about["outputs"] == [{"name": "output", "dtype": "float32", "shape": [40, 8, 11]}]
    model: Any = synevo.load(runs["tokens"].path)
    with np.load("tokens-outputs.npz") as found:
        np.testing.assert_allclose(found["output"], model(jnp.asarray(TOKENS[:, :-1])), atol=1e-5)
    np.savez("pair.npz", **{"batch/x": PAIRS["x"], "batch/tokens": PAIRS["tokens"], "weight": PAIRS["weight"]})
    done = CliRunner().invoke(app, ["predict", str(runs["pairs"].path), "pair.npz"])
    assert "pair-outputs.npz: class int32 [40]; logits float32 [40, 3]" in done.stdout


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": TOKENS}, "does not hold tokens; it holds x"),
        ({"tokens": TOKENS}, "tokens in a.npz is int32 [40, 9]; the network takes int32 [n, 8]"),
        ({"tokens": TOKENS[:, :-1] + 0.5}, "tokens in a.npz is float64 [40, 8]"),
        ({"tokens": TOKENS[:0, :-1]}, "have 0 examples"),
        (None, "cannot be read as arrays"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    arrays: Any, words: str, runs: dict[str, RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.npz").write_text("no arrays") if arrays is None else np.savez("a.npz", **arrays)
    done = CliRunner().invoke(app, ["predict", str(runs["tokens"].path), "a.npz"])
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
