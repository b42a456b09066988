"""The built-in tasks by their names on the command line, from the first command to the report, on generated data."""

import json
import re
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image
from sklearn.datasets import load_diabetes
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.data.problems import texts
from synevo.deploy.reload import load
from synevo.model.network import call
from synevo.runs import organisms
from synevo.runs.rundir import RunDir

pytestmark = pytest.mark.slow

EVOLVED = [
    *("evolution.generations=2", "encoding.cluster=filter", "environment.keep_clusters=0.6"),
    *("environment.keep_synapses=0.5", "training.epochs=2"),
]


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a user."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("named")
        patch.chdir(folder)
        yield folder


def synevo(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == code, (done.output, done.exception)
    return str(done.output)


def whole(task: str, dataset: str, ancestor: str, *sets: str, budget: str) -> tuple[RunDir, dict[str, Any]]:
    """A run of two generations, compacted; and its report as JSON."""
    run = RunDir(Path("runs") / f"{task}-{ancestor}")
    chosen = [word for one in (*EVOLVED, *sets) for word in ("--set", one)]
    start = ("--task", task, "--dataset", dataset, "--ancestor", f"named_networks:{ancestor}", "--run", str(run.path))
    synevo("train-ancestor", *start, *chosen)
    synevo("evolve", str(run.path), "--max-drop", budget)
    synevo("compact", str(run.path), "--generation", "2")
    return run, json.loads(synevo("report", str(run.path), "--json"))["summaries"][0]


def scores_of(run: RunDir) -> list[tuple[float, str, str]]:
    lineage = run.load_lineage().individuals
    return [(one.scores.validation, one.scores.name, one.scores.better) for one in lineage if one.scores]


def is_smaller_and_loads(run: RunDir) -> Any:
    """The module of generation 2, smaller than the ancestor and equal to the masked network on test examples."""
    context = organisms.prepare(run.load_plan())
    organism = organisms.load_organism(run, context.species, 2)
    model: Any = load(run.path, generation=2)
    inputs = context.inputs(8, test=True)
    np.testing.assert_allclose(nnx.jit(model)(*inputs), call(organism.whole, *inputs), atol=1e-4)
    first, last, *_ = (one.counts for one in run.load_lineage().individuals)
    assert first is not None
    assert last is not None
    assert last.stored_weights < 0.75 * first.stored_weights
    return model


def write_squares(root: Path, count: int, *, side: int = 48) -> None:
    """Bright squares on noise, and masks that are white where they are."""
    random = np.random.default_rng(0)
    for folder in ("image", "label"):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        mask = np.zeros((side, side), np.uint8)
        for _ in range(5):
            top, left = random.integers(0, side - 14, 2)
            mask[top : top + 14, left : left + 14] = 255
        image = np.clip(random.normal(90, 25, mask.shape) + 0.35 * mask, 0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / "image" / f"{number}.png")
        Image.fromarray(mask).save(root / "label" / f"{number}.png")


def test_segmentation(home: Path) -> None:
    write_squares(home / "squares", 12)
    sets = ("data.tile=16", "data.stride=8", "data.test_files=^(10|11)\\.", "ancestor_training.flip=true")
    learn = ("ancestor_training.epochs=6", "ancestor_training.batch_size=32", "ancestor_training.learning_rate=0.01")
    run, report = whole("segmentation", "squares", "UNet", *sets, *learn, budget="30pt")
    (score, name, better), _ = scores_of(run)
    assert (name, better) == ("mIoU", "higher")
    assert score > 0.7
    context = organisms.prepare(run.load_plan())
    assert [len(part) for part in context.problem[1:]] == [9 * 25, 9, 18]
    model = is_smaller_and_loads(run)
    assert jax.eval_shape(model, jnp.zeros((2, 32, 24, 1))).shape == (2, 32, 24, 2)  # and of any other size
    assert report["score"] == {"name": "mIoU", "better": "higher"}
    assert report["floor"] == pytest.approx(score - 0.3)
    assert re.search(r"test mIoU \d\d\.\d\d %", synevo("report", str(run.path)))
    kept = run.load_predictions(2) or {}
    assert kept["sample:best"].shape == kept["sample:mask"].shape == (6, 16, 16)
    assert (kept["sample:ancestor"] == kept["sample:mask"]).mean() > 0.8
    synevo("report", str(run.path), "--html")
    page = (run.path / "report/index.html").read_text()
    assert page.count('alt="best mask of test image') == 6
    assert "% of pixels right" in page


def test_the_next_character_and_its_vocabulary_is_kept_beside_the_network(home: Path) -> None:
    words = ["the", "cat", "sat", "on", "a", "mat", "and", "ran"]
    text = " ".join(np.random.default_rng(0).choice(words, 2500))
    (home / "story.txt").write_text(text)
    learn = ("data.context=16", "ancestor_training.epochs=5", "ancestor_training.learning_rate=0.01")
    run, report = whole("next-token", "story.txt", "GPT", *learn, "training.distillation=0.5", budget="60%")
    (score, name, better), (after, _, _) = scores_of(run)
    assert (name, better) == ("nats a token", "lower")
    assert score < 1.5 < np.log(len(set(text)))  # characters within a word are known
    assert report["floor"] == pytest.approx(1.6 * score)
    assert report["generations"][1]["within_budget"] == (after <= 1.6 * score)
    kept, vocabulary = run.load_predictions(2) or {}, "".join(sorted(set(text)))
    before, after_it = ("".join(vocabulary[one] for one in kept[f"sample:{part}"][0]) for part in ("before", "after"))
    assert before + after_it in text, "the text goes on as it truly does"
    said = "".join(vocabulary[one] for one in kept["sample:ancestor"][0])
    assert len(said) == len(after_it)
    assert all(said[place : place + 2] in text for place in range(len(said) - 1)), "it has learnt what follows what"
    synevo("report", str(run.path), "--html")
    page = (run.path / "report/index.html").read_text()
    assert f"<dt>ancestor</dt><dd>{said}</dd>" in page
    assert is_smaller_and_loads(run) is not None
    _, documents = run.load_compact(2)
    facts = documents["architecture"]["facts"]
    assert facts == {"vocabulary": "".join(sorted(set(text))), "context": 16}
    assert texts.encode("a cat", facts["vocabulary"]).tolist() == [facts["vocabulary"].index(one) for one in "a cat"]
    synevo("evolve", str(run.path), "--max-drop", "1pt", code=2)


def write_tones(root: Path, pitches: Sequence[int], takes: int, *, rate: int = 4000) -> None:
    random = np.random.default_rng(0)
    root.mkdir()
    for pitch in pitches:
        for take in range(takes):
            time = np.arange(int(rate * random.uniform(0.1, 0.2))) / rate
            sound = 8000 * np.sin(2 * np.pi * pitch * time + take) + random.normal(0, 800, len(time))
            with wave.open(str(root / f"{pitch}_{take}.wav"), "wb") as file:
                file.setparams((1, 2, rate, 0, "NONE", ""))
                file.writeframes(sound.astype("<i2").tobytes())


def test_spoken_classes(home: Path) -> None:
    write_tones(home / "tones", (300, 700, 1500), 24)
    sets = ("data.seconds=0.2", "data.bands=12", "data.test_files=_[0-3]\\.wav$", "task.class_weights=balanced")
    learn = ("ancestor_training.epochs=25", "ancestor_training.learning_rate=0.01", "ancestor_training.batch_size=16")
    run, report = whole("classification", "tones", "Separable", *sets, *learn, budget="0.19")
    (score, name, _), _ = scores_of(run)
    assert name == "accuracy"
    assert score > 0.9
    assert is_smaller_and_loads(run) is not None
    _, documents = run.load_compact(2)
    assert documents["architecture"]["facts"]["classes"] == ["1500", "300", "700"]
    assert documents["architecture"]["made_with"] == {"shape": [11, 12, 1], "outputs": 3}
    assert [one["kind"] for one in report["warnings"]] == ["few"]  # of 6 validation examples
    assert report["outcomes"]["images"] == 12
    assert report["outcomes"]["classes"] == ["1500", "300", "700"]


def test_a_regression_evolves_as_hard_as_its_score_allows() -> None:
    learn = ("ancestor_training.epochs=25", "ancestor_training.learning_rate=0.005", "task.score=mean error")
    adaptive = ("evolution.adaptive=true", "ancestor_training.batch_size=32", "evolution.generations=3")
    run, report = whole("regression", "diabetes", "MLP", *learn, *adaptive, budget="40%")
    (score, name, better), *others = scores_of(run)
    assert (name, better) == ("mean error", "lower")
    assert len(others) > 1  # it goes on while less than a quarter of the budget is spent, and harder
    assert 30 < score < 60  # of a disease's progress from 25 to 346; always naming the mean gives 66
    assert is_smaller_and_loads(run) is not None
    both = json.loads(synevo("report", str(run.path), "--json", "--summary", "--max-drop", "40%", "--max-drop", "500"))
    assert [one for row in both["groups"][0]["budgets"] for one in row["budgets"]] == ["40%", 500.0]
    assert report["floor"] == pytest.approx(1.4 * score)
    kept = run.load_predictions(2) or {}
    true = kept["number:true"][:, 0]
    assert {*true.tolist()} <= {*load_diabetes().target.tolist()}, "in the units of the targets"
    assert 30 < np.abs(kept["number:ancestor"][:, 0] - true).mean() < 60
    assert kept["number:best"].shape == kept["number:true"].shape


def test_several_labels(home: Path) -> None:
    random = np.random.default_rng(0)
    inputs = random.normal(size=(400, 6)).astype(np.float32)
    np.savez(home / "labels.npz", inputs=inputs, targets=(inputs[:, :3] > 0.3).astype(np.uint8))
    learn = ("ancestor_training.epochs=12", "ancestor_training.learning_rate=0.01", "ancestor_training.batch_size=32")
    run, _ = whole("multilabel", "labels.npz", "MLP", *learn, budget="30pt")
    (score, name, better), *_ = scores_of(run)
    assert (name, better) == ("micro-F1", "higher")
    assert score > 0.8
    kept = run.load_predictions(2) or {}
    assert kept["label:true"].shape == kept["label:best"].shape == (80, 3)
    assert (kept["label:ancestor"] == kept["label:true"]).mean() > 0.8
