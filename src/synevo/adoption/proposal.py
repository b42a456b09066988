"""A proposal: which arrays of a file may be which of a network, as far as shapes and order tell.

Arrays are compared layer by layer. The layers of one kind (the same roles with the same sizes) are taken in order: in
the network that of its program, in the file that of its names, in which numbers are numbers. Nothing is assumed: the
result is text, with the reason beside each line.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from synevo.adoption.names import ROLES, Parts, split
from synevo.adoption.rules import Line, write_rules

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Open:
    """What has found no partner: arrays of the network by shape, and of the file by parts and shape, both in order.

    `flattened` are the maps [height, width, channels] in front of matrices of the network whose order matters.
    """

    missing: Mapping[str, Shape]
    left: Mapping[str, tuple[Parts, Shape]]
    flattened: Mapping[str, Shape | None]


_Layer = tuple[Any, list[str]]
"""A kind, and the names of its arrays in the order of their roles."""


def propose(rest: Open, lines: Iterable[Line]) -> str:
    """Return the text of a NAMES.toml with the given lines and those that shapes and order suggest; "" without any."""
    ours = _layers({name: (split(name), shape) for name, shape in rest.missing.items()}, list(rest.missing))
    theirs = _layers(rest.left, sorted(rest.left, key=lambda name: _natural(rest.left[name][0][:-1])))
    found = list(lines)
    for kind, own in ours.items():
        others = theirs.get(kind, [])
        if len(own) != len(others):
            continue
        for number, (layer, other) in enumerate(zip(own, others, strict=True), 1):
            why = "the only one of its shapes" if len(own) == 1 else f"by order: {number} of {len(own)} of these shapes"
            found += [
                Line(source, target, why, _first(rest.flattened.get(target)))
                for source, target in zip(other, layer, strict=True)
            ]
    return write_rules(found) if found else ""


def _first(shape: Shape | None) -> Shape | None:
    """Return the shape of a map with its channels first."""
    return None if shape is None else (shape[-1], *shape[:-1])


def _natural(layer: Parts) -> list[tuple[int, int, str]]:
    """Return a key that sorts layers by name, numbers in it as numbers; one without a number comes first."""
    pieces = [piece for part in layer for piece in re.split(r"(\d+)|_", part) if piece]
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces]


def _layers(arrays: Mapping[str, tuple[Parts, Shape]], order: list[str]) -> dict[Any, list[list[str]]]:
    """Return the layers by kind, in order; a layer is the names of its arrays, in the order of their roles."""
    place: dict[Parts, int] = {}
    for name in order:
        place.setdefault(arrays[name][0][:-1], len(place))
    kinds: dict[Any, list[list[str]]] = {}
    ordered = sorted(arrays, key=lambda name: place[arrays[name][0][:-1]])
    for _, members in groupby(ordered, key=lambda name: arrays[name][0][:-1]):
        own = sorted((_role(*arrays[name]), name) for name in members)
        kinds.setdefault(tuple(role for role, _ in own), []).append([name for _, name in own])
    return kinds


def _role(parts: Parts, shape: Shape) -> tuple[str, Shape]:
    """Return what an array is in its layer, whatever its framework calls it, and its sizes without their order."""
    role = parts[-1]
    if role in {"kernel", "embedding", "embeddings", "weight"}:
        return ("scale" if len(shape) == 1 else "matrix"), tuple(sorted(shape))
    return ROLES.get(role, (role,))[0], tuple(sorted(shape))
