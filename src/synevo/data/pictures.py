"""The pixels of a picture file: as the picture is shown, and never guessed.

The turn that a camera notes in EXIF is applied, and 16-bit greys become 8-bit ones (65535 is 255). What has no single
right reading is refused with the line that mends it: transparency, more than one frame, other ranges and colours.
"""

import contextlib
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synevo.data.memory import check_room
from synevo.errors import DataError

_CONVERSIONS = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}  # lossless

_ORIENTATION = 0x0112  # the EXIF tag

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_ON_ITS_SIDE = frozenset(_TURNS[tag] for tag in (5, 6, 7, 8))

_WIDE = 257  # 65535 / 255: the levels of 16 bits in one of 8

_WORKING = 8  # bytes a pixel while a picture is decoded: as RGBA, and its copy

_SHOWN = "ImageOps.exif_transpose(Image.open(file))"

_SMALLER = "Make it smaller with an image editor, or remove it."


def decode(file: Path) -> NDArray[np.uint8]:
    """Return the pixels [height, width, 1 or 3] of an image file; raise DataError if it cannot be read or used."""
    try:
        with _opened(file) as image:
            _check_area(file, image)
            _check_frames(file, image)
            image.load()
            pixels = _pixels(file, image)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"There is no file {file}.", remedy="Check its name, and the folder that it is in.") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{file} cannot be read as an image: {error}", remedy=_SMALLER) from None
    except Exception as error:  # noqa: BLE001 (a damaged file makes Pillow raise nearly anything; none is a bug of ours)
        said = str(error) or type(error).__name__
        raise DataError(
            f"{file} cannot be read as an image: {said}", remedy="Replace this file or remove it."
        ) from None
    return pixels.reshape(*pixels.shape[:2], -1)


def declared(file: Path) -> tuple[int, int, int] | None:
    """Return height, width and channels as the header of a picture declares them; None if it cannot be read."""
    with contextlib.suppress(Exception), _opened(file) as image:
        sides = (image.height, image.width)
        channels = 1 if _is_wide(image) or _CONVERSIONS.get(image.mode) == "L" else 3
        return (*(sides[::-1] if _turn(image) in _ON_ITS_SIDE else sides), channels)
    return None


def as_png(file: Path) -> str:
    """Return the line that writes a picture of another kind as a PNG beside it, with every level that it has."""
    png = ".save(file.with_suffix('.png'))"
    try:
        decode(file)
    except DataError as error:
        return error.remedy.replace(".save(file)", png) if is_picture(file) else "use a program that opens it."
    with _opened(file) as image:
        if _is_wide(image):
            return f"Image.fromarray(np.asarray({_SHOWN}).astype(np.uint16)){png}."
    return f"{_SHOWN}{png}."


def is_picture(file: Path) -> bool:
    """Return True if Pillow knows the content of a file as a picture's."""
    with contextlib.suppress(Exception), _opened(file):
        return True
    return False


def stretched(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return the pixels [h, w, 1 or 3] resized bilinearly to another height and width."""
    resized = np.asarray(_canvas(pixels).resize((width, height), Image.Resampling.BILINEAR))
    return resized.reshape(height, width, pixels.shape[-1])


def with_channels(pixels: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Return the pixels [h, w, 1 or 3] in grey (1) or in colours (3); grey in colours has three equal channels."""
    if pixels.shape[-1] == channels:
        return pixels
    converted = np.asarray(_canvas(pixels).convert("L" if channels == 1 else "RGB"))
    return converted.reshape(*pixels.shape[:2], channels)


def _canvas(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def _opened(file: Path) -> Image.Image:
    """Open a picture without decoding it; a large one is no reason to warn: it is weighed against the memory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file)


def _check_area(file: Path, image: Image.Image) -> None:
    what = f"{file} declares {image.height}x{image.width} pixels, and to decode it takes"
    check_room(_WORKING * image.width * image.height, what, remedy=_SMALLER)


def _check_frames(file: Path, image: Image.Image) -> None:
    """Raise DataError for several pictures in one file; those that cameras add to a JPEG (MPO) are previews."""
    if image.format != "MPO" and getattr(image, "is_animated", False):
        raise DataError(
            f"{file} must be one picture; it holds {getattr(image, 'n_frames', 'several')} frames.",
            remedy="Keep the first one alone: Image.open(file).copy().save(file); or write each to a file of its own.",
        )


def _pixels(file: Path, image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of a decoded picture, turned as it is shown."""
    _check_opaque(file, image)
    turn = _turn(image)
    shown = image if turn is None else image.transpose(turn)
    if _is_wide(image):
        return np.rint(np.asarray(shown).astype(np.float64) / _WIDE).astype(np.uint8)
    _check_mode(file, image)
    return np.asarray(shown.convert(_CONVERSIONS[image.mode]), np.uint8)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return what brings a picture upright, as its EXIF says; None if that says nothing, or is damaged."""
    with contextlib.suppress(Exception):
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    return None


def _is_wide(image: Image.Image) -> bool:
    """Return True for greys of 16 bits, which Pillow holds in 32 for some formats."""
    return image.mode.startswith("I;16") or (image.mode == "I" and image.format in {"PNG", "PPM"})


def _check_opaque(file: Path, image: Image.Image) -> None:
    """Raise DataError for an alpha channel, or a pixel of a transparent colour; drop a colour that no pixel has."""
    if not image.has_transparency_data:
        return
    if image.mode in {*_CONVERSIONS, "I;16"} and _is_opaque(image):
        image.info.pop("transparency", None)
        return
    grey = image.mode in {"1", "L", "LA", "La"}
    remedy = (
        f"Put it on a background, for example on white: c = {_SHOWN}.convert('RGBA'); "
        f"Image.alpha_composite(Image.new('RGBA', c.size, 'white'), c).convert('{'L' if grey else 'RGB'}').save(file)."
    )
    if image.mode == "I;16":
        remedy = "Show that level as the grey that it is: Image.fromarray(np.asarray(Image.open(file))).save(file)."
    what = "" if image.mode in {"LA", "La", "PA", "RGBA", "RGBa"} else ", with transparent pixels"
    raise DataError(f"{file} must be greyscale (L) or RGB; its mode is {image.mode}{what}.", remedy=remedy)


def _is_opaque(image: Image.Image) -> bool:
    if image.mode == "I;16":
        return not bool(np.any(np.asarray(image) == image.info["transparency"]))
    return image.convert("RGBA").getchannel("A").getextrema()[0] == 255  # noqa: PLR2004 (all that there is)


def _check_mode(file: Path, image: Image.Image) -> None:
    if image.mode in _CONVERSIONS:
        return
    remedy = f"Convert it first, for example: {_SHOWN}.convert('RGB').save(file)."
    if image.mode == "LAB":
        profiles = "ImageCms.createProfile('LAB'), ImageCms.createProfile('sRGB')"
        remedy = (
            f"Convert it first: ImageCms.profileToProfile(Image.open(file), {profiles}, outputMode='RGB').save(file)."
        )
    if image.mode in {"I", "F"}:
        remedy = _scaling(np.asarray(image, np.float64))
    raise DataError(f"{file} must be greyscale (L) or RGB; its mode is {image.mode}.", remedy=remedy)


def _scaling(levels: NDArray[np.float64]) -> str:
    """Return the advice for levels whose range no format states."""
    finite = levels[np.isfinite(levels)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    high = high if high > low else low + 1
    share = f"(np.nan_to_num(np.asarray(Image.open(file), float)) - ({low!r})) / ({high!r} - ({low!r}))"
    return (
        f"Scale all files alike: Image.fromarray(np.rint(np.clip({share}, 0, 1) * 255).astype(np.uint8)).save(file), "
        f"where {low!r} and {high!r}, the lowest and the highest level of this one, become those of all."
    )
