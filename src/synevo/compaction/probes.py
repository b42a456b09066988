"""Probes: random arguments for a proof, plausible for what the network does with them, and as many as it can afford.

Fractions are normal. Whole numbers are what the program takes them for: tokens are below the number of rows that they
are looked up in, classes below the number that they are compared with, bytes that become fractions are pixels. Others,
such as masks, are 0 and 1.
"""

import math
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.model.network import Inputs
from synevo.wiring.tracing import EXAMPLES, Operand, Program, Step

WORK = 2 * 10**10
"""The multiply-adds that a network may spend on its probes: about a second on two cores."""

ROOM = 2**23
"""The numbers that a network may hold at once, as far as one step shows: 32 MiB in float32."""

_ALL = 2**27
"""The numbers that the largest step of all probes may hold; together they need not fit into `ROOM`."""

_PIXELS = 256


def probes(program: Program, inputs: Inputs, count: int) -> Inputs:
    """Draw random arguments for `count` examples, like the abstract `inputs` of the program of a network."""
    random = np.random.default_rng(0)
    leaves, tree = jax.tree.flatten(inputs)

    def probe(value: int, like: jax.ShapeDtypeStruct) -> Array:
        shape = (count, *like.shape[1:])
        fractions = jnp.issubdtype(like.dtype, jnp.inexact)
        drawn = random.standard_normal(shape, np.float32) if fractions else random.integers(0, limit(value), shape)
        return jnp.asarray(drawn, like.dtype)

    def limit(value: int) -> int:
        return 2 if jnp.issubdtype(program.dtypes[value], jnp.bool_) else below(program, value)

    found: Inputs = jax.tree.unflatten(tree, map(probe, program.inputs, leaves))
    return found


def first(inputs: Inputs, count: int) -> Inputs:
    """Return arguments for the first `count` examples; where there are fewer, they are repeated."""
    return examples(inputs, np.arange(count))


def examples(inputs: Inputs, places: NDArray[np.int64]) -> Inputs:
    """Return arguments for the examples at some places, counted around."""
    found: Inputs = jax.tree.map(lambda leaf: np.take(np.asarray(leaf), places, axis=0, mode="wrap"), inputs)
    return found


def affordable(program: Program, most: int) -> int:
    """Return how many examples a network can be probed with: at most `most`, fewer where it works hard for each."""
    work = sum(_multiply_adds(step, program) for step in program.steps) // EXAMPLES
    return max(EXAMPLES, min(most, WORK // max(1, work), at_once(program, _ALL)))


def at_once(program: Program, room: int = ROOM) -> int:
    """Return how many examples a network can run on at once: its largest step holds at most `room` numbers."""
    sizes = (sum(math.prod(program.shapes[one]) for one in step.results) for step in program.steps)
    return max(EXAMPLES, room * EXAMPLES // max(1, *sizes, 1))


def below(program: Program, value: int) -> int:
    """Return what a whole number that a program reads must stay below, as far as its use says; 2 where it does not."""
    derived, counts, limits = {value}, dict[int, int](), list[int]()
    for step in program.steps:
        operands = [operand if isinstance(operand, int) else None for operand in step.operands]
        if step.primitive == "iota":
            counts[step.results[0]] = step.parameters["shape"][step.parameters["dimension"]]
        elif known := [counts[operand] for operand in operands if operand in counts]:
            counts |= dict.fromkeys(step.results, max(known))
        if read := [place for place, operand in enumerate(operands) if operand in derived]:
            limits += _limits(step, read, program, counts)
            if all(jnp.issubdtype(program.dtypes[result], jnp.integer) for result in step.results):
                derived.update(step.results)
    return max(1, min(limits, default=2))


def _limits(step: Step, read: list[int], program: Program, counts: Mapping[int, int]) -> Iterator[int]:
    """Yield the limits that a step sets to the whole numbers that it reads as some of its operands.

    `counts` are the lengths of values that count places.
    """
    first = step.operands[0]
    if step.primitive == "gather" and read == [1]:
        shape = _shape(first, program)
        yield from (shape[axis] for axis in step.parameters["dimension_numbers"].start_index_map)
    elif step.primitive == "dynamic_slice" and 0 not in read:
        shape = _shape(first, program)
        yield from (shape[place - 1] for place in read)
    elif step.primitive == "eq" and len(read) == 1 and isinstance(other := step.operands[1 - read[0]], int):
        yield from [counts[other]] if other in counts else []
    elif step.primitive == "convert_element_type" and jnp.issubdtype(step.parameters["new_dtype"], jnp.floating):
        yield from [_PIXELS] if isinstance(first, int) and program.dtypes[first] == jnp.uint8 else []


def _shape(operand: Operand, program: Program) -> tuple[int, ...]:
    return program.shapes[operand] if isinstance(operand, int) else ()


def _multiply_adds(step: Step, program: Program) -> int:
    """Return how many products a contraction sums up; 0 for other steps."""
    if step.primitive not in {"dot_general", "conv_general_dilated"}:
        return 0
    made, (left, right) = math.prod(program.shapes[step.results[0]]), (_shape(one, program) for one in step.operands)
    numbers = step.parameters["dimension_numbers"]
    if step.primitive == "dot_general":
        return made * math.prod(left[axis] for axis in numbers[0][0])
    return made * math.prod(right) // max(1, right[numbers.rhs_spec[0]])
