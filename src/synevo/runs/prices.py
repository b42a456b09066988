"""Prices: what a filter costs in time, measured once for a run, for heredities that divide by it.

The ancestor is timed whole and without half of the filters of each layer, all in turns in one engine, one image at a
time. Layers that only lose filters together, as around a residual sum, are halved together. What that saves, divided
by the filters, is the price of each. On a small layer it may be nothing or less: no price is below a twentieth of what
a filter costs on average, so that chance decides little.

The prices are kept beside the ancestor, so that a lineage that goes on, and a run with the same ancestor, has the same.
Without them, what was born by them could not be made again, so they are not measured anew then.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.errors import PlanError, RunError
from synevo.files.writing import read, write
from synevo.genetics.organism import Organism
from synevo.genetics.removal import LATENCY, Prices
from synevo.genetics.viability import make_viable
from synevo.plan.fields import Plan
from synevo.runs.documents import Prices as Table
from synevo.runs.documents import load_prices, prices_file, save_prices
from synevo.runs.organisms import Context, Stopwatch
from synevo.runs.rundir import RunDir
from synevo.training import hosts
from synevo.wiring import masks
from synevo.wiring.units import PERMANENT, Wiring, survives

LEAST = 0.05
"""The least price, relative to the time of the ancestor divided by its filters."""

AT_ONCE = 4
"""The most networks that are timed in turns with the ancestor: an engine keeps the arrays of all of them."""

ROUNDS = 100


def wanted(plan: Plan) -> bool:
    """Return whether a plan asks what filters cost in time."""
    return LATENCY in plan.encoding.cost.split("+")


def prices_of(table: Table | None) -> Prices:
    """Return the price of a filter of each layer, in microseconds."""
    rows = table["rows"] if table else ()
    return {name: row["microseconds"] for row in rows for name in row["layers"]}


def copy(source: RunDir, run: RunDir) -> None:
    """Take the prices of a run along to another one with the same ancestor."""
    with suppress(RunError):  # there are none
        write(prices_file(run), read(prices_file(source)))


def require(run: RunDir, plan: Plan) -> Table | None:
    """Return the prices of a run, None where the plan asks for none or they may still be measured.

    Raises:
        RunError: where there are offspring that were born by prices that are gone, or the prices were changed.
        PlanError: where several hosts would measure them.
    """
    if not wanted(plan):
        return None
    table = load_prices(run)
    if table is None and len(run.load_lineage().individuals) > 1:
        raise RunError(
            f"{prices_file(run)} is gone: what filters cost, by which the offspring of the run were born.",
            remedy="Restore the file from a copy; or start another run with `synevo train-ancestor --ancestor-of`.",
        )
    if table is None and hosts.count() > 1:
        raise PlanError(
            "What filters cost in time is measured on one host, and here are several.",
            remedy="Evolve one generation without --hosts first: the prices are kept, and all hosts take them.",
        )
    return table


def measure(run: RunDir, context: Context, ancestor: Organism, stopwatch: Stopwatch) -> Table:
    """Measure the prices of a run's ancestor, and write them.

    Raises:
        ExportError: where the engine that the plan names does not run the network.
    """
    wiring = ancestor.species.anatomy.wiring
    parts = tied(wiring)
    halves = [halved(ancestor, units) for _, units in parts]
    filters = sum(len(units) for _, units in parts)
    rows, engine = [], dict[str, Any]()
    for start in range(0, len(parts), AT_ONCE):
        some = range(start, min(start + AT_ONCE, len(parts)))
        networks = {"": ancestor.network, **{str(place): halves[place].network for place in some}}
        timings, engine = stopwatch.time(context, networks, 1, rounds=ROUNDS)
        whole = 1000 * timings[""].median
        for place in some:
            names, units = parts[place]
            gone = int((~halves[place].units[units]).sum())
            saved = whole - 1000 * timings[str(place)].median
            price = max(saved / max(gone, 1), LEAST * whole / filters)
            rows.append(
                {"layers": names, "filters": len(units), "removed": gone, "whole": whole, "saved": saved}
                | {"microseconds": price}
            )
    table: Table = {"engine": engine, "rows": rows}
    save_prices(run, table)
    return table


def tied(wiring: Wiring) -> list[tuple[list[str], NDArray[np.int64]]]:
    """Return the names of layers that lose filters together, with their units; layers that lose none are left out."""
    found: list[tuple[list[str], set[int]]] = []
    for layer in wiring.layers:
        outputs = layer.outputs[layer.outputs != PERMANENT].tolist()
        names, units = [layer.name], {part for unit in outputs for part in wiring.parts(unit)}
        for other in [one for one in found if one[1] & units]:
            names, units = [*other[0], *names], other[1] | units
            found.remove(other)
        if units:
            found.append((names, units))
    return [(names, np.array(sorted(units), np.int64)) for names, units in found]


def halved(ancestor: Organism, units: Sequence[int] | NDArray[np.int64]) -> Organism:
    """Return an ancestor without every second one of some units, or as many of them as it can lose."""
    wiring, whole = ancestor.species.anatomy.wiring, ancestor.whole
    alive = np.ones(wiring.units, bool)
    alive[np.asarray(units)[1::2]] = False
    alive |= wiring.staying()
    fates = wiring.fates(alive)
    left = {}
    for name, mask in masks.full(wiring, ancestor.species.template).items():
        kept = np.ix_(*(np.flatnonzero(survives(axis, fates)) for axis in wiring.slots[name]))
        left[name] = np.zeros_like(mask)
        left[name][kept] = True
    found, living, _ = make_viable(wiring, whole.parameters, ancestor.masks, left)
    return Organism.left(ancestor.species, whole, found, living)
