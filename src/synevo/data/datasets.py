"""Labelled images, ready for a run, whatever their source.

    source → splits (train, test) → one size → a validation part is held out of train → normalisation

`plan.dataset` is `digits` (embedded, offline), an `.npz` file, a folder of class folders, or a TFDS name, tried in that
order; to add a kind, write a function that returns a `Source` and name it in `_open`. By default images keep their size
and pixels map to [0, 1].

Images whose pixels fit into the budget (`data.memory`) stay in memory. Those that are slow to decode are decoded once
and kept, in the source's own size or as they are resized on reading, in checksummed files under
`$SYNEVO_CACHE/datasets` (by default `~/.cache/synevo/datasets`). Larger sets are read when they are needed. The order,
the splits and the pixels are the same either way; only mean and deviation may come from a sample, and the plan says so.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from synevo.data.cache import decoded, kept_on_disk
from synevo.data.findings import Findings
from synevo.data.folders import Wanted, open_folder
from synevo.data.images import Images, Pixels, Streamed
from synevo.data.memory import budget
from synevo.data.moments import SAMPLE, Numbers, moments
from synevo.data.npz import is_folder_of_arrays, open_npz
from synevo.data.others import is_other_file, other_file
from synevo.data.pictures import stretched
from synevo.data.sources import Source, Splits, Survey, divide, open_digits
from synevo.data.tfds import home, open_prepared
from synevo.errors import DataError, PlanError
from synevo.plan.examples import DataPlan
from synevo.tasks.classification import AS_THEY_ARE, classification
from synevo.tasks.task import Problem

WIDEST_PADDING = 8
"""Pixels by which a side may grow through zero padding; where more are needed, images are resized."""

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
    findings: Findings | None = None

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
    taken, streamed = _way(plan, source, size)
    if size is not None and fit == "resize" and source.resized is not None:
        source = source.resized(size)
    splits = _streamed(source, plan) if streamed else decoded(source)
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
    mean, deviation = _normalisation(train.pixels, plan, seed)
    findings = Findings(
        images=source.count,
        classes=len(source.classes),
        size=taken,
        budget=budget(plan.memory),
        streamed=streamed,
        disk_cache=streamed and plan.disk_cache and source.stamp is not None,
        sample=min(plan.sample, len(train)) if plan.sample and plan.normalise == "standardise" else None,
        left_out=source.left_out,
    )
    return Dataset(source.name, source.classes, train, validation, test, mean, deviation, findings)


def resolve(plan: DataPlan, *, native_size: int | None) -> DataPlan:
    """Return the plan with every choice made: absolute paths, the size, a fit, the split for validation, and so on.

    The other choices are the channels of files that differ, those that are left out, and the sample for the moments.
    `native_size` is the side in pixels that the ancestor expects, or None if it takes any; the user's choice goes
    before it. Images that are not square keep their size (`image_size` None) if any will do. Resolving twice changes
    nothing.

    Raises:
        DataError: if the source is missing or unfit, or its images are not square and the network wants squares.
        PlanError: as in `load`.
    """
    plan = _surveyed(_locate(plan), native_size)
    source = _open(plan)
    _check_numbers(plan, source.shape[-1])
    size, fit = _settle(plan, source.shape, native_size=native_size)
    chosen: dict[str, Any] = {"image_size": size, "fit": fit}
    chosen["validation_split"] = plan.validation_split or source.validation
    if plan.normalise == "standardise" and plan.sample is None and _way(plan, source, size)[1]:
        chosen["sample"] = SAMPLE
    return plan.model_copy(update=chosen)


def _surveyed(plan: DataPlan, native_size: int | None) -> DataPlan:
    """Return the plan with what the files of a folder decide: those that are left out, the channels, and a fit.

    Raises:
        DataError: if they have several sizes, and nothing says how they get one.
    """
    source = _open(plan)
    if plan.damaged == "leave-out":
        plan = plan.model_copy(update={"left_out": source.left_out})
    if source.survey is None or (plan.channels is not None and plan.fit != "auto"):
        return plan
    found, size = source.survey(), plan.image_size or native_size
    chosen: dict[str, Any] = {}
    if plan.channels is None and len(found.channels) > 1:
        chosen["channels"] = max(found.channels)
    if plan.fit == "auto" and found.lowest != found.highest:
        if size is None or not found.square:
            raise _of_several_sizes(source.name, found, size)
        chosen["fit"] = "resize"
    return plan.model_copy(update=chosen)


def _of_several_sizes(name: str, found: Survey, size: int | None) -> DataError:
    (low, narrow), (high, wide) = found.lowest, found.highest
    side = "" if size else " --set data.image_size=N"
    return DataError(
        f"The images of {name} have several sizes: heights from {low} to {high} and widths from {narrow} to {wide} "
        "pixels.",
        remedy=f"Bring all to one size, which stretches those that are not square: --set data.fit=resize{side}.",
    )


def _way(plan: DataPlan, source: Source, size: int | None) -> tuple[int, bool]:
    """Return the bytes of all pixels in the final size, and whether they are read when they are needed."""
    height, width, channels = source.shape
    count = source.count * (size or height) * (size or width) * channels
    return count, count > budget(plan.memory)


def _streamed(source: Source, plan: DataPlan) -> Splits:
    """Return splits whose pixels are read when they are needed; from a cache on disk, if the plan asks for one."""
    splits = source.stream()
    return kept_on_disk(source, splits) if plan.disk_cache and source.stamp is not None else splits


def native_shape(plan: DataPlan) -> tuple[int, int, int]:
    """Return height, width and channels of the source's images; raise DataError if it is missing or unfit."""
    return _open(_locate(plan)).shape


def _locate(plan: DataPlan) -> DataPlan:
    """Return the plan with absolute paths; `data_dir` is None unless the source is a TFDS name.

    Raises:
        PlanError: if a split for validation is named, and the source is none of TFDS.
    """
    kind = kind_of(plan.dataset)
    if kind == "tfds":
        return plan.model_copy(update={"data_dir": home(plan.data_dir)})
    if plan.validation_split is not None:
        raise PlanError(
            f"data.validation_split names a split of a TFDS data set, and {plan.dataset} is none.",
            remedy="Leave it out. A validation split of your own is val/ in a folder, or the arrays val_images and "
            "val_labels in an .npz file; elsewhere data.validation is the share that is held out.",
        )
    name = plan.dataset if kind == "digits" else _absolute(plan.dataset)
    return plan.model_copy(update={"dataset": name, "data_dir": None})


def kind_of(name: str) -> Literal["digits", "npz", "folder", "file", "tfds"]:
    """Return what a data set is, by its name and by what lies there; what is nothing else is a name of TFDS."""
    if name == "digits":
        return "digits"
    if Path(name).expanduser().is_dir():
        return "npz" if is_folder_of_arrays(Path(name).expanduser()) else "folder"
    if name.lower().endswith(".npz"):
        return "npz"
    return "file" if is_other_file(name) else "tfds"


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().resolve())


def _open(plan: DataPlan) -> Source:
    """Return the source of a plan that `_locate` returned; raise DataError if it cannot be opened."""
    try:
        match kind_of(plan.dataset):
            case "digits":
                return open_digits()
            case "npz":
                return open_npz(Path(plan.dataset), room=budget(plan.memory))
            case "folder":
                wanted = Wanted(plan.channels, plan.damaged == "leave-out", plan.left_out)
                return open_folder(Path(plan.dataset), wanted)
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
    if isinstance(pixels, Streamed):
        channels = pixels.size[-1]
        fitted = pixels.changed(lambda read: _fitted(read, size, fit), (size, size, channels))
        return Images(fitted, images.labels)
    return Images(_fitted(pixels, size, fit), images.labels)


def _fitted(pixels: NDArray[np.uint8], size: int, fit: Fit) -> NDArray[np.uint8]:
    """Return pixels [n, height, width, channels] with zeros around them, or resized bilinearly."""
    if fit == "pad":
        margins = [((size - side) // 2, (size - side + 1) // 2) for side in pixels.shape[1:3]]
        return np.pad(pixels, [(0, 0), *margins, (0, 0)])
    resized = np.empty((len(pixels), size, size, pixels.shape[-1]), np.uint8)
    for place, image in enumerate(pixels):
        resized[place] = stretched(image, size, size)
    return resized


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


def _normalisation(pixels: Pixels, plan: DataPlan, seed: int) -> tuple[Numbers, Numbers]:
    """Return mean and deviation of each channel, in units of the full range; 0 and 1 if pixels are only scaled."""
    channels = pixels.shape[-1]
    if plan.normalise == "standardise":
        return moments(pixels, sample=plan.sample, seed=seed)
    if plan.normalise == "none":
        return (0.0,) * channels, (AS_THEY_ARE,) * channels
    mean, deviation = _numbers(plan.mean or 0.0), _numbers(plan.deviation or 1.0)
    return mean * (channels // len(mean)), deviation * (channels // len(deviation))
