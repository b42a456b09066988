"""Torch-Pruning on equal terms with runs of synevo; `make peer`.

For each run (made by `synevo train-ancestor` and `synevo evolve`), Torch-Pruning starts from its very ancestor: the
weights are carried over and seen to answer the same. Its targets are the stored weights of the run's generations; after
each step it trains for as many epochs, at the same rates, with the same distillation and shifts as the run did then. It
prunes by group magnitude (L2), all layers together. It runs in an interpreter of its own (`--torch`), since two
libraries in one process disturb each other's threads; PyTorch and `torch-pruning` are all that it needs.

What it makes is kept beside the run, in `peer-RUN`: a line for each step in `results.jsonl`, and the weights. Steps
that are there are not done again. Its networks are then read into the run's own network: their test accuracy is
computed here again, by the same code as the run's, and all are timed in ONNX Runtime, in turns, on the same images.

    python tests/bench_peer.py --runs runs/brief-0 runs/brief-1 runs/brief-2 --torch /elsewhere/bin/python
"""

import argparse
import importlib
import json
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bench_formats import opened
from bench_published import processor

from synevo.deploy.engines.cores import confined
from synevo.deploy.reload import Reloaded
from synevo.genetics import census
from synevo.genetics.organism import Organism
from synevo.model.network import call
from synevo.runs import compacting, measuring, organisms
from synevo.runs.measuring import Timing
from synevo.runs.rundir import RunDir
from synevo.tasks.task import InMemory
from synevo.training.evaluation import evaluate
from synevo.wiring import masks

ASKED = 256
"""The images on which the ancestor must answer the same on both sides."""

BATCHES = (1, 256)
"""The images at once in the engine."""

TORCH_LAYERS = {"lenet5-caffe": ("0", "2", "5", "7"), "lenet5": ("0", "3", "6", "10", "12")}
"""The layers with weights of the networks in `bench_torch.py`, in the order of the signal."""


CONVOLUTION = 4
"""The axes of the kernel of a convolution."""

RESULTS = "results.jsonl"
WARM_UP = 20
HEAD = f"{'network':14s} {'runs':>4s} {'weights':>9s} {'mult.-adds':>10s} {'test %':>14s}" + "".join(
    f" {f'ms, batch {batch}':>15s}" for batch in BATCHES
)


@dataclass(frozen=True)
class Point:
    """One network of a curve; `ms` by the number of images at once."""

    name: str
    stored_weights: int
    multiply_adds: int
    test: float
    ms: Mapping[int, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="runs of one preset, a seed each")
    parser.add_argument("--torch", required=True, help="a Python interpreter with torch and torch-pruning")
    parser.add_argument("--steps", type=int, help="the first steps of the peer only")
    parser.add_argument("--epochs", type=int, help="so many epochs a step, to try it; kept in a folder of its own")
    parser.add_argument("--rounds", type=int, default=200, help="rounds that are counted when networks are timed")
    parser.add_argument("--threads", type=int, default=1, help="cores of ONNX Runtime")
    options = parser.parse_args()
    machine = measuring.describe()
    print(f"{processor()}, {machine['threads']} threads, jax {machine['libraries']['jax']}")
    curves = [curve_of(RunDir(path), options) for path in options.runs]
    print("\nMeans over the runs: stored weights fewer, multiply-adds left, test accuracy with its deviation, and the")
    print(
        f"milliseconds in ONNX Runtime on {options.threads} core(s): medians of {options.rounds} rounds after {WARM_UP}"
    )
    print("of warm-up, all networks of a run in turns; ×: times faster than the ancestor\n")
    print("\n".join(report(curves)))


def curve_of(run: RunDir, options: argparse.Namespace) -> list[Point]:
    """Let the peer do what is missing, and return the points of both sides, the ancestor first."""
    context = organisms.prepare(run.load_plan())
    name = context.plan.ancestor.name
    if name not in TORCH_LAYERS:
        raise SystemExit(
            f"{run.path} has the ancestor {name}; the peer's half is written for {', '.join(TORCH_LAYERS)}."
        )
    first = organisms.load_organism(run, context.species, 1)
    tried = "" if options.epochs is None else f"-{options.epochs}-epochs"
    folder = run.path.parent / f"peer-{run.name}{tried}"
    folder.mkdir(exist_ok=True)
    write_job(folder, run, context, first)
    words = [options.torch, str(Path(__file__).with_name("bench_peer_torch.py")), str(folder)]
    for option in ("steps", "epochs"):
        words += [f"--{option}", str(getattr(options, option))] if getattr(options, option) else []
    print(f"\n{run.name}", flush=True)
    subprocess.run([*words, "--threads", str(measuring.threads())], check=True)
    networks = {"ancestor": first}
    for generation in (one.generation for one in run.load_lineage().line[1:]):
        networks[f"synevo {generation}"] = organisms.load_organism(run, context.species, generation)
    networks |= {f"peer {step}": one for step, one in enumerate(peers(folder, name, first), 2)}
    timings = times(context, networks, options)
    points = []
    for title, one in networks.items():
        counts = census.count(one)
        stored = sum(layer.stored_weights for layer in counts.layers)
        test = evaluate(one.network, context.problem.task, context.problem.test)
        ms = {batch: timings[batch][title].median for batch in BATCHES}
        points.append(Point(title, stored, counts.multiply_adds, test, ms))
    (folder / "points.json").write_text(json.dumps([asdict(point) for point in points], indent=1) + "\n", "utf-8")
    return points


def write_job(folder: Path, run: RunDir, context: organisms.Context, first: Organism) -> None:
    """Write what the peer is to do: the data, the ancestor, and a step for each generation."""
    plan, task = context.plan, context.problem.task
    assert isinstance(context.problem.train, InMemory), "the peer takes images in memory"
    channels = context.problem.train.arrays["image"].shape[-1]
    black, white = (
        np.asarray(task.inputs({"image": np.full((1, 1, 1, channels), pixel, np.uint8)})[0])[0, 0, 0]
        for pixel in (0, 255)
    )
    steps = [
        {
            "stored_weights": sum(layer.stored_weights for layer in one.counts.layers),
            "epochs": one.epochs,
            "learning_rate": one.learning_rate,
        }
        for one in run.load_lineage().line[1:]
        if one.counts is not None
    ]
    job = {
        "network": plan.ancestor.name,
        "seed": plan.seed,
        "batch_size": plan.training.batch_size,
        "distillation": plan.training.distillation,
        "temperature": plan.training.temperature,
        "shift": plan.training.shift,
        "offset": black.tolist(),
        "scale": (white - black).tolist(),
        "steps": steps,
    }
    (folder / "job.json").write_text(json.dumps(job, indent=1) + "\n", "utf-8")
    splits = {"train": context.problem.train, "test": context.problem.test}
    whole = {name: examples[np.arange(len(examples))] for name, examples in splits.items()}
    images = {f"{name}_images": np.asarray(batch["image"]) for name, batch in whole.items()}
    labels = {f"{name}_labels": np.asarray(batch["label"], np.int64) for name, batch in whole.items()}
    answers = np.asarray(call(first.network, *task.inputs({"image": jnp.asarray(images["test_images"][:ASKED])})))
    np.savez(folder / "data.npz", **images, **labels, answers=answers)
    np.savez(folder / "ancestor.npz", **to_torch(plan.ancestor.name, first))


def to_torch(name: str, organism: Organism) -> dict[str, np.ndarray]:
    """The arrays of an organism as PyTorch has them: filters first, and pictures flattened channel by channel."""
    given: dict[str, np.ndarray] = {}
    channels = 0
    for place, (kernel, bias) in zip(TORCH_LAYERS[name], pairs(organism), strict=True):
        array = np.asarray(organism.network.arrays[kernel])
        filters = array.shape[-1]
        if array.ndim == CONVOLUTION:
            array = array.transpose(3, 2, 0, 1)
        else:
            array = array.reshape(-1, channels, filters).transpose(2, 1, 0).reshape(filters, -1)
        given[f"{place}.weight"] = np.ascontiguousarray(array)
        given[f"{place}.bias"] = np.asarray(organism.network.arrays[bias])
        channels = filters
    return given


def from_torch(name: str, weights: Mapping[str, np.ndarray], first: Organism) -> Organism:
    """The network of such weights, in whatever widths, as an organism: the first units of each layer, with others'."""
    arrays: dict[str, np.ndarray] = {}
    alive, channels = np.ones(len(first.units), bool), 0
    wiring = first.species.anatomy.wiring
    for layer, place, (kernel, bias) in zip(wiring.layers, TORCH_LAYERS[name], pairs(first), strict=True):
        array = weights[f"{place}.weight"]
        filters = len(array)
        if array.ndim == CONVOLUTION:
            array = array.transpose(2, 3, 1, 0)
        else:
            array = array.reshape(filters, channels, -1).transpose(2, 1, 0).reshape(-1, filters)
        arrays |= {kernel: np.ascontiguousarray(array), bias: weights[f"{place}.bias"]}
        alive[layer.outputs[filters:]] = False
        channels = filters
    small = Organism.left(first.species, first.network, masks.full(wiring, first.network), alive)
    return replace(small, network=small.network.like(jax.device_put(arrays)))


def pairs(organism: Organism) -> list[tuple[str, str]]:
    """The names of the kernel and the bias of each layer, in the order of the signal."""
    names = [layer.name for layer in organism.species.anatomy.wiring.layers]
    return [(name, f"{name.rpartition('/')[0]}/bias") for name in names]


def results(folder: Path) -> list[dict[str, Any]]:
    """What the peer has done so far, a step each."""
    return [json.loads(text) for text in (folder / RESULTS).read_text("utf-8").splitlines()]


def peers(folder: Path, name: str, first: Organism) -> Iterator[Organism]:
    """What the peer has made so far, as networks like the ancestor."""
    for found in results(folder):
        with np.load(folder / f"step-{found['step']}.npz") as weights:
            yield from_torch(name, weights, first)


def times(
    context: organisms.Context, networks: Mapping[str, Organism], options: argparse.Namespace
) -> dict[int, dict[str, Timing]]:
    """The times of networks in ONNX Runtime, all in turns on the same images, by the number of images at once."""
    assert context.dataset is not None, "only images are timed"
    onnx = importlib.import_module("synevo.deploy.formats.onnx")
    found = {}
    with tempfile.TemporaryDirectory() as made, confined(options.threads):
        runners = {
            name: opened(onnx, Reloaded(one.network, compacting.architecture(context, one, 1)), Path(made) / name)
            for name, one in networks.items()
        }
        for batch in BATCHES:
            pixels = np.resize(context.dataset.test.pixels, (batch, *context.dataset.shape))
            calls = {name: partial(runner, pixels) for name, runner in runners.items()}
            found[batch] = measuring.race(calls, rounds=options.rounds, warm_up=WARM_UP, patience=600)
    return found


def report(curves: Sequence[Sequence[Point]]) -> list[str]:
    """The curves of all runs as lines: the mean at each point over the runs, with the deviation of the accuracy."""
    lines = [HEAD]
    names = list(dict.fromkeys(point.name for curve in curves for point in curve))
    for name in names:
        rows = [(point, curve[0]) for curve in curves for point in curve if point.name == name]
        tests = [100 * point.test for point, _ in rows]
        deviation = f"± {statistics.stdev(tests):.2f}" if len(tests) > 1 else ""
        weights = statistics.mean(first.stored_weights / point.stored_weights for point, first in rows)
        kilo = statistics.mean(point.multiply_adds for point, _ in rows) / 1000
        faster = [statistics.mean(first.ms[batch] / point.ms[batch] for point, first in rows) for batch in BATCHES]
        took = [statistics.mean(point.ms[batch] for point, _ in rows) for batch in BATCHES]
        cells = " ".join(f"{ms:8.3f} {ratio:5.2f}×" for ms, ratio in zip(took, faster, strict=True))
        test = f"{statistics.mean(tests):6.2f} {deviation:7s}"
        lines.append(f"{name:14s} {len(rows):4d} {weights:8.1f}× {kilo:8.0f} k {test} {cells}")
    return lines


if __name__ == "__main__":
    main()
