"""A checkup of this machine: versions, devices, engines that were seen to work, extras, room on disk, and caches.

Each form of a network is tested with a tiny one, which is written, opened by its engine, and compared with JAX. A test
that takes longer than `LIMIT` is given up; what an engine takes to be imported does not count.
"""

import importlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from synevo.data import memory
from synevo.deploy.engines.forms import ENGINES, FORMS, open_form
from synevo.deploy.reload import Reloaded
from synevo.errors import SynevoError
from synevo.files import caches
from synevo.model.network import take_apart
from synevo.runs.measuring import describe

LIMIT = 5.0
"""The seconds after which a test is given up."""

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "prepare": ("tensorflow",),
    "tflite": ("tensorflow", "ai-edge-litert"),
    "tensorboard": ("tensorboardX",),
    "keras": ("h5py",),
    "torch": ("torch",),
    "cluster": ("ray",),
}
"""The packages of each extra of synevo."""

WORKS, MISSING, FAILS = "works", "missing", "fails"

_CLOSE = 1e-4
_CLASSES = 3
_SHAPE = (8, 8, 1)


def examine() -> dict[str, Any]:
    """Return what this machine has and what works on it, as a JSON object."""
    return {
        **_versions(),
        "memory_bytes": memory.memory(),
        "engines": [_examined(form) for form in FORMS],
        "extras": [_extra(name, packages) for name, packages in EXTRAS.items()],
        "disk": [_room("working folder", Path()), _room("temporary files", Path(os.environ.get("TMPDIR", "/tmp")))],  # noqa: S108
        "caches": [{"what": one.what, "path": str(one.folder), "bytes": one.size} for one in caches.caches()],
    }


def _versions() -> dict[str, Any]:
    """Return versions and devices; without the devices where JAX finds none, with the reason."""
    try:
        return {**describe(), "device_problem": None}
    except RuntimeError as error:  # a driver that does not fit
        return {"device_problem": str(error).splitlines()[0], "libraries": {"jax": version("jax")}}


class _Tiny(nnx.Module):
    """A network with a convolution and a dense layer."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(_SHAPE[-1], 4, (3, 3), rngs=rngs)
        self.out = nnx.Linear(4 * _SHAPE[0] * _SHAPE[1], _CLASSES, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.conv(x))
        return self.out(x.reshape(x.shape[0], -1))


def _examined(form: str) -> dict[str, Any]:
    """Return whether a form works here, how long its test took, and what was wrong."""
    engine = ENGINES[FORMS[form].engine]
    about = {"form": form, "title": FORMS[form].title, "engine": engine.title}
    if engine.missing is not None:
        return {**about, "state": MISSING, "said": engine.missing, "seconds": None}
    try:
        for package in engine.packages:
            importlib.import_module(package)
    except Exception as error:  # noqa: BLE001  (whatever a broken installation raises)
        return {**about, "state": FAILS, "said": _said(error), "seconds": None}
    _sample()  # the network and what JAX says of it count for no engine
    began = time.perf_counter()
    problem = within(LIMIT, lambda: _try(form))
    return {
        **about,
        "state": WORKS if problem is None else FAILS,
        "said": problem or "",
        "seconds": round(time.perf_counter() - began, 2),
    }


def within(seconds: float, work: Callable[[], str | None]) -> str | None:
    """Return what `work` returns, or what it raises in words; after so many `seconds`, that it took longer."""
    found: list[str | None] = []

    def run() -> None:
        try:
            found.append(work())
        except Exception as error:  # noqa: BLE001  (whatever is wrong is what is asked for)
            found.append(_said(error))

    thread = threading.Thread(target=run, daemon=True)  # one that hangs does not hold the command
    thread.start()
    thread.join(seconds)
    return found[0] if found else f"no answer within {seconds:g} seconds"


def _said(error: Exception) -> str:
    text = error.problem if isinstance(error, SynevoError) else f"{type(error).__name__}: {error}"
    return text.strip().splitlines()[0]


@cache
def _sample() -> tuple[Reloaded, Any, Any]:
    """Return a tiny network, images for it, and its logits."""
    about = {"shape": _SHAPE, "mean": (0.5,), "deviation": (0.25,)}
    document = {"input": about, "classes": [str(one) for one in range(_CLASSES)], "generation": 1}
    reloaded = Reloaded(take_apart(_Tiny(nnx.Rngs(0))), document)
    images = np.random.default_rng(0).integers(0, 256, (4, *_SHAPE), np.uint8)
    return reloaded, images, np.asarray(reloaded.logits(reloaded.network, jnp.asarray(images)))


def _try(form: str) -> str | None:
    """Return what is wrong with a form of a tiny network; None where it says what JAX says."""
    reloaded, images, expected = _sample()
    found = open_form(form, reloaded, threads=1, calibration=[images]).run(images)
    difference = float(np.abs(np.asarray(found) - expected).max() / np.abs(expected).max())
    allowed = 0.1 if FORMS[form].whole_numbers else _CLOSE
    return None if difference <= allowed else f"its outputs differ from JAX's by {difference:.1e} of the largest"


def _extra(name: str, packages: tuple[str, ...]) -> dict[str, Any]:
    """Return the versions of the packages of an extra, None for one that is missing, and how it is installed."""
    found = {package: _version(package) for package in packages}
    installed = all(found.values())
    return {"name": name, "installed": installed, "packages": found, "install": f"pip install '.[{name}]'"}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _room(what: str, folder: Path) -> dict[str, Any]:
    """Return the free bytes where a folder is."""
    free = None
    with suppress(OSError):
        free = shutil.disk_usage(folder).free
    return {"what": what, "path": str(folder.resolve()), "free_bytes": free}
