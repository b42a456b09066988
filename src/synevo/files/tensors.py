"""Tensors in safetensors files; a boolean mask takes one bit an element.

Reading a file executes no code from it. A file that cannot be read is reported as damaged.
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
    """Return the content of a safetensors file with these arrays."""
    return bytes(save({name: np.ascontiguousarray(array) for name, array in tensors.items()}))


def unpack_tensors(path: Path, content: bytes) -> Tensors:
    """Return the arrays in a safetensors `content`.

    Raises:
        RunError: if the content is no safetensors file; `path` is named in the message.
    """
    try:
        return dict(load(content))
    except SafetensorError as error:
        raise damaged(path, str(error)) from None


def pack_masks(masks: Tensors) -> bytes:
    """Return the content of a safetensors file with these boolean arrays, one bit an element.

    All shapes are in one metadata entry, because safetensors writes several entries in a random order.
    """
    shapes = json.dumps({name: masks[name].shape for name in sorted(masks)})
    bits = {name: np.packbits(mask.reshape(-1)) for name, mask in masks.items()}
    return bytes(save(bits, metadata={"shapes": shapes}))


def unpack_masks(path: Path, content: bytes) -> Tensors:
    """Return the boolean arrays in a `content` that `pack_masks` wrote.

    Raises:
        RunError: if the content is anything else; `path` is named in the message.
    """
    packed, shapes = unpack_tensors(path, content), _shapes(path, content)
    if set(packed) != set(shapes):
        raise damaged(path, "it does not hold the masks that it names")
    return {
        name: np.unpackbits(bits, count=int(np.prod(shapes[name]))).astype(bool).reshape(shapes[name])
        for name, bits in packed.items()
    }


def _shapes(path: Path, content: bytes) -> dict[str, list[int]]:
    """Return the shape of each mask of a file; the first versions of synevo wrote one metadata entry a mask."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    try:
        metadata = header["__metadata__"]
        shapes = metadata.get("shapes", None)
        return json.loads(shapes) if shapes else {name: json.loads(shape) for name, shape in metadata.items()}
    except (KeyError, TypeError, ValueError):
        raise damaged(path, "the shapes of its masks are not in it") from None
