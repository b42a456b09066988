"""Trials: find the families of units that the model's own code cannot lose, by running it without some of them.

A trial that fails says where: at a step, or at a line of the code. The families that have a part in this step, or in
this line, are suspected first. Blocks that run the same code have families of one *kind*: they have the same part in
the same lines. What stops the program at a line without one of them stops it there without any other, and is tried once
for all. What does not stop the program shows for each family by itself. So a deep network needs no more trials than a
shallow one.

Attention that is written by hand keeps its number of heads in an attribute. When heads are removed, the attribute must
become smaller, too. Nothing says which attribute it is. So each that has the size of an axis of the units is tried, in
the modules that hold arrays of these units: the program that is traced with the smaller number tells whether it is.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

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


Told = dict[str, tuple[int, int]]
"""The value and its axis whose places an attribute counts, by `module.attribute`."""

Units = Mapping[int, tuple[Numbers, ...]]


def propose(kind: list[Family], stated: Mapping[str, int], units: Units, wiring: Wiring) -> Iterator[Told]:
    """Yield attributes that may count the units of the families of one kind: each by itself, then two of them.

    `stated` are the integers in attributes, by `module.attribute`; `units` those on the axes of each value. Each
    family has a module of its own, with an attribute of the same name: one number cannot count the units of two.
    """
    on = families_on([list(family.units) for family in kind], wiring)
    found = [_counting(number, on, stated, units, wiring) for number in range(len(kind))]
    common = [name for name in found[0] if all(name in one for one in found)]
    names = [name for name in common if len({one[name][0] for one in found}) == len(found)]
    for chosen in (*combinations(names, 1), *combinations(names, 2)):
        yield {one[name][0]: one[name][1] for one in found for name in chosen}


def _counting(
    family: int, on: Callable[[Numbers], list[int]], stated: Mapping[str, int], units: Units, wiring: Wiring
) -> dict[str, tuple[str, tuple[int, int]]]:
    """Return the attributes of the size of an axis of a family, by name, in the module next to its arrays.

    Each comes with its module, and with an axis of this size.
    """
    sizes: dict[int, tuple[int, int]] = {}
    for value, axes in units.items():
        for number, axis in enumerate(axes):
            if len(axis) not in sizes and family in on(axis):
                sizes[len(axis)] = value, number
    arrays = [name for name, axes in wiring.slots.items() if any(family in on(axis) for axis in axes)]
    modules = {"/".join(name.split("/")[:depth]) for name in arrays for depth in range(name.count("/") + 1)}
    own = [key for key, size in stated.items() if size in sizes and key.rpartition(".")[0] in modules]
    return {key.rpartition(".")[2]: (key, sizes[stated[key]]) for key in sorted(own, key=lambda key: key.count("/"))}


def reason(family: Family, difference: Difference, program: Program, units: Units, wiring: Wiring) -> str:
    """Return why a family is frozen: what differs without it, and the size that could follow in a reshape there."""
    problem, on = difference.error.problem, families_on([list(family.units)], wiring)
    for step in program.steps if difference.hides else ():
        if step.primitive != "reshape" or step.where != difference.where:
            continue
        read = {id(axis) for value in step.operands if isinstance(value, int) for axis in units[value]}
        for axis in units[step.results[0]]:
            if on(axis) and id(axis) not in read:
                shape, place = program.shapes[step.results[0]], f" ({difference.where})."
                return f"{problem.removesuffix(place)}; write -1 for the {len(axis)} of {shape} alone{place}"
    return problem
