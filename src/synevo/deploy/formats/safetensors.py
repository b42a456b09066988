"""safetensors: the weights alone; the architecture is in the JSON beside them; `synevo.load` reads both."""

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
    """The arrays of the network, by name."""
    return pack_tensors({name: np.asarray(array) for name, array in reloaded.network.arrays.items()})


def open_file(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """The network of a file and the JSON beside it, as a function from pixels to logits."""
    reloaded = reload(path)
    run = jax.jit(reloaded.logits)
    return lambda pixels: np.asarray(run(reloaded.network, jnp.asarray(pixels)))
