"""Labelled images in memory, ready for a run, whatever their source.

    source → splits (train, test) → one size → a validation part is held out of train → normalisation

`plan.dataset` is `digits` (embedded, offline), an `.npz` file, a folder of class folders, or a TFDS name, tried in that
order; to add a kind, write a function that returns a `Source` and name it in `_open`. Images that are slow to decode
are decoded once and kept, in the source's own size or as they are resized on reading, in checksummed files under
`$SYNEVO_CACHE/datasets` (by default `~/.cache/synevo/datasets`). By default images keep their size and pixels map to
[0, 1].
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from synevo.data.cache import decoded
from synevo.data.folders import open_folder
from synevo.data.images import Images
from synevo.data.npz import open_npz
from synevo.data.others import is_other_file, other_file
from synevo.data.pictures import stretched
from synevo.data.sources import Source, divide, open_digits
from synevo.data.tfds import open_prepared
from synevo.errors import DataError, PlanError
from synevo.plan.fields import DataPlan
from synevo.tasks.classification import AS_THEY_ARE, classification
from synevo.tasks.task import Problem

WIDEST_PADDING = 8
"""Pixels by which a side may grow through zero padding; where more are needed, images are resized."""

SMALLEST_DEVIATION = 1e-3
"""A channel is divided by this where its deviation is smaller."""

_VALIDATION = 2  # its own random stream: no seed may give the validation split the order of the test split

Fit = Literal["none", "pad", "resize"]


@dataclass(frozen=True)
class Dataset:
    """Labelled images: the names of their classes, three disjoint splits, and the normalisation.

    x = (pixel / 255 - mean) / deviation; `mean` and `deviation` have one entry a channel, in units of the full range.
    """

    name: str
    classes: tuple[str, ...]
    train: Images
    validation: Images
    test: Images
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        height, width, channels = self.train.pixels.shape[1:]
        return height, width, channels

    @property
    def problem(self) -> Problem:
        """The problem of classifying these images."""
        splits = (self.train.examples, self.validation.examples, self.test.examples)
        return Problem(classification(self.mean, self.deviation), *splits)


def load(plan: DataPlan, *, seed: int) -> Dataset:
    """Return the images of a plan in its size, with the share `plan.validation` of `plan.held_out` held out.

    The whole test split is the same for every seed; the validation split depends on the seed alone. Both are
    stratified. A source that has a validation split of its own gives that, and nothing is held out; of TFDS, the plan
    must name it, as a resolved one does.

    Raises:
        DataError: if the source is missing, or an image classifier cannot be trained on it.
        PlanError: if the size and the fit contradict each other, the split for validation is not there, images are to
            be held out for another one, or mean and deviation are not one a channel.
    """
    plan = _locate(plan)
    source = _open(plan)
    _check_numbers(plan, source.shape[-1])
    size, fit = _settle(plan, source.shape, native_size=None)
    if size is not None and fit == "resize" and source.resized is not None:
        source = source.resized(size)
    splits = decoded(source)
    train, test = (brought_to(images, size, fit) for images in (splits.train, splits.test))
    entropy = (_VALIDATION, seed)
    if splits.validation is None and plan.held_out == "test":
        test, validation = divide(test, plan.validation, classes=source.classes, entropy=entropy)
    elif splits.validation is None:
        train, validation = divide(train, plan.validation, classes=source.classes, entropy=entropy)
    elif plan.held_out == "test":
        raise PlanError(
            f"data.held_out = 'test' is for a source without a validation split, and {source.name} has one.",
            remedy="Leave data.held_out as it is (train), and decisions use that split.",
        )
    else:
        validation = brought_to(splits.validation, size, fit)
    mean, deviation = _normalisation(train.pixels, plan)
    return Dataset(source.name, source.classes, train, validation, test, mean, deviation)


def resolve(plan: DataPlan, *, native_size: int | None) -> DataPlan:
    """Return the plan with every choice made: absolute paths, the size, a fit, the split for validation.

    `native_size` is the side in pixels that the ancestor expects, or None if it takes any; the user's choice goes
    before it. Images that are not square keep their size (`image_size` None) if any will do. Resolving twice changes
    nothing.

    Raises:
        DataError: if the source is missing or unfit, or its images are not square and the network wants squares.
        PlanError: as in `load`.
    """
    plan = _locate(plan)
    source = _open(plan)
    _check_numbers(plan, source.shape[-1])
    size, fit = _settle(plan, source.shape, native_size=native_size)
    split = plan.validation_split or source.validation
    return plan.model_copy(update={"image_size": size, "fit": fit, "validation_split": split})


def native_shape(plan: DataPlan) -> tuple[int, int, int]:
    """Return height, width and channels of the source's images; raise DataError if it is missing or unfit."""
    return _open(_locate(plan)).shape


def _locate(plan: DataPlan) -> DataPlan:
    """Return the plan with absolute paths; `data_dir` is None unless the source is a TFDS name.

    Raises:
        PlanError: if a split for validation is named, and the source is none of TFDS.
    """
    kind = _kind(plan.dataset)
    if kind == "tfds":
        folder = plan.data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        return plan.model_copy(update={"data_dir": _absolute(folder)})
    if plan.validation_split is not None:
        raise PlanError(
            f"data.validation_split names a split of a TFDS data set, and {plan.dataset} is none.",
            remedy="Leave it out. A validation split of your own is val/ in a folder, or the arrays val_images and "
            "val_labels in an .npz file; elsewhere data.validation is the share that is held out.",
        )
    name = plan.dataset if kind == "digits" else _absolute(plan.dataset)
    return plan.model_copy(update={"dataset": name, "data_dir": None})


def _kind(name: str) -> Literal["digits", "npz", "folder", "file", "tfds"]:
    if name == "digits":
        return "digits"
    if Path(name).expanduser().is_dir():
        return "folder"
    if name.lower().endswith(".npz"):
        return "npz"
    return "file" if is_other_file(name) else "tfds"


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def _open(plan: DataPlan) -> Source:
    """Return the source of a plan that `_locate` returned; raise DataError if it cannot be opened."""
    try:
        match _kind(plan.dataset):
            case "digits":
                return open_digits()
            case "npz":
                return open_npz(Path(plan.dataset))
            case "folder":
                return open_folder(Path(plan.dataset), resized=plan.fit == "resize")
            case "file":
                raise other_file(Path(plan.dataset))
            case "tfds":
                return open_prepared(plan.dataset, Path(plan.data_dir or ""), plan.validation_split)
    except OSError as error:
        raise DataError(f"{plan.dataset} cannot be read: {error}", remedy="Check that you may read it.") from None


def _settle(plan: DataPlan, shape: tuple[int, int, int], *, native_size: int | None) -> tuple[int | None, Fit]:
    """Return the final size of images of this `shape` (height, width, channels), and the way to get there.

    The size is None for images that are not square and may stay so. PlanError if the plan contradicts itself.
    """
    height, width, _ = shape
    size = plan.image_size or native_size or (height if height == width else None)
    fit = _automatic_fit(height, width, size) if plan.fit == "auto" else plan.fit
    if size is None and fit != "none":
        raise PlanError(
            f"data.fit = {fit!r} was asked for, but no size: the images have {height}x{width} pixels.",
            remedy="Name the side with --set data.image_size=N.",
        )
    if size is not None and fit == "none" and (height, width) != (size, size):
        raise PlanError(
            f"data.fit = 'none' keeps images of {height}x{width} pixels, but {size}x{size} are expected.",
            remedy="Choose --set data.fit=pad or --set data.fit=resize, or leave it to data.fit=auto.",
        )
    if size is not None and fit == "pad" and max(height, width) > size:
        raise PlanError(
            f"data.fit = 'pad' cannot make images of {height}x{width} pixels smaller, and {size}x{size} are expected.",
            remedy="Choose --set data.fit=resize, or a larger --set data.image_size=N.",
        )
    return size, fit


def _automatic_fit(height: int, width: int, size: int | None) -> Fit:
    if size is None:
        return "none"
    if height != width:
        raise DataError(
            f"Square images of {size}x{size} pixels are expected, and these have {height}x{width}.",
            remedy="Choose how they become square: --set data.fit=pad (zeros around) or data.fit=resize (stretched).",
        )
    if height == size:
        return "none"
    return "pad" if 0 < size - height <= WIDEST_PADDING else "resize"


def brought_to(images: Images, size: int | None, fit: Fit) -> Images:
    """Return images with `size` pixels a side: unchanged, with zeros around them, or resized bilinearly."""
    if size is None or fit == "none" or (fit == "resize" and images.pixels.shape[1:3] == (size, size)):
        return images
    pixels = images.pixels
    if fit == "pad":
        margins = [((size - side) // 2, (size - side + 1) // 2) for side in pixels.shape[1:3]]
        return Images(np.pad(pixels, [(0, 0), *margins, (0, 0)]), images.labels)
    resized = np.empty((len(pixels), size, size, pixels.shape[-1]), np.uint8)
    for place, image in enumerate(pixels):
        resized[place] = stretched(image, size, size)
    return Images(resized, images.labels)


def _check_numbers(plan: DataPlan, channels: int) -> None:
    """Raise PlanError if the plan's mean or deviation is neither one number nor one for each channel."""
    for name in ("mean", "deviation"):
        count = len(_numbers(getattr(plan, name) or 0.0))
        if count not in (1, channels):
            raise PlanError(
                f"data.{name} has {count} numbers, and the images have {channels} channels.",
                remedy=f"Give one number, or one for each channel: --set data.{name}=NUMBER[,NUMBER…].",
            )


def _numbers(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return value if isinstance(value, tuple) else (value,)


def _normalisation(pixels: NDArray[np.uint8], plan: DataPlan) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel, in units of the full range; 0 and 1 if pixels are only scaled."""
    channels = pixels.shape[-1]
    if plan.normalise == "standardise":
        moments = [_moments(pixels[..., channel]) for channel in range(channels)]
        return tuple(mean for mean, _ in moments), tuple(max(deviation, SMALLEST_DEVIATION) for _, deviation in moments)
    if plan.normalise == "none":
        return (0.0,) * channels, (AS_THEY_ARE,) * channels
    mean, deviation = _numbers(plan.mean or 0.0), _numbers(plan.deviation or 1.0)
    return mean * (channels // len(mean)), deviation * (channels // len(deviation))


def _moments(channel: NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean and standard deviation of pixel / 255, from the histogram: exact, and no float copy of all pixels."""
    levels, counts = np.unique(channel, return_counts=True)
    values, shares = levels / 255, counts / counts.sum()
    mean = shares @ values
    return float(mean), float(np.sqrt(shares @ (values - mean) ** 2))
