"""Outcomes: the predicted classes of the test images by ancestor and best network, and their differences."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.files.tensors import Tensors

Classes = NDArray[np.int32]


def tally(said: Tensors, classes: list[str]) -> dict[str, Any]:
    """Count confusions [true, predicted] of ancestor and best, and the images that only one of them gets right."""
    labels, ancestor, best = (said[name].astype(np.int32) for name in ("labels", "ancestor", "best"))
    before, after = ancestor == labels, best == labels
    return {
        "classes": classes,
        "images": len(labels),
        "ancestor_confusion": _confusion(labels, ancestor, len(classes)),
        "best_confusion": _confusion(labels, best, len(classes)),
        "both_right": int((before & after).sum()),
        "lost": int((before & ~after).sum()),
        "won": int((~before & after).sum()),
        "both_wrong": int((~before & ~after).sum()),
        "lost_images": _examples(said, "lost"),
        "won_images": _examples(said, "won"),
    }


def _confusion(labels: Classes, predicted: Classes, count: int) -> list[list[int]]:
    table = np.zeros((count, count), np.int64)
    np.add.at(table, (labels, predicted), 1)
    return [[int(value) for value in row] for row in table]


def _examples(said: Tensors, kind: str) -> list[dict[str, int]]:
    """Return the stored images of a kind: their place in the test split, their class, and both predictions."""
    return [
        {
            "image": int(place),
            "label": int(said["labels"][place]),
            "ancestor": int(said["ancestor"][place]),
            "best": int(said["best"][place]),
        }
        for place in said.get(f"{kind}:places", ())
    ]
