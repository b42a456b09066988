"""The state of the rules while they follow identities through a program, step by step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from synevo.wiring.identities import TOLD, Axes, Axis, Identities, Reason
from synevo.wiring.tracing import Constant, Operand, Program, Step


@dataclass(frozen=True)
class Contraction:
    """An array of the network that a step contracts with a signal, along some of its axes, into others.

    `positions` is how often each element is used for one example. `groups` are the groups of a convolution, with one
    identity each.
    """

    array: str
    input_axes: tuple[int, ...]
    output_axes: tuple[int, ...]
    positions: int
    groups: Axis | None = None


@dataclass
class Walk:
    """A program while it is followed; `origins` are its values that are an array of the network, at most transposed."""

    program: Program
    identities: Identities
    origins: dict[int, tuple[str, tuple[int, ...]]]
    training: bool = False
    contractions: list[Contraction] = field(default_factory=list)

    def axes(self, operand: Operand) -> Axes:
        """Return the axes of an operand; a scalar has none."""
        return self.identities.axes[operand] if isinstance(operand, int) else ()

    def shape(self, operand: Operand) -> tuple[int, ...]:
        """Return the shape of an operand."""
        return self.program.shapes[operand] if isinstance(operand, int) else ()

    def because(self, step: Step, why: str, weight: int = TOLD) -> Reason:
        """Return the reason that a step gives, with the line and what it calls."""
        head, colon, tail = why.partition(": ")
        return self.identities.because(f"{head} ({step.name}, {step.where}){colon}{tail}", weight)

    def freeze(self, axis: Axis, step: Step, why: str, weight: int = TOLD) -> None:
        """Freeze an axis because of a step."""
        self.identities.freeze(axis, self.because(step, why, weight))

    def number(self, operand: Operand) -> float | None:
        """Return the value of a scalar constant; None for anything else."""
        if not isinstance(operand, Constant) or not isinstance(
            operand.value, bool | int | float | np.generic | np.ndarray
        ):
            return None
        return float(np.real(operand.value))

    def move_origin(self, step: Step, order: Sequence[int]) -> None:
        """Note that the result of a step is the same array of the network, with its axes in another order."""
        operand = step.operands[0]
        if isinstance(operand, int) and operand in self.origins:
            name, places = self.origins[operand]
            self.origins[step.results[0]] = name, tuple(places[axis] for axis in order)

    def contract(
        self,
        operand: Operand,
        inputs: Sequence[int],
        outputs: Sequence[int],
        positions: int,
        groups: Axis | None = None,
    ) -> None:
        """Note a contraction, if the operand is an array of the network."""
        if isinstance(operand, int) and operand in self.origins and inputs and outputs:
            name, places = self.origins[operand]
            self.contractions.append(
                Contraction(
                    name, tuple(places[i] for i in inputs), tuple(places[i] for i in outputs), positions, groups
                )
            )


Rule = Callable[[Walk, Step], list[Axes]]
