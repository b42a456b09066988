"""Images on disk: does reading and decoding keep up with the step, and how much memory does a run take? `make bench`.

JPEG files of 224x224 pixels that compress as photos do are written in class folders and streamed into `mobilenet` at
96x96. Three rates are measured in turns in one process: reading and decoding alone (by the one thread that reads
ahead), the step alone (on a batch that was read before), and a training on the files. Warm-up is not counted; the
median and the range of the rounds are printed, and the time of CPU an image, which a loaded machine changes less. With
`--commands`, a user's commands run on the same files, and the largest process is printed.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from synevo.keys import root
from synevo.plan.compose import compose
from synevo.plan.fields import TrainingPlan
from synevo.runs import organisms
from synevo.runs.measuring import describe
from synevo.tasks.task import Examples
from synevo.training.fit import fit, start
from synevo.training.reading import AHEAD, batches

SIDE, NETWORK_SIDE, CLASSES = 224, 96, 10
BATCH, STEPS, ROUNDS = 8, 24, 3  # a step of mobilenet at this size takes about 35 MiB an image on a CPU
IMAGENET = 1_281_167
"""The training images of ILSVRC 2012."""


@dataclass(frozen=True)
class Same:
    """Examples that cost nothing to read: always the same batch."""

    batch: Any
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, places: np.ndarray) -> Any:
        return self.batch


@dataclass(frozen=True)
class Some:
    """The first of some examples."""

    examples: Examples
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, places: np.ndarray) -> Any:
        return self.examples[places]


def write_photos(folder: Path, count: int) -> int:
    """Write pictures that compress as photos do: large soft shapes and fine grain; the class is in their colour."""
    draw, total = np.random.default_rng(0), 0
    grain = draw.normal(0, 9, (2 * SIDE, 2 * SIDE, 1))
    for place in range(count):
        label = place % CLASSES
        file = folder / f"class-{label}" / f"{place:05d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(draw.integers(0, 256, (7, 7, 3), np.uint8))
        soft = coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        tint = np.array([label * 25, 255 - label * 25, 128])
        top, left = draw.integers(0, SIDE, 2)
        pixels = 0.6 * np.asarray(soft) + 0.3 * tint + grain[top : top + SIDE, left : left + SIDE]
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(file, quality=90)
        total += file.stat().st_size
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=STEPS, help="steps a round")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--commands", action="store_true", help="also run the commands of a user, and their memory")
    options = parser.parse_args()
    machine = describe()
    print(f"{machine['device']}, {machine['threads']} threads, jax {machine['libraries']['jax']}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "photos"
        began = time.perf_counter()
        total = write_photos(folder, options.images)
        print(
            f"{options.images:,} JPEG files of {SIDE}x{SIDE}, {total / options.images / 1024:.0f} KiB each, "
            f"written in {time.perf_counter() - began:.0f} s"
        )
        bench_rates(folder, options.steps, options.rounds)
        if options.commands:
            bench_commands(folder, Path(place) / "run")


def bench_rates(folder: Path, steps: int, rounds: int) -> None:
    """Print images a second of reading, of the step, and of both."""
    options = {"data.dataset": str(folder), "data.memory": 1e-3, "ancestor.name": "mobilenet"}
    options |= {"data.fit": "resize", "data.image_size": NETWORK_SIDE}
    plan = organisms.resolve(compose(options=options))
    context = organisms.prepare(plan)
    assert context.dataset is not None
    assert context.dataset.findings is not None
    assert context.dataset.findings.streamed
    task, train = context.problem.task, context.problem.train
    count = steps * BATCH
    network = context.species.template
    training = TrainingPlan(epochs=rounds + 1, batch_size=BATCH)

    def read(places: np.ndarray) -> None:
        with batches(train, list(places)) as found:
            for _ in found:
                pass

    def trained(examples: Examples) -> Callable[[], object]:
        """A function that trains for an epoch more."""
        begin = start(jax.tree.map(jnp.array, network), training, examples)
        states = fit(root(0), begin, task, examples, training, masks={})
        return lambda: next(states)

    draw = np.random.default_rng(0)
    contestants: dict[str, Callable[[], object]] = {
        "reading and decoding": lambda: read(draw.integers(0, len(train), (steps, BATCH))),
        "the step": trained(Same(train[np.arange(BATCH)], count)),
        "both": trained(Some(train, count)),
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    work: dict[str, list[float]] = {name: [] for name in contestants}
    for round_ in range(rounds + 1):
        for name, call in contestants.items():
            began, worked = time.perf_counter(), time.process_time()
            call()
            if round_:  # the first one compiles and warms up
                rates[name].append(count / (time.perf_counter() - began))
                work[name].append(1000 * (time.process_time() - worked) / count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    size = f"{NETWORK_SIDE}x{NETWORK_SIDE}"
    print(f"\nmobilenet at {size}, batches of {BATCH}, {rounds} rounds of {steps} steps after one to warm up")
    for name, found in rates.items():
        spread = f"({min(found):.1f} … {max(found):.1f})"
        print(f"  {name:22s} {median(found):8.1f} images/s {spread}, {median(work[name]):.2f} ms of CPU an image")
    print(f"  peak memory of this process {peak:.2f} GiB")
    print(f"\nImageNet's {IMAGENET:,} training images at these rates (its files are larger: about 110 KiB, 500x375)")
    for name, found in rates.items():
        print(f"  an epoch of {name:22s} {IMAGENET / median(found) / 3600:8.1f} h")
    one = NETWORK_SIDE**2 * 3
    held = (AHEAD + 2) * BATCH * one / 2**20
    print(f"  decoded at {size} they take {IMAGENET * one / 2**30:.1f} GiB, of which {held:.1f} MiB are held at a time")


def bench_commands(folder: Path, run: Path) -> None:
    """Run a user's commands on the files, each in a process of its own, and print its time and memory."""
    print("\nThe commands of a user, one epoch each")
    fields = {"data.memory": 0.05, "data.image_size": NETWORK_SIDE, "data.fit": "resize", "evolution.generations": 2}
    for training in ("ancestor_training", "training"):
        fields |= {f"{training}.epochs": 1, f"{training}.batch_size": BATCH}
    sets = [word for name, value in fields.items() for word in ("--set", f"{name}={value}")]
    for words in (
        ["train-ancestor", "--dataset", str(folder), "--ancestor", "mobilenet", *sets, "--run", str(run)],
        ["evolve", str(run), "--max-drop", "0.9"],
        ["compact", str(run)],
        ["export", str(run), "--to", "onnx"],
    ):
        began = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-m", "synevo", *words])
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"synevo {words[0]} failed")
        peak = used.ru_maxrss / 2**20
        print(f"  {words[0]:16s} {time.perf_counter() - began:7.1f} s   peak memory {peak:.2f} GiB", flush=True)


if __name__ == "__main__":
    main()
