"""Classification of image files by a compacted network.

An image is prepared as the training images were: it gets their channels and their size in the source, and from there
the network's size by the plan's `fit`. Images that are much brighter or darker than those of the training are noticed:
black ink on white paper is what white digits on black never showed.
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

_FULL = np.uint8(255)

_FAR = 4
"""Deviations from the training's mean brightness beyond which an image is no such image."""

_ALIKE = 0.02
"""The least deviation of brightness, in units of the full range: training images may all be alike."""


@dataclass(frozen=True)
class Verdict:
    """The most probable classes of an image file, with their probabilities, the most probable first.

    `brightness` is the mean level of the pixels that the network saw, in units of the full range.
    """

    file: str
    classes: tuple[tuple[str, float], ...]
    brightness: float


def classify(reloaded: Reloaded, files: Sequence[Path], *, top: int, invert: bool = False) -> list[Verdict]:
    """Return the `top` most probable classes of every image file, or of its negative if `invert` is true.

    Raises:
        DataError: if a file cannot be read as an image.
        RunError: if the network is not for images of classes.
    """
    reloaded.require_images()
    pixels = np.stack([read_image(file, reloaded, invert=invert) for file in files])
    logits = outputs_of(reloaded.network, reloaded.task, InMemory({"image": pixels})).astype(np.float64)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    bright = pixels.mean(axis=(1, 2, 3)) / _FULL
    rows = zip(files, probabilities, bright, strict=True)
    return [_verdict(file, row, float(level), reloaded.classes, top) for file, row, level in rows]


def training_brightness(reloaded: Reloaded) -> tuple[float, float] | None:
    """Return mean and deviation of the brightness of the training images; None where an older version compacted."""
    found = reloaded.architecture["input"].get("brightness")
    return found and (found[0], found[1])


def doubt(reloaded: Reloaded, verdicts: Sequence[Verdict], *, invert: bool = False) -> str:
    """Return a warning where images are far brighter or darker than those of the training; "" where they are not."""
    known = training_brightness(reloaded)
    if known is None:
        return ""
    mean, deviation = known
    far = [one for one in verdicts if abs(one.brightness - mean) > _FAR * max(deviation, _ALIKE)]
    if not far:
        return ""
    level = sum(one.brightness for one in far) / len(far)
    turned = abs(1 - level - mean) < abs(level - mean)
    advice = "leave out --invert" if invert else "where they are negatives of such images, add --invert"
    who = "1 image is" if len(far) == 1 else f"{len(far)} of {len(verdicts)} images are"
    return (
        f"{who} far {'brighter' if level > mean else 'darker'} than those of the training (mean level "
        f"{level:.2f} of 1, there {mean:.2f} ± {deviation:.2f}): "
        f"{advice if turned else 'the network has not learnt from such images, and its answers mean little'}."
    )


def read_image(file: Path, reloaded: Reloaded, *, invert: bool = False) -> NDArray[np.uint8]:
    """Return the pixels [height, width, channels] of an image file for the network; errors as in `classify`."""
    height, width, channels = reloaded.shape
    about = reloaded.architecture["input"]
    fit: Fit = about["fit"]
    pixels = with_channels(decode(file), channels)
    pixels = _FULL - pixels if invert else pixels
    sides = tuple(about["source_shape"][:2]) if fit == "pad" else (height, width)
    if pixels.shape[:2] != sides:
        pixels = stretched(pixels, *sides)
    return brought_to(Images(pixels[None], np.zeros(1, np.int32)), height, fit if fit == "pad" else "none").pixels[0]


def _verdict(
    file: Path, probabilities: NDArray[np.float64], brightness: float, classes: Sequence[str], top: int
) -> Verdict:
    order = np.argsort(-probabilities, kind="stable")[:top]
    return Verdict(str(file), tuple((classes[place], float(probabilities[place])) for place in order), brightness)
