"""The programs of `synevo guide examples`: each is imported and used as it stands on the page, on little data."""

import importlib
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from scipy.io import wavfile
from write_examples import programs, write

import synevo

pytestmark = pytest.mark.slow

SMALLER: dict[str, dict[str, Any]] = {"text": {"DEPTH": 1}, "membrane": {"WIDTHS": (4, 8)}}
"""Sizes on the page that are made smaller here: a network of fewer layers compiles in less time."""

NAMES = ("text", "membrane", "speech", "cells", "regression")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of the page beside a little of everything that they read."""
    folder, random = tmp_path_factory.mktemp("examples"), np.random.default_rng(0)
    write(folder)
    (folder / "text").mkdir()
    (folder / "text/tinyshakespeare.txt").write_text("To be, or not to be, that is the question:\n" * 60)
    for part in ("image", "label"):
        (folder / "membrane" / part).mkdir(parents=True)
        for number in range(30):
            pixels = random.integers(0, 256, (130, 257), np.uint8)
            Image.fromarray(pixels).save(folder / "membrane" / part / f"{number}.png")
    (folder / "spoken-digits").mkdir()
    for digit in range(10):
        for take in (0, 5, 10):
            sound = random.integers(-9000, 9000, 5000 + 1000 * digit).astype(np.int16)
            wavfile.write(folder / "spoken-digits" / f"{digit}_ann_{take}.wav", 8000, sound)
    for part in ("ImageSets/Main", "JPEGImages", "Annotations"):
        (folder / "blood-cells" / part).mkdir(parents=True)
    for split in ("train", "val", "test"):
        (folder / "blood-cells/ImageSets/Main" / f"{split}.txt").write_text(f"{split}\n")
        pixels = random.integers(0, 256, (480, 640, 3), np.uint8)
        Image.fromarray(pixels).save(folder / "blood-cells/JPEGImages" / f"{split}.jpg")
        (folder / "blood-cells/Annotations" / f"{split}.xml").write_text(f"<annotation>{CELLS}</annotation>")
    return folder


CELLS = "".join(
    f"<object><name>{kind}</name><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + w}</xmax><ymax>{y + h}</ymax>"
    "</bndbox></object>"
    for kind, x, y, w, h in (("RBC", 40, 60, 100, 90), ("RBC", 90, 80, 100, 90), ("WBC", 300, 200, 200, 180))
) + (
    "<object><name>RBC</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>0</xmax><ymax>0</ymax></bndbox></object>"
)  # as the data set has some


@pytest.fixture
def module(folder: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("DATA", str(folder))
    monkeypatch.syspath_prepend(folder)
    with jax.numpy_rank_promotion("allow"), jax.enable_checks(False):  # as it is for users, and quick
        program = importlib.import_module(request.param)
        for name, value in SMALLER.get(request.param, {}).items():
            monkeypatch.setattr(program, name, value)
        yield program
    del sys.modules[request.param]


def batch_of(problem: synevo.Problem) -> Any:
    return problem.train[np.arange(min(2, len(problem.train)))]


def test_the_page_has_a_program_for_each_task_and_commands_for_each_program() -> None:
    assert tuple(programs()) == NAMES
    for name, (_, commands) in programs().items():
        words = [shlex.split(line) for line in commands.replace("\\\n", " ").splitlines()]
        assert [line[:2] for line in words[:2]] == [["synevo", "train-ancestor"], ["synevo", "evolve"]]
        assert {f"{name}:problem", f"{name}:network"} < set(words[0])


@pytest.mark.parametrize("module", NAMES, indirect=True)
def test_a_program_of_the_page_gives_a_loss_with_gradients_and_a_score(module: ModuleType) -> None:
    problem = module.problem()
    task, batch = problem.task, batch_of(problem)
    assert all(len(examples) for examples in problem[1:])
    model = module.network(nnx.Rngs(0))

    @nnx.jit
    def values(model: nnx.Module, batch: Any) -> tuple[jax.Array, jax.Array]:
        outputs = model(*task.inputs(batch))  # type: ignore[operator]
        return task.loss(outputs, batch), task.score(outputs, batch)

    loss, score = values(model, batch)
    examples = len(jax.tree.leaves(batch)[0])
    assert loss.shape == (examples,)
    assert np.isfinite(loss).all()
    assert np.isfinite(task.overall(np.asarray(score, np.float64).mean(axis=0)))
    changed = jax.eval_shape(task.augment, jax.random.key(0), batch)
    assert jax.tree.map(lambda array: array.shape, changed) == jax.tree.map(np.shape, batch)
    gradient = nnx.eval_shape(nnx.grad(lambda model: values(model, batch)[0].mean()), model)
    assert len(jax.tree.leaves(gradient)) == len(jax.tree.leaves(nnx.state(model, nnx.Param)))


@pytest.mark.parametrize("module", ["text"], indirect=True)
def test_a_head_that_is_zero_goes_from_the_network_for_text(module: ModuleType) -> None:
    model = module.network(nnx.Rngs(0))
    attention = model.blocks[0].attention
    wide = module.WIDTH // module.HEADS
    for part in (attention.query, attention.key, attention.value):
        part.kernel[...] = part.kernel[...].at[:, :wide].set(0)
        part.bias[...] = part.bias[...].at[:wide].set(0)
    smaller = synevo.compact(model, batch_of(module.problem())[:, :-1])
    assert smaller.model.blocks[0].attention.out.kernel.shape == (module.WIDTH - wide, module.WIDTH)


@pytest.mark.parametrize("module", ["cells"], indirect=True)
def test_the_mean_average_precision_of_the_detector_is_that_of_hand(module: ModuleType) -> None:
    problem = module.problem()
    batch = batch_of(problem)
    assert batch["kind"][0].tolist()[:4] == [0, 0, 1, -1]
    middle = (batch["box"][0, :, :2] + batch["box"][0, :, 2:]) / 2 / module.STRIDE
    heat, box = np.full((18, 24, 3), -9.0), np.zeros((18, 24, 4))
    for cell, chance in ((0, 2.0), (2, 1.0)):  # the first RBC and the WBC are found where they are
        column, row = np.floor(middle[cell]).astype(int)
        size = (batch["box"][0, cell, 2:] - batch["box"][0, cell, :2]) / module.STRIDE
        heat[row, column, batch["kind"][0, cell]] = chance
        box[row, column] = [*(middle[cell] - (column + 0.5, row + 0.5)), *np.log(size)]
    heat[0, 20, 0] = 3.0  # an RBC where there is none, surer than the others
    outputs = {"heat": jnp.array(heat)[None], "box": jnp.array(box)[None]}
    mean = np.asarray(problem.task.score(outputs, batch), np.float64).mean(axis=0)
    with np.errstate(invalid="ignore"):
        average = [float(module.mean_average_precision(mean[kind : kind + 1])) for kind in (0, 1)]
    assert average == pytest.approx([1 / 2 * 1 / 2, 1.0], abs=1e-6)  # half of the RBC at a precision of ½
