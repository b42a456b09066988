"""Labelled images as a source holds them: for each image, uint8 pixels and the number of its class.

Pixels are an array in memory, or `Streamed`: read from files when they are asked for, a batch at a time.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from synevo.tasks.task import Batch, Examples, InMemory

Reader: TypeAlias = Callable[[NDArray[np.intp]], NDArray[np.uint8]]
"""A function that reads images by their places in a source [n]: uint8 [n, height, width, channels]."""


@dataclass(frozen=True)
class Streamed:
    """Pixels that are read when they are indexed: the images of a source at `places` [n], each of one `size`.

    It is indexed as an array is, by a slice or by integers [m], and gives uint8 [m, height, width, channels].
    """

    read: Reader
    places: NDArray[np.intp]
    size: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Number of images, height, width and channels."""
        return (len(self), *self.size)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.places)

    def __getitem__(self, wanted: Any) -> NDArray[np.uint8]:
        """Read some of the images."""
        return self.read(self.places[wanted])

    def at(self, wanted: NDArray[np.intp]) -> "Streamed":
        """Return the pixels of some of the images, in the order of `wanted` [m]; nothing is read."""
        return replace(self, places=self.places[wanted])

    def changed(
        self, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]], size: tuple[int, int, int]
    ) -> "Streamed":
        """Return the pixels as `change` makes them of those that were read; nothing is read yet."""
        read = self.read
        return replace(self, read=lambda places: change(read(places)), size=size)


Pixels: TypeAlias = Any
"""An array uint8 [n, height, width, channels], or `Streamed`."""


@dataclass(frozen=True)
class Images:
    """One split: `pixels` uint8 [n, height, width, channels], `labels` int32 [n] in 0 … classes-1."""

    pixels: Pixels
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.labels)

    def at(self, places: NDArray[np.intp]) -> "Images":
        """Return some of the images, in the order of `places` [m]."""
        streamed = isinstance(self.pixels, Streamed)
        return Images(self.pixels.at(places) if streamed else self.pixels[places], self.labels[places])

    @property
    def streamed(self) -> "Images":
        """The same images, with pixels that are read when they are asked for."""
        if isinstance(self.pixels, Streamed):
            return self
        array: NDArray[np.uint8] = self.pixels
        _, height, width, channels = array.shape
        places = np.arange(len(array))
        return Images(
            Streamed(lambda wanted: np.asarray(array[wanted]), places, (height, width, channels)), self.labels
        )

    @property
    def examples(self) -> Examples:
        """The images as batches of `synevo.tasks.classification`."""
        if isinstance(self.pixels, Streamed):
            return StreamedExamples(self)
        return InMemory({"image": self.pixels, "label": self.labels})


@dataclass(frozen=True)
class StreamedExamples:
    """Images whose batches are read when they are asked for."""

    images: Images

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    def __getitem__(self, places: NDArray[np.intp], /) -> Batch:
        """Read the batch of the images at `places` [n]."""
        return {"image": self.images.pixels[places], "label": self.images.labels[places]}
