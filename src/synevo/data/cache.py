"""A cache of decoded images, so that files that are slow to decode are decoded once.

A file of the cache begins with a SHA-256 (32 bytes) of the rest, and the rest is the arrays as safetensors. Others may
write in a shared cache: what is restored is held to what a source promises, or else it is decoded again. Images that
are streamed are kept one by one, and only where that is asked for (`kept_on_disk`).
"""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synevo.data.images import Images, Streamed
from synevo.data.memory import memory
from synevo.data.sources import Source, Splits
from synevo.errors import RunError
from synevo.files.caches import of_images
from synevo.files.tensors import Tensors, pack_tensors, unpack_tensors
from synevo.files.writing import hash_of, write

CACHE_FORMAT = 3
_SPLITS = ("train", "test", "validation")
_HASH = 32  # bytes of a SHA-256
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
    key = hash_of(os.fsencode(f"{CACHE_FORMAT}\n{source.stamp() if source.stamp else None}"))
    return of_images() / f"{source.name.replace('/', '-').replace(':', '-')[:_LONGEST]}-{key[:20]}.arrays"


def kept_on_disk(source: Source, splits: Splits) -> Splits:
    """Return streamed splits whose pixels are kept on disk when they are first read, and read from there afterwards.

    Beside the file of `cache_file` there is one for each split, with a record for each image, however many have been
    read: a SHA-256 (32 bytes) of its place and its pixels, then the pixels. A record whose hash is another, also one
    that was never written, is read from the source.
    """
    stem = cache_file(source)
    kept = {}
    for name, images in _named(splits).items():
        pixels = images.pixels
        kept[name] = Images(replace(pixels, read=_Records(stem.with_suffix(f".{name}"), pixels)), images.labels)
    return Splits(**kept)


@dataclass(frozen=True)
class _Records:
    """A reader of `pixels` that keeps what it reads in a file; where it cannot, it reads all the same."""

    file: Path
    pixels: Streamed

    def __call__(self, places: NDArray[np.intp]) -> NDArray[np.uint8]:
        with self._opened() as number:
            if number is None:
                return self.pixels.read(places)
            found = np.empty((len(places), *self.pixels.size), np.uint8)
            lost = np.array([not self._restore(number, place, row) for place, row in zip(places, found, strict=True)])
            if lost.any():
                found[lost] = self.pixels.read(places[lost])
                for row in np.flatnonzero(lost):
                    self._keep(number, places[row], found[row])
            return found

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int | None]:
        """Give the number of the open file; None if it cannot be opened, or is none."""
        number = None
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(parents=True, exist_ok=True)
            number = os.open(self.file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            yield number if number is not None and stat.S_ISREG(os.fstat(number).st_mode) else None
        finally:
            if number is not None:
                os.close(number)

    def _restore(self, number: int, place: int, pixels: NDArray[np.uint8]) -> bool:
        """Fill in the pixels of a record; return False if there is none, or it is damaged."""
        record, length = b"", _HASH + pixels.size
        with contextlib.suppress(OSError):
            record = os.pread(number, length, int(place) * length)
        if len(record) != length or record[:_HASH] != _hash(place, record[_HASH:]):
            return False
        pixels[...] = np.frombuffer(record, np.uint8, offset=_HASH).reshape(pixels.shape)
        return True

    def _keep(self, number: int, place: int, pixels: NDArray[np.uint8]) -> None:
        """Write a record, if there is room for it."""
        content = pixels.tobytes()
        with contextlib.suppress(OSError):
            os.pwrite(number, _hash(place, content) + content, int(place) * (_HASH + pixels.size))


def _hash(place: int, content: bytes) -> bytes:
    return hashlib.sha256(int(place).to_bytes(8, "little") + content).digest()


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
