"""A cache of decoded images, so that files that are slow to decode are decoded once.

A file of the cache begins with a SHA-256 (32 bytes) of the rest, and the rest is the arrays as safetensors.
"""

import contextlib
import os
from pathlib import Path

from synevo.data.images import Images
from synevo.data.sources import Source, Splits
from synevo.errors import RunError
from synevo.files.tensors import Tensors, pack_tensors, unpack_tensors
from synevo.files.writing import hash_of, write

CACHE_FORMAT = 2
_SPLITS = ("train", "test")


def decoded(source: Source) -> Splits:
    """Return the splits of a source, from the cache if it holds them undamaged."""
    if source.stamp is None:
        return source.read()
    file = cache_file(source)
    return _restore(file) or _keep(file, source.read())


def cache_file(source: Source) -> Path:
    """Return the path of the file for the images of a source; another `stamp` gives another path."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "synevo"
    folder = Path(os.environ.get("SYNEVO_CACHE") or caches).expanduser() / "datasets"
    key = hash_of(f"{CACHE_FORMAT}\n{source.stamp}".encode())
    return folder / f"{source.name.replace('/', '-').replace(':', '-')}-{key[:20]}.arrays"


def _restore(file: Path) -> Splits | None:
    """Return the splits in a cache file, or None if it is missing or damaged."""
    with contextlib.suppress(OSError, RunError, KeyError):
        whole = file.read_bytes()
        if hash_of(whole[32:]) == whole[:32].hex():
            arrays = unpack_tensors(file, whole[32:])
            return Splits(*(Images(arrays[f"{name}/pixels"], arrays[f"{name}/labels"]) for name in _SPLITS))
    return None


def _keep(file: Path, splits: Splits) -> Splits:
    """Write `splits` to a cache file if that is possible, and return them."""
    arrays: Tensors = {}
    for name, images in zip(_SPLITS, (splits.train, splits.test), strict=True):
        arrays |= {f"{name}/pixels": images.pixels, f"{name}/labels": images.labels}
    content = pack_tensors(arrays)
    with contextlib.suppress(OSError):
        write(file, bytes.fromhex(hash_of(content)) + content)
    return splits
