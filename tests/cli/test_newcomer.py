"""The newcomer's path: own photos of mixed sizes → ancestor → evolved → compacted → predicted → a page."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow

# The commands as they are, in one process, so that JAX is loaded once.
IN_TURN = """
import json, sys
from synevo.cli.app import app
for words in json.loads(sys.argv[1]):
    print("$", *words, flush=True)
    if code := app(words, standalone_mode=False):
        sys.exit(code)
"""

FAST = ("ancestor_training.epochs=6", "ancestor_training.learning_rate=0.005", "ancestor_training.batch_size=16")
FAST += ("training.epochs=2", "training.batch_size=16", "evolution.generations=2", "evolution.max_drop=0.6")
FAST += ("data.image_size=12", "data.fit=resize", "data.validation=0.3")

COMMANDS = [
    ["train-ancestor", "--dataset", "photos", "--ancestor", "lenet-300-100", "--run", "runs/mine"]
    + [word for field in FAST for word in ("--set", field)],
    ["evolve", "runs/mine"],
    ["compact", "runs/mine"],
    ["predict", "runs/mine", "photos/bright/00.png", "photos/dark/01.png", "--top", "1", "--json"],
    ["report", "runs/mine", "--html"],
    ["report", "runs/mine"],
]


def take_photos(folder: Path) -> None:
    """Forty photos of two classes, in sizes of their own: what is bright above, and what is dark above."""
    draw = np.random.default_rng(0)
    for name, (above, below) in {"bright": (200, 40), "dark": (40, 200)}.items():
        (folder / name).mkdir(parents=True)
        for number in range(20):
            height, width = draw.integers(14, 60, 2)
            pixels = draw.integers(0, 40, (height, width, 3)) + below
            pixels[: height // 2] += above - below
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{number:02d}.png")


def test_own_photos_become_a_small_network_and_a_page(
    tmp_path: Path, record_property: Callable[[str, object], None], capsys: pytest.CaptureFixture[str]
) -> None:
    take_photos(tmp_path / "photos")
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", IN_TURN, json.dumps(COMMANDS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert done.returncode == 0, done.stderr
    seconds = round(time.monotonic() - began)
    record_property("seconds", seconds)  # in a report of --junitxml
    with capsys.disabled():
        print(f"\nFrom own photos to a page: {seconds} s")  # noqa: T201 (a time that is wanted, not asserted)
    parts = {part.split()[0]: part.partition("\n")[2] for part in done.stdout.split("$ ")[1:]}
    assert "fewer" in parts["compact"]
    assert "multiply-adds" in parts["compact"]
    images = json.loads(parts["predict"])["images"]
    assert [image["classes"][0]["class"] for image in images] == ["bright", "dark"]
    assert "lenet-300-100 on photos, finished" in parts["report"]
    assert "Next: synevo evolve runs/mine" in done.stderr
    assert "Hint: 22 training images are few" in done.stderr
    assert "A batch of 16 is most of the 22 training examples" in done.stderr
    page = (tmp_path / "runs/mine/report/index.html").read_text("utf-8")
    assert "lenet-300-100 on photos" in page
    assert str(tmp_path) not in page, "a page that is shown around names no folder of its author's"
    assert page.count("<svg") >= 8
