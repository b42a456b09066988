"""Outputs prove an adoption: the network gives what the framework gave that trained it.

    d = max |y - z| / max |z|        y: the network's outputs, z: the expected ones; the largest of all leaves

A matrix that is transposed, a normalisation with another epsilon or a padding on another side all have the right names
and shapes. They show here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from synevo.adoption.archives import read_npz
from synevo.adoption.reading import Arrays, content_of, in_words
from synevo.adoption.trees import flatten
from synevo.errors import AdoptionError
from synevo.model.network import Network, call

_REMEDY = (
    "Write it with np.savez(FILE, inputs=…, outputs=…); several of them as inputs/0, inputs/1, and outputs under their "
    "paths as outputs/PATH. For classifiers of images also pixels with logits or probabilities."
)


@dataclass(frozen=True)
class Expected:
    """Inputs, and the outputs that the weights gave for them where they were trained, by path; `""` where it is one.

    With `probabilities`, the softmax of the network's outputs is compared.
    """

    inputs: tuple[NDArray[Any], ...]
    outputs: Arrays
    probabilities: bool = False


def read_expected(path: Path, prepare: Callable[[NDArray[Any]], Any] | None = None) -> Expected:
    """Return the inputs and outputs in an .npz file; `prepare` makes inputs of `pixels` [n, height, width, channels].

    Raises:
        AdoptionError: where it is no such file.
    """
    content = content_of(path)
    with in_words(path):
        arrays, _ = read_npz(path, content)
    outputs = _under(arrays, "outputs") or _under(arrays, "logits") or _under(arrays, "probabilities")
    inputs = [array for _, array in sorted(_under(arrays, "inputs").items(), key=lambda pair: int(pair[0] or 0))]
    if not inputs and "pixels" in arrays:
        if prepare is None:
            raise AdoptionError(
                f"{path} holds pixels, and what the network takes is not known.",
                remedy="Write the inputs as the network takes them: np.savez(FILE, inputs=…, outputs=…).",
            )
        inputs = [np.asarray(prepare(arrays["pixels"]))]
    if not inputs or not outputs:
        held = ", ".join(sorted(arrays)) or "nothing"
        raise AdoptionError(f"{path} must hold inputs and outputs; found {held}.", remedy=_REMEDY)
    softmax = not {"outputs", "logits"} & {name.partition("/")[0] for name in arrays}
    return Expected(tuple(inputs), outputs, softmax)


def _under(arrays: Arrays, name: str) -> Arrays:
    """Return the arrays named `name` or `name/…`, by what follows."""
    return {one[len(name) + 1 :]: array for one, array in arrays.items() if one.partition("/")[0] == name}


def compare_outputs(network: Network, expected: Expected, *, tolerance: float = 1e-4) -> float:
    """Return the largest difference of a network's outputs from the expected ones, relative to the largest of a leaf.

    Raises:
        AdoptionError: where it is above the `tolerance`, or the outputs have other paths or shapes.
    """
    with jax.default_matmul_precision("highest"):  # else GPUs round factors to 10 bits
        outputs = call(network, *expected.inputs)
    outputs = jax.nn.softmax(outputs, axis=-1) if expected.probabilities else outputs
    found = _by_path(outputs)
    if found.keys() != expected.outputs.keys():
        raise AdoptionError(
            f"The network gives {_listed(found)}; expected are {_listed(expected.outputs)}.", remedy=_REMEDY
        )
    differences = {name: _difference(name, found[name], expected.outputs[name]) for name in sorted(found)}
    worst = max(differences, key=lambda name: differences[name])
    if not differences[worst] <= tolerance:
        where = f" in {worst}" if worst else ""
        raise AdoptionError(
            f"The network gives other outputs: they differ by {differences[worst]:.2g} of the largest one{where}; "
            f"at most {tolerance:.2g} is expected of the same network.",
            remedy=_causes(network),
        )
    return differences[worst]


def _by_path(outputs: Any) -> Arrays:
    leaves = jax.tree.map(np.asarray, outputs)
    return {"": leaves} if isinstance(leaves, np.ndarray) else flatten(leaves)


def _listed(arrays: Arrays) -> str:
    return ", ".join(sorted(name or "one array" for name in arrays))


def _difference(name: str, found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the largest difference of two arrays relative to the largest expected number; infinite with NaN."""
    if found.shape != expected.shape:
        raise AdoptionError(
            f"The network's outputs {name or ''} are {list(found.shape)}; expected are {list(expected.shape)}.",
            remedy=_REMEDY,
        )
    if not expected.size:
        return 0.0
    wanted = expected.astype(np.float64)
    difference = float(np.abs(found.astype(np.float64) - wanted).max())
    largest = float(np.abs(wanted).max())
    if not (np.isfinite(difference) and np.isfinite(largest)):
        return float("inf")
    return difference / largest if largest else difference


def _causes(network: Network) -> str:
    """Return where to look, in words; matrices that fit both ways are named."""
    square = [
        name
        for name, array in sorted(network.arrays.items())
        if array.ndim == 2 and array.shape[0] == array.shape[1]  # noqa: PLR2004
    ]
    ways = f" a matrix that fits both ways ({', '.join(square[:5])})," if square else ""
    return (
        f"Compare with the original:{ways} the scale of the inputs, the epsilon of normalisations (Flax 1e-5 or 1e-6, "
        "Keras 1e-3), the side of the padding where strides are above 1 (PyTorch pads both, SAME the end), the order "
        "of a flattened map, and the form of an activation, such as GELU."
    )
