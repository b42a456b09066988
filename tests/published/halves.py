"""What of a network can be removed, and half of it, at random."""

from collections import Counter, defaultdict
from math import prod

import numpy as np

from synevo.model.network import Network
from synevo.wiring.identities import Flags
from synevo.wiring.units import PERMANENT, Frozen, Wiring, keep_one, survives


def families(wiring: Wiring) -> list[list[int]]:
    """The units, grouped by the axes that they are on: the filters of a layer, the channels of a stage, the heads."""
    homes: defaultdict[int, set[tuple[str, int, int]]] = defaultdict(set)
    for name, axes in wiring.slots.items():
        for axis, units in enumerate(axes):
            for unit in np.unique(units):
                for place, part in enumerate(wiring.parts(int(unit))):
                    homes[part].add((name, axis, place))
    found: defaultdict[frozenset[tuple[str, int, int]], list[int]] = defaultdict(list)
    for unit in sorted(homes):
        found[frozenset(homes[unit])].append(unit)
    return list(found.values())


def without_half(wiring: Wiring) -> Flags:
    """The flags [units] of what is left when half of each family is removed at random, and no axis becomes empty."""
    random, alive = np.random.default_rng(0), np.ones(wiring.units, bool)
    for family in families(wiring):
        alive[random.permutation(family)[: len(family) // 2]] = False
    return keep_one(wiring, alive)


def masks_of(wiring: Wiring, network: Network, alive: Flags) -> dict[str, Flags]:
    """Masks of every array of a network in which all of the dead units is dead."""
    fates, masks = wiring.fates(alive), {}
    for name in network.arrays:
        masks[name] = np.ones(network.arrays[name].shape, bool)
        for axis, units in enumerate(wiring.slots[name]):
            masks[name].swapaxes(0, axis)[~survives(units, fates)] = False
    return masks


def removable_places(wiring: Wiring, network: Network) -> float:
    """The share of the places along the axes of the parameters that belong to a unit."""
    axes = [units for name in network.parameters for units in wiring.slots[name]]
    return sum(int((units != PERMANENT).sum()) for units in axes) / sum(map(len, axes))


def removable_parameters(wiring: Wiring, network: Network) -> float:
    """The share of the parameters that go with at least one unit."""
    stay = sum(prod(int((units == PERMANENT).sum()) for units in wiring.slots[name]) for name in network.parameters)
    return 1 - stay / parameters(network)


def parameters(network: Network) -> int:
    return sum(prod(array.shape) for array in network.parameters.values())


def reasons(frozen: tuple[Frozen, ...]) -> list[tuple[str, int]]:
    """Why places are frozen, and how many are, the most frequent reason first."""
    counted: Counter[str] = Counter()
    for one in frozen:
        counted[one.reason] += one.count
    return counted.most_common()
