"""Where images come from: a source is opened quickly, says what it holds, and decodes it only when asked.

Each `open_…` checks everything that a run relies on: uint8 pixels of one shape with one or three channels, labels
0 … k-1 for at least two classes. A source without a test split of its own gives up a stratified fifth of every class,
always the same one.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.data.images import Images
from synevo.errors import DataError

TEST_SHARE = 0.2
"""Share of every class that becomes the test split where a source has none."""

FEWEST = 2
"""Classes that can be told apart, and images of a class that can be divided."""

_TEST = (1,)  # the entropy of the fixed test split


@dataclass(frozen=True)
class Splits:
    """All images of a source in their own size: those that may be trained on, and those that only test."""

    train: Images
    test: Images


@dataclass(frozen=True)
class Source:
    """A source that was opened: its images' `shape` (height, width, channels), its `classes`, and how to `read` it.

    `stamp` changes whenever the result of `read` could; it is None where reading is too fast to be worth a cache.
    """

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    read: Callable[[], Splits]
    stamp: str | None = None


def divide(images: Images, share: float, *, classes: Sequence[str], entropy: Sequence[int]) -> tuple[Images, Images]:
    """The images in two parts, `share` of each class in the second, at least one of each class in both.

    The order is drawn from raw bits, whose stream no release of NumPy may change (NEP 19).

    Raises:
        DataError: for a class with a single image.
    """
    order = shuffled(len(images), entropy)
    second = np.zeros(len(images), bool)
    for label, count in zip(*np.unique(images.labels, return_counts=True), strict=True):
        if count < FEWEST:
            raise DataError(
                f"Class {classes[label]!r} has a single image left, and both parts of a split need one.",
                remedy="Add images of this class (train, validation and test each need one), or leave the class out.",
            )
        wanted = min(max(round(share * count), 1), count - 1)
        second[order[images.labels[order] == label][:wanted]] = True
    kept, held = order[~second[order]], order[second[order]]
    return _take(images, kept), _take(images, held)


def open_digits() -> Source:
    """The 1,797 8x8 digits that ship with scikit-learn (UCI, E. Alpaydin and C. Kaynak), 16 grey levels."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 (a second to import, for this source only)

    table = load_digits()
    pixels = np.rint(table.images[..., None] * (255 / 16)).astype(np.uint8)
    return in_memory("digits", with_test(Images(pixels, table.target.astype(np.int32)), numbered(10)), numbered(10))


def check_labels(labels: NDArray[Any], classes: int, *, where: str) -> None:
    """Raise DataError unless there are labels, and every one is in 0 … classes-1."""
    if len(labels) == 0:
        raise DataError(f"{where}: there are none.", remedy="Every split needs images.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"{where} must be in 0 … {classes - 1}; found {low if low < 0 else high}.",
            remedy="Leave out images without a class, and number the classes alike in every split.",
        )


def stamp(kind: str, root: Path, files: Iterable[Path]) -> str:
    """A text that changes when files are added, removed or written: names, sizes and times of modification."""
    lines = [f"{kind} {root}"]
    for file in files:
        facts = file.stat()
        lines.append(f"{file.relative_to(root).as_posix()} {facts.st_size} {facts.st_mtime_ns}")
    return "\n".join(lines)


def shuffled(count: int, entropy: Sequence[int]) -> NDArray[np.intp]:
    """Return a permutation [count] that depends on `entropy` alone."""
    return np.argsort(np.random.PCG64(list(entropy)).random_raw(count), kind="stable")


def _take(images: Images, places: NDArray[np.intp]) -> Images:
    return Images(images.pixels[places], images.labels[places])


def with_test(images: Images, classes: Sequence[str]) -> Splits:
    """Hold out the test split of a source that has none; DataError as in `divide`."""
    return Splits(*divide(images, TEST_SHARE, classes=classes, entropy=_TEST))


def in_memory(name: str, splits: Splits, classes: tuple[str, ...]) -> Source:
    """Make a source of images that are in memory already."""
    height, width, channels = splits.train.pixels.shape[1:]
    return Source(name, (height, width, channels), classes, lambda: splits)


def numbered(count: int) -> tuple[str, ...]:
    """Name classes by their numbers."""
    return tuple(str(label) for label in range(count))
