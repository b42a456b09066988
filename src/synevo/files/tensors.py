"""Tensors in safetensors files; a boolean mask takes one bit an element.

Reading a file executes no code from it. A file that cannot be read is reported as damaged.

An array of many zeros can be packed: `name:living` has one bit an element, `name` the elements whose bit is set, in
their order, and the metadata entry `packed` the shapes. Elements that are zero in every bit are left out, so that what
is read is what was written.
"""

import json
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from synevo.errors import damaged

Tensors = dict[str, NDArray[Any]]

_DTYPES, _PACKED = "dtypes", "packed"

_LIVING = ":living"

_ENTRY = 128
"""The bytes that a packed array adds to the header of a file, about."""

_NATIVE: dict[str, Any] = {
    "BOOL": np.bool_,
    **{f"I{8 * size}": np.dtype(f"i{size}") for size in (1, 2, 4, 8)},
    **{f"U{8 * size}": np.dtype(f"u{size}") for size in (1, 2, 4, 8)},
    **{f"F{8 * size}": np.dtype(f"f{size}") for size in (2, 4, 8)},
    "C64": np.complex64,
    "BF16": ml_dtypes.bfloat16,
    "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2,
}
"""The dtypes that safetensors files have a name for, in every version of it that synevo works with."""

_FOREIGN: dict[str, Any] = {
    "complex128": np.complex128,
    **{f"{sign}int{bits}": getattr(ml_dtypes, f"{sign}int{bits}") for sign in ("", "u") for bits in (2, 4)},
    "float4_e2m1fn": ml_dtypes.float4_e2m1fn,
    **{f"float6_{kind}": getattr(ml_dtypes, f"float6_{kind}") for kind in ("e2m3fn", "e3m2fn")},
    **{
        f"float8_{kind}": getattr(ml_dtypes, f"float8_{kind}")
        for kind in ("e3m4", "e4m3", "e4m3b11fnuz", "e4m3fnuz", "e5m2fnuz", "e8m0fnu")
    },
}
"""The other dtypes that JAX has, by name; in files they are bytes."""

_WRITTEN = {np.dtype(kind).name for kind in _NATIVE.values()}


def pack_tensors(tensors: Tensors) -> bytes:
    """Return the content of a safetensors file with these arrays, of any dtype that JAX has.

    A dtype that safetensors does not know is stored as bytes, and named in the one metadata entry.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    foreign = {name: arrays[name].dtype.name for name in sorted(arrays) if arrays[name].dtype.name not in _WRITTEN}
    stored = {name: array[..., None].view(np.uint8) if name in foreign else array for name, array in arrays.items()}
    return bytes(save(stored, metadata={_DTYPES: json.dumps(foreign)} if foreign else None))


def pack_living(tensors: Tensors) -> bytes:
    """Return the content of a safetensors file with these arrays, packed where that takes less room.

    All that is said about them is in one metadata entry, because safetensors writes several in a random order.
    """
    arrays = {name: np.asarray(array, order="C") for name, array in tensors.items()}
    foreign = {name: arrays[name].dtype.name for name in sorted(arrays) if arrays[name].dtype.name not in _WRITTEN}
    shapes: dict[str, list[int]] = {}
    stored: Tensors = {}
    for name, array in arrays.items():
        flat = array.reshape(-1)
        living = flat[:, None].view(np.uint8).any(axis=1) if flat.size else np.zeros(0, bool)
        if _ENTRY + -(-flat.size // 8) + living.sum() * flat.itemsize < array.nbytes:
            shapes[name], flat = list(array.shape), flat[living]
            stored[name + _LIVING] = np.packbits(living)
        kept = flat if name in shapes else array
        stored[name] = kept[..., None].view(np.uint8) if name in foreign else kept
    return bytes(save(stored, metadata={_PACKED: json.dumps({"shapes": shapes, _DTYPES: foreign})}))


def _unpacked(stored: Tensors, shapes: dict[str, list[int]]) -> Tensors:
    """Return arrays with zeros where they were left out; KeyError or ValueError where the parts do not fit."""
    found = {name: array for name, array in stored.items() if name.removesuffix(_LIVING) not in shapes}
    for name, shape in shapes.items():
        bits, values = stored[name + _LIVING], stored[name]
        size = math.prod(shape)
        if bits.dtype != np.uint8 or bits.shape != (-(-size // 8),) or values.ndim != 1:
            raise ValueError(f"the packed parts of {name} do not fit its shape {shape}")
        living = np.unpackbits(bits, count=size).astype(bool)
        if living.sum() != len(values):
            raise ValueError(f"{name} has {len(values)} values for {living.sum()} places")
        whole = np.zeros(size, values.dtype)
        whole[living] = values
        found[name] = whole.reshape(shape)
    return found


def unpack_tensors(path: Path, content: bytes) -> Tensors:
    """Return the arrays in a safetensors `content`, also those that are packed.

    Raises:
        RunError: if the content is no safetensors file; `path` is named in the message.
    """
    try:
        metadata = metadata_of(content)
        packed = json.loads(metadata.get(_PACKED, "{}"))
        foreign = packed[_DTYPES] if packed else json.loads(metadata.get(_DTYPES, "{}"))
        stored = {name: _array(foreign.get(name), **one) for name, one in deserialize(content)}  # type: ignore[no-untyped-call]
        return _unpacked(stored, packed["shapes"]) if packed else stored
    except (SafetensorError, TypeError, AttributeError, KeyError, ValueError) as error:
        raise damaged(path, str(error)) from None


def _array(foreign: str | None, dtype: str, shape: list[int], data: Any) -> NDArray[Any]:
    """Return the array of these bytes; with a `foreign` dtype, the last axis of the shape is its bytes.

    Raises:
        KeyError, ValueError: where the dtype is unknown, or does not fit the bytes.
    """
    if foreign is None:
        return np.frombuffer(data, _NATIVE[dtype]).reshape(shape)
    return np.frombuffer(data, _FOREIGN[foreign]).reshape(shape[:-1])


def metadata_of(content: bytes) -> dict[str, Any]:
    """Return the metadata of a safetensors content; ValueError where its header is none."""
    found = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]).get("__metadata__", {})
    return dict(found)


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
    try:
        metadata = metadata_of(content)
        old = {name: shape for name, shape in metadata.items() if name != "shapes"}
        return json.loads(metadata["shapes"]) if not old else {name: json.loads(shape) for name, shape in old.items()}
    except (KeyError, TypeError, ValueError):
        raise damaged(path, "the shapes of its masks are not in it") from None
