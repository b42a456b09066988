"""The family tree: individuals by generation, lines from parents, the size of a circle its living synapses."""

import math

from synevo.report.page.figures import INK, MUTED, NARROW, OURS, SOFT, Row, Spec

_LABEL = 36
"""The width of a label in pixels."""


def tree(summary: Row, width: int) -> Spec:
    """Return the drawing of the family tree of a run, `width` pixels wide."""
    nodes = _nodes(summary)
    members = max(node["members"] for node in nodes)
    generations = [node["x"] for node in nodes]
    positions = {
        "x": {
            "type": "quantitative",
            "scale": {"domain": [min(generations) - 0.6, max(generations) + 0.6], "nice": False},
            "axis": {"values": sorted(set(generations)), "title": "generation", "grid": False, "format": "d"},
        },
        "y": {
            "type": "quantitative",
            "scale": {"domain": [-members / 2 - 0.4, members / 2 + 0.4], "nice": False},
            "axis": None,
        },
    }
    return {
        "width": width,
        "height": 36 + 44 * members,
        "padding": 4,
        "layer": [_links(nodes), _circles(nodes, width), *_labels(nodes, width)],
        "encoding": positions,
    }


def _nodes(summary: Row) -> list[Row]:
    """Return a node for each individual: its place, its size by living synapses, its parents and its words."""
    by_generation: dict[int, list[Row]] = {}
    for row in summary["generations"]:
        by_generation.setdefault(row["generation"], []).append(row)
    whole = max((row["synapses"] or 0 for row in summary["generations"]), default=1) or 1
    nodes = []
    for rows in by_generation.values():
        for place, row in enumerate(rows):
            nodes.append(
                {
                    "x": row["generation"],
                    "y": place - (len(rows) - 1) / 2,
                    "members": len(rows),
                    "name": row["name"],
                    "parents": row["parents"],
                    "size": 40 + 460 * math.sqrt((row["synapses"] or 0) / whole),
                    "kind": _kind(row, summary["best"]),
                    "label": f"{row['synaptic_efficiency']:.3g}×" if row["synaptic_efficiency"] else "–",
                    "text": _say(row, summary["best"]),
                }
            )
    return nodes


def _kind(row: Row, best: int | None) -> str:
    if row["generation"] == best and row["chosen"]:
        return "best"
    chosen = row["chosen"] or row["parent"]
    return "within the budget" if row["within_budget"] and chosen else "not chosen, or over the budget"


def _say(row: Row, best: int | None) -> str:
    parents = ", ".join(f"{parent}" for parent in row["parents"]) or "none: the ancestor"
    synapses = "no network" if row["synapses"] is None else f"{row['synapses']:,} synapses"
    return f"{row['name']}: {synapses}, parents: {parents}; {_kind(row, best)}"


def _links(nodes: list[Row]) -> Spec:
    """Return the lines from parents to their offspring."""
    places = {node["name"]: node for node in nodes}
    lines = [
        {"x": places[parent]["x"], "y": places[parent]["y"], "x2": node["x"], "y2": node["y"]}
        for node in nodes
        for parent in node["parents"]
        if parent in places
    ]
    return {
        "data": {"values": lines},
        "mark": {"type": "rule", "color": MUTED, "strokeWidth": 1.2, "aria": False},
        "encoding": {"x": {"field": "x"}, "x2": {"field": "x2"}, "y": {"field": "y"}, "y2": {"field": "y2"}},
    }


def _circles(nodes: list[Row], width: int) -> Spec:
    kinds = {"best": OURS, "within the budget": SOFT, "not chosen, or over the budget": "#c9ced4"}
    return {
        "data": {"values": nodes},
        "mark": {"type": "circle", "opacity": 1, "stroke": OURS, "strokeWidth": 1},
        "encoding": {
            "x": {"field": "x"},
            "y": {"field": "y"},
            "size": {"field": "size", "type": "quantitative", "scale": None},
            "color": {
                "field": "kind",
                "type": "nominal",
                "scale": {"domain": list(kinds), "range": list(kinds.values())},
                "legend": {"orient": "top", "columns": 3 if width > NARROW else 1},
            },
            "description": {"field": "text"},
        },
    }


def _labels(nodes: list[Row], width: int) -> list[Spec]:
    """Return the efficiencies below the circles; if there is no room for all, those of every few generations."""
    generations = sorted({node["x"] for node in nodes})
    step = -(-len(generations) * _LABEL // width)
    best = next((node["x"] for node in nodes if node["kind"] == "best"), generations[-1])
    return [
        {
            "data": {"values": [node for node in nodes if (node["x"] - best) % step == 0]},
            "mark": {"type": "text", "dy": 24, "fontSize": 11, "color": INK, "aria": False},
            "encoding": {"x": {"field": "x"}, "y": {"field": "y"}, "text": {"field": "label"}},
        }
    ]
