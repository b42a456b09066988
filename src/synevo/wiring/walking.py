"""The state of the rules while they follow identities through a program, step by step."""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from synevo.wiring.identities import TOLD, Axes, Axis, Identities, Reason
from synevo.wiring.origins import Labelling, Origin, route
from synevo.wiring.tracing import Operand, Program, Step, sources
from synevo.wiring.units import Grain


@dataclass(frozen=True)
class Contraction:
    """An array of the network that a step contracts with a signal, along some of its axes, into others.

    `positions` is how often each element is used for one example, on average over all. `groups` are the groups of a
    convolution, with one identity each. `grain` and `beside` are those of a `Layer`. If it is `aside`, it is contracted
    with another value that is computed from the network's arrays alone.
    """

    array: str
    input_axes: tuple[int, ...]
    output_axes: tuple[int, ...]
    positions: Fraction
    groups: Axis | None = None
    grain: Grain = "synapse"
    beside: tuple[str, ...] = ()
    aside: bool = False


@dataclass
class Walk:
    """A program while it is followed.

    `sources` are the names of the arrays that each value is computed from, if no signal takes part in it; `origins` say
    how, where that can be followed. `trained` are the names of the network's parameters. `positive` are values that are
    nowhere negative, `numbers` are those that are known, of scalars or of all elements.
    """

    program: Program
    identities: Identities
    trained: Collection[str] = ()
    training: bool = False
    contractions: list[Contraction] = field(default_factory=list)
    sources: dict[int, frozenset[str]] = field(init=False)
    origins: dict[int, Origin] = field(init=False)
    labels: Labelling = field(init=False, default_factory=Labelling)
    positive: set[int] = field(init=False, default_factory=set)
    numbers: dict[int, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Note the origins of the arrays."""
        self.sources = sources(self.program)
        arrays = self.program.arrays.items()
        self.origins = {value: self.labels.array(name, self.program.shapes[value]) for name, value in arrays}

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
        """Return the value of a scalar constant, or of all elements that are computed from such; None if unknown."""
        if isinstance(operand, int):
            return self.numbers.get(operand)
        if not isinstance(operand.value, bool | int | float | np.generic | np.ndarray):
            return None
        return float(np.real(operand.value))

    def origin(self, operand: Operand) -> Origin | None:
        """Return the origin of an operand; None where it is not known."""
        return self.origins.get(operand) if isinstance(operand, int) else None

    def computed(self, *operands: Operand) -> bool:
        """Return whether no signal takes part in any operand."""
        return all(operand in self.sources for operand in operands if isinstance(operand, int))

    def contract(
        self,
        step: Step,
        operand: Operand,
        inputs: Sequence[int],
        outputs: Sequence[int],
        positions: Fraction,
        groups: Axis | None = None,
    ) -> None:
        """Note the contraction of each array that the operand is made of, along the axes `inputs` into `outputs`.

        If it is made of several, it must be zero where they are. If no signal takes part, it must be an array itself.
        """
        others = [one for one in step.operands if one != operand and isinstance(one, int)]
        aside = self.computed(*step.operands) and (not others or any(self.sources[one] for one in others))
        origin = self.origin(operand)
        if origin is None or not isinstance(operand, int) or not inputs or not outputs or (aside and not origin.plain):
            return
        exact, silent = origin.dead == 0.0, all(self.axes(operand)[axis].dead == 0.0 for axis in outputs)
        uses = route(origin, self.labels.along(origin, inputs), self.labels.along(origin, outputs))
        if len(uses) > 1 and not exact:
            return
        grain: Grain = "synapse" if exact else "filter" if silent else "none"
        size = math.prod(self.shape(operand))
        for use in uses:
            own = math.prod(self.program.shapes[self.program.arrays[use.array]])
            often = positions * (Fraction(size, own) if len(uses) == 1 and size < own else Fraction(1))
            beside = () if exact else tuple(sorted(self.sources[operand] - {use.array}))
            self.contractions.append(
                Contraction(use.array, use.inputs, use.outputs, often, groups, grain, beside, aside)
            )


Rule = Callable[[Walk, Step], list[Axes]]
