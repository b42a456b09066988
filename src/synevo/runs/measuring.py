"""Measuring: the machine, and times on it side by side.

Figures of time and memory depend on the machine. Functions that are timed together are called in turns, so that a
change in the machine's speed affects all of them alike. The first rounds warm up and are not counted. The result is the
median and the quartiles of the counted rounds.
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from statistics import quantiles
from typing import Any

import jax

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")


def describe() -> dict[str, Any]:
    """Return versions, device, threads and flags, as JSON values."""
    devices = jax.devices()
    return {
        "synevo": sys.modules["synevo"].__version__,  # imported with any part of it; the face names what imports this
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "system": f"{platform.system()} {platform.machine()}",
        "backend": jax.default_backend(),
        "device": devices[0].device_kind,
        "devices": len(devices),
        "hosts": jax.process_count(),
        "threads": threads(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def threads() -> int:
    """Return the number of threads that this process may run at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def jax_engine(used: int) -> dict[str, Any]:
    """Return JAX as the engine of a timing with so many threads: its name, in words, and the threads."""
    on_cpu = jax.default_backend() == "cpu"
    counted = f", {used} thread{'s' if used > 1 else ''}" if on_cpu else ""
    words = f"JAX {version('jax')} on a {jax.default_backend().upper()}{counted}"
    return {"name": "jax", "words": words, "threads": used if on_cpu else None}


@dataclass(frozen=True)
class Timing:
    """Milliseconds a call: median and quartiles of `rounds` counted rounds."""

    median: float
    lower: float
    upper: float
    rounds: int


def race(
    contestants: Mapping[str, Callable[[], object]], *, rounds: int = 30, warm_up: int = 3, patience: float = 20.0
) -> dict[str, Timing]:
    """Return the timing of each function, called in turns; after `patience` seconds, 5 counted rounds are enough."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    began = time.perf_counter()
    for round_ in range(warm_up + rounds):
        for name, call in contestants.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            if round_ >= warm_up:
                times[name].append(1000 * (time.perf_counter() - start))
        if round_ >= warm_up + 4 and time.perf_counter() - began > patience:
            break
    return {name: _summarise(values) for name, values in times.items()}


def _summarise(values: list[float]) -> Timing:
    lower, median, upper = quantiles(values, n=4)
    return Timing(median, lower, upper, len(values))
