"""A cache of decoded images, so that files that are slow to decode are decoded once.

A file of the cache begins with a SHA-256 (32 bytes) of the rest, and the rest is the arrays as safetensors. Others may
write in a shared cache: what is restored is held to what a source promises, or else it is decoded again.
"""

import contextlib
import os
from pathlib import Path

import numpy as np

from synevo.data.images import Images
from synevo.data.memory import memory
from synevo.data.sources import Source, Splits
from synevo.errors import RunError
from synevo.files.tensors import Tensors, pack_tensors, unpack_tensors
from synevo.files.writing import hash_of, write

CACHE_FORMAT = 3
_SPLITS = ("train", "test", "validation")
_LONGEST = 80  # of the name of a source in the name of a file


def decoded(source: Source) -> Splits:
    """Return the splits of a source, from the cache if it holds them undamaged."""
    if source.stamp is None:
        return source.read()
    file = cache_file(source)
    kept = _restore(file)
    return kept if kept is not None and _keeps_word(source, kept) else _keep(file, source.read())


def cache_file(source: Source) -> Path:
    """Return the path of the file for the images of a source; another `stamp` gives another path."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "synevo"
    folder = Path(os.environ.get("SYNEVO_CACHE") or caches).expanduser() / "datasets"
    key = hash_of(os.fsencode(f"{CACHE_FORMAT}\n{source.stamp}"))
    return folder / f"{source.name.replace('/', '-').replace(':', '-')[:_LONGEST]}-{key[:20]}.arrays"


def _restore(file: Path) -> Splits | None:
    """Return the splits in a cache file, or None if it is missing, damaged or larger than the memory."""
    with contextlib.suppress(Exception):  # a planted file can make its reader raise anything
        if file.is_file() and file.stat().st_size <= memory():
            whole = file.read_bytes()
            arrays = unpack_tensors(file, whole[32:]) if hash_of(whole[32:]) == whole[:32].hex() else {}
            held = [name for name in _SPLITS if f"{name}/pixels" in arrays]
            return Splits(**{name: Images(arrays[f"{name}/pixels"], arrays[f"{name}/labels"]) for name in held})
    return None


def _keeps_word(source: Source, splits: Splits) -> bool:
    """Return True if every split is what the source promises: pixels of its shape, labels of its classes."""
    return all(_is_split(source, images) for images in _named(splits).values())


def _is_split(source: Source, images: Images) -> bool:
    pixels, labels = images.pixels, images.labels
    kinds = pixels.dtype == np.uint8 and labels.dtype == np.int32
    alike = kinds and pixels.shape[1:] == source.shape and labels.shape == (len(pixels),) and len(labels) > 0
    return bool(alike and labels.min() >= 0 and labels.max() < len(source.classes))


def _named(splits: Splits) -> dict[str, Images]:
    """Return the splits that there are by name."""
    named = {name: getattr(splits, name) for name in _SPLITS}
    return {name: images for name, images in named.items() if images is not None}


def _keep(file: Path, splits: Splits) -> Splits:
    """Write `splits` to a cache file if that is possible, and return them."""
    arrays: Tensors = {}
    for name, images in _named(splits).items():
        arrays |= {f"{name}/pixels": images.pixels, f"{name}/labels": images.labels}
    content = pack_tensors(arrays)
    with contextlib.suppress(OSError, RunError):
        write(file, bytes.fromhex(hash_of(content)) + content)
    return splits
