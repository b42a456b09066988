"""What arrays of images and labels must be, and for what they are instead the line of NumPy that mends it.

A line never guesses more than the array shows: it states the range or the places that it rests on.
"""

from collections.abc import Mapping
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.data.sources import FEWEST
from synevo.errors import DataError

Arrays = Mapping[str, NDArray[Any]]

_TASK = "what is no class of an image is described by a task: see synevo guide own-task."

_BYTE = 255

_WORD = 65535

_COLOURS = (1, 3)

_MOST_CHANNELS = 4

_VIDEO = 5  # axes: [n, frames, height, width, channels]


def objects(where: str, name: str) -> DataError:
    """Return the error for an array of Python objects, which are not loaded because that could execute code."""
    remedy = f"{name} = np.stack([np.asarray(image) for image in {name}])"
    after = "; images of several sizes are better written to a folder of image files, with --set data.fit=resize."
    if not name.endswith("images"):
        remedy = f"{name} = np.unique({name}.astype(str).reshape(-1), return_inverse=True)[1]"
        after = ", which numbers them in alphabetical order; first leave out images without a class."
    return DataError(
        f"{where} cannot be read: Object arrays are not loaded, since that could execute code.",
        remedy=f"If you trust the file, load it with np.load(file, allow_pickle=True), and write it anew after "
        f"{remedy}{after}",
    )


def check_pixels(arrays: Arrays, name: str, *, where: str) -> None:
    """Raise DataError unless an array holds images: uint8 [n, h, w], [n, h, w, 1] or [n, h, w, 3]."""
    pixels = arrays[name]
    if pixels.size == 0:
        raise DataError(f"{where} is empty: shape {list(pixels.shape)}.", remedy="Write at least a few images a class.")
    if pixels.dtype != np.uint8:
        found, remedy = _conversion(arrays, name)
        raise DataError(f"{where} must be uint8 in 0 … 255; found {pixels.dtype}{found}.", remedy=remedy)
    match pixels.shape:
        case (_, _, _) | (_, _, _, 1 | 3):
            return
    raise DataError(
        f"{where} must have shape [n, h, w], [n, h, w, 1] or [n, h, w, 3]; found {list(pixels.shape)}.",
        remedy=_reshaping(name, pixels.shape),
    )


def _conversion(arrays: Arrays, name: str) -> tuple[str, str]:
    """Return the range of numbers that are no uint8, in words, and the line that brings them to 0 … 255."""
    pixels = arrays[name]
    if pixels.dtype == np.bool_:
        return "", f"Convert them with {name}.astype(np.uint8) * 255."
    if pixels.dtype.kind not in "iuf":
        return "", f"Write the levels of the pixels as numbers, uint8 in 0 … 255; {_TASK}"
    if not np.isfinite(pixels).all():
        return ", not all of them finite", _without_gaps(pixels, name)
    splits = [array for key, array in arrays.items() if key.endswith("images") and array.dtype.kind in "iuf"]
    low = min(np.nanmin(array).item() for array in splits if array.size)
    high = max(np.nanmax(array).item() for array in splits if array.size)
    return f" from {low:g} to {high:g}", _scaling(name, pixels.dtype, low, high)


def _without_gaps(pixels: NDArray[Any], name: str) -> str:
    whole = np.isfinite(pixels).reshape(len(pixels), -1).all(axis=1)
    labels = name.removesuffix("images") + "labels"
    if not whole.any():
        return f"Choose a level for what is missing, for example 0: {name} = np.where(np.isfinite({name}), {name}, 0)."
    return (
        f"Leave out the {np.count_nonzero(~whole)} images that have such pixels: "
        f"keep = np.isfinite({name}).reshape(len({name}), -1).all(axis=1); "
        f"{name}, {labels} = {name}[keep], {labels}[keep]."
    )


def _scaling(name: str, dtype: np.dtype[Any], low: float, high: float) -> str:
    """Return the line that brings levels from `low` to `high` to 0 … 255, by what their range says."""
    if low >= 0 and high <= 1 and dtype.kind == "f":
        return f"Convert floats in [0, 1] with np.rint({name} * 255).astype(np.uint8)."
    if low >= 0 and high <= _BYTE:
        rounded = f"np.rint({name})" if dtype.kind == "f" else name
        return f"Convert numbers in 0 … 255 with {rounded}.astype(np.uint8)."
    if dtype == np.uint16:
        return (
            f"Convert 16 bits to 8 with np.rint({name} / 257).astype(np.uint8); if white is less than {_WORD}, such as "
            f"4095 for 12 bits, with np.rint(np.clip({name} / WHITE, 0, 1) * 255).astype(np.uint8)."
        )
    span = f"({name}.astype(float) - ({low!r})) / ({high!r} - ({low!r}))"
    if low == high:
        span = f"np.zeros({name}.shape)"
    return (
        f"Scale every split alike, from this range to 0 … 255: np.rint(np.clip({span}, 0, 1) * 255).astype(np.uint8)."
    )


def _reshaping(name: str, shape: tuple[int, ...]) -> str:
    """Return the line that makes images of an array of another shape."""
    match shape:
        case (_, width):
            return _from_rows(name, width)
        case (_, first, _, last) if first <= _MOST_CHANNELS < last:
            return f"Channels come last: {name}.transpose(0, 2, 3, 1) moves them there."
        case (_, _, _, channels):
            return _fewer_channels(name, channels)
        case (_, frames, *_) if len(shape) == _VIDEO:
            return (
                f"These are videos or volumes; take one picture of each, such as the middle one: "
                f"{name}[:, {frames // 2}]. For whole ones: {_TASK}"
            )
    return f"Write one picture for each label, as rows of pixels; {_TASK}"


def _from_rows(name: str, width: int) -> str:
    side = isqrt(width)
    if side * side == width:
        return f"Rows of pixels become squares with {name}.reshape(-1, {side}, {side})."
    side = isqrt(width // 3)
    if 3 * side * side == width:
        return (
            f"Rows of pixels become squares in colour with {name}.reshape(-1, {side}, {side}, 3), or, if all red ones "
            f"come first (as in CIFAR-10), with {name}.reshape(-1, 3, {side}, {side}).transpose(0, 2, 3, 1)."
        )
    height = next(one for one in range(isqrt(width), 0, -1) if width % one == 0)
    return (
        f"Give rows of pixels their height and width, whose product is {width}: "
        f"{name}.reshape(-1, {height}, {width // height}), if these are right; {_TASK}"
    )


def _fewer_channels(name: str, channels: int) -> str:
    colours = channels - 1
    if colours not in _COLOURS:
        return f"Choose the three that matter most, such as {name}[..., :3], or one: {name}[..., :1]."
    opaque = f"{name}[..., {colours}:] / 255"
    white = f"np.rint(255 - (255 - {name}[..., :{colours}].astype(float)) * ({opaque})).astype(np.uint8)"
    return (
        f"If the last channel is opacity, put the images on white: {white}; if it is another, leave it out with "
        f"{name}[..., :{colours}]."
    )


def check_marks(arrays: Arrays, name: str, *, where: str) -> None:
    """Raise DataError unless an array holds labels: integers [n], none of them negative."""
    marks = arrays[name]
    if marks.ndim != 1 or marks.dtype.kind not in "iu":
        remedy = _as_numbers(arrays, name) if marks.ndim == 1 else _as_row(marks, name)
        raise DataError(
            f"{where} must be integers of shape [n]; found {marks.dtype} {list(marks.shape)}.", remedy=remedy
        )
    if len(marks) == 0:
        raise DataError(f"{where}: there are none.", remedy="Every split needs images.")
    if marks.min() < 0:
        raise DataError(
            f"{where} must be in 0 … k-1; found {marks.min()}.",
            remedy=f"If that stands for images without a class, leave them out: keep = {name} >= 0; "
            f"{_keeping(name)}. If it is a class: {_numbering(arrays)}",
        )
    if marks.max() > np.iinfo(np.int32).max:
        raise DataError(f"{where} must be in 0 … k-1; found {marks.max()}.", remedy=_numbering(arrays))


def count_classes(arrays: Arrays, name: str, *, where: str) -> int:
    """Return the number of classes of checked labels; raise DataError if there are gaps, or a single class."""
    present = np.unique(arrays[name])
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if len(gaps):
        raise DataError(
            f"{where} must be 0 … k-1 without gaps; none is {gaps[0]}, and the largest is {present[-1]}.",
            remedy=_numbering(arrays),
        )
    if len(present) < FEWEST:
        raise DataError(f"{where}: at least two classes are expected; every label is 0.", remedy="Add another class.")
    return len(present)


def _as_row(marks: NDArray[Any], name: str) -> str:
    """Return the line that makes one label an image of an array of several axes."""
    rest = marks.size // len(marks) if marks.ndim and len(marks) else 0
    if rest == 1:
        return f"Make one row of them: {name}.reshape(-1)."
    if marks.ndim != 2 and rest in marks.shape:  # noqa: PLR2004 (images and classes, with axes of one entry)
        return f"Leave out the axes of length 1: {name}.reshape(len({name}), -1)."
    if marks.ndim == 2 and marks.dtype.kind in "iufb" and rest:  # noqa: PLR2004 (images and classes)
        levels = marks.astype(np.float64)
        if not np.isfinite(levels).all():
            return f"Leave out images without a class: keep = np.isfinite({name}).all(1); {_keeping(name)}."
        if levels.min() >= 0 and np.allclose(levels.sum(1), 1, atol=1e-3):
            return f"One-hot labels become integers with {name}.argmax(1)."
    return f"Write a single label for each image; several for one, or one for each pixel, are no classes: {_TASK}"


def _as_numbers(arrays: Arrays, name: str) -> str:
    """Return the line that makes integers of one row of labels."""
    marks = arrays[name]
    if marks.dtype.kind == "f" and not np.isfinite(marks).all():
        return f"Leave out images without a class: keep = np.isfinite({name}); {_keeping(name)}."
    if marks.dtype.kind == "b" or (marks.dtype.kind == "f" and np.all(marks == np.rint(marks)) and _fit(marks)):
        return f"Convert them with {name}.astype(np.int32)."
    measured = f" If they are measures, and not classes: {_TASK}" if marks.dtype.kind in "fc" else ""
    return _numbering(arrays) + measured


def _fit(marks: NDArray[Any]) -> bool:
    return marks.size == 0 or float(np.abs(marks).max()) <= np.iinfo(np.int32).max


def _keeping(name: str) -> str:
    images = name.removesuffix("labels") + "images"
    return f"{images}, {name} = {images}[keep], {name}[keep]"


def _numbering(arrays: Arrays) -> str:
    """Return the line that numbers the classes from 0, in every split alike; those that train lacks are left out."""
    first, *others = [name for name in arrays if name.endswith("labels")]
    if not others:
        return f"Number the classes with {first} = np.unique({first}, return_inverse=True)[1]."
    lines = [f"names, {first} = np.unique({first}, return_inverse=True)"]
    for name in others:
        images = name.removesuffix("labels") + "images"
        lines.append(f"keep = np.isin({name}, names)")
        lines.append(f"{images}, {name} = {images}[keep], np.searchsorted(names, {name}[keep])")
    return f"Number the classes of train, and alike in the other splits: {'; '.join(lines)}."
