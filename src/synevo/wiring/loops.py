"""Loops of a known length, round by round: a program without them is straight, and its units can be followed.

A loop over stacked layers applies one slice of each stacked array a round; a recurrent network applies the same arrays
at every place of its sequence. Unrolled, both are made of steps that every rule knows. A unit of a stacked array is the
same place in every layer, as its slices must have one size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.extend.core import Jaxpr, jaxprs_in_params

MOST_STEPS = 20_000
"""The most steps that a loop is unrolled into; a longer one stays one step, which no rule follows."""

ROUND = "round"
"""The layer that is named for the steps that hand a loop its slices, and join what it makes."""

_TOLD = {"jaxpr", "length", "reverse", "num_consts", "num_carry"}


@dataclass(frozen=True)
class Loop:
    """A loop: in each of its rounds, `body` takes constants, what is carried, and a slice of each of the rest."""

    body: Any
    constants: int
    carried: int
    rounds: range

    def operands(self, all_: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
        """Return the constants, what is carried into the first round, and what is sliced, among some operands."""
        return (
            all_[: self.constants],
            all_[self.constants : self.constants + self.carried],
            all_[self.constants + self.carried :],
        )


def loop_of(equation: Any) -> Loop | None:
    """Return the loop that an equation of a jaxpr is; None where it is none, or is too long, or its length unknown."""
    parameters = equation.params
    if equation.primitive.name != "scan" or not _TOLD.issubset(parameters) or not isinstance(parameters["length"], int):
        return None
    length, body = parameters["length"], parameters["jaxpr"]
    if length < 1 or _steps(equation) > MOST_STEPS:
        return None
    rounds = range(length - 1, -1, -1) if parameters["reverse"] else range(length)
    return Loop(body, parameters["num_consts"], parameters["num_carry"], rounds)


def slices(like: Sequence[Any], place: int) -> Any:
    """Return the closed jaxpr that takes the slices at a place of the first axis of arrays like these."""
    shapes = [jax.ShapeDtypeStruct(one.shape, one.dtype) for one in like]
    return jax.make_jaxpr(lambda *arrays: [jax.lax.index_in_dim(one, place, keepdims=False) for one in arrays])(*shapes)


def joining(like: Any, count: int) -> Any:
    """Return the closed jaxpr that stacks so many arrays like this one along a new first axis."""
    shape = jax.ShapeDtypeStruct(like.shape, like.dtype)
    return jax.make_jaxpr(lambda *arrays: jax.lax.concatenate([jax.lax.expand_dims(one, (0,)) for one in arrays], 0))(
        *[shape] * count
    )


def _steps(equation: Any) -> int:
    """Return the number of equations of what an equation calls, those of loops as often as they run."""
    inner = sum(map(_length, jaxprs_in_params(equation.params)))
    times = equation.params.get("length") if equation.primitive.name == "scan" else 1
    return 1 + inner * (times if isinstance(times, int) else 1)


def _length(jaxpr: Jaxpr) -> int:
    return sum(map(_steps, jaxpr.eqns))
