"""Sources of images: a source is opened quickly, describes its content, and decodes it only when asked.

Each `open_…` checks everything that a run relies on: uint8 pixels of one shape with one or three channels, labels
0 … k-1 for at least two classes. If a source has no test split, a stratified fifth of every class becomes one, always
the same.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from synevo.data.images import Images
from synevo.errors import DataError

TEST_SHARE = 0.2
"""Share of every class in the test split that is made if a source has none."""

FEWEST = 2
"""The least number of classes of a source, and of images of a class that can be divided."""

_TEST = (1,)  # the entropy of the fixed test split


@dataclass(frozen=True)
class Splits:
    """All images of a source: some for training, others for the test alone, and its own validation if it has one."""

    train: Images
    test: Images
    validation: Images | None = None

    def __len__(self) -> int:
        """Return the number of all images."""
        return len(self.train) + len(self.test) + (len(self.validation) if self.validation else 0)

    @property
    def streamed(self) -> "Splits":
        """The same splits, with pixels that are read when they are asked for."""
        held = self.validation and self.validation.streamed
        return Splits(self.train.streamed, self.test.streamed, held)


class Survey(NamedTuple):
    """The sizes of all images of a source, as their headers declare them, and the numbers of their channels."""

    lowest: tuple[int, int]
    highest: tuple[int, int]
    square: bool
    channels: frozenset[int]


@dataclass(frozen=True)
class Source:
    """An opened source: the `shape` (height, width, channels) of its images, its `classes`, and functions that read.

    `count` is the number of all images. `read` decodes them all; `stream` reads no more than their labels. `stamp`
    gives a text that changes whenever the result of `read` could; None if reading is too fast to be worth a cache.
    `resized` returns the source whose images are resized to a side when they are read; None if they have one size.
    `survey` looks at the headers of all images; None if they must be alike. `left_out` names the files that are not
    used. `validation` is the name of a split for validation that is read only if the plan names it; None if there is
    none.
    """

    name: str
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    count: int
    read: Callable[[], Splits]
    stream: Callable[[], Splits]
    stamp: Callable[[], str] | None = None
    resized: "Callable[[int], Source] | None" = None
    survey: Callable[[], Survey] | None = None
    left_out: tuple[str, ...] = ()
    validation: str | None = None


def divide(images: Images, share: float, *, classes: Sequence[str], entropy: Sequence[int]) -> tuple[Images, Images]:
    """Divide images in two parts, `share` of each class in the second, at least one of each class in both.

    The order is drawn from raw bits, because no release of NumPy may change their stream (NEP 19).

    Raises:
        DataError: if a class has a single image.
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
    return images.at(kept), images.at(held)


@cache
def open_digits() -> Source:
    """Return the source of scikit-learn's 1,797 8x8 digits (UCI, E. Alpaydin and C. Kaynak), 16 grey levels."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 (a second to import, for this source only)

    table = load_digits()
    pixels = np.rint(table.images[..., None] * (255 / 16)).astype(np.uint8)
    return in_memory("digits", with_test(Images(pixels, table.target.astype(np.int32)), numbered(10)), numbered(10))


def check_labels(labels: NDArray[Any], classes: int, *, where: str) -> None:
    """Raise DataError unless there are labels [n], and every one is in 0 … classes-1."""
    if len(labels) == 0:
        raise DataError(f"{where}: there are none.", remedy="Every split needs images.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= classes:
        raise DataError(
            f"{where} must be in 0 … {classes - 1}; found {low if low < 0 else high}.",
            remedy="Leave out images without a class, and number the classes alike in every split.",
        )


def stamp(kind: str, root: Path, files: Iterable[Path]) -> str:
    """Return a text that changes when files do: their names, sizes, and times of modification and of change.

    A program may set the time of modification as it likes; that of the change is the system's own.
    """
    lines = [f"{kind} {str(root)!r}"]
    for file in files:
        facts = file.stat()
        name = file.relative_to(root).as_posix()
        lines.append(f"{name!r} {facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}")
    return "\n".join(lines)


def shuffled(count: int, entropy: Sequence[int]) -> NDArray[np.intp]:
    """Return a permutation [count] that depends on `entropy` alone."""
    return np.argsort(np.random.PCG64(list(entropy)).random_raw(count), kind="stable")


def with_test(images: Images, classes: Sequence[str]) -> Splits:
    """Hold out a test split if a source has none; raise DataError as in `divide`."""
    return Splits(*divide(images, TEST_SHARE, classes=classes, entropy=_TEST))


def in_memory(name: str, splits: Splits, classes: tuple[str, ...]) -> Source:
    """Return a source of images that are in memory already."""
    height, width, channels = splits.train.pixels.shape[1:]
    return Source(name, (height, width, channels), classes, len(splits), lambda: splits, lambda: splits.streamed)


def numbered(count: int) -> tuple[str, ...]:
    """Return the numbers 0 … count-1 as names of classes."""
    return tuple(str(label) for label in range(count))
