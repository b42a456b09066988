"""The network before and after, drawn to scale: a column a layer, its height the number of filters, and bands between.

The ancestor is pale, the best network is strong. A band is stronger if more of its dense weights are alive.
"""

import itertools

from synevo.report.page.figures import INK, MUTED, OURS, SOFT, Row, Spec

_HALF = 0.13
_LETTER = 6.2
"""The width of a letter of the labels in pixels."""
_LEAST = 14
"""The pixels of a layer that a slanted name needs."""


def anatomy(summary: Row, width: int) -> Spec:
    """Return the drawing of ancestor and best network of a run on one scale, `width` pixels wide."""
    layers = summary["layers"]
    columns = [_column(place, layer) for place, layer in enumerate(layers)]
    room = width / max(len(layers), 1)
    angle = 0 if _fit([_name(layer) for layer in layers], room) else -40
    names = "[" + ", ".join(f"'{_name(layer)}'" for layer in layers) + "]"
    counts = [_counts(columns)] if _fit([column["label"] for column in columns], room) else []
    return {
        "width": width,
        "height": 260,
        "padding": 4,
        "layer": [
            *_bands(layers),
            _columns(columns, "before", SOFT),
            _columns(columns, "after", OURS),
            *counts,
        ],
        "encoding": {
            "x": {
                "type": "quantitative",
                "scale": {"domain": [-0.5, len(layers) - 0.5], "nice": False},
                "axis": {
                    "values": list(range(len(layers))),
                    "labelExpr": f"{names}[datum.value]",
                    "labelAngle": angle,
                    "labelColor": INK,
                    "grid": False,
                    "title": None,
                    "ticks": False,
                    "domain": False,
                    "labels": room >= _LEAST,
                    "labelOverlap": False,
                },
            },
            "y": {"type": "quantitative", "axis": None, "scale": {"nice": False, "padding": 22}},
        },
    }


def _fit(labels: list[str], room: float) -> bool:
    """Return whether each of the labels fits between its neighbours, `room` pixels apart."""
    return max(map(len, labels), default=0) * _LETTER <= room


def _name(layer: Row) -> str:
    """Return a layer's name without `/kernel`; characters with a meaning in an expression become `_`."""
    name = str(layer["name"]).removesuffix("/kernel")
    return "".join(sign if sign.isalnum() or sign in "/_-. " else "_" for sign in name)


def _column(place: int, layer: Row) -> Row:
    before, after = layer["ancestor"], layer["best"]
    return {
        "x": place - _HALF,
        "x2": place + _HALF,
        "middle": place,
        "before": before["filters"] / 2,
        "before2": -before["filters"] / 2,
        "after": after["filters"] / 2,
        "after2": -after["filters"] / 2,
        "label": f"{before['filters']} → {after['filters']}",
        "text": f"{layer['name']}: {before['filters']} → {after['filters']} filters, {before['kernels']:,} → "
        f"{after['kernels']:,} kernels, {before['synapses']:,} → {after['synapses']:,} synapses",
    }


def _columns(columns: list[Row], which: str, colour: str) -> Spec:
    return {
        "data": {"values": columns},
        "mark": {"type": "rect", "color": colour, "cornerRadius": 1},
        "encoding": {
            "x": {"field": "x"},
            "x2": {"field": "x2"},
            "y": {"field": which},
            "y2": {"field": f"{which}2"},
            "description": {"field": "text"},
        },
    }


def _counts(columns: list[Row]) -> Spec:
    return {
        "data": {"values": columns},
        "mark": {"type": "text", "dy": -9, "fontSize": 11, "color": MUTED, "aria": False},
        "encoding": {"x": {"field": "middle"}, "y": {"field": "before"}, "text": {"field": "label"}},
    }


def _bands(layers: list[Row]) -> list[Spec]:
    """Return the bands between neighbouring layers: the ancestor's, and the best network's living part of it."""
    bands = []
    for place, (left, right) in enumerate(itertools.pairwise(layers)):
        whole, alive = right["ancestor"]["synapses"], right["best"]["synapses"]
        for which, colour, opacity in (("ancestor", SOFT, 0.28), ("best", OURS, 0.12 + 0.6 * alive / max(whole, 1))):
            ends = [
                {"x": x, "y": layer[which]["filters"] / 2, "y2": -layer[which]["filters"] / 2}
                for x, layer in ((place + _HALF, left), (place + 1 - _HALF, right))
            ]
            bands.append(
                {
                    "data": {"values": ends},
                    "mark": {"type": "area", "color": colour, "opacity": round(opacity, 3), "aria": False},
                    "encoding": {"x": {"field": "x"}, "y": {"field": "y", "stack": None}, "y2": {"field": "y2"}},
                }
            )
    return bands
