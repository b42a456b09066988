"""Answers of two networks, the ancestor and a compacted one, on test examples: kept for people to look at."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from synevo.data.images import Images
from synevo.files.tensors import Tensors
from synevo.genetics.organism import Organism
from synevo.model.network import Network
from synevo.runs.organisms import Context
from synevo.tasks.task import InMemory, at_once, first
from synevo.training.evaluation import outputs_of

SHOWN_IMAGES = 24
"""The number of images of each kind that are kept beside the predictions, for people to look at."""

MASKS = 6
"""The number of images whose masks are kept."""

TEXTS, LENGTH = 3, 100
"""The number of texts that are continued, and by how many tokens at most."""

NUMBERS, PLACES = 300, 4
"""The number of examples whose numbers are kept, and of how many of their places."""

LABELLED = 10_000
"""The number of examples whose labels are kept."""


def predictions(context: Context, first: Organism, organism: Organism) -> Tensors | None:
    """Return the predicted classes of ancestor and organism, and some images that only one of them gets right.

    Arrays: `labels`, `ancestor` and `best` [images] for the test split, and for the kinds `lost` and `won` their places
    and pixels. For segmentation: `sample:image` uint8 [k, height, width, channels], `sample:mask` and, by the names
    `sample:ancestor` and `sample:best`, the answers, uint8 [k, height, width]. For the next token: `sample:before`
    int32 [k, context], `sample:after` and the answers int32 [k, tokens]. For regression, of vectors: `number:true` and
    the answers float32 [k, places], in the targets' units. For several labels: `label:true` and the answers uint8
    [k, labels]. For classes of what is no image, the classes alone. None for tasks of users.
    """
    if context.dataset is None:
        return _samples(context, {"ancestor": first.network, "best": organism.network})
    task, test = context.problem.task, context.dataset.test
    said = {
        name: outputs_of(one.network, task, test.examples).argmax(axis=1).astype(np.int32)
        for name, one in (("ancestor", first), ("best", organism))
    }
    right = {name: classes == test.labels for name, classes in said.items()}
    lost = np.flatnonzero(right["ancestor"] & ~right["best"])
    won = np.flatnonzero(~right["ancestor"] & right["best"])
    return {"labels": test.labels, **said, **_examples("lost", lost, test), **_examples("won", won, test)}


def _examples(name: str, places: NDArray[np.int64], images: Images) -> Tensors:
    shown = places[:SHOWN_IMAGES]
    return {f"{name}:places": shown.astype(np.int32), f"{name}:pixels": images.pixels[shown]}


def _samples(context: Context, networks: Mapping[str, Network]) -> Tensors | None:
    """Return what each of the `networks` answers to test examples, where people can look at that, as above."""
    match context.plan.task.name:
        case "classification":
            return _classes(context, networks)
        case "regression":
            return _numbers(context, networks)
        case "multilabel":
            return _labels(context, networks)
        case "segmentation":
            return _masks(context, networks)
        case "next-token":
            return _continued(context, networks)
    return None


def _classes(context: Context, networks: Mapping[str, Network]) -> Tensors:
    test, task = context.problem.test, context.problem.task
    at_a_time = at_once(test, len(test))
    parts = [np.arange(begin, min(begin + at_a_time, len(test))) for begin in range(0, len(test), at_a_time)]
    labels = np.concatenate([np.asarray(test[places]["label"], np.int32) for places in parts])
    answers = {name: outputs_of(network, task, test).argmax(axis=-1) for name, network in networks.items()}
    return {"labels": labels, **{name: answer.astype(np.int32) for name, answer in answers.items()}}


def _numbers(context: Context, networks: Mapping[str, Network]) -> Tensors | None:
    """Return numbers in the targets' units: a network gives standardised ones. None for maps of numbers."""
    test, task = context.problem.test, context.problem.task
    batch = first(test, at_once(test, NUMBERS))
    true = np.asarray(batch["target"], np.float32)
    if true.ndim > 2 or context.described is None:  # noqa: PLR2004 (examples, places)
        return None
    standard = context.described.facts["targets"] or {"mean": [0.0], "deviation": [1.0]}
    mean, deviation = (np.asarray(standard[name], np.float32) for name in ("mean", "deviation"))
    answers = {
        name: outputs_of(network, task, InMemory(batch)).reshape(len(true), -1) * deviation + mean
        for name, network in networks.items()
    }
    kept = {"true": true.reshape(len(true), -1), **answers}
    return {f"number:{name}": values[:, :PLACES].astype(np.float32) for name, values in kept.items()}


def _labels(context: Context, networks: Mapping[str, Network]) -> Tensors:
    test, task = context.problem.test, context.problem.task
    batch = first(test, at_once(test, LABELLED))
    answers = {name: outputs_of(network, task, InMemory(batch)) > 0 for name, network in networks.items()}
    kept = {"true": np.asarray(batch["target"]) > 0, **answers}
    return {f"label:{name}": values.astype(np.uint8) for name, values in kept.items()}


def _masks(context: Context, networks: Mapping[str, Network]) -> Tensors:
    test, task = context.problem.test, context.problem.task
    batch = first(test, at_once(test, MASKS))
    answers = {
        f"sample:{name}": outputs_of(network, task, InMemory(batch)).argmax(axis=-1).astype(np.uint8)
        for name, network in networks.items()
    }
    return {"sample:image": np.asarray(batch["image"]), "sample:mask": np.asarray(batch["mask"], np.uint8), **answers}


def _continued(context: Context, networks: Mapping[str, Network]) -> Tensors | None:
    """Return texts with their continuations; a stretch of the test text is followed by the next one."""
    test = context.problem.test
    if len(test) < 2:  # noqa: PLR2004 (a stretch, and the one behind it)
        return None
    places = np.unique(np.linspace(0, len(test) - 2, TEXTS).astype(np.intp))
    before = np.asarray(test[places]["tokens"], np.int32)[:, :-1]
    after = np.asarray(test[places + 1]["tokens"], np.int32)
    length = min(LENGTH, after.shape[1])
    answers = {f"sample:{name}": _grown(context, network, before, length) for name, network in networks.items()}
    return {"sample:before": before, "sample:after": after[:, :length], **answers}


def _grown(context: Context, network: Network, before: NDArray[np.int32], length: int) -> NDArray[np.int32]:
    """Return the `length` tokens [k, length] with which a network continues texts [k, context]."""
    tokens, size = before, before.shape[1]
    for _ in range(length):
        seen = np.pad(tokens[:, -size:], ((0, 0), (0, 1)))  # the token behind them is not looked at
        logits = outputs_of(network, context.problem.task, InMemory({"tokens": seen}))
        tokens = np.concatenate([tokens, logits[:, -1:].argmax(axis=-1).astype(np.int32)], axis=1)
    return tokens[:, size:]
