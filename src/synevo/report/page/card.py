"""The card of a run: a picture of 1200×630 pixels that a link to its page may show, as sites ask for.

It has what a reader wants first: what was evolved, how much smaller it is and what that costs, and the network before
and after.
"""

import re
from html import escape

from synevo.report import scores
from synevo.report.page.columns import anatomy
from synevo.report.page.figures import INK, MUTED, OURS, PAPER, Row, as_png, as_svg
from synevo.report.verdict import best_of, reductions, subject

WIDTH, HEIGHT = 1200, 630
_MARGIN, _COLUMN = 64, 372
_DRAWN = (620, 150)
"""Width and height of the network before it is fitted to the card, which makes its letters larger."""

_NAMED = 6
"""The most layers whose names and widths have room."""

_LONGEST = 44
"""The letters of a name that fit a line."""


def card(summary: Row) -> bytes | None:
    """Return the card of a run as PNG; None where it has no best network to show."""
    best = best_of(summary)
    if best is None or best["synapses"] is None or best["test_score"] is None or not summary["layers"]:
        return None
    return as_png(_card(summary, best))


def words(summary: Row) -> str:
    """Return what the card shows, for those who do not see it."""
    return f"{subject(summary)}: {', '.join(reductions(summary)[:2])}; the network before and after"


def _card(summary: Row, best: Row) -> str:
    first, name = summary["generations"][0], summary["score"]["name"]
    fewer = [text.partition(" ") for text in reductions(summary)[:2] if best is not first]
    score = f"{scores.write(best['test_score'], name)}{scores.unit(name)}"
    moved = scores.change(best["test_score"], first["test_score"], name) if first["test_score"] is not None else ""
    told = [
        *((size, what) for size, _, what in fewer),
        (score, f"test {name} ({moved})" if moved else f"test {name}"),
    ]
    parts = [_text(_MARGIN, 92, _short(subject(summary)), size=40, weight=600)]
    for place, (number, what) in enumerate(told):
        left = _MARGIN + place * _COLUMN
        parts.append(_text(left, 190, number, size=68, weight=700, colour=OURS))
        parts.append(_text(left, 228, what, size=25, colour=MUTED))
    parts.append(_network(summary))
    sizes = f"{first['synapses']:,} → {best['synapses']:,} synapses, generation {best['generation']}"
    parts.append(_text(_MARGIN, HEIGHT - 36, f"{sizes} · evolved with synevo", size=24, colour=MUTED))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}">'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>{"".join(parts)}</svg>'
    )


def _network(summary: Row) -> str:
    """Return the drawing of the network before and after, fitted between the numbers and the last line."""
    spec = anatomy(summary, _DRAWN[0]) | {"height": _DRAWN[1]}
    if len(summary["layers"]) > _NAMED:
        spec["layer"] = [one for one in spec["layer"] if one["mark"]["type"] != "text"]
        spec["encoding"]["x"]["axis"] |= {"labels": False}
    drawn = as_svg(spec)
    place = f'x="{_MARGIN}" y="258" width="{WIDTH - 2 * _MARGIN}" height="290"'
    head, rest = drawn.split(">", 1)
    unplaced = re.sub(r' (?:width|height)="[^"]*"', "", head)
    return f"{unplaced} {place}>{rest}"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _text(x: float, y: float, text: str, *, size: int, weight: int = 400, colour: str = INK) -> str:
    return (
        f'<text x="{x}" y="{y}" font-family="system-ui, sans-serif" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}">{escape(text)}</text>'
    )
