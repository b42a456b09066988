"""Labelled images as a source holds them: for each image, uint8 pixels and the number of its class."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synevo.tasks.task import InMemory


@dataclass(frozen=True)
class Images:
    """One split: `pixels` uint8 [n, height, width, channels], `labels` int32 [n] in 0 … classes-1."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    @property
    def examples(self) -> InMemory:
        """The images as batches of `synevo.tasks.classification`."""
        return InMemory({"image": self.pixels, "label": self.labels})
