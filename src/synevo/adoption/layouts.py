"""Layouts: how an array of another framework becomes the one of a network, in the same numbers.

    PyTorch   matrix [out, in]          kernel [out, in, height, width]      transposed [in, out, height, width]
    Keras     matrix [in, out]          kernel [height, width, in, out]      transposed [height, width, out, in]
    Flax      matrix [in, out]          kernel [height, width, in, out]      transposed [height, width, in, out], turned

A layout is known by the framework and by the role of the array (`weight`, `kernel`). Where it is not known, every
layout whose shape fits is an option, and two options are one too many.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.adoption.rules import Rule
from synevo.adoption.uses import Use

NDArrayAny = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Misfit:
    """Why an array cannot be taken: another shape, or ambiguous; and what in a NAMES.toml would decide it."""

    reason: str
    ambiguous: bool = False
    flatten: Shape | None = None
    axes: Shape | None = None


def arrange(
    array: NDArrayAny, role: str, target: tuple[str, Shape], use: Use, framework: str, rule: Rule | None
) -> Any:
    """Return an array as the network's array `target` (its role and shape) lies, or a `Misfit`.

    `role` is the last part of the array's name in the file.
    """
    own, shape = target
    if rule and rule.axes is not None:
        if len(rule.axes) != array.ndim:
            return Misfit(f"{list(array.shape)} has not the {len(rule.axes)} axes of its rule")
        options = [array.transpose(rule.axes)]
    else:
        options = list(_layouts(array, role, own, shape, use, framework))
    fitting = _different([one for one in options if one.shape == shape])
    if not fitting:
        return Misfit(f"{list(array.shape)} is not {_wanted(shape, options)}{_permuted(array, shape)}")
    if len(fitting) > 1:
        return Misfit(f"{list(array.shape)} fits in two layouts, and nothing tells which", True, axes=_identity(array))
    if rule and rule.flatten is not None:
        return _reordered(fitting[0], rule.flatten)
    if rule and rule.axes is not None:
        return fitting[0]
    return _in_order(fitting[0], array, role, own, use, framework)


def _in_order(found: NDArrayAny, array: NDArrayAny, role: str, own: str, use: Use, framework: str) -> Any:
    """Return a matrix, unless its rows may be in the order of a map that another framework flattened."""
    foreign = framework == "torch" or (framework == "" and role not in {"kernel", own})
    if not (foreign and use.flattened and array.ndim == 2 and own == "kernel"):  # noqa: PLR2004
        return found
    *sides, channels = use.flattened
    return Misfit(
        f"its {found.shape[0]} inputs are a flattened map of {list(use.flattened)}, whose order is that of the network "
        "(channels last) or of PyTorch (channels first)",
        True,
        flatten=(channels, *sides),
    )


def _layouts(array: NDArrayAny, role: str, own: str, shape: Shape, use: Use, framework: str) -> Iterator[NDArrayAny]:
    """Yield the array in the layouts that it may have in a framework."""
    if own != "kernel":
        yield _heads(array, shape) if framework == "torch" else array
        return
    known = _KNOWN.get((framework, role))
    if known is not None:
        yield known(array, shape, use)
        return
    yield array
    if role != "kernel":
        yield _from_torch(array, shape, use)
    elif use.transposed:
        yield _from_keras(array, shape, use)


def _as_is(array: NDArrayAny, shape: Shape, use: Use) -> NDArrayAny:
    del shape, use
    return array


def _heads(array: NDArrayAny, shape: Shape) -> NDArrayAny:
    """Return a vector as [heads, width] where that is wanted; PyTorch has them in one axis."""
    return array.reshape(shape) if array.ndim == 1 and array.size == prod(shape) and shape else array


def _from_torch(array: NDArrayAny, shape: Shape, use: Use) -> NDArrayAny:
    spatial = tuple(range(2, array.ndim))
    if use.transposed:
        if use.turned:
            return array.transpose(*spatial, 1, 0)
        return np.flip(array.transpose(*spatial, 0, 1), tuple(range(len(spatial))))
    moved = array.transpose(*spatial, 1, 0) if array.ndim > 1 else array
    if array.ndim == 2 and len(shape) > 2 and not use.convolves and _splits(moved.shape, shape):  # noqa: PLR2004
        return moved.reshape(shape)
    return moved


def _splits(matrix: Shape, shape: Shape) -> bool:
    """Return whether a shape is that of a matrix, with its inputs or outputs in several axes (heads of attention)."""
    return any((prod(shape[:cut]), prod(shape[cut:])) == matrix for cut in range(1, len(shape)))


def _from_keras(array: NDArrayAny, shape: Shape, use: Use) -> NDArrayAny:
    del shape
    if use.transposed and not use.turned and array.ndim > 2:  # noqa: PLR2004
        return np.flip(array.swapaxes(-1, -2), tuple(range(array.ndim - 2)))
    return array


def _depthwise(array: NDArrayAny, shape: Shape, use: Use) -> NDArrayAny:
    """Return [height, width, channels, multiplier] as [height, width, 1, channels × multiplier]."""
    del shape, use
    return array.reshape(*array.shape[:-2], 1, -1)


_KNOWN: dict[tuple[str, str], Callable[[NDArrayAny, Shape, Use], NDArrayAny]] = {
    ("flax", "kernel"): _as_is,
    ("keras", "kernel"): _from_keras,
    ("torch", "kernel"): _as_is,
    ("torch", "weight"): _from_torch,
    **{(framework, "depthwise_kernel"): _depthwise for framework in ("keras", "torch", "flax", "")},
}
"""The layouts of kernels and matrices that are known, by framework and role."""


def _different(options: list[NDArrayAny]) -> list[NDArrayAny]:
    """Return the options without those that are the same numbers in the same places."""
    found: list[NDArrayAny] = []
    for one in options:
        if not any(np.array_equal(one, other) for other in found):
            found.append(one)
    return found


def _reordered(kernel: NDArrayAny, channels_first: Shape) -> Any:
    """Return a matrix [in, out] with its inputs in the order [height, width, channels] of a map [channels, …]."""
    if kernel.ndim != 2 or prod(channels_first) != kernel.shape[0]:  # noqa: PLR2004
        return Misfit(f"flatten = {list(channels_first)} is not its {kernel.shape[0]} inputs")
    rows = kernel.reshape(*channels_first, -1)
    return np.moveaxis(rows, 0, -2).reshape(kernel.shape)


def _wanted(shape: Shape, options: list[NDArrayAny]) -> str:
    """Return the shape that the network has, and the one that the array has in its layout."""
    found = {one.shape for one in options}
    return f"{list(shape)}" if len(found) != 1 else f"{list(shape)}, but {list(next(iter(found)))} in its layout"


def _permuted(array: NDArrayAny, shape: Shape) -> str:
    """Return the permutation of axes that would give a shape, in words, where there is one."""
    for axes in permutations(range(array.ndim)) if array.ndim < 6 else ():  # noqa: PLR2004
        if tuple(array.shape[one] for one in axes) == shape:
            return f"; axes = {list(axes)} would give that shape"
    return ""


def _identity(array: NDArrayAny) -> Shape:
    return tuple(range(array.ndim))


def convert(array: NDArrayAny, dtype: Any) -> tuple[NDArrayAny, str] | Misfit:
    """Return an array in the dtype of the network, and what was converted in words; "" where it had it.

    Floats are converted where every number stays what it is; nothing else is.
    """
    wanted = np.dtype(dtype)
    if array.dtype == wanted:
        return array, ""
    if not (_is_float(array.dtype) and _is_float(wanted)):
        return Misfit(f"{array.dtype} is not {wanted}, and only floats are converted")
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        found = array.astype(wanted)
        same = np.array_equal(found.astype(np.float64), array.astype(np.float64), equal_nan=True)
    if not same:
        return Misfit(f"{array.dtype} holds numbers that {wanted} cannot; round them where they were made")
    return found, f"{array.dtype} to {wanted}"


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" or (dtype.kind == "V" and dtype.name.startswith(("bfloat", "float")))
