"""The figures of several runs: what is the best for its size (Pareto), and which plan leads where (parallel axes).

A network is on the front if no other is both smaller, by the quantity of the axis, and better on the test split.
"""

from itertools import pairwise
from typing import Any

from synevo.lineage.course import BYTES
from synevo.report import scores
from synevo.report.numerals import brief
from synevo.report.page.figures import INK, MUTED, NARROW, OTHERS, OURS, SOFT, Row, Spec, title

QUANTITIES = {
    "synapses": "synapses alive",
    "multiply_adds": "multiply-adds of an example",
    "bytes": "bytes of the weights, four for each",
    "milliseconds": "milliseconds of an example, where it was evolved",
}
"""The quantities of which less is better, and their meanings."""

_MOST_AXES = 8
_RESULTS = {"synaptic_efficiency": "times fewer synapses", "multiply_adds": "multiply-adds", "test_score": "test"}
_CLOUD = 3
"""The fewest points that span an area."""


def pareto(comparison: Row, quantity: str, width: int) -> Spec:
    """Return every network of the runs by its size and its test score, a colour a group, and the front of them all.

    The networks of replicates, generation by generation, are a cloud.
    """
    name, better = comparison["score"]["name"], comparison["score"]["better"]
    points = _points(comparison, quantity)
    names = [group["name"] for group in comparison["groups"]]
    position = {"x": {"field": "x"}, "y": {"field": "y"}}
    colour = {"field": "group", "type": "nominal"}
    layers: list[Spec] = [
        {
            "data": {"values": cloud},
            "mark": {"type": "line", "filled": True, "opacity": 0.13, "strokeWidth": 0, "aria": False},
            "encoding": {**position, "color": colour, "order": {"field": "place"}},
        }
        for cloud in _clouds(points)
    ]
    layers.append(
        {
            "data": {"values": front(points, better)},
            "mark": {"type": "line", "interpolate": "step-after", "color": MUTED, "strokeDash": [4, 3], "aria": False},
            "encoding": {**position, "order": {"field": "x"}},
        }
    )
    layers.append(
        {
            "data": {"values": points},
            "mark": {"type": "point", "filled": True, "size": 44, "opacity": 0.85},
            "encoding": {**position, "color": colour, "description": {"field": "text"}},
        }
    )
    return {
        "width": width,
        "height": 320 if width > NARROW else 260,
        "padding": 4,
        "layer": layers,
        "encoding": {
            "x": {
                "type": "quantitative",
                "scale": {"type": "log", "nice": False, "padding": 14},
                "title": QUANTITIES[quantity],
                "axis": {"grid": False, "format": "~s", "labelOverlap": "greedy", "labelSeparation": 8},
            },
            "y": {
                "type": "quantitative",
                "scale": {"zero": False},
                "title": f"test {title(name)}",
                "axis": {"tickCount": 6},
            },
            "color": {
                "scale": {"domain": names, "range": [OURS, *OTHERS, SOFT][: len(names)]},
                "legend": _LEGEND if width > NARROW else _ALONE,
            },
        },
    }


_LEGEND = {"orient": "top", "offset": 10, "columns": 4, "symbolOpacity": 1}
_ALONE = {**_LEGEND, "columns": 1}
"""The legend of a wide and of a narrow page."""


def _points(comparison: Row, quantity: str) -> list[Row]:
    """Return a point for each network of each run whose size and test score are known."""
    of_runs = {run: group["name"] for group in comparison["groups"] for run in group["runs"]}
    name = comparison["score"]["name"]
    found = []
    for run, summary in zip(comparison["runs"], comparison["summaries"], strict=True):
        for row in summary["generations"]:
            size = _size(row, quantity)
            if size and row["test_score"] is not None:
                written = f"{scores.write(row['test_score'], name)}{scores.unit(name)}"
                found.append(
                    {
                        "x": size,
                        "y": scores.factor(name) * row["test_score"],
                        "group": of_runs[run],
                        "generation": row["generation"],
                        "text": f"{run}, generation {row['label']}: {size:,.4g} {quantity.replace('_', '-')}, "
                        f"test {written}",
                    }
                )
    return found


def knows(comparison: Row, quantity: str) -> bool:
    """Return whether so much of a quantity is known of any network."""
    return bool(_points(comparison, quantity))


def _size(row: Row, quantity: str) -> float | None:
    """Return so much of a quantity as the network of a row has; None if that is unknown."""
    if quantity == "bytes":
        return BYTES * row["parameters"] if row["parameters"] else None
    return (row["latency_ms"] or {}).get("1") if quantity == "milliseconds" else row[quantity]


def front(points: list[Row], better: str) -> list[Row]:
    """Return the points than which none is both smaller and better, by size."""
    sign, found, best = 1 if better == "higher" else -1, list[Row](), float("-inf")
    for point in sorted(points, key=lambda one: (one["x"], -sign * one["y"])):
        if sign * point["y"] > best:
            best = sign * point["y"]
            found.append(point)
    return found


def _clouds(points: list[Row]) -> list[list[Row]]:
    """Return the outline of the points of each group and generation, where there are enough for an area."""
    together: dict[tuple[str, int], list[Row]] = {}
    for point in points:
        together.setdefault((point["group"], point["generation"]), []).append(point)
    outlines = [_outline(found) for found in together.values()]
    return [
        [{**point, "place": place} for place, point in enumerate([*outline, outline[0]])]
        for outline in outlines
        if len(outline) >= _CLOUD
    ]


def _outline(points: list[Row]) -> list[Row]:
    """Return the convex outline of points, in order (Andrew's monotone chain)."""

    def half(ordered: list[Row]) -> list[Row]:
        kept: list[Row] = []
        for point in ordered:
            while len(kept) > 1 and _turn(kept[-2], kept[-1], point) <= 0:
                kept.pop()
            kept.append(point)
        return kept[:-1]

    ordered = sorted(points, key=lambda one: (one["x"], one["y"]))
    return half(ordered) + half(ordered[::-1])


def _turn(one: Row, two: Row, three: Row) -> float:
    """Return twice the area of a triangle, positive where its corners turn to the left."""
    across: float = (two["x"] - one["x"]) * (three["y"] - one["y"]) - (two["y"] - one["y"]) * (three["x"] - one["x"])
    return across


def parallel(comparison: Row, width: int) -> Spec:
    """Return the plans and what they lead to: an axis for each field that differs and each result, a line a run."""
    axes = _axes(comparison)
    of_runs = {run: group["name"] for group in comparison["groups"] for run in group["runs"]}
    names = [group["name"] for group in comparison["groups"]]
    lines, ends = [], []
    for place, (label, values) in enumerate(axes):
        heights = _heights(values)
        for run, value in zip(comparison["runs"], values, strict=True):
            if value is not None:
                text = f"{run}: {label} {_written(value)}"
                lines.append({"x": place, "y": heights[value], "run": run, "group": of_runs[run], "text": text})
        ends += [{"x": place, "y": height, "text": _brief(value)} for value, height in _told(heights)]
    labels = "[" + ", ".join(f"'{_plain(label)}'" for label, _ in axes) + "]"
    colour = {
        "field": "group",
        "type": "nominal",
        "scale": {"domain": names, "range": [OURS, *OTHERS, SOFT][: len(names)]},
        "legend": _LEGEND if width > NARROW else _ALONE,
    }
    position = {"x": {"field": "x"}, "y": {"field": "y"}}
    return {
        "width": width,
        "height": 260,
        "padding": 4,
        "layer": [
            {
                "data": {"values": [{"x": place} for place in range(len(axes))]},
                "mark": {"type": "rule", "color": MUTED, "strokeWidth": 0.8, "aria": False},
                "encoding": {"x": {"field": "x"}},
            },
            {
                "data": {"values": lines},
                "mark": {"type": "line", "strokeWidth": 1.6, "opacity": 0.75, "aria": False},
                "encoding": {**position, "color": colour, "detail": {"field": "run"}, "order": {"field": "x"}},
            },
            {
                "data": {"values": lines},
                "mark": {"type": "point", "filled": True, "size": 40, "opacity": 1},
                "encoding": {**position, "color": colour, "description": {"field": "text"}},
            },
            {
                "data": {"values": ends},
                "mark": {
                    "type": "text",
                    "align": "left",
                    "dx": 6,
                    "dy": -6,
                    "fontSize": 10,
                    "color": MUTED,
                    "aria": False,
                },
                "encoding": {**position, "text": {"field": "text"}},
            },
        ],
        "encoding": {
            "x": {
                "type": "quantitative",
                "scale": {"domain": [-0.15, len(axes) - 1 + 0.4], "nice": False},
                "axis": {
                    "values": list(range(len(axes))),
                    "labelExpr": f"{labels}[datum.value]",
                    "labelAngle": 0 if width > NARROW else -40,
                    "labelColor": INK,
                    "labelLimit": 150,
                    "grid": False,
                    "title": None,
                    "ticks": False,
                    "domain": False,
                },
            },
            "y": {"type": "quantitative", "axis": None, "scale": {"domain": [-0.06, 1.1], "nice": False}},
        },
    }


def _axes(comparison: Row) -> list[tuple[str, list[Any]]]:
    """Return each axis with its name and a value a run, None where it is unknown: fields of plans, then results."""
    fields = [row for row in comparison["differences"] if row["field"] != "seed"][:_MOST_AXES]
    axes = [(row["field"].rpartition(".")[2], [_value(value) for value in row["values"]]) for row in fields]
    name = comparison["score"]["name"]
    for field, label in _RESULTS.items():
        values = [row[field] for row in comparison["bests"]]
        if field == "test_score":
            label = f"test {name}"  # noqa: PLW2901
            values = [None if value is None else scores.factor(name) * value for value in values]
        axes.append((label, [_value(value) for value in values]))
    return [(label, values) for label, values in axes if any(value is not None for value in values)]


def _value(value: Any) -> float | str | None:
    if value is None or isinstance(value, str):
        return value
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _heights(values: list[Any]) -> dict[Any, float]:
    """Return the height of each value on its axis, 0 … 1: numbers by their size, words one above the other."""
    known = list(dict.fromkeys(value for value in values if value is not None))
    numbers = [value for value in known if isinstance(value, float)]
    if len(numbers) == len(known) and len(known) > 1:
        low, high = min(numbers), max(numbers)
        return {value: (value - low) / (high - low) for value in numbers}
    ordered = sorted(known, key=str)
    return {value: place / max(len(ordered) - 1, 1) if len(ordered) > 1 else 0.5 for place, value in enumerate(ordered)}


def _told(heights: dict[Any, float]) -> list[tuple[Any, float]]:
    """Return the values of an axis that are written beside it: the ends of numbers, and all words that have room."""
    ordered = sorted(heights.items(), key=lambda one: one[1])
    if all(isinstance(value, float) for value in heights):
        return [ordered[0], ordered[-1]] if len(ordered) > 1 else ordered
    room = 0.06
    close = any(after[1] - before[1] < room for before, after in pairwise(ordered))
    return [ordered[0], ordered[-1]] if close else ordered


def _written(value: float | str) -> str:
    """Write a value of an axis: a large number in k, M and G."""
    if isinstance(value, str):
        return value
    return brief(value) if abs(value) >= 1000 else f"{value:.4g}"  # noqa: PLR2004 (a kilo)


def _brief(value: Any) -> str:
    text = _written(value)
    return text if len(text) <= 18 else f"{text[:17]}…"  # noqa: PLR2004 (letters between two axes)


def _plain(label: str) -> str:
    """Return a label without characters that have a meaning in an expression."""
    return "".join(sign if sign.isalnum() or sign in "_-. " else "_" for sign in label)
