"""Trained weights as flat arrays by name, from the file of any framework.

    weights = read(Path("resnet20.safetensors"))       weights.arrays["layer1.0.conv1.weight"]

The kind of a file is told by its content. The names and the layouts are those of the file: `synevo.adoption.filling`
brings them to those of a network. Nothing that is read is executed.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synevo.adoption import archives, checkpoints, keras, pytorch
from synevo.adoption.reading import REMEDY, Arrays, Contents, content_of, in_words, told_apart
from synevo.adoption.trees import read_msgpack
from synevo.errors import AdoptionError, did_you_mean
from synevo.files import writing
from synevo.files.tensors import metadata_of, unpack_tensors


@dataclass(frozen=True)
class Source:
    """Where weights come from: the file or folder, its kind and SHA-256, and what the file says about itself.

    `kind` is one of `orbax`, `safetensors`, `npz`, `msgpack`, `keras` and `torch`. `step` is the number of the
    checkpoint that was chosen in a folder of several.
    """

    path: Path
    kind: str
    sha256: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    step: int | None = None


@dataclass(frozen=True)
class Weights:
    """Arrays by their names in a file, and where they come from."""

    arrays: Arrays
    source: Source


def read(path: Path, *, step: int | None = None) -> Weights:
    """Return the weights in a file, or in a folder of Orbax.

    A folder may hold several checkpoints; the latest is read, or that of a `step`.

    Raises:
        AdoptionError: where there are none, or the file is damaged, executes code, or needs an extra to be read.
    """
    if path.is_dir():
        return _read_folder(path, step)
    if step is not None:
        raise AdoptionError(
            f"{path} is no folder of checkpoints, and has no step {step}.",
            remedy="Name the folder that holds the steps, or leave the step out.",
        )
    if not path.exists():
        near = did_you_mean(path.name, _names_in(path.parent))
        raise AdoptionError(f"There is no file or folder {path}.{near}", remedy="Check the path of the weights.")
    return _read_file(path)


def _names_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []


def _read_file(path: Path) -> Weights:
    content = content_of(path)
    kind = _kind_of(path, content)
    with in_words(path):
        if kind == _INDEX:
            return _read_shards(path, content)
        arrays, metadata = KINDS[kind][1](path, content)
    return Weights(_some(path, arrays), Source(path, kind, writing.hash_of(content), metadata))


def _some(path: Path, arrays: Arrays) -> Arrays:
    if not arrays:
        raise AdoptionError(f"{path} holds no arrays.", remedy=REMEDY)
    return arrays


def _read_safetensors(path: Path, content: bytes) -> Contents:
    return unpack_tensors(path, content), metadata_of(content)


_INDEX = "index"

_MAPS = {bytes([first]) for first in (*range(0x81, 0x90), 0xDE, 0xDF)}
"""First bytes of a MessagePack content that is a map with entries."""

KINDS: Mapping[str, tuple[Callable[[bytes], bool], Callable[[Path, bytes], Contents]]] = {
    "keras": (lambda content: keras.is_hdf5(content) or archives.holds(content, keras.WEIGHTS), keras.read_keras),
    "torch": (pytorch.is_torch, pytorch.read_torch),
    "npz": (archives.is_zip, archives.read_npz),
    "safetensors": (lambda content: re.match(rb"[\s\S]{6}\0\0\{", content) is not None, _read_safetensors),
    "msgpack": (lambda content: content[:1] in _MAPS and not pytorch.is_pickle(content), read_msgpack),
}
"""The kinds of files: how the content tells it, and how it is read. The first that fits is taken."""


def _kind_of(path: Path, content: bytes) -> str:
    """Return the kind of a file's content.

    Raises:
        AdoptionError: where it is of no kind that can be read; other files that hold networks are told by name.
    """
    for kind, (fits, _) in KINDS.items():
        if fits(content):
            return kind
    if content.lstrip()[:1] == b"{" and b'"weight_map"' in content:
        return _INDEX
    raise told_apart(path, content)


_SHARD = re.compile(r"[\w.-]+\.safetensors")


def _read_shards(path: Path, content: bytes) -> Weights:
    """Return the weights in the safetensors files that an index names for each array; they lie beside it."""
    table = json.loads(content)
    places: dict[str, str] = table["weight_map"]
    shards: dict[str, Arrays] = {}
    hashes = [writing.hash_of(content)]
    for name in sorted(set(places.values())):
        if not _SHARD.fullmatch(name):
            raise AdoptionError(f"{path} names a file outside its folder: {name!r}.", remedy=REMEDY)
        shard = content_of(path.with_name(name))
        shards[name] = unpack_tensors(path.with_name(name), shard)
        hashes.append(writing.hash_of(shard))
    lacking = sorted(name for name, place in places.items() if name not in shards[place])
    if lacking:
        raise AdoptionError(f"{path} names {lacking[0]!r}, which {places[lacking[0]]} does not hold.", remedy=REMEDY)
    arrays = {name: shards[place][name] for name, place in places.items()}
    sha = writing.hash_of("".join(hashes).encode())
    return Weights(_some(path, arrays), Source(path, "safetensors", sha, table.get("metadata") or {}))


def _read_folder(path: Path, step: int | None) -> Weights:
    """Return the weights in a folder: one checkpoint, several steps of one, or the files of one network."""
    checkpoint, found = checkpoints.choose(path, step)
    if checkpoint is not None and checkpoint.is_file():
        weights = _read_file(checkpoint)
        source = weights.source
        return Weights(weights.arrays, Source(checkpoint, source.kind, source.sha256, source.metadata, found))
    if checkpoint is not None:
        with in_words(checkpoint):
            arrays, metadata = checkpoints.read_orbax(checkpoint)
        sha = checkpoints.hash_of(checkpoint)
        return Weights(_some(checkpoint, arrays), Source(checkpoint, "orbax", sha, metadata, found))
    index = sorted(path.glob("*.safetensors.index.json"))
    if len(index) == 1 and step is None:
        return _read_file(index[0])
    raise _no_checkpoint(path)


_ENDINGS = (".safetensors", ".npz", ".msgpack", ".h5", ".hdf5", ".keras", ".pt", ".pth", ".th", ".bin")


def _no_checkpoint(path: Path) -> AdoptionError:
    names = _names_in(path)
    files = [name for name in names if name.endswith(_ENDINGS)]
    if "saved_model.pb" in names:
        return AdoptionError(
            f"{path} is a SavedModel of TensorFlow, which is not read.",
            remedy="Load it with Keras and write its weights: model.save_weights('NAME.weights.h5').",
        )
    held = f"; it holds {', '.join(names[:8])}{' …' if len(names) > 8 else ''}" if names else "; it is empty"  # noqa: PLR2004
    remedy = f"Name one of its files: {', '.join(files)}." if files else REMEDY
    return AdoptionError(f"{path} holds no checkpoint of Orbax{held}.", remedy=remedy)
