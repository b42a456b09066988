"""Labelled images in memory: what the science trains and scores networks on, wherever they came from.

Pixels stay uint8 until the step that uses them, so that a whole data set fits on the device.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Images:
    """One split: `pixels` uint8 [n, height, width, channels], `labels` int32 [n] in 0 … classes-1."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> "Images":
        """The first `count` images, or all where there are fewer."""
        return Images(self.pixels[:count], self.labels[:count])


@dataclass(frozen=True)
class Dataset:
    """Three disjoint splits, the names of the classes, and the normalisation: x = (pixel / 255 - mean) / deviation.

    `mean` and `deviation` have one entry a channel, in units of the full pixel range.
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
