"""Pictures: arrays as small PNGs within the page.

Colours are on a transparent ground, for the light and the dark theme: blue is positive or alive, orange is negative,
and dead is transparent.
"""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Floats = NDArray[Any]

BLUE, ORANGE = (30, 120, 220), (224, 110, 20)
_LARGEST = 640
_PLANES = 4


@dataclass(frozen=True)
class Picture:
    """A PNG as a data URI, and its size in its own pixels."""

    source: str
    width: int
    height: int


def heat(shares: Floats) -> Picture:
    """Draw shares in 0 … 1 [rows, columns] as strengths of one colour.

    The strength is the square root of the share, since most shares are small.
    """
    pixels = np.zeros((*shares.shape, _PLANES), np.uint8)
    pixels[..., :3] = BLUE
    pixels[..., 3] = np.round(255 * np.sqrt(shares))
    return _encode(pixels)


def kernels(array: Floats) -> Picture:
    """Draw all kernels of a layer [*window, inputs, outputs] as a table of inputs and outputs, the larger across."""
    if array.ndim < 2:  # noqa: PLR2004
        array = array[None]
    array = array.reshape(-1, *array.shape[-3:]) if array.ndim > _PLANES else array
    if array.ndim == _PLANES:
        height, width, inputs, outputs = array.shape
        if inputs > outputs:
            array, inputs, outputs = array.swapaxes(2, 3), outputs, inputs
        sheet = np.zeros((inputs, height + 1, outputs, width + 1))
        sheet[:, :height, :, :width] = array.transpose(2, 0, 3, 1)
        flat = sheet.reshape(inputs * (height + 1), outputs * (width + 1))
    else:
        flat = array.reshape(-1, array.shape[-1])
        flat = flat.T if len(flat) > flat.shape[1] else flat
    return _encode(_signed(_shrink(flat)))


def filters(array: Floats) -> list[Pixels]:
    """Return each filter of a first layer [height, width, channels, outputs] as pixels, in colour for 3 channels."""
    scale = float(np.abs(array).max()) or 1.0
    if array.shape[2] == 3:  # noqa: PLR2004  (red, green, blue)
        colour = np.round(255 * (0.5 + array / (2 * scale))).astype(np.uint8)
        opaque = np.full((*colour.shape[:2], 1, colour.shape[3]), 255, np.uint8)
        return list(np.concatenate([colour, opaque], axis=2).transpose(3, 0, 1, 2))
    return [_signed(array[:, :, 0, number], scale) for number in range(array.shape[3])]


def image(pixels: Pixels) -> Picture:
    """Draw an image [height, width, channels], or a filter's pixels, without change."""
    return _encode(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels)


def _signed(values: Floats, scale: float | None = None) -> Pixels:
    """Return values as blue (positive) and orange (negative); larger values are stronger."""
    largest = scale or float(np.abs(values).max()) or 1.0
    pixels = np.zeros((*values.shape, _PLANES), np.uint8)
    pixels[..., :3] = np.where(values[..., None] > 0, BLUE, ORANGE)
    strength = 0.25 + 0.75 * np.sqrt(np.abs(values) / largest)
    pixels[..., 3] = np.where(values == 0, 0, np.round(255 * strength.clip(0, 1)))
    return pixels


def _shrink(values: Floats) -> Floats:
    """Shrink an array to at most `_LARGEST` pixels a side; each block keeps its value of largest size."""
    for axis in (0, 1):
        step = -(-values.shape[axis] // _LARGEST)
        if step > 1:
            moved = np.moveaxis(values, axis, 0)
            padded = np.concatenate([moved, np.zeros((-len(moved) % step, *moved.shape[1:]))])
            blocks = padded.reshape(-1, step, *moved.shape[1:])
            strongest = np.abs(blocks).argmax(axis=1)
            moved = np.take_along_axis(blocks, strongest[:, None], axis=1)[:, 0]
            values = np.moveaxis(moved, 0, axis)
    return values


def _encode(pixels: Pixels) -> Picture:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    source = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return Picture(source, pixels.shape[1], pixels.shape[0])
