"""Signal: find the units that carry a signal from the inputs to the outputs; all others can be removed."""

import numpy as np
from numpy.typing import NDArray

from synevo.wiring.identities import Flags
from synevo.wiring.masks import Masks, by_unit, complete, from_units
from synevo.wiring.units import Layer, Wiring, survives


def trim(
    wiring: Wiring, masks: Masks, *, constant: Flags | None = None, kept: Flags | None = None
) -> tuple[Masks, Flags]:
    """Trim the synapses that carry no signal to any output; return the masks and the units [units] that are left.

    `constant` units [units] count as signals of their own: they have a value even where nothing reaches them. `kept`
    units [units] are left whatever they carry, as are those that the wiring keeps. With derived units, trimming is
    repeated until nothing changes, because one pass can leave some of their synapses. If synapses cannot die alone, all
    of a filter are left or none.
    """
    kept = wiring.staying() if kept is None else kept | wiring.staying()
    masks = complete(wiring, masks)
    masks, alive = _trim_once(wiring, masks, kept, constant)
    while wiring.derived:
        before = alive
        masks, alive = _trim_once(wiring, masks, kept, constant)
        if (alive == before).all():
            break
    return masks, alive


def _trim_once(wiring: Wiring, masks: Masks, kept: Flags, constant: Flags | None) -> tuple[Masks, Flags]:
    """Trim once: keep the synapses between units that a signal reaches and that lead to an output."""
    connected = {layer.name: by_unit(layer, masks[layer.name]).any(axis=2) for layer in wiring.layers}
    carries, serves = ~touched(wiring, "outputs"), ~touched(wiring, "inputs")
    if constant is not None:
        carries |= constant
    read = np.zeros(wiring.units, bool)
    for layer in wiring.uses:
        heard = _flags(wiring, layer.inputs, carries)[:, None] & connected[layer.name]
        reached = heard.any(axis=0)
        if layer.groups is not None:
            reached &= _flags(wiring, layer.groups, carries)
            _silence_groups(wiring, layer, carries, reached, read if constant is None else read | constant)
        wiring.mark(carries, layer.outputs, reached)
        wiring.mark(read, layer.inputs, np.ones(len(layer.inputs), bool))
    for layer in reversed(wiring.uses):
        needed = (connected[layer.name] & _flags(wiring, layer.outputs, serves)).any(axis=1)
        wiring.mark(serves, layer.inputs, needed)
        if layer.groups is not None:
            wiring.mark(serves, layer.groups, _flags(wiring, layer.outputs, serves))
    alive = (carries & serves | kept) & wiring.present()
    return {layer.name: _restrict(wiring, layer, masks[layer.name], alive) for layer in wiring.layers}, alive


def touched(wiring: Wiring, side: str) -> Flags:
    """Return the units [units] that layers make (side `outputs`), or read as inputs or groups (side `inputs`)."""
    touched = np.zeros(wiring.units, bool)
    for layer in wiring.layers:
        axes = [layer.outputs] if side == "outputs" else [layer.inputs]
        if side == "inputs" and layer.groups is not None:
            axes.append(layer.groups)
        for axis in axes:
            wiring.mark(touched, axis, np.ones(len(axis), bool))
    return touched


def _silence_groups(wiring: Wiring, layer: Layer, carries: Flags, reached: Flags, read: Flags) -> None:
    """Clear the flag `carries` of groups without a reached output, unless an earlier layer has read them."""
    assert layer.groups is not None
    for group in np.setdiff1d(layer.groups, layer.groups[reached]):
        for part in wiring.parts(int(group)):
            carries[part] &= read[part]


def _flags(wiring: Wiring, axis: NDArray[np.int64], flags: Flags) -> Flags:
    """Return the flag of the unit at each place of an axis; permanent places are always flagged."""
    return survives(axis, wiring.fates(flags))


def _restrict(wiring: Wiring, layer: Layer, mask: NDArray[np.bool_], alive: Flags) -> NDArray[np.bool_]:
    kept = _flags(wiring, layer.inputs, alive)[:, None] & _flags(wiring, layer.outputs, alive)
    restricted: NDArray[np.bool_] = from_units(layer, by_unit(layer, mask) & kept[:, :, None], mask.shape)
    return restricted
