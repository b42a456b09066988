"""Identities: every element of every axis of every value of a traced program has one; united ones are removed together.

Identities are united where one cannot be removed without the other (union-find). A set of them is one of three kinds:
*atomic*, removed or kept as a whole; *frozen*, never removed, for a reason; or *derived* from other sets, removed as
soon as one of these is. When axes (heads, width) become one axis, it holds derived identities. When an axis is split,
its identities become derived from fresh ones of each new axis. In this way flattening, packed queries, heads, groups of
channels and channel shuffles can be followed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

STAYS, ONE, EXAMPLES, PLACE, INPUT, STATED, COUNTED = range(7)
"""Identities of what is never removed, one for each kind: places in a picture or a sequence (`STAYS`), the only place
of an axis, examples, places in the input, its channels, numbers that the code states, and places that are counted."""

PLAIN, MET, TOLD, TRIED, WINDOW = range(5)
"""How much a reason explains: nothing (nobody would remove it), that a place meets one that stays, which step keeps it,
or where the model's own code fails without it. A place in the window of a convolution is nothing else, whatever keeps
it."""


@dataclass(frozen=True, order=True)
class Reason:
    """Why places are never removed. Of several reasons the greatest is given: what explains most, or comes first."""

    weight: int
    earliness: int
    text: str


_FIXED = (
    "a place in a picture or a sequence",
    "the only one of its axis",
    "an example of a batch",
    "a place in the input",
    "an input of the network",
    "a number that the code states",
    "a place that is counted",
)
_MET = {INPUT: "the input of the network", STATED: "numbers that the code states", COUNTED: "the number of each place"}
_VERBS = {"add": "added to", "add_any": "added to", "mul": "multiplied with"}
_READS = ("dot_general", "conv_general_dilated")


@dataclass(frozen=True)
class Axis:
    """The identities along an axis [size], and the value at its dead places (`dead`): None where unknown.

    In a masked network every array of a dead unit is zero; `dead` is the value of its signals.
    """

    ids: Numbers
    dead: float | None = 0.0

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, places: slice) -> "Axis":
        """Return some places of the axis."""
        return Axis(self.ids[places], self.dead)


Axes = tuple[Axis, ...]


def stays(size: int, identity: int = STAYS) -> Axis:
    """Return an axis that is never removed, with one frozen identity at all of its places."""
    return Axis(np.full(size, identity, np.int64))


@dataclass
class Identities:
    """Sets of identities that are removed together, and the identities of every axis of every value."""

    axes: dict[int, Axes] = field(default_factory=dict)
    _parents: list[int] = field(default_factory=lambda: list(range(len(_FIXED))))
    _reasons: dict[int, Reason] = field(
        default_factory=lambda: {place: Reason(PLAIN, place, text) for place, text in enumerate(_FIXED)}
    )
    _fixed: set[int] = field(default_factory=lambda: set(range(len(_FIXED))))
    _steps: int = 0
    _step: tuple[str, str] = ("", "")
    _parts: dict[int, tuple[int, ...]] = field(default_factory=dict)
    _derived: dict[tuple[int, ...], int] = field(default_factory=dict)
    _births: list[tuple[int, int]] = field(default_factory=list)

    def fresh(self, size: int, dead: float | None = 0.0) -> Axis:
        """Return new identities for one axis; an axis of one element is never removed."""
        if size == 1:
            return Axis(stays(1, ONE).ids, dead)
        start = len(self._parents)
        self._parents.extend(range(start, start + size))
        self._births.append((start, start + size))
        return Axis(np.arange(start, start + size), dead)

    def begin(self, primitive: str, where: str) -> None:
        """Note the step that is followed from now on: it is why places are frozen that meet one that stays."""
        self._steps += 1
        self._step = primitive, where

    def because(self, text: str, weight: int = TOLD) -> Reason:
        """Return a reason that the present step gives."""
        return Reason(weight, -self._steps, text)

    def fixed(self, reason: Reason) -> int:
        """Return a frozen identity for the results of a step; what meets it is frozen for the same reason."""
        identity = len(self._parents)
        self._parents.append(identity)
        self._fixed.add(identity)
        self._reasons[identity] = reason
        return identity

    def root(self, identity: int) -> int:
        """Return the representative of the set of an identity."""
        while self._parents[identity] != identity:
            self._parents[identity] = self._parents[self._parents[identity]]
            identity = self._parents[identity]
        return identity

    def parts(self, identity: int) -> tuple[int, ...]:
        """Return the atomic sets that an identity depends on: itself, those it is derived from, or none if frozen."""
        root = self.root(identity)
        if root in self._reasons:
            return ()
        if root not in self._parts:
            return (root,)
        return tuple(dict.fromkeys(atom for part in self._parts[root] for atom in self.parts(part)))

    def derive(self, identities: Iterable[int]) -> int:
        """Return the identity that is removed as soon as one of the given ones is."""
        given = [int(identity) for identity in identities]
        parts = tuple(dict.fromkeys(atom for identity in given for atom in self.parts(identity)))
        if not parts:
            return self.best(given)
        if len(parts) == 1:
            return parts[0]
        if parts not in self._derived:
            self._derived[parts] = len(self._parents)
            self._parts[len(self._parents)] = parts
            self._parents.append(len(self._parents))
        return self._derived[parts]

    def unite(self, first: Axis, second: Axis) -> None:
        """Tie the identities of two axes, place by place, so that they are removed together."""
        if len(first) != len(second):
            raise ValueError(f"Axes of {len(first)} and {len(second)} places cannot be united.")
        others = first.ids != second.ids
        for a, b in zip(first.ids[others].tolist(), second.ids[others].tolist(), strict=True):
            self.tie(a, b)

    def tie(self, a: int, b: int) -> None:
        """Tie two identities, so that they are removed together."""
        low, high = sorted((self.root(a), self.root(b)))
        if low == high:
            return
        if low in self._fixed or high in self._fixed:
            fixed, other = (low, high) if low in self._fixed else (high, low)
            if other not in self._fixed:
                self._freeze(other, self._meeting(fixed))
        elif low not in self._parts and high not in self._parts:
            self._link(high, low)
        elif low in self._reasons or high in self._reasons:
            frozen, other = (low, high) if low in self._reasons else (high, low)
            self._freeze(other, self._reasons[frozen])
            self._give(frozen, self.reason(other))
        else:
            self._equate(low, high)

    def _meeting(self, fixed: int) -> Reason:
        """Return why something is frozen that the present step ties to a fixed identity."""
        primitive, where = self._step
        if fixed not in _MET:
            return self._reasons[fixed]
        if fixed == INPUT and primitive in _READS:
            return self.because("reads an input of the network", PLAIN)
        met = "contracted with" if primitive in _READS else _VERBS.get(primitive, "combined with")
        return self.because(f"{met} {_MET[fixed]} ({where})", MET)

    def _link(self, root: int, to: int) -> None:
        self._parents[root] = to
        if root in self._reasons:
            self._give(to, self._reasons[root])

    def _give(self, root: int, reason: Reason) -> None:
        """Give a reason to a set; the greatest of its reasons counts."""
        self._reasons[root] = max(reason, self._reasons.get(root, reason))

    def _equate(self, low: int, high: int) -> None:
        """Tie two sets, at least one of them derived: the parts that they do not share are tied, or frozen."""
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
                self._freeze(part, self.because(f"an axis that is divided in two ways ({self._step[1]})"))

    def _define(self, atom: int, parts: tuple[int, ...]) -> None:
        """Derive an atomic set from other sets; it is none of them."""
        self._parents[atom] = self.derive(parts)

    def freeze(self, axis: Axis, reason: Reason) -> None:
        """Freeze the identities of an axis: they are never removed, for this reason."""
        for root in sorted({self.root(identity) for identity in np.unique(axis.ids).tolist()}):
            self._freeze(root, reason)

    def _freeze(self, identity: int, reason: Reason) -> None:
        """Freeze what an identity depends on; what is frozen already may get the better reason."""
        root = self.root(identity)
        for part in (root,) if root in self._reasons else self.parts(root):
            if part not in self._fixed:
                self._give(part, reason)

    def roots(self) -> Numbers:
        """Return the representative of every identity, by its number."""
        roots = np.array(self._parents, np.int64)
        while (roots != (above := roots[roots])).any():
            roots = above
        return roots

    def is_frozen(self, identity: int) -> bool:
        """Return whether an identity is never removed."""
        return not self.parts(identity)

    def best(self, identities: Iterable[int]) -> int:
        """Return the one of some frozen identities that has the greatest reason."""
        return max(identities, key=self.reason)

    def reason(self, identity: int) -> Reason:
        """Return why an identity is never removed; for a derived one, the greatest reason of its parts."""
        root = self.root(identity)
        if root in self._reasons:
            return self._reasons[root]
        unused = Reason(TOLD, 0, "not used by the network when it evaluates")
        return max((self.reason(part) for part in self._parts.get(root, ())), default=unused)

    def atoms(self, identity: int) -> set[int]:
        """Return the atomic sets that an identity is derived from, frozen ones included."""
        root = self.root(identity)
        return {root}.union(*(self.atoms(part) for part in self._parts.get(root, ())))

    def families(self) -> list[list[int]]:
        """Return the atomic sets, grouped by the kind of axis that they are on: all heads, all channels of a stage."""
        family, members, roots = Identities(), dict[int, int](), self.roots()
        atomic = np.ones(len(roots), bool)
        atomic[[*self._reasons, *self._parts]] = False
        for start, end in self._births:
            own = np.unique(roots[start:end])
            own, new = own[atomic[own]].tolist(), int(family.fresh(2).ids[0])
            for member in dict.fromkeys(members.setdefault(root, new) for root in own):
                family.tie(members[own[0]], member)
        found: dict[int, list[int]] = {}
        for root, member in members.items():
            found.setdefault(family.root(member), []).append(root)
        return list(found.values())

    def freeze_sets(self, roots: Iterable[int], why: str) -> None:
        """Freeze these sets: the model's own code does not run without them."""
        for root in roots:
            self._freeze(root, self.because(why, TRIED))

    def all_frozen(self, axis: Axis) -> bool:
        """Return whether nothing of an axis can be removed, as far as is known."""
        return all(self.is_frozen(identity) for identity in np.unique(axis.ids).tolist())
