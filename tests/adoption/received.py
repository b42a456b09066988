"""Networks that others have trained, in the folder of real networks, as they take pixels."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.typing import NDArray

from synevo.model.network import Inputs, Network, outline

REAL = Path(os.environ.get("TFDS_DATA_DIR", "nowhere")).parent / "real"

real = pytest.mark.skipif(not REAL.is_dir(), reason="there is no folder of real networks beside TFDS_DATA_DIR")

PIXELS: Inputs = (jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32),)


def made(make: Callable[[nnx.Rngs], Any], inputs: Inputs = PIXELS) -> Network:
    """A network as shapes alone: whatever its arrays are afterwards was adopted."""
    return outline(make, inputs)


def standardised(pixels: NDArray[Any]) -> NDArray[Any]:
    """As Idelbayev's networks take CIFAR-10."""
    mean, deviation = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
    return np.asarray((pixels.astype(np.float32) / 255 - mean) / deviation, np.float32)
