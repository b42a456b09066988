"""What ancestor and best network answer to test examples: masks, texts, numbers and labels, each beside the truth."""

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.files.tensors import Tensors
from synevo.report.page import pictures
from synevo.report.page.figures import MUTED, NARROW, OTHERS, OURS, SOFT, Row, Spec, draw
from synevo.report.page.looks import absent
from synevo.runs.rundir import RunDir

_SHOWN = 160
"""The letters of a text that are shown before its continuation."""

_COLOURS = [tuple(bytes.fromhex(one.lstrip("#"))) for one in (OURS, *OTHERS)]
"""The colours of the classes of masks from 1 on; class 0 is the background, and black."""


_MOST_LABELS = 20
_WORST = 8
"""The labels and the test examples that are told in a table."""


def samples(run: RunDir, summary: Row) -> Row:
    """Return what `synevo compact` kept, `masks`, `texts`, `numbers` or `labels`, each with both answers."""
    compact = summary["compact"]
    if compact is None or "problem" in compact:
        raise absent("What the networks answer is kept by `synevo compact`: run it (again).")
    said = run.load_predictions(compact["generation"])
    found: Row = {"generation": compact["generation"], "masks": [], "texts": [], "numbers": None, "labels": None}
    if said is not None and "sample:mask" in said:
        return found | {"masks": _masks(said)}
    if said is not None and "number:true" in said:
        return found | {"numbers": _numbers(said)}
    if said is not None and "label:true" in said:
        return found | {"labels": _labels(said)}
    if said is None or "sample:best" not in said:
        raise absent("What the networks answer can be looked at for the built-in tasks: synevo knows what they mean.")
    _, documents = run.load_compact(compact["generation"])
    facts = documents["architecture"].get("facts") or {}
    return found | {"texts": _texts(said, facts.get("vocabulary"))}


def _numbers(said: Tensors) -> Row:
    """Return a drawing a place of what is told, and the examples whose errors have grown most for their spread."""
    true, ancestor, best = (said[f"number:{name}"].astype(np.float64) for name in ("true", "ancestor", "best"))
    grown = np.abs(best - true) - np.abs(ancestor - true)
    worst = np.argsort(-(grown / np.maximum(true.std(axis=0), 1e-12)), axis=None, kind="stable")[:_WORST]
    places = [(int(one), int(place)) for one, place in zip(*np.unravel_index(worst, true.shape), strict=True)]
    return {
        "examples": len(true),
        "drawings": {
            str(place): draw(partial(told, true[:, place], {"ancestor": ancestor[:, place], "best": best[:, place]}))
            for place in range(true.shape[1])
        },
        "rows": [
            {
                "example": one,
                "place": place,
                "true": float(true[one, place]),
                "ancestor": float(ancestor[one, place]),
                "best": float(best[one, place]),
                "worse": float(grown[one, place]),
            }
            for one, place in places
            if grown[one, place] > 0
        ],
    }


def told(true: NDArray[np.float64], answers: dict[str, NDArray[np.float64]], width: int) -> Spec:
    """Return the numbers that ancestor and best tell over the true ones, with the line on which they are right."""
    points = [
        {"x": float(x), "y": float(y), "who": who, "text": f"test example {number}: {who} {y:.4g}, true {x:.4g}"}
        for who, values in answers.items()
        for number, (x, y) in enumerate(zip(true, values, strict=True))
    ]
    ends = [{"x": end, "y": end} for end in (float(true.min()), float(true.max()))]
    axis = {"type": "quantitative", "scale": {"zero": False, "padding": 8}, "axis": {"tickCount": 6}}
    return {
        "width": min(width, 460),
        "height": min(width, 360),
        "padding": 4,
        "layer": [
            {
                "data": {"values": ends},
                "mark": {"type": "line", "color": MUTED, "strokeDash": [4, 3], "strokeWidth": 1, "aria": False},
                "encoding": {"x": {"field": "x"}, "y": {"field": "y"}},
            },
            {
                "data": {"values": points},
                "mark": {"type": "point", "filled": True, "size": 26, "opacity": 0.75},
                "encoding": {
                    "x": {"field": "x"},
                    "y": {"field": "y"},
                    "color": {"field": "who", "type": "nominal"},
                    "description": {"field": "text"},
                },
            },
        ],
        "encoding": {
            "x": {**axis, "title": "true"},
            "y": {**axis, "title": "told by the network"},
            "color": {
                "scale": {"domain": list(answers), "range": [SOFT, OURS]},
                "legend": {"orient": "top", "symbolOpacity": 1, "columns": 2 if width > NARROW else 1},
            },
        },
    }


def _labels(said: Tensors) -> Row:
    """Return for each label, the most frequent first, how often it is there, found, and said where it is not."""
    true, ancestor, best = (said[f"label:{name}"].astype(bool) for name in ("true", "ancestor", "best"))
    there = true.sum(axis=0)
    order = np.argsort(-there, kind="stable")[:_MOST_LABELS]
    return {
        "examples": len(true),
        "left_out": max(0, len(there) - _MOST_LABELS),
        "rows": [
            {
                "label": int(label),
                "there": int(there[label]),
                **{f"{who}_found": int((says & true)[:, label].sum()) for who, says in both},
                **{f"{who}_false": int((says & ~true)[:, label].sum()) for who, says in both},
            }
            for both in [(("ancestor", ancestor), ("best", best))]
            for label in order
        ],
    }


def _masks(said: Tensors) -> list[Row]:
    found = []
    for number, pixels in enumerate(said["sample:image"]):
        true, ancestor, best = (said[f"sample:{name}"][number] for name in ("mask", "ancestor", "best"))
        found.append(
            {
                "image": pictures.image(pixels),
                "true": pictures.image(_coloured(true)),
                "ancestor": pictures.image(_coloured(ancestor)),
                "best": pictures.image(_coloured(best)),
                "ancestor_right": float((ancestor == true).mean()),
                "best_right": float((best == true).mean()),
            }
        )
    return found


def _coloured(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a mask [height, width] in colours [height, width, 3]."""
    table = np.zeros((256, 3), np.uint8)
    for level in range(1, 256):
        table[level] = _COLOURS[(level - 1) % len(_COLOURS)]
    return table[mask]


def _texts(said: Tensors, vocabulary: Any) -> list[Row]:
    found = []
    for number, before in enumerate(said["sample:before"]):
        after, ancestor, best = (said[f"sample:{name}"][number] for name in ("after", "ancestor", "best"))
        row = {"before": before[-_SHOWN:], "true": after, "ancestor": ancestor, "best": best}
        shown = {name: _read(tokens, vocabulary) for name, tokens in row.items()}
        rights = {f"{name}_right": int((row[name] == after).cumprod().sum()) for name in ("ancestor", "best")}
        found.append({**shown, **rights, "tokens": len(after)})
    return found


def _read(tokens: NDArray[np.int32], vocabulary: Any) -> str:
    """Return tokens as the characters of a vocabulary, or as numbers where there is none."""
    if not isinstance(vocabulary, str):
        return " ".join(map(str, tokens))
    return "".join(vocabulary[token] for token in tokens if 0 <= token < len(vocabulary))
