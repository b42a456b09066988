"""Viability: a signal must reach every output, and parts without a signal are removed.

A unit carries a signal if one of its living synapses comes from a unit that carries one. It serves if one of its living
synapses leads to a unit that serves. Units that do not both carry and serve are trimmed away, but one unit of every
axis stays. If a filter that is never removed (an output, above all: one of each class or token, at all places alike) is
left without a signal, its parent's widest path to it is restored. This is the path whose weakest synapse, relative to
the strongest of its layer, is strongest. The inherited weights still hold this path.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.errors import ViabilityError
from synevo.wiring.identities import Flags
from synevo.wiring.masks import Masks, by_unit, from_units
from synevo.wiring.signal import touched, trim
from synevo.wiring.units import PERMANENT, Layer, Wiring, survives

_FAINT = 1e-30
"""The strength of a living synapse with weight or influence 0: a path takes it last."""

Path = tuple[tuple[int, int, int, int], ...]
"""A path as its synapses: the number of the layer, the input, the output, and the place in the window."""


def make_viable(
    wiring: Wiring, weights: Mapping[str, Any], parent: Masks, offspring: Masks
) -> tuple[Masks, Flags, int]:
    """Return the offspring's masks, trimmed and repaired, its living units [units], and the number of restored paths.

    Raises:
        ViabilityError: where even the parent has no path to an output.
    """
    kept = np.zeros(wiring.units, bool)
    masks, alive = trim(wiring, offspring, kept=kept)
    routes: _Routes | None = None
    restored = 0
    while missing := _silent_filters(wiring, masks) or _empty_axes(wiring, alive):
        routes = routes or _find_routes(wiring, weights, parent)
        before, offspring = offspring, {name: mask.copy() for name, mask in offspring.items()}
        had = kept.copy()
        for target in missing:
            if isinstance(target, tuple):
                _restore(wiring, offspring, routes.to_filter(*target))
                restored += 1
            else:
                place, path = routes.to_any(target)
                _restore(wiring, offspring, path)
                _keep(wiring, kept, target, place)
                for number, source, filter_, _ in path:
                    _keep(wiring, kept, wiring.layers[number].inputs, source)
                    _keep(wiring, kept, wiring.layers[number].outputs, filter_)
        if (kept == had).all() and all(np.array_equal(before[name], mask) for name, mask in offspring.items()):
            raise _unreachable("the last layers", 0)
        masks, alive = trim(wiring, offspring, kept=kept)
    return masks, alive, restored


def _keep(wiring: Wiring, kept: Flags, axis: NDArray[np.int64], place: int) -> None:
    kept[list(wiring.parts(int(axis[place])))] = True


def _silent_filters(wiring: Wiring, masks: Masks) -> list[tuple[int, int]]:
    """Return the filters that are never removed and have no living synapse left, as (layer, filter)."""
    return [
        (number, int(filter_))
        for number, layer in enumerate(wiring.layers)
        for filter_ in np.flatnonzero(
            (layer.outputs == PERMANENT) & ~by_unit(layer, masks[layer.name]).any(axis=(0, 2))
        )
    ]


def _empty_axes(wiring: Wiring, alive: Flags) -> list[NDArray[np.int64]]:
    """Return the axes of which nothing is left."""
    fates = wiring.fates(alive)
    return [axis for axis in wiring.axes if len(axis) and not survives(axis, fates).any()]


@dataclass(frozen=True)
class _Routes:
    """The widest path to every unit in the parent: its `width` [units], its synapses, and widths of derived `cells`."""

    wiring: Wiring
    weights: Mapping[str, Any]
    parent: Masks
    width: NDArray[np.float64]
    paths: dict[int, Path]
    cells: dict[int, float]

    def to_filter(self, number: int, filter_: int) -> Path:
        """Return the widest path to a filter of a layer; ViabilityError where there is none."""
        entries = self.widths(self.wiring.layers[number])[:, filter_]
        if entries.max(initial=0) == 0:
            raise _unreachable(self.wiring.layers[number].name, filter_)
        return self.through(number, int(entries.argmax()), filter_)

    def to_any(self, axis: NDArray[np.int64]) -> tuple[int, Path]:
        """Return the place of an axis with the widest path of all, and this path."""
        place = int(self.width_of(axis).argmax())
        return place, self.to_unit(int(axis[place]))

    def to_unit(self, unit: int) -> Path:
        """Return the widest path to a unit: to all its parts, where it is derived and no layer makes it."""
        if unit in self.paths:
            return self.paths[unit]
        return tuple(link for part in self.wiring.parts(unit) for link in self.paths.get(part, ()))

    def through(self, number: int, source: int, filter_: int) -> Path:
        """Return the widest path to a filter by one of its inputs, and by the strongest synapse between them."""
        layer = self.wiring.layers[number]
        before = self.to_unit(int(layer.inputs[source]))
        if layer.groups is not None:
            group = int(layer.groups[filter_])
            met = self.meeting(int(layer.inputs[source]), group)
            before = self.to_unit(met) if met != PERMANENT else before + self.to_unit(group)
        place = int(self.strengths(layer)[source, filter_].argmax())
        return (*dict.fromkeys(before), (number, source, filter_, place))

    def width_of(self, axis: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the width at each place of an axis; a derived unit without a layer has that of its narrowest part."""
        derived = [
            self.cells.get(unit, min(self.width[list(parts)]))
            for unit, parts in enumerate(self.wiring.derived, self.wiring.units)
        ]
        widths: NDArray[np.float64] = np.concatenate([self.width, derived, [1.0]])[axis]
        return widths

    def strengths(self, layer: Layer) -> NDArray[np.float64]:
        """Return the strength of the parent's synapses [inputs, outputs, places]: above 0 if alive, -1 if dead."""
        sizes = np.maximum(np.abs(by_unit(layer, np.asarray(self.weights[layer.name]))), _FAINT)
        strengths: NDArray[np.float64] = np.where(by_unit(layer, self.parent[layer.name]), sizes, -1)
        return strengths

    def widths(self, layer: Layer) -> NDArray[np.float64]:
        """Return the width of the widest path that enters each filter by each input: [inputs, outputs]."""
        strengths = np.maximum(self.strengths(layer), 0)
        relative = strengths.max(axis=2, initial=0) / max(float(strengths.max(initial=0)), 1e-30)
        if layer.groups is None:
            return np.minimum(self.width_of(layer.inputs)[:, None], relative)
        met = np.array([[self.meeting(int(i), int(g)) for g in layer.groups] for i in layer.inputs], np.int64)
        ways = np.minimum(self.width_of(layer.inputs)[:, None], self.width_of(layer.groups))
        widths: NDArray[np.float64] = np.minimum(ways, np.minimum(self.width_of(met), relative))
        return widths

    def meeting(self, unit: int, group: int) -> int:
        """Return the derived unit of a place within a group; permanent where there is none."""
        parts = {*self.wiring.parts(unit), *self.wiring.parts(group)}
        known = (n for n, own in enumerate(self.wiring.derived, self.wiring.units) if set(own) == parts)
        return next(known, PERMANENT)


def _unreachable(name: str, filter_: int) -> ViabilityError:
    return ViabilityError(
        f"No signal reaches filter {filter_} of {name}, not even in the parent.",
        remedy="Check that all outputs of the ancestor learn: train it longer, or with a smaller learning rate.",
    )


def _find_routes(wiring: Wiring, weights: Mapping[str, Any], parent: Masks) -> _Routes:
    """Find the widest paths of the parent, layer by layer in the order of the signal."""
    routes = _Routes(wiring, weights, parent, np.where(touched(wiring, "outputs"), 0.0, 1.0), {}, {})
    for number, layer in enumerate(wiring.layers):
        entries = routes.widths(layer)
        best, sources = entries.max(axis=0, initial=0.0), entries.argmax(axis=0)
        found: dict[int, tuple[float, Path]] = {}
        for filter_, unit in enumerate(layer.outputs):
            own = set() if layer.groups is None else {int(layer.groups[filter_])}
            own |= {part for group in own for part in wiring.parts(group)}
            for made in {int(unit), *wiring.parts(int(unit))} - {PERMANENT}:
                known = routes.cells.get(made, 0.0) if made >= wiring.units else float(routes.width[made])
                beaten = found[made][0] if made in found else (-1.0 if made in own else known)
                if best[filter_] > beaten:
                    found[made] = float(best[filter_]), routes.through(number, int(sources[filter_]), filter_)
        for made, (width, path) in found.items():
            routes.paths[made] = path
            if made < wiring.units:
                routes.width[made] = width
            else:
                routes.cells[made] = width
    return routes


def _restore(wiring: Wiring, offspring: Masks, path: Path) -> None:
    """Restore a path of the parent in its offspring, in place."""
    for number, *place in path:
        layer = wiring.layers[number]
        view = by_unit(layer, offspring[layer.name]).copy()
        view[tuple(place)] = True
        offspring[layer.name] = from_units(layer, view, offspring[layer.name].shape)
