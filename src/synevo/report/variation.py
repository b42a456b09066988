"""Variation: the standard deviations among siblings, and those among replicates.

Siblings have the same parents and the same pressure: they differ by the randomness of synthesis and of training alone.
An offspring that was tried again under another pressure is no sibling of the first. The heads of replicates in one
generation differ in the seed, so in all randomness, the validation split and the ancestor's first weights included.
Heads are compared only if their lines had the same pressures. Deviations have n - 1 degrees of freedom and are pooled
over broods. Those between seeds are not pooled over generations, because a lineage that is better in one generation is
usually better in the next.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

from synevo.report.spread import pooled

Row = dict[str, Any]
Groups = list[list[Row]]

SIBLINGS = (
    "Siblings have one parent and came under one pressure; they differ in what synthesis drew and in the randomness of "
    "training. Deviations are pooled within broods."
)
SEEDS = (
    "Seeds: the heads of one generation, each the best of its brood, whose lines came under the same pressures; they "
    "differ in all that is random, the validation split included."
)
SHARES = "d.f.: degrees of freedom; synapses %: of the mean of those compared."
"""Explanations of the words in tables of variation."""

_QUANTITIES = ("validation_score", "test_score", "synapses")


def vary(lineages: Sequence[Sequence[Row]]) -> Row:
    """Return the deviations among siblings and between seeds for the individuals of replicates, a row a generation.

    `synapses_share` is the deviation of synapses divided by their group's mean, which can be pooled over generations.
    """
    broods = [brood for lineage in lineages for brood in _broods(lineage)]
    heads = _heads(lineages)
    generations = sorted({group[0]["generation"] for group in (*broods, *heads)})
    return {
        "siblings": _deviations(broods),
        "generations": [
            {
                "generation": generation,
                "siblings": _deviations(_of(generation, broods)),
                "seeds": _deviations(_of(generation, heads)),
            }
            for generation in generations
        ],
    }


def _broods(lineage: Iterable[Row]) -> Groups:
    return _groups(
        ((row["generation"], tuple(row["parents"]), row["pressure"]), row) for row in lineage if row["generation"] > 1
    )


def _heads(lineages: Iterable[Iterable[Row]]) -> Groups:
    """Return groups of heads of one generation whose lineages had the same pressures so far."""
    found = []
    for lineage in lineages:
        pressures: tuple[float, ...] = ()
        for row in sorted((row for row in lineage if row["chosen"]), key=lambda row: row["generation"]):
            pressures = (*pressures, row["pressure"])
            found.append(((row["generation"], pressures), row))
    return _groups(found)


def _groups(pairs: Iterable[tuple[Hashable, Row]]) -> Groups:
    """Return groups of two or more individuals with equal keys; those without counts or scores are left out."""
    found: dict[Hashable, list[Row]] = defaultdict(list)
    for shared, row in pairs:
        if all(row[quantity] is not None for quantity in _QUANTITIES):
            found[shared].append(row)
    return [group for group in found.values() if len(group) > 1]


def _of(generation: int, groups: Groups) -> Groups:
    return [group for group in groups if group[0]["generation"] == generation]


def _deviations(groups: Groups) -> Row:
    values = {quantity: [[row[quantity] for row in group] for group in groups] for quantity in _QUANTITIES}
    shares = [[value * len(counts) / sum(counts) for value in counts] for counts in values["synapses"]]
    return {
        "groups": len(groups),
        "individuals": sum(map(len, groups)),
        "degrees_of_freedom": sum(len(group) - 1 for group in groups),
        **{quantity: pooled(of_groups) for quantity, of_groups in values.items()},
        "synapses_share": pooled(shares),
    }
