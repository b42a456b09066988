"""Speed and memory, as ratios measured side by side in one run; `make bench`, on an idle machine.

Contestants take turns, warm-up rounds are not counted, medians and quartiles are printed. With `--run DIR` the
generations of that run are timed; without, a lineage of the preset `demo` is evolved first, and its time and memory
are measured too. With several runs of one ancestor and `--max-drop`, what they reach within it runs side by side.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from bench_formats import bench_at_equal_accuracy
from flax import nnx
from rich.console import Console

from synevo import keys
from synevo.data.datasets import Dataset
from synevo.deploy.engines.bench import bench
from synevo.genetics import synthesis
from synevo.genetics.heredity import by_size
from synevo.genetics.organism import Organism, Species
from synevo.model.network import build
from synevo.plan.fields import EncodingPlan, Environment, TrainingPlan
from synevo.report.terminal.bench import bench_table
from synevo.runs import measuring, organisms
from synevo.runs.measuring import Timing, describe
from synevo.runs.rundir import RunDir
from synevo.tasks.task import InMemory, Task
from synevo.training import fit
from synevo.wiring.dissection import dissect, example_of

STEPS = 20
BATCH = 128
ROUNDS = 9
SYNTHESES = {"10^5": (316, 1), "10^8": (5000, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, nargs="+", help="time the generations of this run, or several side by side")
    parser.add_argument("--max-drop", type=float, default=0.01, help="the budget of runs side by side")
    options = parser.parse_args()
    machine = describe()
    libraries = f"jax {machine['libraries']['jax']}, synevo {machine['synevo']}"
    print(f"{machine['device']}, {machine['threads']} threads, {libraries}")
    if options.run and len(options.run) > 1:
        bench_at_equal_accuracy([RunDir(path) for path in options.run], options.max_drop)
        return
    with tempfile.TemporaryDirectory() as folder:
        run = RunDir(options.run[0]) if options.run else evolve_demo(Path(folder) / "demo")
        bench_training(run)
        Console(width=160).print(bench_table(bench(run, threads=1, rounds=50)))
    bench_synthesis()


def evolve_demo(path: Path) -> RunDir:
    """Evolve the demo as a user would, in processes of its own."""
    print("\nA whole lineage: preset demo, one run, each command a process")
    for words in (
        ["train-ancestor", "--preset", "demo", "--run", str(path)],
        ["evolve", str(path)],
        ["compact", str(path)],
    ):
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "synevo", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(f"  {words[0]:16s} {time.perf_counter() - began:6.1f} s   largest process so far {peak:,.0f} MiB")
    return RunDir(path)


def bench_training(run: RunDir) -> None:
    """Training steps of every generation, and of PyTorch on the ancestor, in turns."""
    context = organisms.prepare(run.load_plan())
    assert context.dataset is not None, "only images are timed"
    task, images = context.problem.task, random_images(context.dataset)
    contestants: dict[str, Callable[[], object]] = {}
    for individual in run.load_lineage().line:
        organism = organisms.load_organism(run, context.species, individual.generation)
        contestants[f"generation {individual.generation}"] = epoch_of(organism, task, images)
    contestants["1, plain XLA"] = as_by_default(contestants["generation 1"])
    with torch_process(context.plan.ancestor.name, context.dataset.shape[2]) as torch:
        print(
            f"\nTraining, {run.name}: batches of {BATCH}, {STEPS} steps a round, 2 rounds of warm-up, {ROUNDS} counted"
        )
        if torch is None:
            print("  no comparison: PyTorch is not installed (pip install '.[torch]'), or it is not lenet5")
        else:
            contestants["PyTorch"] = torch
        timings = measuring.race(contestants, rounds=ROUNDS, warm_up=2, patience=600)
    whole = timings["generation 1"].median
    for name, timing in timings.items():
        rate = 1000 * STEPS * BATCH / timing.median
        share = f"{timing.median / whole:5.2f} of the ancestor's time"
        print(f"  {name:16s} {rate:9,.0f} images/s   {share}   {spread(timing, STEPS)} ms a step")
    if torch is not None:
        print(f"  the ancestor's step takes {whole / timings['PyTorch'].median:.2f} times as long as PyTorch's")


def epoch_of(organism: Organism, task: Task, images: InMemory) -> Callable[[], object]:
    """One epoch of training an organism, from the same start each time."""
    living = organism.living
    plan = TrainingPlan(epochs=1, batch_size=BATCH)

    def epoch() -> object:
        state = fit.start(jax.tree.map(jnp.array, organism.network), plan)
        return [after.network for after in fit.fit(keys.root(0), state, task, images, plan, masks=living)][-1]

    return epoch


def as_by_default(epoch: Callable[[], object]) -> Callable[[], object]:
    """An epoch whose step is compiled as XLA would without options."""
    plain = jax.jit(fit._resident_step, static_argnums=0, donate_argnums=(1, 2))

    def patched() -> object:
        with mock.patch.object(fit, "_compiled", return_value=plain):
            return epoch()

    return patched


@contextmanager
def torch_process(ancestor: str, channels: int) -> Iterator[Callable[[], object] | None]:
    """A round of the same steps in PyTorch, in another process that waits while others run; None without PyTorch."""
    if ancestor != "lenet5" or find_spec("torch") is None:
        yield None
        return
    numbers = {"channels": channels, "batch": BATCH, "steps": STEPS, "threads": os.cpu_count()}
    words = [sys.executable, str(Path(__file__).with_name("bench_torch.py"))]
    words += [word for name, number in numbers.items() for word in (f"--{name}", str(number))]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        asks, answers = process.stdin, process.stdout
        print(f"\nPyTorch {answers.readline().strip()} in a process of its own")

        def ask() -> object:
            asks.write("\n")
            if not answers.readline():
                raise RuntimeError("The PyTorch process ended.")
            return None

        yield ask
        asks.close()


def random_images(like: Dataset) -> InMemory:
    """Enough random images for one round."""
    rng = np.random.default_rng(0)
    count = STEPS * BATCH
    pixels = rng.integers(0, 256, (count, *like.shape), np.uint8)
    return InMemory({"image": pixels, "label": rng.integers(0, len(like.classes), count).astype(np.int32)})


def bench_synthesis() -> None:
    """Synthesis of one offspring of a dense network, compiled and warm."""
    print(f"\nSynthesis of one offspring, 1 warm-up, {ROUNDS} counted, or as many as 2 minutes allow")
    for name, (width, depth) in SYNTHESES.items():
        timing = measuring.race({name: synthesis_of(width, depth)}, rounds=ROUNDS, warm_up=1, patience=120)[name]
        print(f"  {name} synapses ({width * width * depth:,} in {depth} layers): {spread(timing)} ms")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory of this process: {peak:,.0f} MiB")


def synthesis_of(width: int, depth: int) -> Callable[[], object]:
    """The synthesis of an offspring of `depth` square layers."""

    def make(rngs: nnx.Rngs) -> nnx.Module:
        return nnx.Sequential(*(nnx.Linear(width, width, use_bias=False, rngs=rngs) for _ in range(depth)))

    inputs = example_of((1, 1, width))
    network = build(make, inputs, keys.root(0))
    parent = Organism.first(Species(dissect(network, inputs), network), network)
    return partial(
        synthesis.synthesise,
        keys.root(1),
        parent.species.anatomy.wiring,
        by_size(parent),
        parent.masks,
        encoding_plan=EncodingPlan(),
        environment=Environment(0.95, 0.67, "network", "network"),
    )


def spread(timing: Timing, parts: int = 1) -> str:
    return f"{timing.median / parts:.1f} ({timing.lower / parts:.1f}-{timing.upper / parts:.1f})"


if __name__ == "__main__":
    main()
