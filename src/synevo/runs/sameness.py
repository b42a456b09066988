"""What a compacted network computed when it was written, so that other code of its model is noticed when it is read.

`describe` keeps the fingerprint of the program and, of four examples, some of the outputs. `check` compares: the same
fingerprint is the same program. Where it differs, since another JAX may trace the same code otherwise, the outputs
decide.
"""

from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from synevo.errors import RunError
from synevo.model.network import Inputs, Network, call
from synevo.wiring.dissection import example_of
from synevo.wiring.fingerprint import fingerprint
from synevo.wiring.programs import program_of

TOLERANCE = 1e-4
"""The largest difference of the outputs for an example, relative to its largest output (at least 1e-6)."""

_SCALES = (0.5, 1.0, 4.0, 32.0)
"""The deviation of the fractions in each example: large ones reach what only limits large values."""

_KEPT = 64
"""The most outputs of an example that are kept of each array."""


def describe(network: Network, inputs: Inputs) -> dict[str, Any]:
    """Return the fingerprint of a network and its outputs for the reference examples, as a JSON value."""
    return {
        "fingerprint": fingerprint(program_of(network, example_of(inputs), unrolled=False)),
        "outputs": _outputs(network, inputs),
    }


def check(network: Network, inputs: Inputs, described: dict[str, Any], name: str) -> None:
    """Raise RunError if a network, built by the ancestor `name`, is not the one that was `described`."""
    try:
        if fingerprint(program_of(network, example_of(inputs), unrolled=False)) == described["fingerprint"]:
            return
        found = _outputs(network, inputs)
    except Exception as error:  # whatever the user's code raises
        raise changed(
            name, f"it cannot run ({type(error).__name__}: {str(error).strip().partition(chr(10))[0]})"
        ) from error
    if not _near(described["outputs"], found):
        raise changed(name, "it gives other outputs")


def changed(name: str, how: str) -> RunError:
    """Return the error for a model whose code is no longer the one that a network was made with."""
    return RunError(
        f"The ancestor's model {name} has changed since the network was made: {how}.",
        remedy="Give the model back its code, or name the code that the network was made with as the ancestor.",
    )


def _outputs(network: Network, inputs: Inputs) -> list[list[list[float]]]:
    """Return some outputs for the reference examples: [arrays, examples, places]."""
    with jax.default_matmul_precision("highest"):
        found = jax.tree.leaves(call(network, *_examples(inputs)))
    return [[_some(np.asarray(row, np.float64)) for row in np.asarray(array)] for array in found]


def _some(row: NDArray[np.float64]) -> list[float]:
    """Return at most `_KEPT` values of an output, at even distances."""
    flat = row.reshape(-1)
    places = np.linspace(0, max(flat.size - 1, 0), min(_KEPT, flat.size)).astype(int)
    return [float(value) for value in flat[places]]


def _near(before: list[list[list[float]]], after: list[list[list[float]]]) -> bool:
    try:
        pairs = [(np.array(one), np.array(other)) for one, other in zip(before, after, strict=True)]
        return all(_alike(*rows) for pair in pairs for rows in zip(*pair, strict=True))
    except ValueError:  # other numbers of outputs
        return False


def _alike(before: NDArray[np.float64], after: NDArray[np.float64]) -> bool:
    """Return whether the outputs of an example are the same, but for what rounding makes of them."""
    scale = np.abs(before[np.isfinite(before)]).max(initial=1e-6)
    return before.shape == after.shape and np.allclose(before, after, rtol=0, atol=TOLERANCE * scale, equal_nan=True)


def _examples(inputs: Inputs) -> Inputs:
    """Return the reference examples for these inputs: the same in every version of NumPy."""
    source = np.random.PCG64(0)

    def draw(like: Any) -> NDArray[Any]:
        shape = (len(_SCALES), *like.shape[1:])
        raw = np.asarray(source.random_raw(int(np.prod(shape))), np.uint64).reshape(shape)
        if not jax.numpy.issubdtype(like.dtype, jax.numpy.floating):
            return (raw >> np.uint64(63)).astype(like.dtype)
        even = (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53
        scales = np.array(_SCALES).reshape(-1, *[1] * (len(shape) - 1))
        return ((even - 0.5) * np.sqrt(12.0) * scales).astype(like.dtype)

    drawn: Inputs = jax.tree.map(draw, inputs)
    return drawn
