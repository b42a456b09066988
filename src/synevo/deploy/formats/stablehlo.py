"""StableHLO: the program as `jax.export` serialises it, for any number of examples, on CPU, CUDA and TPU.

It needs only JAX to run:

    import jax
    run = jax.export.deserialize(open("network.stablehlo", "rb").read()).call
    logits = run(pixels)                                            # uint8 [n, height, width, channels]

It is called as the network is: with one array for images, else with the network's own arguments.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from synevo.deploy.interface import arguments, dependent, specs
from synevo.deploy.reload import Reloaded

PLATFORMS = ("cpu", "cuda", "tpu")


def write(reloaded: Reloaded) -> bytes:
    """Return the program with its weights, serialised; raise ExportError if it depends on a size that is free."""

    def run(*inputs: Any) -> Any:
        return reloaded.logits(reloaded.network, *inputs) if reloaded.of_images else reloaded.network(*inputs)

    inputs = arguments(reloaded, specs(reloaded))
    try:
        exported = export.export(jax.jit(run), platforms=PLATFORMS)(*inputs)
    except Exception as error:  # whatever the user's code raises
        raise dependent(error) from error
    return bytes(exported.serialize())


def open_file(path: Path) -> Callable[..., Any]:
    """Return the program in a file, as a function from the arrays that it takes to those that it gives."""
    exported = export.deserialize(bytearray(path.read_bytes()))
    run = jax.jit(exported.call)

    def call(*leaves: Any) -> Any:
        inputs, named = jax.tree.unflatten(exported.in_tree, map(jnp.asarray, leaves))
        return jax.tree.map(np.asarray, run(*inputs, **named))

    return call
