"""Keras' files: HDF5 with the names of layers and arrays, and .keras, an archive with such a file in it."""

import io
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from synevo.adoption.archives import unpack
from synevo.adoption.reading import Arrays, Contents, is_number, needs, require_room
from synevo.errors import AdoptionError

WEIGHTS = "model.weights.h5"
"""The member of a .keras archive that holds the arrays."""

_MARK = b"\x89HDF\r\n\x1a\n"

_KERNEL, _SCALE = ("kernel", "bias"), ("gamma", "beta")

_ROLES: dict[str, tuple[tuple[str, ...], ...]] = {
    **{f"{kind}{rank}d": (_KERNEL,) for kind in ("conv",) for rank in (1, 2, 3)},
    **{f"conv{rank}d_transpose": (_KERNEL,) for rank in (1, 2, 3)},
    **{f"depthwise_conv{rank}d": (("depthwise_kernel", "bias"),) for rank in (1, 2)},
    **{f"separable_conv{rank}d": (("depthwise_kernel", "pointwise_kernel", "bias"),) for rank in (1, 2)},
    "dense": (_KERNEL,),
    "einsum_dense": (_KERNEL,),
    "embedding": (("embeddings",),),
    "batch_normalization": ((*_SCALE, "moving_mean", "moving_variance"), ("moving_mean", "moving_variance")),
    "layer_normalization": (_SCALE,),
    "group_normalization": (_SCALE,),
}
"""What the numbered arrays of Keras 3 are, by the class of the layer and their number; others keep their numbers."""


def is_hdf5(content: bytes) -> bool:
    """Return whether a content is HDF5."""
    return content.startswith(_MARK)


def read_keras(path: Path, content: bytes) -> Contents:
    """Return the arrays of a file of Keras by layer and name, such as `conv2d/kernel`.

    Keras 3 numbers the arrays of a layer (`conv2d/vars/0`); they are named here by the class of the layer, and the
    layer as its user named it.

    Raises:
        AdoptionError: where h5py is not installed, or the file refers to others.
    """
    if find_spec("h5py") is None:
        raise needs(path, "a file of Keras (HDF5)", "keras")
    import h5py  # noqa: PLC0415 (an extra)

    if not is_hdf5(content):
        content = unpack(path, content, WEIGHTS)
    with h5py.File(io.BytesIO(content), "r") as file:
        found = list(_datasets(path, file, h5py))
        require_room(path, sum(int(one.nbytes) for _, one in found))
        arrays = {name: one[()] for name, one in found}
        about = {name: _plain(value) for name, value in file.attrs.items() if name in {"backend", "keras_version"}}
    return _renamed({name: array for name, array in arrays.items() if is_number(array)}), about


def _plain(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _datasets(path: Path, file: Any, h5py: Any) -> Iterator[tuple[str, Any]]:
    """Return the datasets of a file by name; those in `vars` of Keras 3 under the name that the user gave the layer."""
    names: list[str] = []
    file.visit(names.append)
    for name in names:
        if isinstance(file.get(name, getlink=True), h5py.ExternalLink | h5py.SoftLink):
            continue
        one = file[name]
        if not isinstance(one, h5py.Dataset):
            continue
        if one.external or one.is_virtual or one.dtype.hasobject:
            raise AdoptionError(
                f"{path}: {name} is no array in this file.",
                remedy="Write it anew: model.save_weights('NAME.weights.h5').",
            )
        yield _named_by_user(file, name), one


_NUMBERED = re.compile(r"(?:(.*)/)?([^/]+)/vars/(\d+)")


def _named_by_user(file: Any, name: str) -> str:
    """Return `CLASS|LAYER/vars/0` for an array of Keras 3, with the user's name of the layer; others as they are."""
    match = _NUMBERED.fullmatch(name)
    if match is None:
        return name
    given = file[name.rpartition("/")[0]].attrs.get("name")
    parents = [part for part in (match[1] or "").split("/") if part and part != "layers"]
    layer = _plain(given) if given is not None else match[2]
    return "/".join([*parents, f"{match[2]}|{layer}", "vars", match[3]])


def _renamed(arrays: Arrays) -> Arrays:
    """Return the arrays with what numbered ones are in place of their numbers."""
    layers: dict[str, list[str]] = {}
    for name in arrays:
        if "|" in name:
            layers.setdefault(name.rpartition("/")[0], []).append(name)
    new: dict[str, str] = {}
    for layer, names in layers.items():
        front, _, last = layer.removesuffix("/vars").rpartition("/")
        kind, _, own = last.partition("|")
        roles = _roles_of(kind, len(names))
        place = f"{front}/{own}" if front else own
        ordered = sorted(names, key=lambda one: int(one.rpartition("/")[2]))
        new |= {name: f"{place}/{role}" for name, role in zip(ordered, roles, strict=True)}
    return {new.get(name, name): array for name, array in arrays.items()}


def _roles_of(kind: str, count: int) -> tuple[str, ...]:
    """Return the names of so many arrays of a layer, whose class may be numbered, as in `conv2d_1`."""
    for roles in _ROLES.get(re.sub(r"_\d+$", "", kind), ()):
        if len(roles) == count or (roles[-1] == "bias" and len(roles) - 1 == count):
            return roles[:count]
    return tuple(f"vars/{number}" for number in range(count))
