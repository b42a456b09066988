"""Tensors in files: safetensors, in which a boolean mask takes one bit an element.

Nothing is executed when they are read. What cannot be read is named as damaged.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from synevo.errors import damaged

Tensors = dict[str, NDArray[Any]]


def pack_tensors(tensors: Tensors) -> bytes:
    """Arrays as a safetensors file."""
    return bytes(save({name: np.ascontiguousarray(array) for name, array in tensors.items()}))


def unpack_tensors(path: Path, content: bytes) -> Tensors:
    """The arrays of the file at `path`; RunError where its content is no safetensors file."""
    try:
        return dict(load(content))
    except SafetensorError as error:
        raise damaged(path, str(error)) from None


def pack_masks(masks: Tensors) -> bytes:
    """Boolean arrays, one bit an element, their shapes in one metadata entry (the order of several is random)."""
    shapes = json.dumps({name: masks[name].shape for name in sorted(masks)})
    bits = {name: np.packbits(mask.reshape(-1)) for name, mask in masks.items()}
    return bytes(save(bits, metadata={"shapes": shapes}))


def unpack_masks(path: Path, content: bytes) -> Tensors:
    """The boolean arrays of `pack_masks`; RunError where they are not that."""
    packed, shapes = unpack_tensors(path, content), _shapes(path, content)
    if set(packed) != set(shapes):
        raise damaged(path, "it does not hold the masks that it names")
    return {
        name: np.unpackbits(bits, count=int(np.prod(shapes[name]))).astype(bool).reshape(shapes[name])
        for name, bits in packed.items()
    }


def _shapes(path: Path, content: bytes) -> dict[str, list[int]]:
    """The shapes of a file's masks; synevo wrote one metadata entry a mask at first."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    try:
        metadata = header["__metadata__"]
        shapes = metadata.get("shapes", None)
        return json.loads(shapes) if shapes else {name: json.loads(shape) for name, shape in metadata.items()}
    except (KeyError, TypeError, ValueError):
        raise damaged(path, "the shapes of its masks are not in it") from None
