"""Compiles a C file with the machine's compiler and runs it."""

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.errors import ExportError

FLAGS = ("-std=c99", "-O2")


def compiler() -> str | None:
    """Return the path of the machine's C compiler; None if there is none."""
    return shutil.which("cc")


def opened(
    path: Path, name: str, outputs: int, flags: Sequence[str] = FLAGS
) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """Return the network in a C file, as a function from pixels [n, height, width, channels] to logits [n, outputs].

    Raises:
        ExportError: if the compiler does not accept the file.
    """
    with tempfile.TemporaryDirectory(prefix="synevo-c-") as folder:
        library = Path(folder) / "network.so"
        words = ["cc", *flags, "-shared", "-fPIC", "-x", "c", str(path), "-lm", "-o", str(library)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ExportError(
                f"The compiler does not accept {path.name}: {done.stderr.strip().splitlines()[0]}",
                remedy="Please report the model, and export to another format.",
            )
        function = getattr(ctypes.CDLL(str(library)), name)
    function.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    function.restype = None

    def run(pixels: NDArray[np.uint8]) -> NDArray[Any]:
        pixels = np.ascontiguousarray(pixels)
        logits = np.empty((len(pixels), outputs), np.float32)
        for image, row in zip(pixels, logits, strict=True):
            function(image.ctypes.data, row.ctypes.data)
        return logits

    return run
