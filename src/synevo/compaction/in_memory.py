"""Compaction: make the masked network physically smaller, and prove that both are the same network.

A dead unit is cut out of all arrays that it is part of: its filter, bias and normalisation, and the slices of the next
layers that read it. The proof has two parts. First, the model is traced again with the smaller arrays and compared,
step by step and literal by literal, with the program predicted from the wiring. Second, the masked and the compacted
network are run on real and random inputs. A difference in either is an error, and nothing is written.

`compact` does this for any model in memory; a Linen module comes with its `variables`:

    import synevo

    smaller = synevo.compact(model, (32, 32, 3))                       # what is exactly zero is dead
    smaller = synevo.compact(model, (32, 32, 3), masks={"conv1/kernel": alive})
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax import Array
from numpy.typing import NDArray

from synevo.compaction.constants import find_constant, listen
from synevo.compaction.proof import Proof, prove
from synevo.errors import CompactionError
from synevo.model.linen import as_nnx
from synevo.model.network import Inputs, Network, put_together, take_apart
from synevo.wiring.cutting import cut
from synevo.wiring.dissection import Anatomy, dissect, example_of
from synevo.wiring.identities import Flags
from synevo.wiring.signal import trim
from synevo.wiring.tracing import EXAMPLES
from synevo.wiring.units import Frozen, Wiring, keep_one, survives

PROBES = 64
"""The number of random examples in a proof without real inputs; as many are drawn again."""

SHOWN_REASONS = 5


@dataclass(frozen=True)
class Compacted:
    """A smaller model, in evaluation mode, with its proof and what was removed.

    `removed` of `units` units were removed. `attributes` are the integers in the model's modules that count units, by
    `module.attribute`, with their new values. `kept` are the places that are left along each axis of each array;
    optimiser state or masks can be cut by them, too. `frozen` are the places that could not be removed, and why.
    """

    model: nnx.Module
    proof: Proof
    removed: int
    units: int
    kept: Mapping[str, tuple[NDArray[np.int64], ...]]
    frozen: tuple[Frozen, ...]
    attributes: Mapping[str, int]


def compact(
    model: nnx.Module | linen.Module,
    example: Any,
    *,
    variables: Mapping[str, Any] | None = None,
    masks: Mapping[str, Any] | None = None,
    inputs: Any = None,
) -> Compacted:
    """Return the model without its dead units, proven to compute the same; `model` itself stays as it is.

    `example` describes the arguments of the model: the shape of one float32 input without the axis of examples, such as
    (height, width, channels), or a tuple of its arguments (arrays or `jax.ShapeDtypeStruct`s, the first axis of each
    counting examples). A Linen module comes with its `variables`, and becomes an nnx.Module that holds them. `masks`
    are boolean, True where alive, in the shapes of the arrays that they name by their paths, such as `conv1/kernel`;
    any array may be masked. What is masked, or exactly zero, is dead. A unit is removed if no living synapse leads from
    it to an output, or if none reaches it and its value is zero. A bias that is not masked can keep a unit; it is named
    in `frozen`. The proof uses `inputs`, a tuple of real arguments (or one array), and as many random ones; without
    `inputs`, random ones alone.

    Raises:
        CompactionError: where nothing can be removed, or masks do not fit the arrays, or variables are missing.
        AncestorError: where a Linen module does not run on its inputs alone, or the variables are not its own.
        ProofError: where the smaller model would not be the same.
    """
    if isinstance(model, linen.Module) == (variables is None):
        raise CompactionError(
            "A Linen module comes with its variables, an nnx.Module holds its own.",
            remedy="Call compact(model, example, variables=variables) or compact(model, example).",
        )
    example = example_of(example)
    if isinstance(model, linen.Module):
        model = as_nnx(model, example, variables=variables)
    network = _silenced(take_apart(model), masks or {})
    anatomy = dissect(network, example)
    wiring = anatomy.wiring
    alive, constant = _living(anatomy, network)
    frozen = (*wiring.frozen, *_name_constant(wiring, constant))
    if alive.all():
        raise nothing_to_remove("The model", wiring, frozen)
    small = cut(network, wiring, alive)
    proof = _prove(anatomy, alive, network, small, inputs)
    fates = wiring.fates(alive)
    kept = {name: tuple(np.flatnonzero(survives(axis, fates)) for axis in axes) for name, axes in wiring.slots.items()}
    attributes = {name: size for name, size in wiring.groups_left(alive).items() if name not in kept}
    return Compacted(put_together(small), proof, int((~alive).sum()), len(alive), kept, frozen, attributes)


def _prove(anatomy: Anatomy, alive: Flags, masked: Network, small: Network, inputs: Any) -> Proof:
    """Prove compaction on the real `inputs`, or on random ones where there are none."""
    real = _probes(anatomy, PROBES) if inputs is None else inputs if isinstance(inputs, tuple) else (inputs,)
    real = jax.tree.map(jnp.asarray, real)
    proof = prove(jax.random.key(0), anatomy, alive, masked=masked, compact=small, inputs=real)
    if inputs is not None:
        return proof
    return replace(proof, examples=0, random_examples=proof.examples + proof.random_examples)


def _probes(anatomy: Anatomy, count: int) -> Inputs:
    """Draw random arguments for `count` examples: normal for floating-point dtypes, 0 and 1 for others."""
    random = np.random.default_rng(0)

    def probe(like: jax.ShapeDtypeStruct) -> Array:
        shape = (count, *like.shape[1:])
        fractions = jnp.issubdtype(like.dtype, jnp.floating)
        values = random.standard_normal(shape, np.float32) if fractions else random.integers(0, 2, shape)
        return jnp.asarray(values, like.dtype)

    found: Inputs = jax.tree.map(probe, anatomy.inputs)
    return found


def nothing_to_remove(subject: str, wiring: Wiring, frozen: tuple[Frozen, ...]) -> CompactionError:
    """Return the error for a network with nothing to remove: because all of it lives, or because all is frozen."""
    why = Counter(reason for one in frozen for reason in [one.reason] * one.count)
    reasons = "; ".join(f"{count} places: {reason}" for reason, count in why.most_common(SHOWN_REASONS))
    if wiring.units:
        return CompactionError(
            f"{subject} has nothing to remove: all of its {wiring.units} removable units live. Frozen are {reasons}.",
            remedy="A unit dies when no living synapse reaches it or leads from it; removing one needs whole filters, "
            "biases included, to be masked or zero.",
        )
    return CompactionError(
        f"{subject} has nothing that could be removed: every unit is frozen. {reasons}.",
        remedy="Change the lines that are named so that units can be followed through them.",
    )


def _silenced(network: Network, masks: Mapping[str, Any]) -> Network:
    """Set everything that is masked to exactly zero; CompactionError where a mask fits no array."""
    arrays = network.arrays
    for name, mask in masks.items():
        if name not in arrays:
            raise CompactionError(
                f"The model has no array {name!r}.", remedy=f"Its arrays are {', '.join(sorted(arrays))}."
            )
        if np.shape(mask) != arrays[name].shape or np.asarray(mask).dtype != bool:
            raise CompactionError(
                f"The mask of {name} must be boolean {list(arrays[name].shape)}; "
                f"found {np.asarray(mask).dtype} {list(np.shape(mask))}.",
                remedy="Give each mask the shape of the array that it masks, True where alive.",
            )
    return network.map(lambda name, array: _silence(array, masks[name]) if name in masks else array)


def _silence(array: Array, mask: Any) -> Array:
    """Return an array with exactly zero where the mask is false; nothing is compiled for it."""
    silent = np.array(array)
    silent[~np.asarray(mask)] = 0
    return jax.device_put(silent)


def _living(anatomy: Anatomy, network: Network) -> tuple[Flags, Flags]:
    """Return the units [units] that live, and those of them that live only because they are constants."""
    wiring = replace(anatomy.wiring, layers=anatomy.wiring.contracted)
    living = {layer.name: np.asarray(network.arrays[layer.name]) != 0 for layer in wiring.layers}
    constant = np.zeros(anatomy.wiring.units, bool)
    heard = listen(anatomy, network, _probes(anatomy, EXAMPLES))
    while True:
        _, alive = trim(wiring, living, constant=constant)
        alive = keep_one(anatomy.wiring, alive)
        more = find_constant(anatomy, heard, alive)
        if not more.any():
            return alive, constant
        constant |= more


def _name_constant(wiring: Wiring, constant: Flags) -> list[Frozen]:
    reason = "no synapse reaches it, but its bias or normalisation is not masked: it is a constant, not zero"
    fates = wiring.fates(~constant)
    counts = [(layer.name, int((~survives(layer.outputs, fates)).sum())) for layer in wiring.contracted]
    axes = {layer.name: layer.output_axis for layer in wiring.contracted}
    return [
        Frozen(name, axis[0] if isinstance(axis := axes[name], tuple) else axis, count, reason)
        for name, count in counts
        if count
    ]
