"""The answers of a compacted network to arrays in a file: .npz, or .npy where the network takes one array.

The arrays of an .npz have the names that `synevo export` gives them in its JSON; so have those of the answer.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from synevo.data.memory import check_room
from synevo.deploy.comparison import BATCH
from synevo.deploy.interface import Leaf, answers, at_once, given, wanted
from synevo.deploy.reload import Reloaded
from synevo.errors import DataError
from synevo.files.writing import read, write

Arrays = Mapping[str, NDArray[Any]]


def answer(reloaded: Reloaded, file: Path) -> Arrays:
    """Return the arrays that a network gives for those in a file, by name, with one row an example.

    Raises:
        DataError: if the file holds no arrays, or others than the network takes.
        ExportError: where the arguments of the network cannot be named.
    """
    wants = given(reloaded)
    found = _read(file, [leaf.name for leaf in wants])
    leaves = [_fitted(file, leaf, found[leaf.name]) for leaf in wants]
    counts = {len(leaf) for leaf in leaves}
    if len(counts) > 1 or 0 in counts:
        raise DataError(
            f"The arrays of {file} have {', '.join(map(str, sorted(counts)))} examples.",
            remedy="Give every array one row an example.",
        )
    run = jax.jit(lambda network, *leaves: answers(reloaded, network, *leaves))
    parts, size = [], at_once(reloaded, BATCH)
    for begin in range(0, len(leaves[0]), size):
        batch = (jnp.asarray(leaf[begin : begin + size]) for leaf in leaves)
        parts.append([np.asarray(leaf) for leaf in jax.tree.leaves(run(reloaded.network, *batch))])
    joined = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return {leaf.name: array for leaf, array in zip(wanted(reloaded), joined, strict=True)}


def write_answer(path: Path, arrays: Arrays) -> None:
    """Write arrays to an .npz file, whole or not at all."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **dict(arrays))
    write(path, content.getvalue())


def _read(file: Path, names: list[str]) -> Arrays:
    """Return the arrays in a file that have these names; no pickle is loaded."""
    content = read(file)
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                check_room(sum(info.file_size for info in archive.infolist()), f"{file} declares", remedy="Cut it up.")
            found = dict(np.load(io.BytesIO(content), allow_pickle=False))
        else:
            found = {names[0]: np.load(io.BytesIO(content), allow_pickle=False)}
    except DataError:
        raise
    except Exception as error:  # noqa: BLE001  (damaged files raise nearly anything)
        said = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{file} cannot be read as arrays: {said}", remedy=f"Write it with np.savez(file, {_keywords(names)})."
        ) from None
    if missing := [name for name in names if name not in found]:
        raise DataError(
            f"{file} does not hold {', '.join(missing)}; it holds {', '.join(found) or 'nothing'}.",
            remedy=f"Write it with np.savez(file, {_keywords(names)}).",
        )
    return found


def _keywords(names: list[str]) -> str:
    return f"**{{{', '.join(f'{name!r}: …' for name in names)}}}"


def _fitted(file: Path, leaf: Leaf, array: NDArray[Any]) -> NDArray[Any]:
    """Return an array in the dtype that the network takes; raise DataError if it does not fit, or would change."""
    want = jnp.dtype(leaf.dtype)
    same = array.ndim == len(leaf.shape) and tuple(leaf.shape[1:]) == array.shape[1:]
    kind = same and jnp.issubdtype(want, jnp.floating) == jnp.issubdtype(array.dtype, jnp.floating)
    fitted = array.astype(want) if kind else array
    exact = kind and (jnp.issubdtype(want, jnp.floating) or np.array_equal(fitted, array))
    if not exact:
        raise DataError(
            f"{leaf.name} in {file} is {array.dtype} {list(array.shape)}; the network takes {leaf.dtype} "
            f"[{', '.join(map(str, leaf.shape))}].",
            remedy="Bring it to this shape and dtype, prepared as the task's `inputs` prepares a batch.",
        )
    return fitted
