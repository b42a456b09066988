"""The proof that a compacted network is the masked one: it has the same program, and the same results."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.errors import ProofError
from synevo.model.network import Inputs, Network
from synevo.wiring.dissection import Anatomy, check
from synevo.wiring.identities import Flags
from synevo.wiring.programs import for_one_run, program_of
from synevo.wiring.tracing import EXAMPLES, evaluate_in_float32

TOLERANCE = 1e-4
"""The largest difference of outputs that float32 may make, relative to the largest output (at least 1)."""

ROUNDINGS = 8
"""How often the coarsest arithmetic of a network may round differently, where that is more than `TOLERANCE`."""


@dataclass(frozen=True)
class Proof:
    """The result of a proof: the same program in so many `steps`, and the same outputs for `examples` real examples.

    `max_difference` is absolute, `largest_output` its scale. `top1_agreement` is the share of real examples whose
    largest output is at the same place. It is None unless the outputs are one array with several values along its last
    axis.
    """

    steps: int
    examples: int
    random_examples: int
    max_difference: float
    largest_output: float
    top1_agreement: float | None


def prove(key: Array, anatomy: Anatomy, alive: Flags, *, masked: Network, compact: Network, inputs: Inputs) -> Proof:
    """Prove that `compact` computes the same as `masked`, without the units that are not `alive` [units].

    `inputs` are real arguments: pytrees of arrays whose first axis counts examples. As many random ones are drawn from
    `key`. Outputs are compared leaf by leaf. What computes in coarser numbers than float32 is compared twice: as it
    is, with the roundings of these numbers, and a few examples with all of it in float32.

    Raises:
        ProofError: where program or outputs differ.
    """
    steps = check(masked, anatomy, alive)
    both = jax.tree.map(lambda *arrays: np.concatenate(arrays), inputs, draw(key, inputs))
    precision = anatomy.program.precision
    with jax.default_matmul_precision("highest"):  # else GPUs round the factors of float32 products to 10 bits
        large, small = (jax.tree.map(np.asarray, _call(network, *both)) for network in (masked, compact))
        compared = _compare_outputs(large, small, max(TOLERANCE, ROUNDINGS * precision))
        if precision > np.finfo(np.float32).eps:
            _compare_in_float32(anatomy, masked, compact, both)
    differences, scales = zip(*compared, strict=True)
    count = len(jax.tree.leaves(inputs)[0])
    return Proof(steps, count, count, max(differences), max(scales), _agreement(large, small, count))


def _call(network: Network, *inputs: Any) -> Any:
    return for_one_run(Network.__call__)(network, *inputs)


def _compare_outputs(large: Any, small: Any, tolerance: float) -> list[tuple[float, float]]:
    """Compare the outputs of two networks leaf by leaf; return each leaf's largest difference and largest value.

    Raises:
        ProofError: where they differ by more than `tolerance`, relative to the largest value (at least 1).
    """
    compared = [_compare(one, other) for one, other in zip(jax.tree.leaves(large), jax.tree.leaves(small), strict=True)]
    for difference, scale in compared:
        if not difference <= tolerance * max(scale, 1.0):
            raise ProofError(
                f"The compacted network's outputs differ from the masked one's by {difference:.3g} (largest "
                f"{scale:.3g}).",
                remedy="Nothing was written. Please report the model: synevo must freeze what it cannot remove.",
            )
    return compared


def _compare_in_float32(anatomy: Anatomy, masked: Network, compact: Network, inputs: Inputs) -> None:
    """Compare two networks on the first and the last examples, with all that they compute in float32."""
    programs = (anatomy.program, masked), (program_of(compact, anatomy.inputs), compact)
    for places in (np.arange(EXAMPLES), -1 - np.arange(EXAMPLES)):
        leaves = [np.take(leaf, places, axis=0, mode="wrap") for leaf in jax.tree.leaves(inputs)]
        large, small = (
            jax.tree.map(np.asarray, evaluate_in_float32(program, network.arrays, *leaves))
            for program, network in programs
        )
        _compare_outputs(large, small, TOLERANCE)


def draw(key: Array, inputs: Inputs) -> Inputs:
    """Draw random arguments like `inputs`: normal numbers for fractions, else the real ones in another order."""
    random = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def like(leaf: Any) -> Any:
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return random.standard_normal(leaf.shape, np.float32).astype(leaf.dtype)
        return random.permutation(np.asarray(leaf))

    found: Inputs = jax.tree.map(like, inputs)
    return found


def _compare(large: Any, small: Any) -> tuple[float, float]:
    """Return the largest difference between two arrays, and the largest absolute value of the first."""
    if not np.issubdtype(large.dtype, np.inexact):
        large, small = large.astype(np.float64), small.astype(np.float64)
    return float(np.abs(large - small).max(initial=0)), float(np.abs(large).max(initial=0))


def _agreement(large: Any, small: Any, count: int) -> float | None:
    """Return the share of the first `count` examples whose largest outputs agree in place; None without classes."""
    if not isinstance(large, np.ndarray) or large.ndim < 2 or large.shape[-1] < 2:  # noqa: PLR2004
        return None
    return float((large.argmax(-1) == small.argmax(-1))[:count].mean())
