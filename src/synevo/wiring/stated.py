"""Stated sizes: attributes of the user's modules that count units, and follow when units go; advice where none does.

Attention that is written by hand keeps its number of heads in an attribute. When heads are removed, the attribute must
become smaller, too. Nothing says which attribute it is. So each that has the size of an axis of the units is tried, in
the modules that hold arrays of these units. The program that is traced with the smaller number tells whether it is.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import combinations

from synevo.wiring.comparison import Difference
from synevo.wiring.identities import Numbers
from synevo.wiring.tracing import Program
from synevo.wiring.trials import Family, families_on
from synevo.wiring.units import Wiring

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
