"""What several lineages of one ancestor reach within a budget, side by side where networks run.

Part of `bench.py`; `synevo bench` measures one run in every form. Each network is written, opened again, and takes
turns with the others on the same images.
"""

import importlib
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from synevo.deploy.reload import Reloaded
from synevo.lineage.individuals import Individual
from synevo.runs import compacting, measuring, organisms
from synevo.runs.measuring import Timing
from synevo.runs.rundir import RunDir

BATCHES = (1, 256)
ROUNDS = 50


def bench_at_equal_accuracy(runs: list[RunDir], max_drop: float) -> None:
    """Latency of the generation that each run reaches within one budget, beside the ancestor of the first."""
    context = organisms.prepare(runs[0].load_plan())
    assert context.dataset is not None, "only images are timed"
    lineages = {run.name: run.load_lineage() for run in runs}
    chosen = {name: lineage.best(max_drop) for name, lineage in lineages.items()}
    networks = {"ancestor": reloaded(runs[0], context, 1)}
    for run in runs:
        best = chosen[run.name]
        assert best is not None, f"{run.name} has no ancestor yet"
        networks[run.name] = reloaded(run, context, best.generation)
    print(f"\nRunning, within {100 * max_drop:g} points of the ancestor's validation accuracy: median (quartiles) of")
    print(f"  {ROUNDS} rounds in milliseconds, after 3 of warm-up, all in turns; ×: times faster than the ancestor")
    for who, individual in chosen.items():
        print(f"    {who:24s} {told(individual)}")
    with tempfile.TemporaryDirectory() as folder:
        for title, name in {"JAX": None, "ONNX Runtime": "onnx"}.items():
            module = name and importlib.import_module(f"synevo.deploy.formats.{name}")
            runners = {
                who: opened(module, one, Path(folder) / f"{who}.{name}") if module else in_jax(one)
                for who, one in networks.items()
            }
            for batch in BATCHES:
                pixels = np.resize(context.dataset.test.pixels, (batch, *context.dataset.shape))
                calls = {who: partial(runner, pixels) for who, runner in runners.items()}
                timings = measuring.race(calls, rounds=ROUNDS, patience=60.0)
                print(f"  {title}, batch {batch}")
                for who, timing in timings.items():
                    ratio = timings["ancestor"].median / timing.median
                    print(f"    {who:24s} {spread(timing)} ms, {ratio:.2f}×")


def told(individual: Individual | None) -> str:
    """Which generation it is, how good, and what it costs."""
    if individual is None or individual.scores is None or individual.counts is None:
        return ""
    return (
        f"generation {individual.generation}, {100 * individual.scores.test:.2f} % (test), "
        f"{individual.counts.synapses:,} synapses, {individual.counts.multiply_adds:,} multiply-adds"
    )


def reloaded(run: RunDir, context: organisms.Context, generation: int) -> Reloaded:
    organism = organisms.load_organism(run, context.species, generation)
    return Reloaded(organism.network, compacting.architecture(context, organism, generation))


def in_jax(one: Reloaded) -> Callable[[np.ndarray], np.ndarray]:
    compiled = jax.jit(one.logits)
    return lambda pixels: np.asarray(compiled(one.network, jnp.asarray(pixels)))


def opened(module: object, one: Reloaded, path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """The network as whoever gets the file runs it."""
    path.write_bytes(module.write(one))  # type: ignore[attr-defined]
    return module.open_file(path)  # type: ignore[attr-defined]


def spread(timing: Timing) -> str:
    return f"{timing.median:.3f} ({timing.lower:.3f}-{timing.upper:.3f})"
