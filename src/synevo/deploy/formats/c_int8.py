"""C in whole numbers: weights and most values in eight bits, sums in 32, a float to scale each result.

Weights have a scale an output; the ranges of values are measured on training examples. Outputs are floats.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.deploy.formats.c.checker import called, costs, open_file
from synevo.deploy.formats.c.fusing import fuse
from synevo.deploy.formats.c.source import text_of, written
from synevo.deploy.formats.c_ranges import quanta
from synevo.deploy.formats.graph import graph_of
from synevo.deploy.interface import unpadded
from synevo.deploy.reload import Reloaded

__all__ = ["called", "costs", "open_file", "write"]


def write(reloaded: Reloaded, *calibration: NDArray[Any]) -> bytes:
    """Return the content of a C file in whole numbers, calibrated on the arrays of examples that it takes.

    Raises:
        ExportError: if a step has no counterpart in C; the message names the line of the user's model.
    """
    examples = [np.array(leaf) for leaf in calibration]
    if reloaded.of_images:
        examples[0][0].flat[0], examples[0][0].flat[-1] = 0, 255  # the whole range of pixels
    fused = fuse(graph_of(unpadded(reloaded), count=1))
    return text_of(written(fused, quanta(fused, examples)), reloaded.architecture).encode()
