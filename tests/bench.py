"""Speed and memory, as ratios measured side by side in one run; `make bench`, on an idle machine.

Contestants take turns, warm-up rounds are not counted, medians and quartiles are printed. With `--run DIR` the
generations of that run are timed; without, a lineage of the preset `demo` is evolved first, and its time and memory
are measured too. With several runs of one ancestor and `--max-drop`, what they reach within it runs side by side.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench_formats import bench_at_equal_accuracy
from bench_training import by_default, epoch_of, random_images, spread, torch_process
from flax import nnx
from rich.console import Console

from synevo import keys
from synevo.deploy.engines.bench import bench
from synevo.genetics import synthesis
from synevo.genetics.heredity import by_size
from synevo.genetics.organism import Organism, Species
from synevo.model.network import build
from synevo.plan.fields import EncodingPlan, Environment
from synevo.report.terminal.bench import bench_table
from synevo.runs import measuring, organisms
from synevo.runs.measuring import describe
from synevo.runs.rundir import RunDir
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
    images = random_images(STEPS * BATCH, context.dataset.shape)
    contestants: dict[str, Callable[[], object]] = {}
    for individual in run.load_lineage().line:
        organism = organisms.load_organism(run, context.species, individual.generation)
        contestants[f"generation {individual.generation}"] = epoch_of(organism, images, BATCH)
    contestants["1, plain XLA"] = by_default(contestants["generation 1"])
    given = {"channels": context.dataset.shape[2], "batch": BATCH, "steps": STEPS}
    with torch_process(sys.executable, context.plan.ancestor.name, **given) as torch:
        print(
            f"\nTraining, {run.name}: batches of {BATCH}, {STEPS} steps a round, 2 rounds of warm-up, {ROUNDS} counted"
        )
        if torch is None:
            print("  no comparison: PyTorch is not installed (pip install '.[torch]'), or does not have this network")
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


if __name__ == "__main__":
    main()
