"""Figures, drawn by Vega-Lite as SVG without a script or a server.

A figure is drawn twice, for a wide and for a narrow page. Its colours are those of the light theme, so that a saved
file needs no change; the page's style sheet replaces each of them in the dark theme. The `aria-label` of every mark has
its numbers: a screen reader reads it, and hovering shows it.
"""

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from synevo.report import scores

Spec = dict[str, Any]
Row = dict[str, Any]

PAPER, INK, MUTED, GRID = "#ffffff", "#1b2127", "#5b6570", "#e4e7eb"
OURS, SOFT = "#0b62c4", "#8fb8e8"
OTHERS = ("#d55e00", "#9c4f96", "#6b7280", "#00795c", "#b58900", "#8a3324")

WIDE, HALF, NARROW = 1000, 450, 290
"""The width between the axes in pixels: of a figure over the whole page, of one of a pair, and on a narrow page."""

KINDS = {
    "synaptic": "synapses",
    "cluster": "kernels",
    "storage": "weights stored",
    "multiply-add": "multiply-adds",
}
"""The efficiencies over which a score is drawn, and what there are fewer of."""

_SHAPES = {"digitised": "circle", "seen": "square", "recalled": "triangle-up"}
_TICKS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
_numbers = itertools.count()


@dataclass(frozen=True)
class Figure:
    """One drawing in two widths, as SVG texts."""

    wide: str
    narrow: str


def draw(specify: Callable[[int], Spec], *, wide: int = WIDE) -> Figure:
    """Draw the specification that `specify` returns for a width in pixels."""
    return Figure(as_svg(specify(wide)), as_svg(specify(NARROW)))


def as_png(svg: str) -> bytes:
    """Return a drawing as PNG, a pixel for each of its own."""
    import vl_convert  # noqa: PLC0415  (80 MB that only the page needs)

    png: bytes = vl_convert.svg_to_png(svg)
    return png


def as_svg(spec: Spec) -> str:
    """Draw a specification as an SVG text whose ids are its own, whatever else is in the page."""
    import vl_convert  # noqa: PLC0415

    svg: str = vl_convert.vegalite_to_svg({**spec, "config": _CONFIG})
    mark = f"f{next(_numbers)}-"
    svg = re.sub(r'\bid="', f'id="{mark}', svg)
    return re.sub(r"url\(#", f"url(#{mark}", svg)


_CONFIG: Spec = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": MUTED,
        "titleColor": MUTED,
        "titleFontWeight": "normal",
        "labelFontSize": 11,
        "titleFontSize": 11,
        "gridColor": GRID,
        "domainColor": GRID,
        "tickColor": GRID,
        "titlePadding": 8,
    },
    "legend": {
        "labelColor": INK,
        "labelFontSize": 11,
        "symbolSize": 60,
        "title": None,
        "labelLimit": 320,
        "columnPadding": 40,
    },
}


def curve(summary: Row, kind: str, width: int) -> Spec:
    """Return the curve of the score over an efficiency, `synaptic` or `cluster`, `width` pixels wide.

    It shows the run, its budget, its best generation, and the paper family.
    """
    field, name = _field(kind), summary["score"]["name"]
    rows = [row for row in summary["generations"] if row["chosen"] and row[field] and row["test_score"] is not None]
    ours = [
        {
            "x": row[field],
            "y": scores.factor(name) * row["test_score"],
            "v": scores.factor(name) * row["validation_score"],
            "text": _say(row, field, name),
        }
        for row in rows
    ]
    layers = _family_layers(summary["family"], field)
    layers += [
        _line(ours, "v", "this run, validation", {"strokeWidth": 1.2}),
        _line(ours, "y", "this run, test", {"strokeWidth": 2.2}),
        _points(ours, "y", "this run, test", {"filled": True, "size": 42}),
    ]
    layers += _budget_layers(summary, width)
    layers += _best_layers(rows, summary, field)
    drawn = [one for one in summary["family"] if any(point.get(field) for point in one["points"])]
    names = ["this run, test", "this run, validation", *(entry["name"] for entry in drawn)]
    return {
        "width": width,
        "height": 300 if width > NARROW else 260,
        "padding": 4,
        "layer": layers,
        "encoding": {
            "x": {
                "type": "quantitative",
                "scale": {"type": "log", "nice": False, "padding": 14},
                "title": f"times fewer {KINDS[kind]} than the ancestor",
                "axis": {
                    "values": _TICKS,
                    "labelExpr": "datum.label + '×'",
                    "grid": False,
                    "labelOverlap": "greedy",
                    "labelSeparation": 8,
                },
            },
            "y": {"type": "quantitative", "scale": {"zero": False}, "title": title(name), "axis": {"tickCount": 6}},
            "color": {
                "type": "nominal",
                "scale": {"domain": names, "range": [OURS, SOFT, *OTHERS][: len(names)]},
                "legend": {"orient": "top", "offset": 10, "columns": 2 if width > NARROW else 1},
            },
        },
    }


def title(name: str) -> str:
    """Return the title of the axis of scores."""
    return f"{name},{scores.unit(name)}" if scores.unit(name) else name


def _field(kind: str) -> str:
    """Return the field of an efficiency in summaries, such as `multiply_add_efficiency` for `multiply-add`."""
    return f"{kind.replace('-', '_')}_efficiency"


def _say(row: Row, field: str, name: str = scores.ACCURACY) -> str:
    return (
        f"generation {row['generation']}: {row[field]:.2f}×, test "
        f"{scores.write(row['test_score'], name)}{scores.unit(name)}"
    )


def _family_layers(family: list[Row], field: str) -> list[Spec]:
    layers = []
    for entry in family:
        name = entry["name"]
        points = [
            {"x": point[field], "y": 100 * point["test_score"], "text": f"{name}: {_say(point, field)}"}
            for point in entry["points"]
            if point.get(field)
        ]
        layers.append(_line(points, "y", name, {"strokeWidth": 1.5, "strokeDash": [4, 3]}))
        layers.append(_points(points, "y", name, {"filled": False, "size": 46, "shape": _SHAPES[entry["mark"]]}))
    return layers


def _line(rows: list[Row], field: str, name: str, mark: Spec) -> Spec:
    return {
        "data": {"values": rows},
        "mark": {"type": "line", "aria": False, **mark},
        "encoding": {"x": {"field": "x"}, "y": {"field": field}, "color": {"datum": name}, "order": {"field": "x"}},
    }


def _points(rows: list[Row], field: str, name: str, mark: Spec) -> Spec:
    return {
        "data": {"values": rows},
        "mark": {"type": "point", "opacity": 1, **mark},
        "encoding": {
            "x": {"field": "x"},
            "y": {"field": field},
            "color": {"datum": name},
            "description": {"field": "text"},
        },
    }


def _budget_layers(summary: Row, width: int) -> list[Spec]:
    """Return a line at the worst validation score within the budget, with a shorter label on a narrow page."""
    if summary["floor"] is None:
        return []
    name, better = summary["score"]["name"], summary["score"]["better"]
    said = f"{scores.write(summary['floor'], name)}{scores.unit(name)}"
    text = f"budget: validation of at {'least' if better == 'higher' else 'most'} {said}"
    floor = scores.factor(name) * summary["floor"]
    data = {"values": [{"y": floor, "text": text, "short": text if width > NARROW else f"budget: {said}"}]}
    label = {"type": "text", "align": "left", "dy": -6, "x": 4, "fontSize": 11, "color": MUTED}
    return [
        {
            "data": data,
            "mark": {"type": "rule", "color": MUTED, "strokeDash": [2, 3]},
            "encoding": {"y": {"field": "y"}, "x": None, "color": None, "description": {"field": "text"}},
        },
        {
            "data": data,
            "mark": {**label, "aria": False},
            "encoding": {"y": {"field": "y"}, "x": None, "color": None, "text": {"field": "short"}},
        },
    ]


def _best_layers(rows: list[Row], summary: Row, field: str) -> list[Spec]:
    """Return a ring around the best generation, and its name on the side with more room."""
    best, factor = summary["best"], scores.factor(summary["score"]["name"])
    points = [
        {"x": row[field], "y": factor * row["test_score"], "text": f"generation {best}, {row[field]:.1f}×"}
        for row in rows
        if row["generation"] == best
    ]
    if not points:
        return []
    farthest = max([row[field] for row in rows] + [p.get(field) or 1 for f in summary["family"] for p in f["points"]])
    side = {"align": "right", "dx": -15, "dy": 16}
    if points[0]["x"] ** 2 < farthest:  # in the left half of a logarithmic axis
        side = {"align": "left", "dx": 10, "dy": 20}
    position: Spec = {"x": {"field": "x"}, "y": {"field": "y"}, "color": None}
    ring = {
        "type": "point",
        "size": 190,
        "filled": False,
        "stroke": OURS,
        "strokeWidth": 2,
        "aria": False,
        "opacity": 1,
    }
    label = {"type": "text", **side, "fontSize": 12, "fontWeight": 600, "color": INK, "aria": False}
    halo = {**label, "color": PAPER, "stroke": PAPER, "strokeWidth": 4, "strokeJoin": "round"}
    named = {**position, "text": {"field": "text"}}
    return [
        {"data": {"values": points}, "mark": ring, "encoding": position},
        {"data": {"values": points}, "mark": halo, "encoding": named},
        {"data": {"values": points}, "mark": label, "encoding": named},
    ]


def durations(summary: Row, width: int) -> Spec:
    """Return a bar chart of the time of each generation in seconds, `width` pixels wide."""
    rows = [
        {
            "x": row["generation"],
            "y": row["seconds"],
            "text": f"generation {row['generation']}: {row['seconds']:.1f} s, {row['epochs']} epochs",
        }
        for row in summary["generations"]
    ]
    return {
        "width": width,
        "height": 150,
        "padding": 4,
        "data": {"values": rows},
        "mark": {"type": "bar", "color": OURS, "cornerRadiusEnd": 2},
        "encoding": {
            "x": {"field": "x", "type": "ordinal", "title": "generation", "axis": {"labelAngle": 0}},
            "y": {"field": "y", "type": "quantitative", "title": "seconds", "axis": {"tickCount": 4}},
            "description": {"field": "text"},
        },
    }


def spread(groups: list[Row], score: Row, kind: str, width: int) -> Spec:
    """Return the curve of mean accuracy over mean efficiency for each group, with the range of its runs as a band."""
    field, layers = _field(kind), []
    name = score["name"]
    factor, unit = scores.factor(name), scores.unit(name)
    for group in groups:
        rows = [
            {
                "x": row[field]["mean"],
                "y": factor * row["test_score"]["mean"],
                "low": factor * row["test_score"]["min"],
                "high": factor * row["test_score"]["max"],
                "text": f"{group['name']}, generation {row['generation']}: mean {row[field]['mean']:.2f}×, "
                f"{scores.write(row['test_score']['mean'], name)}{unit} of {row['runs']} runs",
            }
            for row in group["generations"]
        ]
        band = _line(rows, "low", group["name"], {})
        band["mark"] = {"type": "area", "opacity": 0.18, "aria": False}
        band["encoding"] |= {"y": {"field": "low", "stack": None}, "y2": {"field": "high"}}
        del band["encoding"]["order"]
        layers += [
            band,
            _line(rows, "y", group["name"], {"strokeWidth": 2}),
            _points(rows, "y", group["name"], {"filled": True, "size": 40}),
        ]
    names = [group["name"] for group in groups]
    spec = curve({"generations": [], "family": [], "floor": None, "best": None, "score": score}, kind, width)
    spec["layer"] = layers
    spec["encoding"]["color"]["legend"] |= {"symbolOpacity": 1, "columns": 4 if width > NARROW else 1}
    spec["encoding"]["color"]["scale"] = {"domain": names, "range": [OURS, *OTHERS, SOFT][: len(names)]}
    return spec
