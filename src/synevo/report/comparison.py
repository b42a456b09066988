"""Comparison of several runs side by side; runs with the same plan except for the seed are replicates of a group."""

from collections.abc import Mapping, Sequence
from typing import Any

from synevo.report.budgets import ENDED, reach
from synevo.report.levels import efficiency, levels
from synevo.report.spread import spread
from synevo.report.variation import vary

Summary = dict[str, Any]
Plan = dict[str, Any]

_QUANTITIES = ("test_score", "validation_score", "synaptic_efficiency", "cluster_efficiency", "multiply_adds")
_SHAPES = {"storage_efficiency": "stored-weights", "multiply_add_efficiency": "multiply-adds"}
"""The efficiencies that are not in a summary, and their quantities."""
_NOT_THE_METHOD = {
    *("seed", "format", "preset", "data.data_dir"),
    *("evolution.generations", "evolution.max_drop"),  # they decide the length of a lineage, not its individuals
}
_FEW = 2


def compare(summaries: list[Summary], budgets: Sequence[float | str] = ()) -> Summary:
    """Return groups of replicates with their means, the best of each run, and the differences between plans.

    `budgets` are drops of the validation score at which replicates are summarised, as a plan has them (0.01, "5%",
    "1.72pt"); by default the usual ones.
    """
    names = _names(summaries)
    plans = [_flat(summary["plan"]) if summary["plan"] else None for summary in summaries]
    known = [plan for plan in plans if plan is not None]
    fields = list(dict.fromkeys(field for plan in known for field in plan))
    different = [field for field in fields if len({repr(plan.get(field)) for plan in known}) > 1]
    groups = _groups(plans, [field for field in different if field not in _NOT_THE_METHOD])
    return {
        "runs": names,
        "score": _shared_score(summaries),
        "groups": [
            _group(name, [names[place] for place in places], [summaries[place] for place in places], budgets)
            for name, places in _named(groups, names, plans)
        ],
        "bests": [_best(name, summary) for name, summary in zip(names, summaries, strict=True)],
        "differences": [_difference(field, plans, [places for _, places in groups]) for field in different],
        "warnings": [
            {"run": name, **one} for name, summary in zip(names, summaries, strict=True) for one in summary["warnings"]
        ],
        "missing": [
            {"run": name, **gap} for name, summary in zip(names, summaries, strict=True) for gap in summary["missing"]
        ],
        "summaries": summaries,
    }


def _shared_score(summaries: list[Summary]) -> dict[str, str]:
    """Return the name and the direction of the runs' scores, and a general name if they differ."""
    found = [summary["score"] for summary in summaries]
    return dict(found[0]) if all(score == found[0] for score in found) else {"name": "score", "better": "higher"}


def _group(name: str, runs: list[str], summaries: list[Summary], budgets: Sequence[float | str]) -> Summary:
    """Return the numbers of a group of replicates."""
    seeds = [summary["plan"]["seed"] for summary in summaries if summary["plan"]]
    return {
        "name": name,
        "runs": runs,
        "seeds": seeds,
        "repeated_seeds": sorted({seed for seed in seeds if seeds.count(seed) > 1}),
        "budgets": reach(runs, summaries, budgets),
        "levels": levels(summaries),
        "generations": _means(summaries),
        "best": _mean_best(summaries),
        "variation": vary([summary["generations"] for summary in summaries]),
    }


def _names(summaries: list[Summary]) -> list[str]:
    """Return the runs' names, with a number added if two are the same."""
    names = [str(summary["run"]) for summary in summaries]
    seen = [names[: place + 1].count(name) for place, name in enumerate(names)]
    return [f"{name} ({time})" if names.count(name) > 1 else name for name, time in zip(names, seen, strict=True)]


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in table.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def _groups(plans: list[Plan | None], fields: list[str]) -> list[tuple[dict[str, Any], list[int]]]:
    """Return groups of runs (by place) with equal `fields`, each with these fields; an unknown plan is alone."""
    members: dict[str, tuple[dict[str, Any], list[int]]] = {}
    for place, plan in enumerate(plans):
        shared = {field: plan.get(field) for field in fields} if plan else {}
        name = repr(shared) if plan else f"unknown {place}"
        members.setdefault(name, (shared, []))[1].append(place)
    return list(members.values())


def _named(
    groups: list[tuple[dict[str, Any], list[int]]], names: list[str], plans: list[Plan | None]
) -> list[tuple[str, list[int]]]:
    """Return a name for each group: its differing fields if they are few, else its preset, else its first run."""
    presets = [{repr((plans[place] or {}).get("preset")) for place in places} for _, places in groups]
    telling = all(len(one) == 1 for one in presets) and len(set.union(*presets)) == len(groups)
    named = []
    for shared, places in groups:
        first = _stem([names[place] for place in places], [plans[place] for place in places])
        if 0 < len(shared) <= _FEW:
            first = ", ".join(f"{field.rpartition('.')[2]} {value}" for field, value in shared.items())
        elif shared and telling:
            first = f"preset {(plans[places[0]] or {})['preset']}"
        named.append((first, places))
    return named


def _stem(names: list[str], plans: list[Plan | None]) -> str:
    """Return a common name of runs: r-* if they are r-0, r-1, … by their seeds, else the first name and a number."""
    if len(names) == 1:
        return names[0]
    stems = {name.removesuffix(f"-{(plan or {}).get('seed')}") for name, plan in zip(names, plans, strict=True)}
    stem = stems.pop()
    return f"{names[0]} and {len(names) - 1} more" if stems or stem in names else f"{stem}-*"


def _difference(field: str, plans: list[Plan | None], groups: list[list[int]]) -> Summary:
    """Return the values of a field, one a run, and the different values of each group."""
    values = [plan.get(field) if plan else None for plan in plans]
    of_groups = [
        list(dict.fromkeys(str(values[place]) for place in places if values[place] is not None)) for places in groups
    ]
    return {"field": field, "values": values, "of_groups": of_groups}


def _means(summaries: list[Summary]) -> list[dict[str, Any]]:
    """Return mean, deviation and range of each quantity, a row a generation; rows with unknown numbers are left out."""
    by_generation: dict[int, list[Summary]] = {}
    for summary in summaries:
        for row in summary["generations"]:
            if row["chosen"] and all(row[quantity] is not None for quantity in _QUANTITIES):
                shape = {name: efficiency(row, summary["generations"][0], what) for name, what in _SHAPES.items()}
                by_generation.setdefault(row["generation"], []).append({**row, **shape})
    return [
        {
            "generation": generation,
            "runs": len(rows),
            **{quantity: spread([row[quantity] for row in rows]) for quantity in (*_QUANTITIES, *_SHAPES)},
        }
        for generation, rows in sorted(by_generation.items())
    ]


def _best_row(summary: Summary) -> Summary:
    """Return the best generation of a run, or an empty row if there is none."""
    rows = (row for row in summary["generations"] if row["chosen"] and row["generation"] == summary["best"])
    return next(rows, dict[str, Any]())


def _mean_best(summaries: list[Summary]) -> Summary:
    """Return mean, deviation and range of each quantity over the best generations of all ended runs."""
    bests = [_best_row(summary) for summary in summaries if summary["state"] in ENDED]
    rows = [row for row in bests if row and all(row[quantity] is not None for quantity in _QUANTITIES)]
    spreads = {quantity: spread([row[quantity] for row in rows]) for quantity in _QUANTITIES} if rows else {}
    return {"runs": len(rows), **spreads}


def _best(name: str, summary: Summary) -> Summary:
    row = _best_row(summary)
    fields = (
        *("generation", "validation_score", "test_score", "synapses", "synaptic_efficiency"),
        *("cluster_efficiency", "multiply_adds"),
    )
    ancestor = next((one for one in summary["generations"] if one["generation"] == 1), dict[str, Any]())
    return {
        "run": name,
        "seed": summary["plan"] and summary["plan"]["seed"],
        "state": summary["state"],
        "ancestor_test_score": ancestor.get("test_score"),
        **{field: row.get(field) for field in fields},
        "seconds": summary["cost"]["seconds"],
        "epochs": summary["cost"]["epochs"],
    }
