"""C in whole numbers: weights and most values in eight bits, sums in 32, a float to scale each result.

Weights have a scale an output; the ranges of values are measured on training images. Logits are floats.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.deploy.formats.c.checker import costs, open_file
from synevo.deploy.formats.c.fusing import fuse
from synevo.deploy.formats.c.ranges import quanta
from synevo.deploy.formats.c.source import text_of, written
from synevo.deploy.formats.graph import graph_of
from synevo.deploy.reload import Reloaded

__all__ = ["costs", "describe", "open_file", "write"]


def write(reloaded: Reloaded, calibration: NDArray[np.uint8]) -> bytes:
    """Return the content of a C file in whole numbers, calibrated on images [n, height, width, channels].

    Raises:
        ExportError: if a step has no counterpart in C; the message names the line of the user's model.
    """
    images = np.array(calibration)
    images[0].flat[0], images[0].flat[-1] = 0, 255  # the whole range of pixels
    fused = fuse(graph_of(reloaded, images=1))
    return text_of(written(fused, quanta(fused, images)), reloaded.architecture).encode()


def describe(content: bytes) -> dict[str, Any]:
    """Return nothing: logits are floats, as in every other format."""
    del content
    return {}
