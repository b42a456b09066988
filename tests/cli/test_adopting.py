"""Networks of users' own scripts, in NNX with Orbax and in Linen with MessagePack, adopted by the command."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from synevo.report.summary import summarise
from synevo.runs.rundir import RunDir

pytestmark = pytest.mark.slow

NNX = """
import jax, jax.numpy as jnp, numpy as np, optax
import orbax.checkpoint as ocp
from pathlib import Path
from flax import nnx


class Net(nnx.Module):
    def __init__(self, shape, classes, rngs):
        self.conv = nnx.Conv(shape[-1], 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.square = nnx.Linear(8, 8, rngs=rngs)
        self.head = nnx.Linear(8, classes, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x)))
        return self.head(nnx.relu(self.square(x.mean(axis=(1, 2)))))


if __name__ == "__main__":
    data = np.load("data.npz")
    scaled = lambda pixels: ((pixels / 255 - 0.3) / 0.4).astype(np.float32)
    x, y = scaled(data["train_images"]), data["train_labels"]
    model = Net((8, 8, 1), 3, nnx.Rngs(0))
    optimiser = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)

    @nnx.jit
    def step(model, optimiser):
        loss = lambda m: optax.softmax_cross_entropy_with_integer_labels(m(x), y).mean()
        optimiser.update(model, nnx.grad(loss)(model))

    for _ in range(60):
        step(model, optimiser)
    model.eval()
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(Path("checkpoint").resolve(), nnx.state(model))
    logits = np.asarray(model(scaled(data["test_images"])))
    np.savez("expected.npz", pixels=data["test_images"], logits=logits)
    print((logits.argmax(axis=-1) == data["test_labels"]).sum())
"""

LINEN = """
import jax, jax.numpy as jnp, numpy as np, optax
from pathlib import Path
from flax import linen as nn, serialization


class Net(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(nn.Conv(8, (3, 3))(x)))
        return nn.Dense(self.classes)(nn.relu(nn.Dense(8)(x.mean(axis=(1, 2)))))


def net(shape, classes, rngs):
    return Net(classes)


if __name__ == "__main__":
    data = np.load("data.npz")
    x, y = (data["train_images"] / 255).astype(np.float32), data["train_labels"]
    model = Net(3)
    variables = model.init(jax.random.key(0), x[:2])
    rule = optax.adam(1e-2)
    state = rule.init(variables["params"])

    @jax.jit
    def step(variables, state):
        def loss(params):
            logits, new = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), new

        gradient, new = jax.grad(loss, has_aux=True)(variables["params"])
        update, state = rule.update(gradient, state)
        return {"params": optax.apply_updates(variables["params"], update), **new}, state

    for _ in range(60):
        variables, state = step(variables, state)
    Path("weights.msgpack").write_bytes(serialization.to_bytes(variables))
    logits = model.apply(variables, (data["test_images"] / 255).astype(np.float32))
    print((logits.argmax(axis=-1) == data["test_labels"]).sum())
"""

NUMBERS = ("--set", "data.mean=0.3", "--set", "data.deviation=0.4")


def run(where: Path, *words: str, code: int = 0) -> tuple[str, str]:
    done = subprocess.run([sys.executable, *words], cwd=where, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def adopt(where: Path, *words: str, code: int = 0) -> str:
    return "\n".join(run(where, "-m", "synevo", "adopt", "--dataset", "data.npz", *words, code=code))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, and the two scripts that have trained their networks there."""
    home = tmp_path_factory.mktemp("home")
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 300), ("val", 60), ("test", 90)):
        labels = np.arange(count) % 3
        pixels = random.integers(0, 120, (count, 8, 8, 1))
        for place, label in enumerate(labels):
            pixels[place, :, 2 * label : 2 * label + 3] += 100
        arrays |= {f"{split}_images": pixels.astype(np.uint8), f"{split}_labels": labels}
    np.savez(home / "data.npz", **arrays)
    (home / "mine.py").write_text(NNX)
    (home / "theirs.py").write_text(LINEN)
    return home


@pytest.fixture(scope="module")
def right(home: Path) -> int:
    """The number of test images that the NNX script's own network gets right."""
    return int(run(home, "mine.py")[0])


MINE = ("--ancestor", "mine:Net", "--weights", "checkpoint")


def test_a_network_of_nnx_and_orbax_is_adopted_proven_and_scored_to_the_last_image(home: Path, right: int) -> None:
    said = adopt(home, *MINE, *NUMBERS, "--expect", "expected.npz", "--run", "runs/mine")
    assert "its outputs for 90 inputs are those of its origin" in re.sub(r"\s+", " ", said)
    ancestor = RunDir(home / "runs/mine").load_lineage().ancestor
    assert ancestor.scores is not None
    assert round(ancestor.scores.test * 90) == right > 60
    assert (ancestor.epochs, ancestor.adoption and ancestor.adoption.kind) == (0, "orbax")
    assert ancestor.adoption is not None
    assert ancestor.adoption.difference is not None
    assert ancestor.adoption.difference < 1e-5


def test_an_adopted_network_evolves_without_a_step_of_training_and_is_verified(home: Path, right: int) -> None:
    adopt(home, *MINE, *NUMBERS, "--run", "runs/untrained")
    words = ("--generations", "2", "--max-drop", "1", "--keep-synapses", "0.9", "--protect", "square")
    run(home, "-m", "synevo", "evolve", "runs/untrained", *words, "--set", "training.epochs=0")
    run(home, "-m", "synevo", "compact", "runs/untrained", "--generation", "2")
    shown, _ = run(home, "-m", "synevo", "verify", "runs/untrained")
    assert "FAILED" not in shown
    summary = summarise(RunDir(home / "runs/untrained"))
    assert [row["epochs"] for row in summary["generations"]] == [0, 0]
    assert "were not compared" in summary["adoption"]["text"]
    assert "protected by 'square'" in {one["reason"] for one in summary["frozen"]}
    assert summary["commands"][0].startswith("synevo adopt ")
    assert right


def test_a_network_of_linen_and_messagepack_is_adopted(home: Path) -> None:
    own = int(run(home, "theirs.py")[0])
    adopt(home, "--ancestor", "theirs:net", "--weights", "weights.msgpack", "--run", "runs/theirs")
    ancestor = RunDir(home / "runs/theirs").load_lineage().ancestor
    assert ancestor.scores is not None
    assert round(ancestor.scores.test * 90) == own > 60


def test_fine_tuning_is_asked_for_and_on_the_record(home: Path, right: int) -> None:
    adopt(home, *MINE, *NUMBERS, "--set", "ancestor_training.epochs=1", "--run", "runs/tuned")
    first = RunDir(home / "runs/tuned").load_lineage().ancestor
    assert first.epochs == 1
    assert first.adoption is not None
    assert right


def test_a_wrong_normalisation_is_called_suspicious(home: Path, right: int) -> None:
    said = adopt(home, *MINE, "--set", "data.mean=1", "--set", "data.deviation=0.01", "--run", "runs/wrong")
    assert "no better than chance" in said
    assert "data.mean" in said
    assert right


def test_other_outputs_than_expected_leave_no_run(home: Path, right: int) -> None:
    with np.load(home / "expected.npz") as file:
        np.savez(home / "other.npz", pixels=file["pixels"], logits=file["logits"][:, ::-1])
    said = adopt(home, *MINE, *NUMBERS, "--expect", "other.npz", "--run", "runs/other", code=2)
    assert "The network gives other outputs" in said
    assert not (home / "runs/other").exists()
    assert right


def test_a_transposed_square_matrix_is_found_by_its_outputs(home: Path, right: int) -> None:
    code = (
        "import numpy as np\nfrom synevo.adoption.weights import read\nfrom pathlib import Path\n"
        "a = dict(read(Path('checkpoint')).arrays)\nn = [k for k in a if 'square' in k and 'kernel' in k][0]\n"
        "np.savez('turned.npz', **{k: v.T if k == n else v for k, v in a.items()})"
    )
    run(home, "-c", code)
    words = ("--ancestor", "mine:Net", "--weights", "turned.npz", *NUMBERS)
    said = adopt(home, *words, "--expect", "expected.npz", "--run", "runs/turned", code=2)
    assert "square/kernel" in said
    assert right


def test_weights_that_do_not_fit_are_told_at_once_with_a_file_of_names(home: Path, right: int) -> None:
    code = (
        "import numpy as np\nfrom synevo.adoption.weights import read\nfrom pathlib import Path\n"
        "a = read(Path('checkpoint')).arrays\n"
        "np.savez('renamed.npz', **{k.replace('conv', 'stem').replace('head', 'top'): v for k, v in a.items()})"
    )
    run(home, "-c", code)
    words = (home, "-m", "synevo", "adopt", "--dataset", "data.npz", "--ancestor", "mine:Net")
    out, err = run(*words, "--weights", "renamed.npz", "--run", "runs/renamed", code=2)
    assert "stem" in err
    assert "top" in err
    (home / "NAMES.toml").write_text(out)
    adopt(home, *words[6:], "--weights", "renamed.npz", "--names", "NAMES.toml", *NUMBERS, "--run", "runs/renamed")
    first = RunDir(home / "runs/renamed").load_lineage().ancestor
    assert first.scores is not None
    assert round(first.scores.test * 90) == right


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--ancestor", "mine:Net", "--weights", "nothing.npz"), "nothing.npz"),
        (("--ancestor", "mine:Net", "--weights", "data.npz"), "does not fit the network"),
        (("--ancestor", "mine:Net", "--names", "NAMES.toml"), "name their file, too"),
        ((*MINE, "--set", "ancestor_training.epochs=1", "--set", "evolution.rewind=0"), "evolution.rewind"),
    ],
)
def test_what_cannot_be_adopted_is_said_and_leaves_no_run(home: Path, words: tuple[str, ...], said: str) -> None:
    assert said in adopt(home, *words, "--run", "runs/nothing", code=2)
    assert not (home / "runs/nothing").exists()


def test_train_ancestor_trains(home: Path) -> None:
    words = ("-m", "synevo", "train-ancestor", "--dataset", "data.npz", "--set", "ancestor_training.epochs=0")
    assert "synevo adopt" in run(home, *words, code=2)[1]
    assert json.dumps(sorted(path.name for path in (home / "runs").iterdir())).find("data-lenet5") < 0
