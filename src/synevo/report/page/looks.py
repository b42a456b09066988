"""Pictures of masks, kernels, filters and images for the page, with their numbers and names."""

from typing import Any

import numpy as np

from synevo.errors import RunError
from synevo.files.tensors import Tensors
from synevo.report.page import pictures
from synevo.report.page.figures import Row
from synevo.runs.rundir import RunDir

_MOST_FILTERS = 128
_WINDOW_AXES = 4
_MOST_CLASSES = 20
_MOST_CONFUSIONS = 30


class AbsentError(RunError):
    """A section has nothing to show, and nothing is wrong with that."""


def absent(why: str) -> AbsentError:
    """Return the error for a section without anything to show."""
    return AbsentError(why, remedy="The other sections are as they would be.")


def damaged(why: str) -> RunError:
    """Return the error for a section whose part of the run cannot be read."""
    return RunError(why, remedy="The other sections are as they would be.")


def heat_maps(survival: Row | None) -> list[Row]:
    """Return a heat map a layer [generations, filters]; filters with the most living synapses come first."""
    if survival is None:
        raise absent("No masks of this run can be read.")
    maps = []
    for layer in survival["layers"]:
        shares = np.array(layer["alive"]) / max(layer["synapses_a_filter"], 1)
        order = np.argsort(-shares.sum(axis=0), kind="stable")
        maps.append(
            {
                "name": layer["name"],
                "filters": layer["filters"],
                "filters_alive": layer["filters_alive"],
                "order": ",".join(str(number) for number in order),
                "picture": pictures.heat(shares[:, order]),
            }
        )
    return maps


def kernel_sheets(run: RunDir, summary: Row) -> list[Row]:
    """Return a picture of all surviving kernels for each layer of the best network."""
    if not summary["layers"] or summary["best"] is None:
        raise absent("There is no best network whose kernels could be shown.")
    weights, _ = run.load_individual(summary["best"])
    return [
        {**layer, "picture": pictures.kernels(weights[layer["name"]])}
        for layer in summary["layers"]
        if weights[layer["name"]].size
    ]


def first_filters(run: RunDir, summary: Row) -> Row:
    """Return pictures of the ancestor's filters in the first layer, beside the same filters in the best network."""
    if not summary["layers"] or summary["best"] is None:
        raise absent("There is no best network to show beside its ancestor.")
    name = summary["layers"][0]["name"]
    ancestor, (weights, masks) = run.load_individual(1)[0][name], run.load_individual(summary["best"])
    if ancestor.ndim != _WINDOW_AXES:
        raise absent("The first layer is not a convolution: it has no filters to look at.")
    alive = masks[name].any(axis=(0, 1, 2))
    heirs = _heirs(weights, name, np.flatnonzero(alive))
    rows = [
        {
            "number": number,
            "ancestor": pictures.image(pixels),
            "best": pictures.image(heirs[number]) if number in heirs else None,
        }
        for number, pixels in enumerate(pictures.filters(ancestor))
    ]
    return {"name": name, "rows": rows[:_MOST_FILTERS], "left_out": max(0, len(rows) - _MOST_FILTERS)}


def _heirs(weights: Tensors, name: str, alive: Any) -> dict[int, Any]:
    """Return the best network's filters by their number in the ancestor; none if masks and weights differ in count."""
    kept = pictures.filters(weights[name])
    return {int(number): pixels for number, pixels in zip(alive, kept, strict=True)} if len(alive) == len(kept) else {}


def outcome_pictures(run: RunDir, summary: Row) -> Row:
    """Return the confusion of the best network, and the images that only one of ancestor and best gets right."""
    found = summary["outcomes"]
    said = run.load_predictions(found["generation"]) if found else None
    if said is None:
        if gap := next((gap["problem"] for gap in summary["missing"] if gap["part"] == "outcomes"), None):
            raise damaged(gap)
        raise absent("What the networks say to the test images is kept by `synevo compact`: run it (again).")
    classes = found["classes"]
    return {
        **found,
        "small": len(classes) <= _MOST_CLASSES,
        "pictured": "lost:pixels" in said,
        "largest": max((max(row) for row in _errors_only(found["best_confusion"])), default=0),
        "confusions": _confusions(found["best_confusion"], classes),
        **{kind: _shown(said, found[f"{kind}_images"], kind, classes) for kind in ("lost", "won")},
        "counts": {kind: found[kind] for kind in ("both_right", "lost", "won", "both_wrong")},
    }


def _errors_only(confusion: list[list[int]]) -> list[list[int]]:
    return [[value for place, value in enumerate(row) if place != number] for number, row in enumerate(confusion)]


def _confusions(confusion: list[list[int]], classes: list[str]) -> list[Row]:
    """Return pairs of classes that are confused, the most frequent first."""
    pairs: list[Row] = [
        {"true": classes[number], "taken_for": classes[place], "images": value}
        for number, row in enumerate(confusion)
        for place, value in enumerate(row)
        if value and place != number
    ]
    return sorted(pairs, key=lambda pair: -pair["images"])[:_MOST_CONFUSIONS]


def _shown(said: Tensors, images: list[dict[str, int]], kind: str, classes: list[str]) -> list[Row]:
    return [
        {
            "picture": pictures.image(pixels),
            "number": one["image"],
            "label": classes[one["label"]],
            "ancestor": classes[one["ancestor"]],
            "best": classes[one["best"]],
        }
        for one, pixels in zip(images, said.get(f"{kind}:pixels", ()), strict=True)
    ]
