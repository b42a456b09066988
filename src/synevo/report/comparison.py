"""Comparison: several runs side by side; those whose plans differ in nothing but the seed are replicates of a group."""

import statistics
from collections.abc import Mapping
from typing import Any

Summary = dict[str, Any]

_QUANTITIES = ("test_accuracy", "validation_accuracy", "synaptic_efficiency", "cluster_efficiency")
_NOT_THE_METHOD = {
    *("seed", "format", "preset", "data.data_dir"),
    *("evolution.generations", "evolution.max_drop"),  # how far a lineage goes, not what it is
}
_FEW = 2


def compare(summaries: list[Summary]) -> Summary:
    """Groups of replicates with their means, the best of each run, and where the plans differ."""
    names = _names(summaries)
    plans = [_flat(summary["plan"] or {}) for summary in summaries]
    fields = list(dict.fromkeys(field for plan in plans for field in plan))
    different = [field for field in fields if len({repr(plan.get(field)) for plan in plans}) > 1]
    return {
        "runs": names,
        "groups": _groups(names, summaries, plans, [field for field in different if field not in _NOT_THE_METHOD]),
        "bests": [_best(name, summary) for name, summary in zip(names, summaries, strict=True)],
        "differences": [{"field": field, "values": [plan.get(field) for plan in plans]} for field in different],
        "missing": [
            {"run": name, **gap} for name, summary in zip(names, summaries, strict=True) for gap in summary["missing"]
        ],
        "summaries": summaries,
    }


def _names(summaries: list[Summary]) -> list[str]:
    """The runs' names, numbered where two have the same."""
    names = [str(summary["run"]) for summary in summaries]
    seen = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [f"{name} ({time})" if names.count(name) > 1 else name for name, time in zip(names, seen, strict=True)]


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _groups(
    names: list[str], summaries: list[Summary], plans: list[dict[str, Any]], fields: list[str]
) -> list[dict[str, Any]]:
    members: dict[tuple[str, ...], list[int]] = {}
    for place, plan in enumerate(plans):
        members.setdefault(tuple(repr(plan.get(field)) for field in fields), []).append(place)
    return [
        {
            "name": _group_name(
                [names[place] for place in places], {field: plans[places[0]].get(field) for field in fields}
            ),
            "runs": [names[place] for place in places],
            "generations": _means([summaries[place] for place in places]),
        }
        for places in members.values()
    ]


def _group_name(names: list[str], differing: dict[str, Any]) -> str:
    """What sets a group apart, where that is short, or else its first run."""
    if 0 < len(differing) <= _FEW:
        return ", ".join(f"{field.rpartition('.')[2]} {value}" for field, value in differing.items())
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _means(summaries: list[Summary]) -> list[dict[str, Any]]:
    """Mean, deviation and range of each quantity, of the runs that reached a generation with whole numbers."""
    by_generation: dict[int, list[Summary]] = {}
    for summary in summaries:
        for row in summary["generations"]:
            if row["chosen"] and all(row[quantity] is not None for quantity in _QUANTITIES):
                by_generation.setdefault(row["generation"], []).append(row)
    return [
        {
            "generation": generation,
            "runs": len(rows),
            **{quantity: _spread([row[quantity] for row in rows]) for quantity in _QUANTITIES},
        }
        for generation, rows in sorted(by_generation.items())
    ]


def _spread(values: list[float]) -> dict[str, float | None]:
    """Mean, sample deviation (unknown of a single value) and range."""
    return {
        "mean": statistics.fmean(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else None,
        "min": min(values),
        "max": max(values),
    }


def _best(name: str, summary: Summary) -> dict[str, Any]:
    rows = [row for row in summary["generations"] if row["chosen"] and row["generation"] == summary["best"]]
    row = rows[0] if rows else dict[str, Any]()
    fields = ("generation", "test_accuracy", "synaptic_efficiency", "cluster_efficiency")
    return {
        "run": name,
        "state": summary["state"],
        **{field: row.get(field) for field in fields},
        "seconds": summary["cost"]["seconds"],
    }
