"""Origins: of which arrays of the network a value is made, when no signal takes part in it.

A kernel need not be an array of the network as it stands. It may be normalised, scaled, rounded, cast, clipped or
reshaped first, or be the product of two matrices. Its synapses are those of the arrays that it is made of: its *parts*.
Every axis of a part has a label, and every axis of the value the labels of what it holds, as in an einsum. A label that
two parts have and the value has not is a sum over the units between them.

`dead` is the value of an element if all parts are zero there, whatever they hold elsewhere; None where it is unknown.
If it is zero, each synapse that is zero passes nothing on: w / ‖w‖, round(w / s) · s. If it is not, a synapse may act
even though it is zero: (w - mean) / std.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

Labels = tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """An array of the network, and the label of each of its axes."""

    array: str
    axes: Labels


@dataclass(frozen=True)
class Origin:
    """The parts of a value, the labels of what each of its axes holds, and its value where all parts are zero.

    It is `plain` if it is an array of the network itself, at most transposed or cast.
    """

    parts: tuple[Part, ...]
    axes: tuple[Labels, ...]
    dead: float | None = 0.0
    plain: bool = True

    def transposed(self, order: Sequence[int]) -> "Origin":
        """Return the origin of the value with its axes in another order."""
        return replace(self, axes=tuple(self.axes[axis] for axis in order))

    def of(self, axes: Sequence[int]) -> set[int]:
        """Return all labels on some of the axes."""
        return {label for axis in axes for label in self.axes[axis]}

    def renamed(self, names: Mapping[int, int]) -> "Origin":
        """Return the origin with other labels."""

        def new(labels: Labels) -> Labels:
            return tuple(names.get(label, label) for label in labels)

        parts = tuple(Part(part.array, new(part.axes)) for part in self.parts)
        return replace(self, parts=parts, axes=tuple(map(new, self.axes)))


@dataclass(frozen=True)
class Use:
    """A part that a signal passes through, from some of its axes to others."""

    array: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Labelling:
    """The labels given so far, and the number of places of each."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def array(self, name: str, shape: Sequence[int]) -> Origin:
        """Return the origin of an array of the network."""
        labels = tuple(range(len(self.sizes), len(self.sizes) + len(shape)))
        self.sizes.extend(shape)
        return Origin((Part(name, labels),), tuple((label,) for label in labels))

    def reshaped(self, origin: Origin, shape: Sequence[int]) -> Origin | None:
        """Return the origin of a value with another shape; None where that divides an axis of a part."""
        flat = [label for labels in origin.axes for label in labels]
        axes: list[Labels] = []
        for size in shape:
            taken: list[int] = []
            while flat and (self._count(taken) < size or (not taken and self.sizes[flat[0]] == size)):
                taken.append(flat.pop(0))
            if self._count(taken) != size:
                return None
            axes.append(tuple(taken))
        return replace(origin, axes=tuple(axes), plain=False)

    def picked(self, origin: Origin, axes: Collection[int]) -> Origin:
        """Return the origin of one place of some axes of a value."""
        held = list(origin.axes)
        for axis in axes:
            held[axis] = (len(self.sizes),)
            self.sizes.append(1)
        return replace(origin, axes=tuple(held), plain=False)

    def along(self, origin: Origin, axes: Sequence[int]) -> set[int]:
        """Return the labels on some axes of a value; of those with one place, only if there is no other."""
        labels = origin.of(axes)
        return {label for label in labels if self.sizes[label] > 1} or labels

    def _count(self, labels: Sequence[int]) -> int:
        return math.prod(self.sizes[label] for label in labels)

    def aligned(self, origin: Origin, to: Sequence[Labels]) -> Origin | None:
        """Return the origin with the labels `to` on its axes; None where they hold other sizes."""
        names: dict[int, int] = {}
        for own, other in zip(origin.axes, to, strict=True):
            if [self.sizes[label] for label in own] != [self.sizes[label] for label in other]:
                return None
            names |= zip(own, other, strict=True)
        return origin.renamed(names)


def joined(origins: Sequence[Origin], dead: float | None) -> Origin:
    """Return the origin of a value made of several, element by element; their axes have the same labels."""
    parts = dict.fromkeys(part for origin in origins for part in origin.parts)
    return Origin(tuple(parts), origins[0].axes, dead, plain=False)


def route(origin: Origin, inputs: Collection[int], outputs: Collection[int]) -> list[Use]:
    """Return how a signal passes through the parts from the labels `inputs` to `outputs`, in its order.

    There is nothing where it does not pass through all of them, or through one array in two ways.
    """
    counts = Counter(label for part in origin.parts for label in part.axes)
    held = {label for labels in origin.axes for label in labels}
    ends = {*outputs} | {label for label, count in counts.items() if count > 1 and label not in held}
    depths, left, uses = dict.fromkeys(inputs, 0), list(origin.parts), list[Use]()
    while left:
        reached = [part for part in left if depths.keys() & {*part.axes}]
        if not reached:
            return []
        depth, part = min(((_depth(part, depths), part) for part in reached), key=lambda pair: pair[0])
        left.remove(part)
        into = tuple(axis for axis, label in enumerate(part.axes) if depths.get(label) == depth)
        out = tuple(axis for axis, label in enumerate(part.axes) if label in ends and depths.get(label) != depth)
        if not out or part.array in {use.array for use in uses}:
            return []
        uses.append(Use(part.array, into, out))
        for axis in out:
            if part.axes[axis] not in outputs:
                depths.setdefault(part.axes[axis], depth + 1)
    return uses


def _depth(part: Part, depths: Mapping[int, int]) -> int:
    return min(depths[label] for label in part.axes if label in depths)
