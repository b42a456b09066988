"""Compaction: the masked network made physically smaller, and the proof that both are the same network.

A unit that no longer lives is cut out of every array that knows it: its filter, bias and normalisation, and the slices
of the next layers that read it. The proof has two parts. The model is traced again with the smaller arrays and
compared, step by step and literal by literal, with the program predicted from the wiring; and masked and compacted
networks classify real and random images. A difference in either is an error, and nothing is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.errors import ProofError
from synevo.masks import Masks
from synevo.network import Blueprint, Network, forward
from synevo.tracing import Constant, Operand, Program, Step
from synevo.wiring import Anatomy, Numbers, Wiring, program_of, survives

Flags = NDArray[np.bool_]

TOLERANCE = 1e-4
"""The largest difference of logits, relative to the largest logit, that float32 may make."""

_SIZES = {"shape", "new_sizes", "start_indices", "limit_indices", "sizes", "sharding", "out_sharding", "name"}


@dataclass(frozen=True)
class Proof:
    """That a compacted network is the masked one: the same program, and the same logits on `images` images.

    `max_difference` is absolute, `largest_logit` its scale; `top1_agreement` is the share of real images classified
    alike.
    """

    steps: int
    images: int
    random_images: int
    max_difference: float
    largest_logit: float
    top1_agreement: float


def cut(network: Network, wiring: Wiring, alive: Flags) -> Network:
    """The network without the units that are not `alive` [units]; `wiring` is that of `network`."""
    return network.map(lambda name, array: jnp.asarray(_slice(np.asarray(array), wiring.slots[name], alive)))


def cut_masks(masks: Masks, wiring: Wiring, alive: Flags) -> Masks:
    """The masks of the network that `cut` makes."""
    return {name: _slice(mask, wiring.slots[name], alive) for name, mask in masks.items()}


def uncut(network: Network, wiring: Wiring, alive: Flags, like: Network) -> Network:
    """The masked network in the shapes of `like`, of which `cut` left `network`; `wiring` is that of `like`."""
    small = network.arrays
    return like.map(
        lambda name, array: jnp.asarray(_scatter(np.asarray(small[name]), array, wiring.slots[name], alive))
    )


def uncut_masks(masks: Masks, wiring: Wiring, alive: Flags, like: Network) -> Masks:
    """The masks in the shapes of `like`, where all that was cut is dead."""
    return {name: _scatter(mask, like.parameters[name], wiring.slots[name], alive) for name, mask in masks.items()}


def prove(
    blueprint: Blueprint,
    anatomy: Anatomy,
    alive: Flags,
    *,
    masked: Network,
    compact: Network,
    images: Array,
    shape: tuple[int, int, int],
    key: Array,
) -> Proof:
    """Prove that `compact` is `masked` without the units that are not `alive`.

    `images` are normalised [n, height, width, channels]; as many random ones are drawn from `key`.

    Raises:
        ProofError: where program or logits differ.
    """
    try:
        program = program_of(blueprint, compact, shape)
    except Exception as error:
        raise _mismatch(f"{type(error).__name__}: {error}", "tracing it again") from error
    steps = compare(anatomy, alive, program)
    random = jax.random.normal(key, images.shape, images.dtype)
    both = jnp.concatenate([images, random])
    large, small = np.asarray(_logits(blueprint, masked, both)), np.asarray(_logits(blueprint, compact, both))
    difference, scale = float(np.abs(large - small).max()), float(np.abs(large).max())
    if not difference <= TOLERANCE * max(scale, 1.0):
        raise ProofError(
            f"The compacted network's logits differ from the masked one's by {difference:.3g} (largest {scale:.3g}).",
            remedy="Nothing was written. Please report the model: synevo must freeze what it cannot remove.",
        )
    agreement = float((large.argmax(-1) == small.argmax(-1))[: len(images)].mean())
    return Proof(steps, len(images), len(random), difference, scale, agreement)


def compare(anatomy: Anatomy, alive: Flags, found: Program) -> int:
    """The number of steps of a compacted program, after checking that it is the one that the wiring predicts."""
    predicted = anatomy.program
    if len(predicted.steps) != len(found.steps):
        raise _mismatch(
            f"{len(predicted.steps)} steps were predicted, {len(found.steps)} were traced", "the whole model"
        )
    numbers = dict(
        zip(
            (predicted.arrays[name] for name in sorted(predicted.arrays)),
            (found.arrays[name] for name in sorted(found.arrays)),
            strict=True,
        )
    )
    numbers |= dict(zip(predicted.inputs, found.inputs, strict=True))
    numbers |= _compare_constants(predicted.constants, found.constants)
    for before, after in zip(predicted.steps, found.steps, strict=True):
        _compare_step(before, after, numbers)
        for old, new in zip(before.results, after.results, strict=True):
            numbers[old] = new
            shape = tuple(int(survives(axis, alive).sum()) for axis in anatomy.units[old])
            if shape != found.shapes[new]:
                raise _mismatch(f"shape {shape} was predicted, {found.shapes[new]} was traced", before.where)
    for output, other in zip(predicted.outputs, found.outputs, strict=True):
        _compare_operand(output, other, numbers, "the output")
    return len(found.steps)


def _compare_constants(predicted: Mapping[int, Any], found: Mapping[int, Any]) -> dict[int, int]:
    """The number in `found` of each array that the code states itself; they must not depend on a width."""
    if len(predicted) != len(found):
        raise _mismatch(
            f"{len(predicted)} arrays in the code were predicted, {len(found)} were traced", "the whole model"
        )
    for old, new in zip(predicted.values(), found.values(), strict=True):
        if not np.array_equal(np.asarray(old), np.asarray(new)):
            raise _mismatch("an array in the code changed", "the whole model")
    return dict(zip(predicted, found, strict=True))


def _compare_step(before: Step, after: Step, numbers: Mapping[int, int]) -> None:
    if before.primitive != after.primitive or len(before.operands) != len(after.operands):
        raise _mismatch(f"{before.primitive} was predicted, {after.primitive} was traced", before.where)
    for old, new in zip(before.operands, after.operands, strict=True):
        _compare_operand(old, new, numbers, before.where)
    for name, value in before.parameters.items():
        other = after.parameters.get(name)
        if name not in _SIZES and value != other and str(value) != str(other):
            raise _mismatch(f"{name} = {value} of {before.primitive} was predicted, {other} was traced", before.where)


def _compare_operand(old: Operand, new: Operand, numbers: Mapping[int, int], where: str) -> None:
    if isinstance(old, Constant) and isinstance(new, Constant):
        if not np.array_equal(np.asarray(old.value), np.asarray(new.value)):
            raise _mismatch(f"the number {old.value} became {new.value}", where)
    elif isinstance(old, Constant) or isinstance(new, Constant) or numbers[old] != new:
        raise _mismatch("a step reads another value", where)


def _mismatch(what: str, where: str) -> ProofError:
    return ProofError(
        f"The compacted model would not run as predicted: {what} ({where}).",
        remedy="The model's code depends on its widths there; write sizes as x.shape[...] or -1 so that they follow.",
    )


@jax.jit(static_argnums=0)
def _logits(blueprint: Blueprint, network: Network, images: Array) -> Array:
    return forward(blueprint, network, images)


def _slice(array: Any, slots: tuple[Numbers, ...], alive: Flags) -> Any:
    for axis, units in enumerate(slots):
        array = np.compress(survives(units, alive), array, axis=axis)
    return array


def _scatter(small: Any, like: Any, slots: tuple[Numbers, ...], alive: Flags) -> Any:
    whole = np.zeros(like.shape, small.dtype)
    whole[np.ix_(*(np.flatnonzero(survives(units, alive)) for units in slots))] = small
    return whole
