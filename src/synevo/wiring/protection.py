"""Protection: units that stay because the user says so, by the names of the layers that make them."""

import re
from dataclasses import replace

import numpy as np

from synevo.errors import PlanError
from synevo.wiring.masks import axes_of
from synevo.wiring.units import PERMANENT, Frozen, Wiring, survives


def protected(wiring: Wiring, *, protect: str | None = None, only: str | None = None) -> Wiring:
    """Return the wiring in which units stay: those of the layers that `protect` names, or that `only` leaves out.

    Both are regular expressions that are searched for in the names of layers, such as `conv1/kernel`. A unit stays if
    any of the layers that make it is protected, as around a residual sum. Its synapses may still die. The protected
    places are listed with the reason in `Wiring.frozen`. Units keep their numbers.

    Raises:
        PlanError: where an expression cannot be read, or names no layer.
    """
    named, wanted = _names(wiring, protect), _names(wiring, only)
    staying, frozen = wiring.staying(), list(wiring.frozen)
    before = wiring.fates(staying)
    for layer in wiring.contracted:
        left_out = only is not None and layer.name not in wanted
        if layer.name not in named and not left_out:
            continue
        places = (layer.outputs != PERMANENT) & ~survives(layer.outputs, before)
        wiring.mark(staying, layer.outputs, places)
        if places.any():
            reason = f"protected by {protect!r}" if layer.name in named else f"not among the layers of only={only!r}"
            frozen.append(Frozen(layer.name, axes_of(layer)[1][0], int(places.sum()), reason))
    return replace(wiring, kept=tuple(np.flatnonzero(staying).tolist()), frozen=tuple(frozen))


def _names(wiring: Wiring, expression: str | None) -> frozenset[str]:
    """Return the names of the layers in which an expression is found; none without one."""
    if expression is None:
        return frozenset()
    names = [layer.name for layer in wiring.contracted]
    try:
        found = frozenset(name for name in names if re.search(expression, name))
    except re.error as error:
        raise PlanError(
            f"{expression!r} is no regular expression: {error}.",
            remedy="Write one that is found in the names of layers, such as head or ^block1/.",
        ) from None
    if not found:
        raise PlanError(f"{expression!r} names no layer.", remedy=f"The layers are {', '.join(names)}.")
    return found
