"""Survival: the number of living synapses in each filter of the ancestor, generation by generation.

Masks are kept in the ancestor's shapes, so a filter has the same place on the last axis in every generation.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from synevo.errors import SynevoError
from synevo.files.tensors import Tensors
from synevo.lineage.individuals import Lineage, from_table
from synevo.runs.rundir import RunDir


def survive(run: RunDir, entries: list[dict[str, Any]]) -> tuple[dict[str, Any] | None, list[str]]:
    """Count the living synapses of every filter in every generation; also return the problems of damaged masks."""
    kept: dict[int, Tensors] = {}
    problems = []
    line = Lineage(tuple(from_table(entry["individual"]) for entry in entries)).line
    for entry in entries:
        individual = from_table(entry["individual"])
        if individual.counts is not None and individual in line:
            try:
                kept[individual.generation] = run.load_masks(entry)
            except SynevoError as error:
                problems.append(error.problem)
    if not kept:
        return None, problems
    first = next(iter(kept.values()))
    layers = [_layer(name, kept) for name in _in_order(first, entries)]
    return {"generations": list(kept), "layers": layers}, problems


def _in_order(masks: Tensors, entries: list[dict[str, Any]]) -> list[str]:
    """Return the layers in the order of the signal, taken from the counts of an individual."""
    counts = next((entry["individual"]["counts"] for entry in entries if entry["individual"]["counts"]), None)
    named = [layer["name"] for layer in counts["layers"]] if counts else sorted(masks)
    return [name for name in named if name in masks]


def _layer(name: str, kept: Mapping[int, Tensors]) -> dict[str, Any]:
    """Return `alive` [generations, filters] of a layer, and the synapses of one of its filters in the ancestor."""
    rows = [masks[name].reshape(-1, masks[name].shape[-1]) for masks in kept.values()]
    return {
        "name": name,
        "filters": int(rows[0].shape[1]),
        "synapses_a_filter": int(rows[0].shape[0]),
        "filters_alive": [int(row.any(axis=0).sum()) for row in rows],
        "alive": [np.count_nonzero(row, axis=0).tolist() for row in rows],
    }
