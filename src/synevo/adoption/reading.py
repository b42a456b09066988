"""What reading any kind of weights has in common: bounded reads, and the many errors of damaged files in words."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.errors import AdoptionError, RunError, SynevoError
from synevo.files import writing

Arrays = dict[str, NDArray[Any]]

Contents = tuple[Arrays, dict[str, Any]]
"""The arrays of a file by name, and what the file says about itself."""

REMEDY = (
    "Weights are read from a folder of Orbax, or a file .safetensors (or its .index.json), .npz, .msgpack of Flax, "
    ".h5, .weights.h5 or .keras of Keras, .pt, .pth or .th of PyTorch."
)

_AGAIN = "It may be damaged: copy or download it again, and compare its size. "

_OTHERS = (
    (0, b"GGUF", "a GGUF file", "Take the safetensors from which it was made"),
    (4, b"TFL3", "a TensorFlow Lite file", "Take the Keras file from which it was made"),
    (0, b"\x08", "an ONNX file, or another protocol buffer", "Write its initialisers with np.savez(FILE, **arrays)"),
    (0, b"\x93NUMPY", "a single array of NumPy", "Write all arrays by name with np.savez(FILE, **arrays)"),
    (0, b"\x1f\x8b", "compressed with gzip", "Unpack it first"),
    (257, b"ustar", "a tar archive", "Unpack it, and name what is in it"),
    (0, b"version https://git-lfs", "a pointer of Git LFS, not the file itself", "Fetch it with git lfs pull"),
    (0, b"<", "a page of HTML or XML", "The download has failed: fetch the file itself"),
)
"""Other files that people name, by the place and the bytes that tell them."""


def content_of(path: Path) -> bytes:
    """Return the content of a regular file that fits into the memory.

    Raises:
        AdoptionError: where there is none.
    """
    try:
        return writing.read(path)
    except RunError as error:
        raise AdoptionError(error.problem, remedy="Check the path, or copy the file again.") from None


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Raise AdoptionError in place of whatever a library raises for the content of a file."""
    try:
        yield
    except AdoptionError:
        raise
    except SynevoError as error:
        raise AdoptionError(error.problem, remedy=_AGAIN + REMEDY) from None
    except Exception as error:  # noqa: BLE001 (damaged files raise nearly anything; none is a bug of ours)
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        raise AdoptionError(f"{path} cannot be read: {said}", remedy=_AGAIN + REMEDY) from None


def require_room(path: Path, count: int) -> None:
    """Raise AdoptionError where `count` bytes, which a file declares, are more than the memory."""
    if count > writing.memory():
        raise AdoptionError(
            f"{path} declares arrays of {count / 2**30:,.1f} GiB, more than the memory.",
            remedy=_AGAIN + "Otherwise use a machine with more memory.",
        )


def needs(path: Path, what: str, extra: str) -> AdoptionError:
    """Return the error for a file of a kind that an extra reads, which is not installed."""
    return AdoptionError(
        f"{path} is {what}, and what reads it is not installed.", remedy=f"pip install '.[{extra}]', then again."
    )


def told_apart(path: Path, content: bytes) -> AdoptionError:
    """Return the error for a content that is of no kind that can be read."""
    if not content:
        return AdoptionError(f"{path} is empty.", remedy=_AGAIN + REMEDY)
    for place, mark, what, remedy in _OTHERS:
        if content[place : place + len(mark)] == mark:
            return AdoptionError(f"{path} is {what}, which is not read.", remedy=f"{remedy}. {REMEDY}")
    return AdoptionError(f"{path} holds no weights of a kind that can be read.", remedy=_AGAIN + REMEDY)


def executes(path: Path, what: str) -> AdoptionError:
    """Return the error for a pickle, which is never loaded."""
    return AdoptionError(
        f"{path} {what}: loading it could execute code, so it is not loaded.",
        remedy="If you trust the file, load it where it was made, and write its arrays alone, with "
        "np.savez(FILE, **arrays) or torch.save(model.state_dict(), FILE).",
    )


def is_number(array: NDArray[Any]) -> bool:
    """Return whether an array is of numbers, such as float32 and bfloat16, and not of texts, times or records."""
    return array.dtype.kind in "biufc" or (array.dtype.kind == "V" and array.dtype.names is None and _named(array))


def _named(array: NDArray[Any]) -> bool:
    return array.dtype != np.dtype(f"V{array.dtype.itemsize}")
