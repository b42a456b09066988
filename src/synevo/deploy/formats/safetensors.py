"""safetensors holds the weights alone; the architecture is in the JSON beside them, and `synevo.load` reads both.

A packed file has a bit a synapse and the living values (`synevo.files.tensors`); `synevo.load` reads it, too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synevo.deploy.interface import answers
from synevo.deploy.reload import Ancestor, Reloaded, reload
from synevo.files.tensors import pack_living, pack_tensors


def write(reloaded: Reloaded, *, packed: bool = False) -> bytes:
    """Return the content of a safetensors file with the network's arrays by name, dense or packed."""
    arrays = {name: np.asarray(array) for name, array in reloaded.network.arrays.items()}
    return pack_living(arrays) if packed else pack_tensors(arrays)


def open_file(path: Path, ancestor: Ancestor | None = None) -> Callable[..., Any]:
    """Return the network in a file and the JSON beside it, as a function from the arrays it takes to those it gives.

    `ancestor` and errors are those of `synevo.load`.
    """
    reloaded = reload(path, ancestor=ancestor)
    run = jax.jit(lambda network, *leaves: answers(reloaded, network, *leaves))
    return lambda *leaves: jax.tree.map(np.asarray, run(reloaded.network, *map(jnp.asarray, leaves)))
