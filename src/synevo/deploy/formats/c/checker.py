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

from synevo.deploy.formats.c.ports import Port, read_ports
from synevo.errors import ExportError

COMPILER = "cc"
FLAGS = ("-std=c99", "-O2")

NUMBERS = {"float": np.float32, "int32_t": np.int32, "int16_t": np.int16, "int8_t": np.int8} | {
    "uint16_t": np.uint16,
    "uint8_t": np.uint8,
}
"""The dtype of the arrays of a type in C."""


@dataclass(frozen=True)
class Compiled:
    """A compiled network: a function from the arrays that it takes to those that it gives, one row an example.

    `size` is what it adds to a program, in bytes: machine code and constants.
    """

    function: Any
    given: Sequence[Port]
    wanted: Sequence[Port]
    size: int

    def __call__(self, *leaves: NDArray[Any]) -> Any:
        """Return the array that it gives, or a list where there are several; one call of the function an example."""
        taken = [np.ascontiguousarray(leaf, NUMBERS[port.kind]) for leaf, port in zip(leaves, self.given, strict=True)]
        made = [np.empty((len(taken[0]), *port.shape), NUMBERS[port.kind]) for port in self.wanted]
        arrays = [(array.ctypes.data, array.strides[0] if len(array) else 0) for array in (*taken, *made)]
        for example in range(len(taken[0])):
            self.function(*(place + example * step for place, step in arrays))
        return made[0] if len(made) == 1 else made


def open_file(path: Path, flags: Sequence[str] = FLAGS) -> Compiled | None:
    """Return the network in a C file, as a function from the arrays that it takes to those that it gives.

    It is compiled to a shared library in a temporary folder. Without a compiler on this machine, return None.

    Raises:
        ExportError: if the compiler does not accept the file.
    """
    if shutil.which(COMPILER) is None:
        return None
    content = path.read_text("utf-8")
    with tempfile.TemporaryDirectory(prefix="synevo-c-") as folder:
        unlinked, library = Path(folder) / "network.o", Path(folder) / "network.so"
        _compile(path.name, *flags, "-fPIC", "-x", "c", "-c", str(path), "-o", str(unlinked))
        _compile(path.name, "-shared", str(unlinked), "-lm", "-o", str(library))
        function = getattr(ctypes.CDLL(str(library)), name_in(content))
        size = size_of(unlinked)
    given, wanted = read_ports(content)
    function.argtypes, function.restype = [ctypes.c_void_p] * (len(given) + len(wanted)), None
    return Compiled(function, given, wanted, size)


def _compile(name: str, *words: str) -> None:
    done = subprocess.run([COMPILER, *words], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
        raise ExportError(
            f"The C compiler does not accept {name}: {said}",
            remedy="Export to another format, such as onnx, and please report the model.",
        )


def size_of(unlinked: Path) -> int:
    """Return the bytes of machine code and constants in an object file; all of its bytes where `size` is missing."""
    if shutil.which("size") is not None:
        done = subprocess.run(["size", str(unlinked)], capture_output=True, text=True, check=False)  # noqa: S603, S607
        found = re.search(r"^\s*(\d+)\s+(\d+)\s", done.stdout, re.MULTILINE)
        if found is not None:
            return sum(map(int, found.groups()))
    return unlinked.stat().st_size


def called(content: bytes) -> dict[str, Any]:
    """Return how a C file is called: the name of its function, and the arrays in their order, for one example."""
    given, wanted = read_ports(content.decode())
    return {
        "function": name_in(content.decode()),
        "arguments": [
            {"name": port.name, "given": how, "type": port.kind, "shape": list(port.shape)}
            for how, ports in (("to it", given), ("by it", wanted))
            for port in ports
        ],
    }


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


def name_in(text: str) -> str:
    """Return the name of the function in a C file."""
    (name,) = _groups(r"^void (\w+)\([^)]*\);$", text)
    return name


def _numbers(pattern: str, text: str) -> list[int]:
    return list(map(int, _groups(pattern, text)))


def _groups(pattern: str, text: str) -> tuple[str, ...]:
    found = re.search(pattern, text, re.MULTILINE)
    assert found is not None, pattern
    return found.groups()
