"""Networks evolved in a training loop of the user's own: the script of the guide, and what a run refuses."""

import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from specimens import CLASSES, SHAPE, Tiny, hatch, images

import synevo
from synevo.errors import RunError
from synevo.report.summary import summarise
from synevo.runs.own_loop import Run
from synevo.runs.rundir import RunDir
from synevo.runs.verification import verify_files

pytestmark = pytest.mark.slow

PAGE = Path(synevo.__file__).parent / "guide/own-loop.md"


def problem() -> synevo.Problem:
    task = synevo.Task(
        inputs=lambda batch: (batch["x"],),
        loss=lambda logits, batch: jnp.square(logits[:, 0] - batch["y"]),
        score=lambda logits, batch: jnp.square(logits[:, 0] - batch["y"]),
        name="error",
        better="lower",
    )
    return synevo.Problem(task, *(synevo.InMemory({"x": images(24, SHAPE), "y": np.zeros(24)}) for _ in range(3)))


def half(run: Run, seed: int = 0) -> synevo.Organism:
    return synevo.conceive(jax.random.key(seed), [run.organism()], keep_synapses=0.6, keep_clusters=0.8)


def test_the_script_of_the_guide_evolves_three_generations_and_its_run_is_like_any_other(tmp_path: Path) -> None:
    page = PAGE.read_text("utf-8")
    (script,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "loop.py").write_text(script)
    commands = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)[0].splitlines()
    shown = []
    for words in (["loop.py"], *(["-m", *line.split()] for line in commands)):
        done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout)
    said = re.findall(r"^generation (\d): (\d+) synapses, ([\d.]+) % right$", shown[0], re.MULTILINE)
    generations, synapses, right = zip(*[map(float, line) for line in said], strict=True)
    assert generations == (2, 3, 4)
    assert all(after < 0.6 * before for before, after in pairwise((64 * 128 + 128 * 10, *synapses)))
    assert min(right) > 80
    assert "The ancestor came with its weights" in re.sub(r"\s+", " ", shown[1])
    assert "FAILED" not in shown[3]
    assert len(re.findall(r"^ok", shown[3], re.MULTILINE)) > 15


def test_a_lineage_in_memory_scores_each_offspring_after_its_parents() -> None:
    run = synevo.adopt(hatch(Tiny), problem())
    first = run.lineage.ancestor
    assert (first.epochs, first.adoption is not None, first.scores and first.scores.name) == (0, True, "error")
    one = run.add(half(run), epochs=7)
    two = run.add(half(run, 1), parents=["g01"])
    assert [(i.generation, i.number, i.parents, i.epochs) for i in (one, two)] == [
        (2, 1, ("g01",), 7),
        (2, 2, ("g01",), 0),
    ]
    best = run.lineage.head(2)
    assert run.add(half(run)).parents == (best.name,)
    assert run.organism(best.name).synapses == (best.counts.synapses if best.counts else None)
    with pytest.raises(RunError, match="Generation 2 is complete"):
        run.add(half(run), parents=["g01"])
    with pytest.raises(RunError, match="no individual 'g09'"):
        run.organism("g09")


def test_a_run_goes_on_where_the_script_was_stopped(tmp_path: Path) -> None:
    model = hatch(Tiny)
    synevo.adopt(model, problem(), run=tmp_path / "run").add(half(synevo.adopt(model, problem())))
    again = synevo.adopt(model, problem(), run=tmp_path / "run")
    assert [one.generation for one in again.lineage.individuals] == [1, 2]
    again.add(half(again))
    assert all(check.holds for check in verify_files(RunDir(tmp_path / "run")))
    assert [row["generation"] for row in summarise(RunDir(tmp_path / "run"))["generations"]] == [1, 2, 3]
    with pytest.raises(RunError, match="another plan"):
        synevo.adopt(model, problem(), run=tmp_path / "run", protect="conv1")


def test_a_linen_module_comes_with_its_variables_and_protected_layers_stay() -> None:
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = nn.relu(nn.Dense(24, name="hidden")(x.reshape(len(x), -1)))
            return nn.Dense(CLASSES)(x)

    variables = Net().init(jax.random.key(0), images(2, SHAPE))
    run = synevo.adopt(Net(), problem(), variables=variables, protect="hidden")
    child = synevo.conceive(jax.random.key(0), [run.organism()], keep_synapses=0.1, keep_clusters=0.2)
    assert child.network.arrays["hidden/kernel"].shape[1] == 24
    run.add(replace(child))
    assert run.lineage.last.generation == 2
