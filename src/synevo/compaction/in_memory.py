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
from synevo.compaction.probes import affordable, first, probes
from synevo.compaction.proof import Proof, prove
from synevo.errors import CompactionError
from synevo.model.given import described
from synevo.model.linen import as_nnx
from synevo.model.network import Inputs, Network, put_together, take_apart
from synevo.wiring.cutting import cut, cut_state
from synevo.wiring.dissection import Anatomy, dissect, example_of
from synevo.wiring.identities import Flags
from synevo.wiring.masks import by_unit, from_units
from synevo.wiring.protection import protected
from synevo.wiring.signal import trim
from synevo.wiring.tracing import EXAMPLES
from synevo.wiring.units import PERMANENT, Frozen, Layer, Wiring, keep_one, survives

PROBES = 64
"""The number of random examples in a proof without real inputs, if the network is not too large; as many are drawn
again."""

SHOWN_REASONS = 5
SHOWN_AXES = 3
"""How many reasons, and how many axes for each, an error shows."""


@dataclass(frozen=True)
class Compacted:
    """A smaller model, in evaluation mode, with its proof and what was removed.

    `removed` of `units` units were removed. `attributes` are the integers in the model's modules that count units, by
    `module.attribute`, with their new values. `kept` are the places that are left along each axis of each array.
    `frozen` are the places that could not be removed, and why.
    """

    model: nnx.Module
    proof: Proof
    removed: int
    units: int
    kept: Mapping[str, tuple[NDArray[np.int64], ...]]
    frozen: tuple[Frozen, ...]
    attributes: Mapping[str, int]
    shapes: Mapping[str, tuple[int, ...]]

    def cut(self, state: Any) -> Any:
        """Return the state of an optimiser, or any pytree that mirrors the model's arrays, for the smaller model.

        Leaves are known by the end of their paths, such as `mu/conv1/kernel`, and by their shapes, as in the state of
        an Optax optimiser, `nnx.state(optimiser)` of an `nnx.Optimizer`, or a Linen `TrainState`.

        Raises:
            CompactionError: where a leaf mirrors no array; it is named.
        """
        left = {
            name: tuple(np.isin(np.arange(size), kept) for size, kept in zip(self.shapes[name], axes, strict=True))
            for name, axes in self.kept.items()
        }
        return cut_state(state, left)


def compact(
    model: nnx.Module | linen.Module,
    example: Any,
    *,
    variables: Mapping[str, Any] | None = None,
    masks: Mapping[str, Any] | None = None,
    inputs: Any = None,
    protect: str | None = None,
    only: str | None = None,
) -> Compacted:
    """Return the model without its dead units, proven to compute the same; `model` itself stays as it is.

    `example` describes the arguments of the model: the shape of one float32 input without the axis of examples, such as
    (height, width, channels), or a tuple of its arguments (arrays or `jax.ShapeDtypeStruct`s, the first axis of each
    counting examples). A Linen module comes with its `variables`, and becomes an nnx.Module that holds them. `masks`
    are boolean, True where alive, in the shapes of the arrays that they name by their paths, such as `conv1/kernel`;
    any array may be masked. What is masked, or exactly zero, is dead. A unit is removed if no living synapse leads from
    it to an output, or if none reaches it and its value is zero. A bias that is not masked can keep a unit; it is named
    in `frozen`. The units of the layers that the regular expression `protect` names stay, or of all that `only` leaves
    out. The proof uses `inputs`, a tuple of real arguments (or one array), and as many random ones; without
    `inputs`, random ones alone.

    Raises:
        PlanError: where `protect` or `only` names no layer.
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
    network = silenced(take_apart(model), masks or {})
    anatomy = dissect(network, example)
    wiring = protected(anatomy.wiring, protect=protect, only=only)
    anatomy = replace(anatomy, wiring=wiring)
    if inputs is not None:
        inputs = jax.tree.map(jnp.asarray, inputs if isinstance(inputs, tuple) else (inputs,))
        _check_inputs(inputs, anatomy.inputs)
    alive, needed = _living(anatomy, network, inputs)
    frozen = (*wiring.frozen, *needed)
    if alive.all():
        raise nothing_to_remove("The model", wiring, frozen)
    small = cut(network, wiring, alive)
    proof = _prove(anatomy, alive, network, small, inputs)
    fates = wiring.fates(alive)
    kept = {name: tuple(np.flatnonzero(survives(axis, fates)) for axis in axes) for name, axes in wiring.slots.items()}
    attributes = {name: size for name, size in wiring.groups_left(alive).items() if name not in kept}
    shapes = {name: jnp.shape(array) for name, array in network.arrays.items()}
    removed = int((~alive).sum())
    return Compacted(put_together(small), proof, removed, len(alive), kept, frozen, attributes, shapes)


def without_dead(network: Network, example: Inputs) -> Network:
    """Return a network without its dead units, as in `compact`, proven on random inputs; itself if it has none.

    Raises:
        AncestorError: where it does not run on inputs like the `example`.
        ProofError: where the smaller network would not be the same.
    """
    anatomy = dissect(network, example)
    alive, _ = _living(anatomy, network, None)
    if alive.all():
        return network
    small = cut(network, anatomy.wiring, alive)
    _prove(anatomy, alive, network, small, None)
    return small


def _prove(anatomy: Anatomy, alive: Flags, masked: Network, small: Network, inputs: Any) -> Proof:
    """Prove compaction on the real `inputs`, or on random ones where there are none."""
    real = inputs
    if real is None:
        real = probes(anatomy.program, anatomy.inputs, affordable(anatomy.program, PROBES))
    proof = prove(jax.random.key(0), anatomy, alive, masked=masked, compact=small, inputs=real)
    if inputs is not None:
        return proof
    return replace(proof, examples=0, random_examples=proof.examples + proof.random_examples)


def _check_inputs(inputs: Inputs, wanted: Inputs) -> None:
    """Raise CompactionError where real inputs are other arguments than the network's, or have other channels."""
    given, taken = (jax.tree.map(lambda leaf: str((leaf.ndim, leaf.shape[1:][-1:])), one) for one in (inputs, wanted))
    if given != taken:
        raise CompactionError(
            f"The real inputs are {described(inputs)}, where the network takes {described(wanted)}.",
            remedy="Give `inputs` as a tuple of the arguments of a call, each with examples along its first axis.",
        )


def nothing_to_remove(subject: str, wiring: Wiring, frozen: tuple[Frozen, ...]) -> CompactionError:
    """Return the error for a network with nothing to remove: because all of it lives, or because all is frozen."""
    shown = _reasons(frozen)
    if wiring.units:
        return CompactionError(
            f"{subject} has nothing to remove: all of its {wiring.units} removable units live."
            + (f" Frozen are {shown}." if shown else ""),
            remedy="A unit dies when no living synapse reaches it or leads from it; removing one needs whole filters, "
            "biases included, to be masked or zero.",
        )
    if not shown:
        return CompactionError(
            f"{subject} has nothing that could be removed: it has only inputs and outputs.",
            remedy="Compact a network with a hidden layer.",
        )
    return CompactionError(
        f"{subject} has nothing that could be removed: every unit is frozen. Frozen are {shown}.",
        remedy="Change the lines that are named so that units can be followed through them.",
    )


def _reasons(frozen: tuple[Frozen, ...]) -> str:
    """Return the reasons that freeze most places, each with its number of places and the axes on which they are."""
    places: dict[str, list[Frozen]] = {}
    for one in frozen:
        places.setdefault(one.reason.rstrip("."), []).append(one)
    most = sorted(places.items(), key=lambda pair: -sum(one.count for one in pair[1]))
    said = []
    for reason, axes in most[:SHOWN_REASONS]:
        named = [f"{one.count} on axis {one.axis} of {one.array}" for one in axes[:SHOWN_AXES]]
        more = [f"{len(axes) - SHOWN_AXES} more axes"] if len(axes) > SHOWN_AXES else []
        said.append(f"{', '.join(named + more)}: {reason}")
    left = [f"{len(most) - SHOWN_REASONS} more reasons"] if len(most) > SHOWN_REASONS else []
    return "; ".join(said + left)


def silenced(network: Network, masks: Mapping[str, Any]) -> Network:
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


def _living(anatomy: Anatomy, network: Network, inputs: Inputs | None) -> tuple[Flags, tuple[Frozen, ...]]:
    """Return the units [units] that live, and why those live that no signal passes through.

    Their values are those for the first of the real `inputs`, or for random ones where there are none.
    """
    wiring = replace(anatomy.wiring, layers=anatomy.wiring.contracted)
    living = {layer.name: _not_zero(wiring, layer, network.arrays) for layer in wiring.layers}
    constant, counted, kept = (np.zeros(anatomy.wiring.units, bool) for _ in range(3))
    if inputs is None or example_of(inputs) != anatomy.inputs:
        inputs = probes(anatomy.program, anatomy.inputs, EXAMPLES)
    heard = listen(anatomy, network, first(inputs, EXAMPLES))
    while True:
        _, alive = trim(wiring, living, constant=constant, kept=kept)
        alive = keep_one(anatomy.wiring, alive)
        constants, counts = find_constant(anatomy, heard, alive)
        if not (constants | counts).any():
            return alive, (*_name(wiring, constant & ~counted, _CONSTANT), *_name(wiring, counted, _COUNTED))
        kept |= counts | (constants & constant)
        counted |= counts
        constant |= constants


def _not_zero(wiring: Wiring, layer: Layer, arrays: Mapping[str, Array]) -> NDArray[np.bool_]:
    """Return which synapses of a layer pass something on: whole filters, where arrays beside it do in their unit."""
    living: NDArray[np.bool_] = np.asarray(arrays[layer.name]) != 0
    if layer.grain == "synapse":
        return living
    acting = np.zeros(wiring.units, bool)
    for name in layer.beside:
        values = np.asarray(arrays[name]) != 0
        for axis, units in enumerate(wiring.slots[name]):
            wiring.mark(acting, units, values.any(axis=tuple(other for other in range(values.ndim) if other != axis)))
    acts = survives(layer.outputs, wiring.fates(acting)) & (layer.outputs != PERMANENT)
    view = by_unit(layer, living) | acts[None, :, None]
    return from_units(layer, view, living.shape)


_CONSTANT = "no synapse reaches it, but its bias or normalisation is not masked: it is a constant, not zero"
_COUNTED = "its weights count in what the weights of others are divided by: they are not masked"


def _name(wiring: Wiring, units: Flags, reason: str) -> list[Frozen]:
    """Name the places of some units in the layers that make them, with a reason."""
    fates = wiring.fates(~units)
    counts = [(layer.name, int((~survives(layer.outputs, fates)).sum())) for layer in wiring.contracted]
    axes = {layer.name: layer.output_axis for layer in wiring.contracted}
    return [
        Frozen(name, axis[0] if isinstance(axis := axes[name], tuple) else axis, count, reason)
        for name, count in counts
        if count
    ]
