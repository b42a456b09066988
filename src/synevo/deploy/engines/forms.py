"""Forms: how a network is handed to an engine, such as an ONNX file to ONNX Runtime.

    form → the file's bytes → opened by its engine, for a number of threads → from arrays to arrays

To add an engine, write the module of a format whose `open_file` runs it, and add a line to `ENGINES` and `FORMS`.
"""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from synevo.deploy.delivery import FORMATS, module_of, require_format
from synevo.deploy.engines.cores import can_confine
from synevo.deploy.formats.c.checker import COMPILER, FLAGS
from synevo.deploy.interface import answers
from synevo.deploy.reload import Reloaded
from synevo.errors import ExportError, SynevoError, first_line
from synevo.runs import measuring

Runner = Callable[..., Any]


@dataclass(frozen=True)
class Engine:
    """An engine: its name for people, the packages it needs, and the form of a network that it takes in floats."""

    title: str
    form: str
    packages: tuple[str, ...] = ()
    distribution: str = ""
    install: str = ""
    threaded: bool = True
    """Whether it can be told a number of threads when a file is opened; C files compute one example after the other."""

    @property
    def missing(self) -> str | None:
        """What it lacks on this machine; None where it is installed."""
        if self.form == "c" and shutil.which(COMPILER) is None:
            return f"no C compiler ({COMPILER})"
        lacking = [name for name in self.packages if find_spec(name) is None]
        return f"{' and '.join(lacking)} not installed: {self.install}" if lacking else None


ENGINES: dict[str, Engine] = {
    "onnxruntime": Engine(
        "ONNX Runtime", "onnx", ("onnx", "onnxruntime"), "onnxruntime", "in the folder of synevo: pip install ."
    ),
    "litert": Engine("LiteRT", "tflite", ("tensorflow", "ai_edge_litert"), "ai-edge-litert", "pip install '.[tflite]'"),
    "c": Engine("C", "c", threaded=False),
    "jax": Engine("JAX", "jax"),
}
"""The engines, the fastest on a CPU first."""


@dataclass(frozen=True)
class Form:
    """A form of a network: its name for people, its engine, and the format of its file; None for the one in memory."""

    title: str
    engine: str
    format: str | None

    @property
    def whole_numbers(self) -> bool:
        """Whether its numbers are coarser than the source's, and calibrated."""
        return self.format is not None and FORMATS[self.format].agreement < 1


FORMS: dict[str, Form] = {
    "jax": Form("JAX", "jax", None),
    "stablehlo": Form("StableHLO", "jax", "stablehlo"),
    "onnx": Form("ONNX", "onnxruntime", "onnx"),
    "onnx-int8": Form("ONNX int8", "onnxruntime", "onnx-int8"),
    "tflite": Form("TFLite", "litert", "tflite"),
    "tflite-int8": Form("TFLite int8", "litert", "tflite-int8"),
    "c": Form("C", "c", "c"),
    "c-int8": Form("C int8", "c", "c-int8"),
}


@dataclass(frozen=True)
class Opened:
    """A form of a network that its engine runs, from the arrays that a file takes.

    `size` is that of its file in bytes; of a C file, that of the machine code and constants that it becomes.
    """

    run: Runner
    size: int | None


def open_form(
    name: str, reloaded: Reloaded, *, threads: int, calibration: Sequence[NDArray[Any]] | None = None
) -> Opened:
    """Write a network in a form, and open it in the form's engine for so many threads.

    Forms in whole numbers need training images as their `calibration`.

    Raises:
        ExportError: if the engine is not installed, or the network cannot be written or opened in this form.
    """
    form = FORMS[name]
    if (missing := ENGINES[form.engine].missing) is not None:
        title = ENGINES[form.engine].title
        raise ExportError(f"{title} cannot be used: {missing}.", remedy="Choose another engine, or install it.")
    if form.format is None:
        return Opened(_in_jax(reloaded), None)
    require_format(reloaded, form.format)
    module = module_of(form.format)
    told = {"threads": threads} if ENGINES[form.engine].threaded and form.engine != "jax" else {}
    try:
        content = module.write(reloaded, *(calibration or () if form.whole_numbers else ()))
        with tempfile.TemporaryDirectory(prefix="synevo-engine-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / f"network.{FORMATS[form.format].ending}"
            path.write_bytes(content)
            run = module.open_file(path, **told)
            return Opened(run, getattr(run, "size", len(content)))
    except SynevoError:
        raise
    except Exception as error:  # whatever the software of the format raises
        raise ExportError(
            f"{form.title} does not open the network: {first_line(error)}", remedy="Choose another engine, such as jax."
        ) from error


def _in_jax(reloaded: Reloaded) -> Runner:
    compiled = jax.jit(lambda network, *leaves: answers(reloaded, network, *leaves))
    return lambda *leaves: jax.tree.map(np.asarray, compiled(reloaded.network, *(jnp.asarray(leaf) for leaf in leaves)))


def about(name: str, threads: int) -> dict[str, Any]:
    """Return the engine of a timing with so many threads: its `name`, in `words`, and its `threads`."""
    if name == "jax":
        return measuring.jax_engine(threads if can_confine() else measuring.threads())
    engine = ENGINES[name]
    used = threads if engine.threaded else 1
    counted = f"{used} thread{'s' if used > 1 else ''}"
    words = " ".join(filter(None, (engine.title, version_of(name))))
    return {"name": name, "words": f"{words}, {counted}", "threads": used}


def version_of(name: str) -> str:
    """Return the version of an engine, "" if it is unknown; for C that of the compiler, and its flags."""
    if name == "c":
        return f"({COMPILER} {_compiler_version()}, {' '.join(flag for flag in FLAGS if flag.startswith('-O'))})"
    try:
        return version(ENGINES[name].distribution or name)
    except PackageNotFoundError:
        return ""


def _compiler_version() -> str:
    done = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout)
    return found[0] if found else ""
