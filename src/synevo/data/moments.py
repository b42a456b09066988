"""Mean and deviation of the pixels of each channel, in units of the full range: of all images, or of a stated sample.

They come from histograms of the levels, so they are exact for the images that are counted, and need no float copy.
"""

import numpy as np
from numpy.typing import NDArray

from synevo.data.images import Pixels
from synevo.data.sources import shuffled

SAMPLE = 4096
"""The number of training images that mean and deviation are taken from where all do not fit into memory."""

SMALLEST_DEVIATION = 1e-3
"""A channel is divided by this where its deviation is smaller."""

_COUNTED = 256  # images that are read at once

_ORDER = 4  # its own random stream

Numbers = tuple[float, ...]


def moments(pixels: Pixels, *, sample: int | None, seed: int) -> tuple[Numbers, Numbers]:
    """Return mean and deviation of pixel / 255 in each channel, over all images or over so many, drawn by `seed`."""
    places = np.arange(len(pixels))
    if sample is not None and sample < len(pixels):
        places = np.sort(shuffled(len(pixels), (_ORDER, seed))[:sample])
    counts = np.zeros((pixels.shape[-1], 256), np.int64)
    for first in range(0, len(places), _COUNTED):
        part = pixels[places[first : first + _COUNTED]]
        for channel in range(len(counts)):
            counts[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    found = [_moments(row) for row in counts]
    return tuple(mean for mean, _ in found), tuple(max(deviation, SMALLEST_DEVIATION) for _, deviation in found)


def brightness(pixels: Pixels) -> tuple[float, float]:
    """Return mean and deviation, over images, of an image's mean level in units of the full range; of a large sample.

    The sample is the same for the same number of images.
    """
    places = np.sort(shuffled(len(pixels), (_ORDER,))[:SAMPLE])
    parts = [pixels[places[first : first + _COUNTED]] for first in range(0, len(places), _COUNTED)]
    levels = np.concatenate([part.mean(axis=(1, 2, 3)) for part in parts]) / 255
    return float(levels.mean()), float(levels.std())


def _moments(counts: NDArray[np.int64]) -> tuple[float, float]:
    """Return mean and standard deviation of levels / 255 that occur so often [256]."""
    levels = np.flatnonzero(counts)
    values, shares = levels / 255, counts[levels] / counts.sum()
    mean = shares @ values
    return float(mean), float(np.sqrt(shares @ (values - mean) ** 2))
