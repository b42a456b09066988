"""Trials: find the families of units that the model's own code cannot lose, by running it without some of them.

A trial that fails says where: at a step, or at a line of the code. The families that have a part in this step, or in
this line, are suspected first. Blocks that run the same code have families of one *kind*: they have the same part in
the same lines. What stops the program at a line without one of them stops it there without any other, and is tried once
for all. What does not stop the program shows for each family by itself. So a deep network needs no more trials than a
shallow one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from synevo.wiring.comparison import Difference
from synevo.wiring.identities import Numbers
from synevo.wiring.tracing import Program
from synevo.wiring.units import Wiring

Use = tuple[str, str, int, int, tuple[int, ...]]
"""A part in a step: line and primitive, which of its values and which axis of it, and the shape of the value."""


@dataclass(frozen=True)
class Family:
    """Units on the same kind of axis; the steps of the program that they have a part in, and what part.

    A step on whose axes no unit is, such as one of numbers, belongs to the families of the steps that read it.
    """

    units: tuple[int, ...]
    steps: frozenset[int]
    uses: frozenset[Use]

    def meets(self, difference: Difference) -> bool:
        """Return whether the family has a part in what differs: in the step, or where there is none, in the line."""
        if difference.step is not None:
            return difference.step in self.steps
        return any(where == difference.where for where, *_ in self.uses)


Failing = Callable[[list[Family]], list[Difference]]
"""A trial: what differs from the prediction without a share of these families; nothing where it passes."""


def find_uses(
    families: list[list[int]], program: Program, units: Mapping[int, tuple[Numbers, ...]], wiring: Wiring
) -> list[Family]:
    """Return the families, given as units, with their uses; `units` are those at each place of each axis of a value."""
    on = families_on(families, wiring)
    steps: list[set[int]] = [set() for _ in families]
    uses: list[set[Use]] = [set() for _ in families]
    readers: dict[int, set[int]] = {}
    for place, step in reversed(list(enumerate(program.steps))):
        values = [(n, value) for n, value in enumerate((*step.operands, *step.results)) if isinstance(value, int)]
        own = {
            (family, (step.where, step.primitive, position, number, program.shapes[value]))
            for position, value in values
            for number, axis in enumerate(units[value])
            for family in on(axis)
        }
        for family, use in own:
            uses[family].add(use)
        met = {family for family, _ in own} or {n for value in step.results for n in readers.get(value, ())}
        for family in met:
            steps[family].add(place)
        for value in step.operands:
            if isinstance(value, int):
                readers.setdefault(value, set()).update(met)
    return [
        Family(tuple(family), frozenset(own), frozenset(parts))
        for family, own, parts in zip(families, steps, uses, strict=True)
    ]


def families_on(families: list[list[int]], wiring: Wiring) -> Callable[[Numbers], list[int]]:
    """Return a function that gives the numbers of the families on an axis, which is remembered by its identity."""
    family_of = np.full(wiring.units, -1)
    for number, family in enumerate(families):
        family_of[family] = number
    known: dict[int, list[int]] = {}

    def on(axis: Numbers) -> list[int]:
        if id(axis) not in known:
            held = np.zeros(wiring.units, bool)
            wiring.mark(held, axis, np.ones(len(axis), bool))
            known[id(axis)] = [number for number in np.unique(family_of[held]).tolist() if number >= 0]
        return known[id(axis)]

    return on


def offenders(families: list[Family], found: list[Difference], fails: Failing) -> list[tuple[Family, Difference]]:
    """Return the families without which the model does not run, with what differs; a trial of all of them has `found`.

    Where only several families together fail, all that were tried with them are returned.
    """
    kinds: dict[frozenset[Use], list[Family]] = {}
    for family in families:
        kinds.setdefault(family.uses, []).append(family)
    return _search(list(kinds.values()), found, fails)


def _search(kinds: list[list[Family]], found: list[Difference], fails: Failing) -> list[tuple[Family, Difference]]:
    if len(kinds) == 1:
        (kind,) = kinds
        if len(kind) == 1:
            return [(kind[0], found[0])]
        return _explain(kind, found) or _search([[family] for family in kind], found, fails)
    suspected = [any(family.meets(difference) for family in kind for difference in found) for kind in kinds]
    if len(set(suspected)) == 1:
        suspected = [number < len(kinds) // 2 for number in range(len(kinds))]
    guilty = []
    for side in (True, False):
        part = [kind for kind, one in zip(kinds, suspected, strict=True) if one == side]
        if differences := fails([family for kind in part for family in kind]):
            guilty += _search(part, differences, fails)
    return guilty or [(family, found[0]) for kind in kinds for family in kind]


def _explain(kind: list[Family], found: list[Difference]) -> list[tuple[Family, Difference]]:
    """Return the families of one kind that a failed trial accounts for, with the reason; none where it does not say."""
    stop = next((difference for difference in found if difference.hides), None)
    if stop is not None:
        at_line = any(where == stop.where for where, *_ in kind[0].uses)
        return [(family, stop) for family in kind] if at_line else []
    reasons = {family: [d for d in found if family.meets(d)] for family in kind}
    return [(family, own[0]) for family, own in reasons.items() if own]
