"""What is read from a file: it runs no code that its user has not named, and other code of its model is noticed."""

import importlib
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.deploy.reload import load, reload
from synevo.errors import AncestorError, RunError
from synevo.files.writing import hash_of, pretty
from synevo.runs import sameness
from synevo.runs.rundir import RunDir

pytestmark = pytest.mark.slow

NET = """
import jax.numpy as jnp
from flax import nnx

class Net(nnx.Module):
    def __init__(self, shape, classes, rngs):
        self.a = nnx.Conv(shape[-1], 6, (3, 3), rngs=rngs)
        self.b = nnx.Conv(6, 6, (3, 3), rngs=rngs)
        self.c = nnx.Conv(6, 6, (3, 3), rngs=rngs)
        self.head = nnx.Linear(6, classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.a(x))
        x = nnx.relu(self.b(x))
        x = nnx.relu(self.c(x))
        return self.head(x.mean((1, 2)))
"""
CHANGES = {
    "activation": ("x = nnx.relu(self.b(x))", "x = jnp.tanh(self.b(x))"),
    "limit that only large values reach": ("x = nnx.relu(self.b(x))", "x = nnx.relu6(self.b(x))"),
    "swapped layers": ("self.b(x))\n        x = nnx.relu(self.c(x))", "self.c(x))\n        x = nnx.relu(self.b(x))"),
    "stride": ("self.c = nnx.Conv(6, 6, (3, 3),", "self.c = nnx.Conv(6, 6, (3, 3), strides=2,"),
    "padding": ("self.c = nnx.Conv(6, 6, (3, 3),", "self.c = nnx.Conv(6, 6, (3, 3), padding='CIRCULAR',"),
    "pooling": ("x.mean((1, 2))", "x.max((1, 2))"),
    "code that cannot run": ("x.mean((1, 2))", "x.reshape(3, -1)"),
}
STEPS = (
    "train-ancestor --dataset digits --ancestor owned_net:Net --run run --set ancestor_training.epochs=1",
    "evolve run --generations 2 --max-drop 1 --cluster filter --keep-clusters 0.7 --set training.epochs=1",
    "compact run --generation 2",
    "export run --to safetensors --output net.safetensors",
)
EVIL = "from pathlib import Path\nPath('executed').touch()\n"


def write_module(folder: Path, name: str, text: str) -> None:
    """Write a module, and let the next import read it."""
    (folder / f"{name}.py").write_text(text)
    sys.modules.pop(name, None)
    importlib.invalidate_caches()


def synevo(words: str) -> Any:
    return CliRunner().invoke(app, shlex.split(words))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a user's own module, a run of it, and an export; not to be changed."""
    folder = tmp_path_factory.mktemp("owned")
    write_module(folder, "owned_net", NET)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "dont_write_bytecode", True)
        for step in STEPS:
            done = synevo(step)
            assert done.exit_code == 0, done.output
        yield folder


@pytest.fixture
def mine(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the run and the export in the working directory; the module stays where the user has it."""
    for name in ("run", "net.safetensors", "net.safetensors.json"):
        (shutil.copytree if (made / name).is_dir() else shutil.copy)(made / name, tmp_path / name)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "image.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(made)
    sys.modules.pop("owned_net", None)
    return tmp_path


@pytest.fixture
def code(made: Path) -> Iterator[Path]:
    """The user's module, to be changed; it is as it was afterwards."""
    yield made
    write_module(made, "owned_net", NET)


# Other code


def test_a_network_of_ones_own_loads_without_a_word_and_by_its_fingerprint(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sameness, "_outputs", None)  # the program is the same, so nothing is computed
    for path in ("run", "run/compact/g02", "net.safetensors"):
        model: Any = load(mine / path)
        assert model(jnp.ones((3, 8, 8, 1))).shape == (3, 10)


@pytest.mark.parametrize("change", CHANGES)
def test_code_that_computes_something_else_is_refused(mine: Path, code: Path, change: str) -> None:
    before, after = CHANGES[change]
    assert before in NET
    write_module(code, "owned_net", NET.replace(before, after))
    for path in ("run", "net.safetensors"):
        with pytest.raises(RunError, match="model owned_net:Net has changed since the network was made"):
            load(mine / path)


def test_code_that_is_only_written_otherwise_loads_and_answers_the_same(mine: Path, code: Path) -> None:
    x = jnp.asarray(np.random.default_rng(0).normal(size=(5, 8, 8, 1)), jnp.float32)
    first: Any = load(mine / "run")
    expected = np.asarray(first(x))
    other = NET.replace("x = nnx.relu(self.b(x))", "y = self.b(x)\n        x = jnp.where(y > 0, y, 0 * y)")
    write_module(code, "owned_net", other)
    second: Any = load(mine / "run")
    np.testing.assert_allclose(np.asarray(second(x)), expected, atol=1e-5)


def without_program(documents: dict[str, Any]) -> dict[str, Any]:
    """The documents as an older version wrote them."""
    architecture = {name: value for name, value in documents["architecture"].items() if name != "program"}
    return {**documents, "architecture": architecture}


def test_a_network_that_an_older_version_compacted_loads_without_its_program(mine: Path) -> None:
    weights, documents = RunDir(Path("run")).load_compact(2)
    folder = RunDir(mine / "old").save_compact(2, weights=weights, documents=without_program(documents))
    assert reload(folder).generation == 2


def test_outputs_that_are_no_finite_numbers_are_kept_and_compared(mine: Path, code: Path) -> None:
    """Log of what may be negative: the reference outputs hold NaN, and are the same NaN again."""
    log = NET.replace("x.mean((1, 2)))", "jnp.log(x.mean((1, 2)) - 1))")
    other = log.replace("x = nnx.relu(self.b(x))", "y = self.b(x)\n        x = jnp.where(y > 0, y, 0 * y)")
    write_module(code, "owned_net", log)
    weights, documents = RunDir(Path("run")).load_compact(2)
    found = reload(RunDir(mine / "bare").save_compact(2, weights=weights, documents=without_program(documents)))
    inputs = (jnp.zeros((2, 8, 8, 1)),)
    documents["architecture"]["program"] = sameness.describe(found.network, inputs)
    assert "NaN" in json.dumps(documents["architecture"]["program"])
    folder = RunDir(mine / "logged").save_compact(2, weights=weights, documents=documents)
    write_module(code, "owned_net", other)
    assert reload(folder).generation == 2
    write_module(code, "owned_net", NET)
    with pytest.raises(RunError, match="gives other outputs"):
        reload(folder)


# Received files


def received(mine: Path, kind: str, **changes: Any) -> str:
    """A network as it may be received, whose architecture was changed and whose hashes hold; its path."""
    weights, documents = RunDir(Path("run")).load_compact(2)
    documents["architecture"] |= changes
    if kind == "file":
        path = mine / "net.safetensors.json"
        contract = json.loads(path.read_text()) | {"architecture": documents["architecture"]}
        path.write_bytes(pretty({name: value for name, value in contract.items() if name != "contract"}))
        return "net.safetensors"
    folder = RunDir(mine / "run").save_compact(2, weights=weights, documents=documents)
    if kind == "run":
        plan = (mine / "run/plan.toml").read_text()
        (mine / "run/plan.toml").write_text(plan.replace("owned_net:Net", changes["ancestor"]))
        return "run"
    shutil.copytree(folder, mine / "received")
    return "received"


@pytest.mark.parametrize("kind", ["folder", "file", "run"])
def test_code_that_a_received_network_names_and_brings_runs_on_its_users_word_alone(mine: Path, kind: str) -> None:
    path = received(mine, kind, ancestor="brought_along:Net")
    write_module(mine, "brought_along", EVIL + NET)
    done = synevo(f"predict {path} image.png")
    assert done.exit_code == 2, done.output
    assert "add `--ancestor brought_along:Net` to the command" in done.stderr
    with pytest.raises(RunError, match="synevo runs no code because a file names it"):
        load(path)
    assert not Path("executed").exists()
    assert load(path, ancestor="brought_along:Net")
    assert Path("executed").exists()


def test_a_word_for_a_module_holds_for_no_other_of_its_name(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load("net.safetensors")
    write_module(mine, "owned_net", EVIL + NET)
    monkeypatch.syspath_prepend("")  # as a script of the command line finds the working directory first
    with pytest.raises(RunError, match="synevo runs no code because a file names it"):
        load("net.safetensors")
    assert not Path("executed").exists()


def test_the_word_of_a_command_is_kept_and_a_factory_in_memory_needs_none(mine: Path) -> None:
    path = received(mine, "folder", ancestor="lent_net:Net")
    write_module(mine, "lent_net", NET)
    factory = importlib.import_module("owned_net").Net
    assert reload(path, ancestor=factory).classes == tuple("0123456789")
    with pytest.raises(RunError):
        load(path)
    assert synevo(f"predict {path} image.png --ancestor lent_net:Net").exit_code == 0
    assert load(path)


INPUT = {"shape": [8, 8, 1], "mean": [0.0], "deviation": [1.0], "source_shape": [8, 8, 1], "fit": "none"}


@pytest.mark.parametrize(
    "changes",
    [
        {"input": {**INPUT, "shape": ["sh", "-c", "touch executed"]}},
        {"input": {**INPUT, "shape": [8, 8]}},
        {"input": {**INPUT, "shape": [8, 8, 10**12]}},
        {"input": {**INPUT, "shape": [2**20, 2**20, 1]}},
        {"input": {**INPUT, "shape": [0, 8, 1]}},
        {"input": {**INPUT, "mean": ["0"]}},
        {"input": {**INPUT, "mean": [0.0, 0.0]}},
        {"input": {**INPUT, "deviation": [0.0]}},
        {"input": {**INPUT, "fit": "auto"}},
        {"input": None},
        {"classes": "0123456789"},
        {"classes": []},
        {"groups": {"a/kernel": "2"}},
        {"arrays": {"a/kernel": [3, 3, 1, 10**9]}},
        {"arguments": [{"shape": [8], "dtype": "object"}]},
        {"arguments": [{"shape": ["8"], "dtype": "float32"}]},
        {"ancestor": ["sh"]},
        {"ancestor": "brought_along"},
        {"ancestor": "os:path:join"},
        {"generation": "2"},
        {"program": {"fingerprint": 3}},
    ],
    ids=str,
)
def test_shapes_names_and_sizes_are_checked_before_anything_is_imported(mine: Path, changes: dict[str, Any]) -> None:
    path = received(mine, "folder", **{"ancestor": "brought_along:Net", **changes})
    write_module(mine, "brought_along", EVIL + NET)
    with pytest.raises(RunError, match="architecture"):
        load(path, ancestor="brought_along:Net")
    assert not Path("executed").exists()


# The JSON beside an export


def change(contract: dict[str, Any], dotted: str, value: Any) -> None:
    *parts, last = dotted.split(".")
    for part in parts:
        contract = contract[part]
    assert contract[last] != value
    contract[last] = value


CONTRACT = {
    "classes": list("9876543210"),
    "architecture.classes": list("9876543210"),
    "input.mean": [0.5],
    "architecture.input.mean": [0.5],
    "architecture.input.deviation": [0.5],
    "architecture.input.fit": "resize",
    "output.meaning": "the smallest is the class",
    "architecture.groups": {"a/kernel": 1},
}


@pytest.mark.parametrize("dotted", CONTRACT)
def test_a_change_in_the_json_beside_an_export_is_noticed(mine: Path, dotted: str) -> None:
    path = mine / "net.safetensors.json"
    contract = json.loads(path.read_text())
    change(contract, dotted, CONTRACT[dotted])
    path.write_text(json.dumps(contract))
    done = synevo("predict net.safetensors image.png")
    assert done.exit_code == 2
    assert "net.safetensors.json is damaged: it is not what was written" in done.stderr


@pytest.mark.parametrize("dotted", [None, "classes", "architecture.classes", "input.mean", "architecture.input.mean"])
def test_an_export_of_an_older_version_loads_unless_it_contradicts_itself(mine: Path, dotted: str | None) -> None:
    path = mine / "net.safetensors.json"
    contract = json.loads(path.read_text())
    del contract["contract"]
    if dotted:
        change(contract, dotted, CONTRACT[dotted])
    path.write_text(json.dumps(contract))
    done = synevo("predict net.safetensors image.png")
    assert done.exit_code == (2 if dotted else 0), done.output
    assert ("contradicts itself" in done.stderr) == bool(dotted)


def test_another_file_of_weights_is_noticed_also_with_its_own_hash(mine: Path) -> None:
    content = (mine / "net.safetensors").read_bytes()
    (mine / "net.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    path = mine / "net.safetensors.json"
    contract = json.loads(path.read_text())
    contract["sha256"] = hash_of((mine / "net.safetensors").read_bytes())
    path.write_text(json.dumps(contract))
    with pytest.raises(RunError, match="it is not what was written"):
        load(mine / "net.safetensors")


# A factory that has moved

BROKEN = {
    "gone": None,
    "syntax error": "class Net(:\n",
    "exception": "raise OSError('no such disk')\n",
    "end of the process": "import sys\nsys.exit(0)\n",
    "missing library": "import no_such_library\n",
    "another attribute": NET.replace("class Net", "class Network"),
}
COMMANDS = ("compact run --generation 2", "export run --to safetensors", "verify run", "evolve run --generations 3")


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("how", BROKEN)
def test_a_run_is_read_without_its_factory_and_the_rest_asks_where_it_is(code: Path, how: str) -> None:
    if BROKEN[how] is None:
        (code / "owned_net.py").unlink()
    else:
        write_module(code, "owned_net", BROKEN[how] or "")
    sys.modules.pop("owned_net", None)
    importlib.invalidate_caches()
    for words in ("report run", "report run --json", "runs .", "verify run --quick"):
        assert synevo(words).exit_code == 0, words
    for words in (*COMMANDS, "predict run image.png"):
        done = synevo(words)
        assert done.exit_code == 2, (words, done.output)
        assert "--ancestor" in done.stderr, words
        assert "Traceback" not in done.stderr
    with pytest.raises((AncestorError, RunError), match="ancestor"):
        load("run")


def test_where_the_factory_is_now_is_enough_to_go_on(mine: Path, code: Path) -> None:
    (code / "owned_net.py").unlink()
    importlib.invalidate_caches()
    write_module(mine, "moved_net", NET.replace("Net", "Moved"))
    for words in (*COMMANDS, "predict run image.png", "predict net.safetensors image.png"):
        done = synevo(f"{words} --ancestor moved_net:Moved")
        assert done.exit_code == 0, (words, done.output)
    run = RunDir(Path("run"))
    assert run.load_plan().ancestor.name == "owned_net:Net"
    assert run.load_lineage().last.generation == 3


def test_another_network_in_the_place_of_the_factory_is_refused(mine: Path) -> None:
    before, after = CHANGES["activation"]
    write_module(mine, "moved_net", NET.replace(before, after))
    done = synevo("predict run image.png --ancestor moved_net:Net")
    assert done.exit_code == 2
    assert "The ancestor's model moved_net:Net has changed" in done.stderr
