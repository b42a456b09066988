"""Viability: a signal must reach every output, and what carries no signal is no part of the network.

A unit carries a signal if one of its living synapses comes from a unit that does, and serves if one of its living
synapses leads to a unit that does. What does not both carry and serve is trimmed away. If a filter that is never
removed (a class of the classifier, above all) is left without a signal, its parent's widest path to it is restored:
the path whose weakest synapse, relative to the strongest of its layer, is strongest. The inherited weights then still
hold that path.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.errors import ViabilityError
from synevo.masks import Masks, by_unit, from_units
from synevo.wiring import PERMANENT, Layer, Wiring

Flags = NDArray[np.bool_]


def make_viable(
    wiring: Wiring, weights: Mapping[str, Any], parent: Masks, offspring: Masks
) -> tuple[Masks, Flags, int]:
    """The masks of the offspring, trimmed and repaired, the units [units] that live, and how many paths were restored.

    Raises:
        ViabilityError: where even the parent has no path to an output.
    """
    masks, alive = trim(wiring, offspring)
    restored = 0
    while silent := _silent_filters(wiring, masks):
        if restored == 0:
            scores, ways = _widest_paths(wiring, weights, parent)
        offspring = {name: mask.copy() for name, mask in offspring.items()}
        for layer, filter_ in silent:
            _restore(weights, parent, offspring, scores, ways, (layer, filter_))
            restored += 1
        masks, alive = trim(wiring, offspring)
    return masks, alive, restored


def trim(wiring: Wiring, masks: Masks) -> tuple[Masks, Flags]:
    """The masks without the synapses that carry no signal to any output, and the units [units] that are left."""
    connected = {layer.name: by_unit(layer, masks[layer.name]).any(axis=2) for layer in wiring.layers}
    carries, serves = _made_by_no_layer(wiring), np.zeros(wiring.units, bool)
    for layer in wiring.layers:
        reached = (connected[layer.name] & _flags(layer.inputs, carries)[:, None]).any(axis=0)
        _mark(carries, layer.outputs, reached)
    for layer in reversed(wiring.layers):
        needed = (connected[layer.name] & _flags(layer.outputs, serves)).any(axis=1)
        _mark(serves, layer.inputs, needed)
    alive = carries & serves & wiring.present()
    return {layer.name: _restrict(layer, masks[layer.name], alive) for layer in wiring.layers}, alive


def _made_by_no_layer(wiring: Wiring) -> Flags:
    made = np.zeros(wiring.units, bool)
    for layer in wiring.layers:
        _mark(made, layer.outputs, np.ones(len(layer.outputs), bool))
    return ~made


def _flags(units: NDArray[np.int64], flags: Flags) -> Flags:
    """The flag of the unit at each place of an axis; permanent places are always flagged."""
    return np.append(flags, True)[units]


def _mark(flags: Flags, units: NDArray[np.int64], marked: Flags) -> None:
    flags[units[marked & (units != PERMANENT)]] = True


def _restrict(layer: Layer, mask: NDArray[np.bool_], alive: Flags) -> NDArray[np.bool_]:
    kept = _flags(layer.inputs, alive)[:, None] & _flags(layer.outputs, alive)
    restricted: NDArray[np.bool_] = from_units(layer, by_unit(layer, mask) & kept[:, :, None], mask.shape)
    return restricted


def _silent_filters(wiring: Wiring, masks: Masks) -> list[tuple[Layer, int]]:
    """Filters that are never removed and have no living synapse left."""
    return [
        (layer, int(filter_))
        for layer in wiring.layers
        for filter_ in np.flatnonzero(
            (layer.outputs == PERMANENT) & ~by_unit(layer, masks[layer.name]).any(axis=(0, 2))
        )
    ]


def _widest_paths(
    wiring: Wiring, weights: Mapping[str, Any], parent: Masks
) -> tuple[NDArray[np.float64], dict[int, tuple[Layer, int]]]:
    """The width of the widest path to every unit [units], and the filter through which it comes."""
    width = np.where(_made_by_no_layer(wiring), 1.0, 0.0)
    ways: dict[int, tuple[Layer, int]] = {}
    for layer in wiring.layers:
        best = _widths(layer, weights, parent, width).max(axis=0, initial=0.0)
        for filter_, unit in enumerate(layer.outputs):
            if unit != PERMANENT and best[filter_] > width[unit]:
                width[unit], ways[int(unit)] = best[filter_], (layer, filter_)
    return width, ways


def _widths(layer: Layer, weights: Mapping[str, Any], parent: Masks, width: NDArray[np.float64]) -> NDArray[np.float64]:
    """The width of the widest path that enters each filter by each input: [inputs, outputs]."""
    strengths = np.where(by_unit(layer, parent[layer.name]), np.abs(by_unit(layer, np.asarray(weights[layer.name]))), 0)
    relative = (strengths + 0.0).max(axis=2, initial=0) / max(float(strengths.max(initial=0)), 1e-30)
    return np.minimum(np.append(width, 1.0)[layer.inputs][:, None], relative)


def _restore(
    weights: Mapping[str, Any],
    parent: Masks,
    offspring: Masks,
    width: NDArray[np.float64],
    ways: Mapping[int, tuple[Layer, int]],
    target: tuple[Layer, int],
) -> None:
    """Give an offspring back its parent's widest path to a filter."""
    way: tuple[Layer, int] | None = target
    while way is not None:
        layer, filter_ = way
        entries = _widths(layer, weights, parent, width)[:, filter_]
        if entries.max(initial=0) == 0:
            raise ViabilityError(
                f"No signal reaches filter {filter_} of {layer.name}, not even in the parent.",
                remedy="Check that the ancestor's classes all learn: train it longer, or with a smaller learning rate.",
            )
        source = int(entries.argmax())
        view = by_unit(layer, offspring[layer.name]).copy()
        strengths = np.where(
            by_unit(layer, parent[layer.name]), np.abs(by_unit(layer, np.asarray(weights[layer.name]))), -1
        )
        view[source, filter_, int(strengths[source, filter_].argmax())] = True
        offspring[layer.name] = from_units(layer, view, offspring[layer.name].shape)
        unit = int(layer.inputs[source])
        way = None if unit == PERMANENT else ways.get(unit)
