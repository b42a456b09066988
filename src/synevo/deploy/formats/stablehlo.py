"""StableHLO: the program as `jax.export` serialises it, for any number of images, on CPU, CUDA and TPU.

It needs only JAX to run:

    import jax
    run = jax.export.deserialize(open("network.stablehlo", "rb").read()).call
    logits = run(pixels)                                            # uint8 [n, height, width, channels]
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, export
from numpy.typing import NDArray

from synevo.deploy.formats.graph import dependent
from synevo.deploy.reload import Reloaded

PLATFORMS = ("cpu", "cuda", "tpu")


def write(reloaded: Reloaded) -> bytes:
    """Return the program with its weights, serialised; raise ExportError if it depends on the number of images."""

    def classify(pixels: Array) -> Array:
        return reloaded.logits(reloaded.network, pixels)

    (batch,) = export.symbolic_shape("n")
    pixels = jax.ShapeDtypeStruct((batch, *reloaded.shape), jnp.uint8)
    try:
        exported = export.export(jax.jit(classify), platforms=PLATFORMS)(pixels)
    except Exception as error:  # whatever the user's code raises
        raise dependent(error) from error
    return bytes(exported.serialize())


def open_file(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """Return the program in a file, as a function from pixels [n, height, width, channels] to logits [n, classes]."""
    run = jax.jit(export.deserialize(bytearray(path.read_bytes())).call)
    return lambda pixels: np.asarray(run(jnp.asarray(pixels)))
