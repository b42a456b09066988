"""What the analysis of a network costs, from 10^5 to 10^8 parameters, and how this grows; `make analysis`.

Each network is measured in a process of its own, one stage after the other, everything for the first time there, with
what JAX compiles for it. For each stage: seconds of CPU, seconds, and the largest memory in MiB meanwhile:

    dissect     on shapes alone: find what lives and dies together
    check       that the model's own code runs without half of the units of each family, at random
    cut         these units out of the arrays
    prove       that the smaller network computes the same, on two examples and two random ones
    synthesis   of an offspring, by the sizes of weights, that keeps 95 % of the filters and 67 % of the synapses
    viability   of this offspring: what no signal reaches is trimmed, what outputs need is restored

Then the growth of each stage: the exponent a of seconds of CPU = b · size^a, by least squares over the logarithms,
within networks of a kind and over all. A cost below a tenth of a second counts as that. The size is what the stage
should be linear in: units and steps for `dissect` and `check`, parameters for the others. These two are also held
against places, the lengths of all axes of the traced program: where each layer reads all before it, the program itself
grows faster than its steps.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
from bench_published import processor
from published import PUBLISHED, Published, images
from published.densenet import DenseNet121
from published.halves import masks_of, parameters, without_half
from published.vit import ViT

from synevo import ancestors, keys
from synevo.compaction.in_memory import silenced
from synevo.compaction.proof import prove
from synevo.genetics.heredity import Worth
from synevo.genetics.synthesis import synthesise
from synevo.genetics.viability import make_viable
from synevo.model.network import outline, take_apart
from synevo.plan.fields import EncodingPlan, Environment
from synevo.runs.measuring import describe
from synevo.wiring import masks
from synevo.wiring.cutting import cut
from synevo.wiring.dissection import Anatomy, check, dissect

Result = TypeVar("Result")
Row = Mapping[str, Any]

STAGES = {
    "dissect": "units and steps",
    "check": "units and steps",
    "cut": "parameters",
    "prove": "parameters",
    "synthesis": "parameters",
    "viability": "parameters",
}
"""The stages, and the size in which each should be linear."""


def ancestor(name: str, side: int, channels: int) -> Published:
    made = partial(ancestors.find(name), (side, side, channels), 10)
    return Published(made, images(side, channels))


def concatenating(*blocks: int) -> Published:
    return Published(partial(DenseNet121, classes=10, growth=12, blocks=blocks), images(32))


NETWORKS = {
    "lenet5": ("plain", ancestor("lenet5", 32, 1)),
    "lenet5-caffe": ("plain", ancestor("lenet5-caffe", 28, 1)),
    "vgg16": ("plain", ancestor("vgg16", 32, 3)),
    "VGG-19": ("plain", PUBLISHED["VGG-19"]),
    "resnet20": ("residual", ancestor("resnet20", 32, 3)),
    "resnet56": ("residual", ancestor("resnet56", 32, 3)),
    "ResNet-50": ("residual", PUBLISHED["ResNet-50"]),
    "ViT-S/16": ("attention", PUBLISHED["ViT-S/16"]),
    "ViT-B/16": ("attention", Published(partial(ViT, width=768, heads=12, hidden=3072), images(224))),
    "concat-100": ("concatenating", concatenating(6, 12, 16, 14)),
    "concat-200": ("concatenating", concatenating(6, 12, 40, 40)),
    "concat-300": ("concatenating", concatenating(6, 12, 64, 66)),
}
"""The networks by name, with their kind. DenseNets (growth 12) are named by their convolutions."""

GROWTH = 1.2
"""The largest exponent that passes for linear."""

LEAST = 0.1
"""Seconds of CPU below which a cost is one of starting, and says nothing about growth: less counts as this."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(NETWORKS), help=", ".join(NETWORKS))
    parser.add_argument("--stages", nargs="+", metavar="STAGE", choices=list(STAGES), default=list(STAGES))
    parser.add_argument("--patience", type=int, default=900, help="seconds of CPU for each network")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.only or list(NETWORKS)
    if options.measure:
        resource.setrlimit(resource.RLIMIT_CPU, (options.patience, resource.getrlimit(resource.RLIMIT_CPU)[1]))
        for found in measure(NETWORKS[names[0]][1], options.stages):
            print(json.dumps(found), flush=True)
        return
    machine = describe()
    print(f"{processor()}, {machine['threads']} threads, Python {machine['python']}, jax {machine['libraries']['jax']}")
    print(f"{'':12s} {'':>11s} {'':>7s} {'':>6s} {'':>9s}", *(f"{stage:>20s}" for stage in options.stages))
    costs = f"{'CPU s':>7s} {'s':>6s} {'MiB':>5s}"
    print(
        f"{'network':12s} {'parameters':>11s} {'units':>7s} {'steps':>6s} {'places':>9s}",
        *[costs] * len(options.stages),
    )
    rows = {}
    for name in names:
        rows[name], problem = measured(name, options.stages, options.patience)
        print(line(name, rows[name], options.stages), problem, flush=True)
    print("\n" + "\n".join(growths(rows, options.stages)))


def measured(name: str, stages: Sequence[str], patience: int) -> tuple[dict[str, Any], str]:
    """Measure a network in a process of its own; return what was found, and why nothing more was."""
    words = [sys.executable, __file__, "--measure", "--only", name, "--patience", str(patience), "--stages", *stages]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    found: dict[str, Any] = {}
    for row in done.stdout.splitlines():
        found |= json.loads(row)
    last = done.stderr.strip().splitlines()[-1:]
    return found, " ".join([f"ended with exit code {done.returncode}:", *last]) if done.returncode else ""


def measure(network: Published, stages: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Measure the stages in this process; yield what is known as soon as it is."""
    shapes = outline(network.make, network.inputs)
    yield {"parameters": parameters(shapes)}
    anatomy, costs = timed(lambda: dissect(shapes, network.inputs))
    yield {"units": anatomy.wiring.units, "steps": len(anatomy.program.steps), "places": places(anatomy)}
    yield {"dissect": costs}
    alive = without_half(anatomy.wiring)
    if "check" in stages:
        yield {"check": timed(lambda: check(shapes, anatomy, alive))[1]}
    if set(stages) <= {"dissect", "check"}:
        return
    whole = take_apart(network.alive()[0])
    if "cut" in stages or "prove" in stages:
        masked = silenced(whole, masks_of(anatomy.wiring, shapes, alive))
        small, costs = timed(lambda: jax.block_until_ready(cut(masked, anatomy.wiring, alive)))
        yield {"cut": costs}
        if "prove" in stages:
            both = {"masked": masked, "compact": small}
            given = network.examples(2)
            yield {"prove": timed(lambda: prove(keys.root(0), anatomy, alive, **both, inputs=given))[1]}
        del masked, small
    if "synthesis" in stages or "viability" in stages:
        parent, worth = masks.full(anatomy.wiring, shapes), Worth({n: abs(a) for n, a in whole.parameters.items()})
        plans = {"encoding_plan": EncodingPlan(), "environment": Environment(0.95, 0.67)}
        sample, costs = timed(lambda: synthesise(keys.root(0), anatomy.wiring, worth, parent, **plans))
        yield {"synthesis": costs}
        if "viability" in stages:
            yield {"viability": timed(lambda: make_viable(anatomy.wiring, worth.synapses, parent, sample.masks))[1]}


def places(anatomy: Anatomy) -> int:
    """The lengths of all axes of all values of the program that hold units."""
    return sum(len(axis) for axes in anatomy.units.values() for axis in axes if (axis >= 0).any())


def timed(function: Callable[[], Result]) -> tuple[Result, tuple[float, float, float]]:
    """The result of a function, its seconds of CPU and of wall, and the most memory meanwhile in MiB.

    Where the system does not forget the peak of before (as Linux does), the memory is the most so far.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", "ascii")
    began, before = time.perf_counter(), time.process_time()
    result = function()
    wall, cpu = time.perf_counter() - began, time.process_time() - before
    return result, (cpu, wall, peak())


def peak() -> float:
    """The most memory of this process in MiB."""
    try:
        lines = Path("/proc/self/status").read_text("ascii").splitlines()
        return next(int(text.split()[1]) / 1024 for text in lines if text.startswith("VmHWM"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def line(name: str, row: Row, stages: Sequence[str]) -> str:
    """A row of the table."""
    sizes = ((key, width) for key, width in (("parameters", 11), ("units", 7), ("steps", 6), ("places", 9)))
    cells = [format(row.get(key, ""), f">{width},d" if key in row else f">{width}s") for key, width in sizes]
    cells += ["{:7.2f} {:6.2f} {:5.0f}".format(*row[stage]) if stage in row else 20 * " " for stage in stages]
    return " ".join([f"{name:12s}", *cells])


def growths(rows: Mapping[str, Row], stages: Sequence[str]) -> list[str]:
    """The growth of each stage within networks of a kind and over all, as lines; what is above `GROWTH` is marked."""
    kinds = list(dict.fromkeys(NETWORKS[name][0] for name in rows))
    lines = [f"growth (exponent)    {'by':16s}" + "".join(f"{kind:>15s}" for kind in (*kinds, "all"))]
    for stage in stages:
        for size in (STAGES[stage], "places") if STAGES[stage] == "units and steps" else (STAGES[stage],):
            cells = []
            for kind in (*kinds, None):
                chosen = [row for name, row in rows.items() if stage in row and kind in {None, NETWORKS[name][0]}]
                found = exponent([size_of(row, size) for row in chosen], [row[stage][0] for row in chosen])
                cells.append("" if found is None else f"{found:.2f}{'!' if found > GROWTH else ' '}")
            lines.append(f"{stage:20s} {size:16s}" + "".join(f"{cell:>15s}" for cell in cells))
    return lines


def size_of(row: Row, size: str) -> float:
    return float(row["units"] + row["steps"] if size == "units and steps" else row[size])


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float | None:
    """The exponent a of seconds = b · size^a that fits best in logarithms; None with less than two different sizes."""
    if len(set(sizes)) < 2:
        return None
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(seconds, LEAST)), 1)[0])


if __name__ == "__main__":
    main()
