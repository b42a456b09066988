"""Reads what a C file says about itself, compiles it with the machine's compiler, and runs it."""

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.errors import ExportError

COMPILER = "cc"
FLAGS = ("-std=c99", "-O2")


@dataclass(frozen=True)
class Compiled:
    """A compiled network: a function from pixels [n, height, width, channels] to logits [n, classes].

    `size` is that of the shared library in bytes.
    """

    function: Any
    outputs: int
    size: int

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the logits, one image a call of the function."""
        pixels = np.ascontiguousarray(pixels)
        logits = np.empty((len(pixels), self.outputs), np.float32)
        given, wanted = pixels.ctypes.data, logits.ctypes.data
        for image in range(len(pixels)):
            self.function(given + image * pixels.strides[0], wanted + image * logits.strides[0])
        return logits


def open_file(path: Path, flags: Sequence[str] = FLAGS) -> Compiled | None:
    """Return the network in a C file, as a function from pixels [n, height, width, channels] to logits [n, classes].

    It is compiled to a shared library in a temporary folder. Without a compiler on this machine, return None.

    Raises:
        ExportError: if the compiler does not accept the file.
    """
    if shutil.which(COMPILER) is None:
        return None
    name, outputs = _interface(path.read_text("utf-8"))
    with tempfile.TemporaryDirectory(prefix="synevo-c-") as folder:
        library = Path(folder) / "network.so"
        words = [COMPILER, *flags, "-shared", "-fPIC", str(path), "-lm", "-o", str(library)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603  (a fixed command)
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
            raise ExportError(
                f"The C compiler does not accept {path.name}: {said}",
                remedy="Export to another format, such as onnx, and please report the model.",
            )
        function, size = getattr(ctypes.CDLL(str(library)), name), library.stat().st_size
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_void_p], None
    return Compiled(function, outputs, size)


def costs(content: bytes) -> dict[str, int]:
    """Return what the comment at the head of a C file says: bytes of buffers and constants, multiply-adds."""
    text = content.decode()
    buffers, constants = _numbers(r"static buffers: (\d+) bytes; constants: (\d+) bytes", text)
    living, stored = _numbers(r"multiply-adds: (\d+) of living synapses, (\d+) of all", text)
    return {
        "bytes_of_buffers": buffers,
        "bytes_of_constants": constants,
        "living_multiply_adds": living,
        "stored_multiply_adds": stored,
    }


def _interface(text: str) -> tuple[str, int]:
    """Return the name of the function in a C file, and the number of its logits."""
    (name,) = _groups(r"^void (\w+)\(const uint8_t \*pixels, float \*logits\);$", text)
    (outputs,) = _numbers(rf"^#define {name.upper()}_LOGITS (\d+)$", text)
    return name, outputs


def _numbers(pattern: str, text: str) -> list[int]:
    return list(map(int, _groups(pattern, text)))


def _groups(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None, pattern
    return found.groups()
