"""safetensors holds the weights alone; the architecture is in the JSON beside them, and `synevo.load` reads both."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from synevo.deploy.reload import Reloaded, reload
from synevo.files.tensors import pack_tensors


def write(reloaded: Reloaded) -> bytes:
    """Return the content of a safetensors file with the network's arrays by name."""
    return pack_tensors({name: np.asarray(array) for name, array in reloaded.network.arrays.items()})


def open_file(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """Return the network in a file and the JSON beside it, as a function from pixels to logits.

    Pixels are uint8 [n, height, width, channels], logits float32 [n, classes]. RunError as in `synevo.load`.
    """
    reloaded = reload(path)
    run = jax.jit(reloaded.logits)
    return lambda pixels: np.asarray(run(reloaded.network, jnp.asarray(pixels)))
