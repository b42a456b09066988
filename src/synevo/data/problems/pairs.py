"""Segmentation from pairs of files: a folder of images, and one of masks with the same names.

Folders are `image` and `label` (or `images`, `masks` and so on), in the data set itself or in its `train/`, `test/` and
perhaps `val/`. Whole images are split, never their tiles: neighbours look alike. With `data.tile`, images are cut into
tiles of that side, beginning every `data.stride` pixels in training and every tile elsewhere; the last of a row or
column ends at the edge, so it may overlap the one before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synevo.data.pictures import decode
from synevo.data.problems.described import Described, chosen, resident, weights_of
from synevo.data.problems.splits import Parts, named_for_test, split, validation_of
from synevo.errors import DataError, PlanError
from synevo.plan.fields import Plan
from synevo.tasks import segmentation
from synevo.tasks.classification import AS_THEY_ARE
from synevo.tasks.task import Batch, Examples, Problem

IMAGES = ("image", "images", "imgs", "img")
MASKS = ("label", "labels", "mask", "masks")
"""The names that the two folders of a set of pairs may have."""

SAMPLED = 500
"""The most masks, evenly apart, that tell the classes, and the most images that tell mean and deviation."""

MOST_LEVELS = 64
"""The most levels of masks that are taken for classes where they are not 0 … k-1: more are a picture."""

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})

_VALIDATION = ("val", "validation", "valid")


@dataclass(frozen=True)
class Pair:
    """The files of an image and of its mask."""

    image: Path
    mask: Path


@dataclass(frozen=True)
class Tiles:
    """Tiles of images and masks: `corners` [n, 3] are the number of a pair, top and left; `size` height and width.

    `levels` are the levels of the masks by class; a level of None stays as it is. Files are decoded when they are read.
    """

    pairs: tuple[Pair, ...]
    corners: NDArray[np.intp]
    size: tuple[int, int]
    channels: int
    levels: tuple[int, ...]
    ignore: int | None

    def __len__(self) -> int:
        """Return the number of tiles."""
        return len(self.corners)

    def __getitem__(self, places: NDArray[np.intp], /) -> Batch:
        """Return the batch of the tiles at `places` [n]; DataError if a file cannot be used."""
        count, (height, width) = len(places), self.size
        images = np.empty((count, height, width, self.channels), np.uint8)
        masks = np.empty((count, height, width), np.uint8)
        for number in np.argsort(self.corners[places, 0], kind="stable"):
            pair, top, left = (int(one) for one in self.corners[places[number]])
            image, mask = self._decoded(self.pairs[pair])
            images[number] = image[top : top + height, left : left + width]
            masks[number] = mask[top : top + height, left : left + width]
        return {"image": images, "mask": masks}

    def _decoded(self, pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        return _decoded(pair, self.channels, self.levels, self.ignore)


def has_pairs(path: Path) -> bool:
    """Return whether a folder holds images beside masks, itself or in its train/."""
    return any(_folders(root) is not None for root in (path, path / "train"))


def masks(plan: Plan, seed: int) -> Described:
    """Return the problem of segmenting the images of a folder of pairs.

    Raises:
        DataError: if images and masks do not match, or a file cannot be used.
        PlanError: if the plan asks for what pairs do not have.
    """
    score, data = chosen(plan, segmentation.SCORES), plan.data
    if data.image_size is not None:
        raise PlanError(
            "data.image_size is for images of classes; images with masks keep their size.",
            remedy="Cut them into tiles of a side: --set data.tile=N.",
        )
    pairs, places = _split(plan, seed)
    sizes = [_check_size(pair) for pair in pairs]
    side = _side(plan, pairs, sizes)
    channels = decode(pairs[0].image).shape[-1]
    levels = _levels(pairs, plan.task.ignore)
    steps = (data.stride or side[0], side[0], side[0])
    train, validation, test = (
        Tiles(pairs, _corners(own, sizes, side, step), side, channels, levels, plan.task.ignore)
        for own, step in zip(places, steps, strict=True)
    )
    parts = resident(train), resident(validation), resident(test)
    mean, deviation = _normalisation(plan, parts[0], channels)
    task = segmentation.segmentation(
        mean,
        deviation,
        score=score,
        weights=weights_of(plan, _counts(parts[0], len(levels), plan.task.ignore)),
        smoothing=plan.task.label_smoothing,
        ignore=plan.task.ignore,
    )
    facts = {"levels": list(levels), "mean": list(mean), "deviation": list(deviation)}
    return Described(Problem(task, *parts), (*side, channels), len(levels), (*side, len(levels)), facts)


def _folders(root: Path) -> tuple[Path, Path] | None:
    """Return the folders of images and of masks in `root`; None if it does not have both."""
    images, masks = (next((root / name for name in names if (root / name).is_dir()), None) for names in (IMAGES, MASKS))
    return None if images is None or masks is None else (images, masks)


def _split(plan: Plan, seed: int) -> tuple[tuple[Pair, ...], Parts]:
    """Return all pairs, and the places of those of each split."""
    root, data = Path(plan.data.dataset), plan.data
    if _folders(root) is not None:
        pairs = _matched(root)
        return pairs, split(data, seed, len(pairs), tested=named_for_test(data, [pair.image for pair in pairs]))
    held = next((root / name for name in _VALIDATION if (root / name).is_dir()), None)
    if not (root / "test").is_dir():
        raise DataError(f"{root} holds train/, and no test/.", remedy="Add it, or name train/ itself as the data set.")
    train, test, own = _matched(root / "train"), _matched(root / "test"), _matched(held) if held else ()
    places = np.arange(len(train) + len(test) + len(own))
    first, second, third = np.split(places, [len(train), len(train) + len(test)])
    if own:
        return train + test + own, Parts(first, third, second)
    chosen_ = validation_of(data, seed, first)
    return train + test, Parts(first[~chosen_], first[chosen_], second)


def _matched(root: Path) -> tuple[Pair, ...]:
    """Return the pairs in a folder in the order of their names; DataError if an image or a mask is alone."""
    folders = _folders(root)
    if folders is None:
        raise DataError(
            f"{root} must hold a folder of images ({', '.join(IMAGES)}) and one of masks ({', '.join(MASKS)}).",
            remedy="Put the images into image/ and their masks, under the same names, into label/.",
        )
    images, masks = (_named(folder) for folder in folders)
    alone = sorted(images.keys() ^ masks.keys())
    if alone or not images:
        raise DataError(
            f"{folders[0]} holds {len(images)} images and {folders[1]} {len(masks)} masks"
            + (f"; without a partner are {len(alone)}: {', '.join(alone[:5])}." if alone else "."),
            remedy="Give every image a mask of the same name, up to the ending, and the other way round.",
        )
    return tuple(Pair(images[name], masks[name]) for name in sorted(images, key=_natural))


def _natural(name: str) -> tuple[int, str]:
    """Return the key by which names are sorted: numbers by their size."""
    return (int(name), "") if name.isdecimal() else (1 << 62, name)


def _named(folder: Path) -> dict[str, Path]:
    files = (file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES and not file.name.startswith("."))
    return {file.stem: file for file in files}


def _check_size(pair: Pair) -> tuple[int, int]:
    """Return height and width of a pair by the headers of its files; DataError if they differ."""
    sizes = []
    for file in (pair.image, pair.mask):
        try:
            with Image.open(file) as image:
                sizes.append((image.height, image.width))
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(
                f"{file} cannot be read as an image: {error}", remedy="Replace it, or remove it with its partner."
            ) from None
    if sizes[0] != sizes[1]:
        raise DataError(
            f"{pair.image} has {sizes[0][0]}x{sizes[0][1]} pixels, and its mask {pair.mask.name} "
            f"{sizes[1][0]}x{sizes[1][1]}.",
            remedy="Give the mask the size of its image, resized without smoothing (Image.Resampling.NEAREST).",
        )
    return sizes[0]


def _side(plan: Plan, pairs: Sequence[Pair], sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return height and width of a tile: the plan's, or those of whole images; DataError where that cannot be."""
    tile = plan.data.tile
    if tile is not None:
        small = next((number for number, size in enumerate(sizes) if min(size) < tile), None)
        if small is not None:
            raise DataError(
                f"{pairs[small].image} has {sizes[small][0]}x{sizes[small][1]} pixels: less than a tile of {tile}.",
                remedy=f"Make tiles smaller: --set data.tile={min(min(size) for size in sizes)}.",
            )
        return tile, tile
    other = next((number for number, size in enumerate(sizes) if size != sizes[0]), None)
    if other is not None:
        raise DataError(
            f"{pairs[0].image} has {sizes[0][0]}x{sizes[0][1]} pixels, and {pairs[other].image.name} "
            f"{sizes[other][0]}x{sizes[other][1]}.",
            remedy=f"Cut them into tiles of one size: --set data.tile={min(min(size) for size in sizes)}.",
        )
    return sizes[0]


def _corners(
    own: NDArray[np.intp], sizes: Sequence[tuple[int, int]], side: tuple[int, int], step: int
) -> NDArray[np.intp]:
    corners = [
        (pair, top, left)
        for pair in own.tolist()
        for top in _starts(sizes[pair][0], side[0], step)
        for left in _starts(sizes[pair][1], side[1], step)
    ]
    return np.array(corners, np.intp)


def _starts(length: int, side: int, step: int) -> list[int]:
    """Return where the tiles of a row begin; the last one ends at the edge."""
    return [*range(0, length - side, step), length - side]


def _mask(file: Path) -> NDArray[np.uint8]:
    """Return the levels [height, width] of a mask: greys, or the numbers of the colours of a palette."""
    try:
        with Image.open(file) as image:
            if image.mode not in {"1", "L", "P"}:
                raise DataError(
                    f"{file} must be a mask with one number a pixel (greys or a palette); its mode is {image.mode}.",
                    remedy="Write the number of the class of each pixel: Image.fromarray(classes.astype(np.uint8)), "
                    "where classes [height, width] is made of its colours.",
                )
            return np.asarray(image.convert("L") if image.mode == "1" else image, np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{file} cannot be read as a mask: {error}", remedy="Replace it, or remove it with its image."
        ) from None


def _levels(pairs: Sequence[Pair], ignore: int | None) -> tuple[int, ...]:
    """Return the levels of masks by class: 0 … k-1, or the levels that there are in ascending order."""
    places = np.linspace(0, len(pairs) - 1, min(len(pairs), SAMPLED)).astype(int)
    found = sorted(set().union(*(np.unique(_mask(pairs[place].mask)).tolist() for place in places)) - {ignore})
    if len(found) < 2:  # noqa: PLR2004 (what is told apart)
        raise DataError(
            f"The masks beside {pairs[0].mask} have {len(found)} level: nothing is to be told apart.",
            remedy="Write each class of pixels as a level of its own.",
        )
    if found[-1] < MOST_LEVELS:
        return tuple(range(found[-1] + 1))
    if len(found) > MOST_LEVELS:
        raise DataError(
            f"The masks beside {pairs[0].mask} have {len(found)} levels, up to {found[-1]}: that is a picture.",
            remedy="Write the number of the class of each pixel, as PNG: JPEG blurs the numbers. Or make two classes "
            "of it: Image.open(file).point(lambda level: level > 127).save(file.with_suffix('.png')).",
        )
    return tuple(found)


@lru_cache(maxsize=16)
def _decoded(
    pair: Pair, channels: int, levels: tuple[int, ...], ignore: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the pixels of an image and the classes of its mask; DataError if they are unlike the others'."""
    image, mask = decode(pair.image), _mask(pair.mask)
    if image.shape[-1] != channels or image.shape[:2] != mask.shape:
        raise DataError(
            f"{pair.image} is {list(image.shape)} and its mask {list(mask.shape)}; {channels} channels and one size "
            "are expected.",
            remedy="Bring all images to one kind, greys or RGB, and masks to their sizes.",
        )
    classes = np.full(256, 255, np.int64)
    classes[list(levels)] = np.arange(len(levels))
    known = np.zeros(256, bool)
    known[list(levels)] = True
    if ignore is not None:
        classes[ignore], known[ignore] = ignore, True
    if not known[mask].all():
        raise DataError(
            f"{pair.mask} has the level {int(mask[~known[mask]][0])}, which others do not have: they have "
            f"{', '.join(map(str, levels))}.",
            remedy="Mend this mask, or say that pixels of that level do not count: --set task.ignore=LEVEL.",
        )
    return image, classes[mask].astype(np.uint8)


def _normalisation(plan: Plan, train: Examples, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel, in units of the full range, as the plan has them or of a sample."""
    data = plan.data
    if data.normalise == "none":
        return (0.0,) * channels, (AS_THEY_ARE,) * channels
    if data.normalise == "standardise":
        places = np.linspace(0, len(train) - 1, min(len(train), SAMPLED)).astype(np.intp)
        pixels = train[places]["image"].reshape(-1, channels) / 255
        return tuple(map(float, pixels.mean(axis=0))), tuple(map(float, np.maximum(pixels.std(axis=0), 1e-3)))
    return _each(data.mean, 0.0, channels, "mean"), _each(data.deviation, 1.0, channels, "deviation")


def _each(given: Any, usual: float, channels: int, name: str) -> tuple[float, ...]:
    numbers = given if isinstance(given, tuple) else (usual if given is None else given,)
    if len(numbers) not in (1, channels):
        raise PlanError(
            f"data.{name} has {len(numbers)} numbers, and the images have {channels} channels.",
            remedy=f"Give one number, or one for each channel: --set data.{name}=NUMBER[,NUMBER…].",
        )
    return numbers * (channels // len(numbers))


def _counts(train: Examples, classes: int, ignore: int | None) -> NDArray[np.int64]:
    """Return how many pixels of each class there are in a sample of the training tiles."""
    places = np.linspace(0, len(train) - 1, min(len(train), SAMPLED)).astype(np.intp)
    counts = np.bincount(train[places]["mask"].reshape(-1), minlength=256)
    if ignore is not None and ignore < classes:
        counts[ignore] = 0
    return counts[:classes]
