"""Identities: who shares a fate. Every element of every axis of every value of a traced program carries one.

Identities are united where one cannot be removed without the other (union-find). A set of them is one of three kinds:
*atomic*, removed or kept as a whole; *frozen*, never removed, for a reason; or *derived* from other sets, gone as soon
as any of these is. Axes (heads, width) that become one axis hold derived identities; an axis that is split defines its
identities as derived from fresh ones of each new axis. That device covers flattening, packed queries, heads, groups of
channels and channel shuffles.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

STAYS = 0
"""The identity of everything that never dies: inputs, batches, places in a picture."""


@dataclass(frozen=True)
class Axis:
    """The identities along an axis [size], and the number that is found at its dead places: None where unknown.

    A masked network holds zero in every array of a dead unit; `dead` says what its signals are there.
    """

    ids: Numbers
    dead: float | None = 0.0

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: slice) -> "Axis":
        """Some places of the axis."""
        return Axis(self.ids[places], self.dead)


Axes = tuple[Axis, ...]


def stays(size: int) -> Axis:
    """An axis that never dies."""
    return Axis(np.full(size, STAYS, np.int64))


@dataclass
class Identities:
    """Sets of identities that share a fate, and the identities of every axis of every value."""

    axes: dict[int, Axes] = field(default_factory=dict)
    _parents: list[int] = field(default_factory=lambda: [STAYS])
    _reasons: dict[int, str] = field(default_factory=lambda: {STAYS: "part of the input, the batch or a window"})
    _parts: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _derived: dict[tuple[int, ...], int] = field(default_factory=dict)
    _births: list[tuple[int, int]] = field(default_factory=list)

    def fresh(self, size: int, dead: float | None = 0.0) -> Axis:
        """New identities for one axis; an axis of one element never dies."""
        if size == 1:
            return Axis(stays(1).ids, dead)
        start = len(self._parents)
        self._parents.extend(range(start, start + size))
        self._births.append((start, start + size))
        return Axis(np.arange(start, start + size), dead)

    def root(self, identity: int) -> int:
        """The representative of the set of an identity."""
        while self._parents[identity] != identity:
            self._parents[identity] = self._parents[self._parents[identity]]
            identity = self._parents[identity]
        return identity

    def parts(self, identity: int) -> tuple[int, ...]:
        """The atomic sets whose deaths are an identity's: itself, what it is derived from, or none where frozen."""
        root = self.root(identity)
        if root in self._reasons:
            return ()
        if root not in self._parts:
            return (root,)
        return tuple(dict.fromkeys(atom for part in self._parts[root] for atom in self.parts(part)))

    def derive(self, identities: Iterable[int]) -> int:
        """The identity that is dead as soon as any of the given ones is."""
        given = [int(identity) for identity in identities]
        parts = tuple(dict.fromkeys(atom for identity in given for atom in self.parts(identity)))
        if not parts:
            return next((identity for identity in given if self.root(identity) != STAYS), STAYS)
        if len(parts) == 1:
            return parts[0]
        if parts not in self._derived:
            self._derived[parts] = len(self._parents)
            self._parts[len(self._parents)] = parts
            self._parents.append(len(self._parents))
        return self._derived[parts]

    def unite(self, first: Axis, second: Axis) -> None:
        """Let the identities of two axes share their fates, place by place."""
        for a, b in zip(first.ids, second.ids, strict=True):
            self.tie(int(a), int(b))

    def tie(self, a: int, b: int) -> None:
        """Let two identities share their fates."""
        low, high = sorted((self.root(a), self.root(b)))
        if low == high:
            return
        if low not in self._parts and high not in self._parts:
            self._link(high, low)
        elif low in self._reasons or high in self._reasons:
            frozen, other = (low, high) if low in self._reasons else (high, low)
            self._freeze(other, self._reasons[frozen])
        else:
            self._equate(low, high)

    def _link(self, root: int, to: int) -> None:
        self._parents[root] = to
        if root in self._reasons:
            self._reasons.setdefault(to, self._reasons[root])

    def _equate(self, low: int, high: int) -> None:
        """Tie two sets of which at least one is derived: what they do not share must share its fate."""
        left, right = self.parts(low), self.parts(high)
        if not left or not right:
            for part in (*left, *right):
                self._freeze(part, self.reason(high if left else low))
            return
        only_left = tuple(part for part in left if part not in right)
        only_right = tuple(part for part in right if part not in left)
        if len(only_left) == len(only_right):
            for one, other in zip(only_left, only_right, strict=True):
                self.tie(one, other)
        elif len(only_left) == 1 and only_right:
            self._define(only_left[0], only_right)
        elif len(only_right) == 1 and only_left:
            self._define(only_right[0], only_left)
        else:
            for part in (*only_left, *only_right):
                self._freeze(part, "an axis that is divided in two ways")

    def _define(self, atom: int, parts: tuple[int, ...]) -> None:
        """Let an atomic set be derived from others, which it is none of."""
        self._parents[atom] = self.derive(parts)

    def freeze(self, axis: Axis, reason: str) -> None:
        """Never remove the identities of an axis."""
        for root in np.unique(self.roots(axis)):
            self._freeze(int(root), reason)

    def _freeze(self, identity: int, reason: str) -> None:
        for part in self.parts(identity):
            self._reasons.setdefault(part, reason)

    def roots(self, axis: Axis) -> Numbers:
        """The representative of each identity of an axis."""
        return np.array([self.root(int(identity)) for identity in axis.ids], np.int64)

    def is_frozen(self, identity: int) -> bool:
        """Whether an identity is never removed."""
        return not self.parts(identity)

    def reason(self, identity: int) -> str:
        """Why an identity is never removed; of a derived one, why the last of its parts is not."""
        root = self.root(identity)
        if root in self._reasons:
            return self._reasons[root]
        return next((self.reason(part) for part in reversed(self._parts.get(root, ()))), "never made by the network")

    def families(self) -> list[list[int]]:
        """The atomic sets that are found on axes of the same kind: all heads, all channels of a stage."""
        family = Identities()
        members: dict[int, int] = {}
        for start, end in self._births:
            roots = {root for root in map(self.root, range(start, end)) if self.parts(root) == (root,)}
            own = [members.setdefault(root, int(family.fresh(2).ids[0])) for root in sorted(roots)]
            for one, other in pairwise(own):
                family.tie(one, other)
        found: dict[int, list[int]] = {}
        for root, member in members.items():
            found.setdefault(family.root(member), []).append(root)
        return list(found.values())

    def freeze_sets(self, roots: Iterable[int], reason: str) -> None:
        """Never remove these sets."""
        for root in roots:
            self._freeze(root, reason)

    def all_frozen(self, axis: Axis) -> bool:
        """Whether nothing of an axis can be removed, as far as is known."""
        return all(self.is_frozen(int(identity)) for identity in np.unique(axis.ids))
