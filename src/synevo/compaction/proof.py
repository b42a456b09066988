"""The proof that a compacted network is the masked one: it has the same program, and the same results."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from synevo.compaction.probes import at_once, examples
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
    count, precision = len(jax.tree.leaves(inputs)[0]), anatomy.program.precision
    with jax.default_matmul_precision("highest"):  # else GPUs round the factors of float32 products to 10 bits
        compared = [_compare_outputs(*pair) for pair in _outputs(masked, compact, both, at_once(anatomy.program))]
        found = _Compared.joined(compared)
        found.check(max(TOLERANCE, ROUNDINGS * precision))
        if precision > np.finfo(np.float32).eps:
            _compare_in_float32(anatomy, masked, compact, both)
    agreeing = None if found.agreeing is None else float(found.agreeing[:count].mean())
    return Proof(steps, count, count, max(found.differences), max(found.scales), agreeing)


def _outputs(masked: Network, compact: Network, inputs: Inputs, most: int) -> Iterator[tuple[Any, Any]]:
    """Yield the outputs of both networks, for all examples, `most` of them at once."""
    run, count = for_one_run(Network.__call__), len(jax.tree.leaves(inputs)[0])
    size = -(-count // max(1, -(-count // most)))  # all parts are of one size, so that nothing is compiled twice
    for start in range(0, count, size):
        chosen = inputs if size == count else examples(inputs, np.arange(start, start + size))
        large, small = (jax.tree.map(np.asarray, run(network, *chosen)) for network in (masked, compact))
        yield large, small


@dataclass(frozen=True)
class _Compared:
    """The largest difference and value of each leaf of the outputs, and whether the likeliest agree [examples, …]."""

    differences: Sequence[float]
    scales: Sequence[float]
    agreeing: Flags | None

    @classmethod
    def joined(cls, parts: Sequence["_Compared"]) -> "_Compared":
        """Return what was compared in parts, a few examples each."""
        agreeing = [part.agreeing for part in parts if part.agreeing is not None]
        return cls(
            np.max([part.differences for part in parts], axis=0).tolist(),
            np.fmax.reduce([part.scales for part in parts], axis=0).tolist(),
            np.concatenate(agreeing) if agreeing else None,
        )

    def check(self, tolerance: float) -> None:
        """Check that no leaf differs by more than `tolerance`, relative to its largest value (at least 1).

        Raises:
            ProofError: where one does, or holds no number at all.
        """
        for difference, scale in zip(self.differences, self.scales, strict=True):
            if np.isnan(scale):
                raise ProofError(
                    "The masked network's outputs are not finite for any example, so that they prove nothing.",
                    remedy="Look for parameters that are not finite, and for divisions by what may be zero.",
                )
            if not difference <= tolerance * max(scale, 1.0):
                raise ProofError(
                    f"The compacted network's outputs differ from the masked one's by {difference:.3g} (largest "
                    f"{scale:.3g}).",
                    remedy="Nothing was written. Please report the model: synevo must freeze what it cannot remove.",
                )


def _compare_outputs(large: Any, small: Any) -> _Compared:
    """Compare the outputs of two networks for some examples, leaf by leaf."""
    leaves = zip(jax.tree.leaves(large), jax.tree.leaves(small), strict=True)
    differences, scales = zip(*(_compare(one, other) for one, other in leaves), strict=True)
    return _Compared(differences, scales, _agreeing(large, small))


def _compare_in_float32(anatomy: Anatomy, masked: Network, compact: Network, inputs: Inputs) -> None:
    """Compare two networks on the first and the last examples, with all that they compute in float32."""
    programs = (anatomy.program, masked), (program_of(compact, anatomy.inputs), compact)
    for places in (np.arange(EXAMPLES), -1 - np.arange(EXAMPLES)):
        leaves = jax.tree.leaves(examples(inputs, places))
        large, small = (
            jax.tree.map(np.asarray, evaluate_in_float32(program, network.arrays, *leaves))
            for program, network in programs
        )
        _compare_outputs(large, small).check(TOLERANCE)


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
    """Return the largest difference between two arrays, and the largest finite value of the first (absolute, or NaN).

    Where both are the same infinity, or no number, they do not differ: so is a softmax over nothing.
    """
    if not np.issubdtype(large.dtype, np.inexact):
        large, small = large.astype(np.float64), small.astype(np.float64)
    alike = (large == small) | (np.isnan(large) & np.isnan(small))
    with np.errstate(invalid="ignore"):
        difference = np.abs(large - small).max(initial=0, where=~alike)
    finite = np.isfinite(large)
    scale = np.abs(large).max(initial=0, where=finite) if finite.any() or not finite.size else np.nan
    return float(difference), float(scale)


def _agreeing(large: Any, small: Any) -> Flags | None:
    """Return flags of the examples whose largest outputs agree in place [examples, …]; None without classes."""
    if not isinstance(large, np.ndarray) or large.ndim < 2 or large.shape[-1] < 2:  # noqa: PLR2004
        return None
    agreeing: Flags = large.argmax(-1) == small.argmax(-1)
    return agreeing
