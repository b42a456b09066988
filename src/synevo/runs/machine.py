"""The machine of a run; figures of time and memory depend on it."""

import os
import platform
from importlib.metadata import version
from typing import Any

import jax

from synevo import __version__

_LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-datasets")


def describe() -> dict[str, Any]:
    """Return versions, device, threads and flags, as JSON values."""
    devices = jax.devices()
    return {
        "synevo": __version__,
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in _LIBRARIES},
        "system": f"{platform.system()} {platform.machine()}",
        "backend": jax.default_backend(),
        "device": devices[0].device_kind,
        "devices": len(devices),
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }
