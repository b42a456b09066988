"""What synevo makes of published networks; `make shapes`, which takes a while: `--small` takes a minute.

Each network is measured in a process of its own: dissection, on shapes alone; then `synevo.compact` without half of
the units of each family, at random, which dissects again. Its proof sees a few random inputs as if they were real.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from published import PUBLISHED, SMALL, Published
from published.halves import (
    families,
    masks_of,
    parameters,
    reasons,
    removable_parameters,
    removable_places,
    without_half,
)

from synevo import compact
from synevo.errors import SynevoError
from synevo.model.network import outline, take_apart
from synevo.runs.measuring import describe
from synevo.wiring.dissection import Anatomy, dissect

EXAMPLES = {True: 16, False: 2}
SHOWN = 3
COSTS = ("CPU", "wall", "MiB")
COLUMNS = (
    ("parameters", 11, ","),
    ("units", 6, ","),
    ("families", 8, ","),
    ("places", 7, ".1%"),
    ("removable", 9, ".1%"),
    ("left", 6, ".1%"),
    ("difference", 10, ".1e"),
    *((f"{what} {unit}", len(what) + 5, ",.1f") for what in ("dissect", "compact") for unit in COSTS),
)
"""What is printed of a network: its title, its width, its form."""
Result = TypeVar("Result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(PUBLISHED), help=", ".join(PUBLISHED))
    parser.add_argument("--small", action="store_true", help="few channels and small images")
    parser.add_argument("--patience", type=float, default=900, help="seconds of CPU for each network")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.only or list(PUBLISHED)
    if options.measure:
        resource.setrlimit(resource.RLIMIT_CPU, (int(options.patience), resource.getrlimit(resource.RLIMIT_CPU)[1]))
        for row in measure((SMALL if options.small else PUBLISHED)[names[0]], EXAMPLES[options.small]):
            print(json.dumps(row), flush=True)
        return
    machine = describe()
    libraries = ", ".join(f"{name} {machine['libraries'][name]}" for name in ("jax", "flax", "numpy"))
    print(f"{processor()}, {machine['threads']} threads, Python {machine['python']}, {libraries}")
    print(
        f"synevo {machine['synevo']}; proofs of {2 * EXAMPLES[options.small]} examples; seconds, MiB at the peak so far"
    )
    print("places and removable: the shares of the parameters' places, and of the parameters, that belong to a unit;")
    print("left: the share of the parameters without half of the units of each family\n")
    print(" ".join([f"{'network':13s}", *(f"{title:>{width}s}" for title, width, _ in COLUMNS)]))
    for name in names:
        print(line(name, *measured(name, small=options.small, patience=options.patience)), flush=True)


def measured(name: str, *, small: bool, patience: float) -> tuple[dict[str, Any], str]:
    """Measure a network in a process of its own; return what was found, and why nothing more was."""
    words = [sys.executable, __file__, "--measure", "--only", name, "--patience", str(patience)]
    problem = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        words += ["--small"] if small else []
        done = subprocess.run(words, stdout=out, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode == -signal.SIGXCPU:
            problem = f"longer than {patience:.0f} s of CPU"
        elif done.returncode:
            problem = [f"ended with exit code {done.returncode}", *done.stderr.strip().splitlines()][-1]
        out.seek(0)
        rows = out.readlines()
    found: dict[str, Any] = {}
    for row in rows:
        found |= json.loads(row)
    return found, found.pop("refused", problem)


def measure(network: Published, examples: int) -> Iterator[dict[str, Any]]:
    """Measure a network in this process; yield what is known as soon as it is."""
    try:
        shapes = outline(network.make, network.inputs)
        yield {"parameters": parameters(shapes)}
        anatomy, costs = timed(lambda: dissect(shapes, network.inputs))
        wiring = anatomy.wiring
        yield {
            "units": wiring.units,
            "families": len(families(wiring)),
            "places": removable_places(wiring, shapes),
            "removable": removable_parameters(wiring, shapes),
            "frozen": reasons(wiring.frozen),
        } | {f"dissect {unit}": cost for unit, cost in zip(COSTS, costs, strict=True)}
        yield compacted(network, anatomy, examples)
    except SynevoError as error:
        yield {"refused": f"{type(error).__name__}: {error.problem}"}


def compacted(network: Published, anatomy: Anatomy, examples: int) -> dict[str, Any]:
    """Compact a network without half of its units."""
    model, variables = network.alive()
    shapes = outline(network.make, network.inputs)
    masks = masks_of(anatomy.wiring, shapes, without_half(anatomy.wiring))
    inputs = network.examples(examples)
    done, costs = timed(lambda: compact(model, network.inputs, variables=variables, masks=masks, inputs=inputs))
    return {
        "left": parameters(take_apart(done.model)) / parameters(shapes),
        "difference": done.proof.max_difference / max(done.proof.largest_output, 1e-30),
    } | {f"compact {unit}": cost for unit, cost in zip(COSTS, costs, strict=True)}


def timed(function: Callable[[], Result]) -> tuple[Result, tuple[float, float, float]]:
    """The result of a function, its seconds of CPU and of wall, and the process's peak of memory so far in MiB."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    result = function()
    after, wall = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - began
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return result, (cpu, wall, after.ru_maxrss / 1024)


def line(name: str, found: dict[str, Any], problem: str) -> str:
    """A row of the table, with what went wrong and the reasons for what is frozen below it."""
    cells = [(format(found[key], form) if key in found else "").rjust(width) for key, width, form in COLUMNS]
    frozen = found.get("frozen", [])
    notes = [f"{count:,} places: {reason}" for reason, count in frozen[:SHOWN]]
    if len(frozen) > SHOWN:
        notes.append(f"{sum(count for _, count in frozen[SHOWN:]):,} places: {len(frozen) - SHOWN} more reasons")
    notes = [
        textwrap.fill(note, 160, initial_indent="    ", subsequent_indent="      ")
        for note in [problem, *notes]
        if note
    ]
    return "\n".join([" ".join([f"{name:13s}", *cells]).rstrip(), *notes])


def processor() -> str:
    """The name of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [text.split(":", 1)[1].strip() for text in lines if text.startswith("model name")]
    return names[0] if names else os.uname().machine


if __name__ == "__main__":
    main()
