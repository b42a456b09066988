"""What ancestor and best network answer to a few test examples: masks beside masks, and texts continued."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.files.tensors import Tensors
from synevo.report.page import pictures
from synevo.report.page.figures import OTHERS, OURS, Row
from synevo.report.page.looks import absent
from synevo.runs.rundir import RunDir

_SHOWN = 160
"""The letters of a text that are shown before its continuation."""

_COLOURS = [tuple(bytes.fromhex(one.lstrip("#"))) for one in (OURS, *OTHERS)]
"""The colours of the classes of masks from 1 on; class 0 is the background, and black."""


def samples(run: RunDir, summary: Row) -> Row:
    """Return the samples that `synevo compact` kept: `masks` or `texts`, each with both answers."""
    compact = summary["compact"]
    if compact is None or "problem" in compact:
        raise absent("What the networks answer is kept by `synevo compact`: run it (again).")
    said = run.load_predictions(compact["generation"])
    if said is None or "sample:best" not in said:
        raise absent("What the networks answer is kept for images of classes, for masks and for texts.")
    if "sample:mask" in said:
        return {"generation": compact["generation"], "masks": _masks(said), "texts": []}
    _, documents = run.load_compact(compact["generation"])
    facts = documents["architecture"].get("facts") or {}
    return {"generation": compact["generation"], "masks": [], "texts": _texts(said, facts.get("vocabulary"))}


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
