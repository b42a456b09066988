"""Classification of image files by a compacted network.

An image is prepared as the training images were: it gets their channels and their size in the source, and from there
the network's size by the plan's `fit`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synevo.data.datasets import Fit, brought_to
from synevo.data.images import Images
from synevo.data.pictures import decode, stretched, with_channels
from synevo.deploy.reload import Reloaded
from synevo.tasks.task import InMemory
from synevo.training.evaluation import outputs_of


@dataclass(frozen=True)
class Verdict:
    """The most probable classes of an image file, with their probabilities, the most probable first."""

    file: str
    classes: tuple[tuple[str, float], ...]


def classify(reloaded: Reloaded, files: Sequence[Path], *, top: int) -> list[Verdict]:
    """Return the `top` most probable classes of every image file.

    Raises:
        DataError: if a file cannot be read as an image.
        RunError: if the network is not for images of classes.
    """
    reloaded.require_images()
    pixels = np.stack([read_image(file, reloaded) for file in files])
    logits = outputs_of(reloaded.network, reloaded.task, InMemory({"image": pixels})).astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    return [_verdict(file, row, reloaded.classes, top) for file, row in zip(files, probabilities, strict=True)]


def read_image(file: Path, reloaded: Reloaded) -> NDArray[np.uint8]:
    """Return the pixels [height, width, channels] of an image file for the network; errors as in `classify`."""
    height, width, channels = reloaded.shape
    about = reloaded.architecture["input"]
    fit: Fit = about["fit"]
    pixels = with_channels(decode(file), channels)
    sides = tuple(about["source_shape"][:2]) if fit == "pad" else (height, width)
    if pixels.shape[:2] != sides:
        pixels = stretched(pixels, *sides)
    return brought_to(Images(pixels[None], np.zeros(1, np.int32)), height, fit if fit == "pad" else "none").pixels[0]


def _verdict(file: Path, probabilities: NDArray[np.float64], classes: Sequence[str], top: int) -> Verdict:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return Verdict(str(file), tuple((classes[place], float(probabilities[place])) for place in order))
