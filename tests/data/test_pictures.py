"""Picture files: read as they are shown, or refused with a line that mends them when it is applied to the letter."""

import gc
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from written import assert_says

from synevo.data import pictures
from synevo.data.pictures import as_png, decode
from synevo.errors import DataError


def gradient(mode: str = "RGB") -> Image.Image:
    """A picture of 6x4 pixels in which no two corners are alike."""
    levels = np.linspace(0, 255, 6 * 4 * 3).reshape(4, 6, 3).astype(np.uint8)
    return Image.fromarray(levels).convert(mode)


def refused(file: Path) -> DataError:
    with pytest.raises(DataError) as caught:
        decode(file)
    return caught.value


def follow(file: Path, advice: str) -> None:
    """Run the lines of Python that an advice holds."""
    found = re.search(r"((?:c = )?Image(?:Ops|Cms)?\..*?\.save\(file(?:\.with_suffix\('\.png'\))?\))", advice)
    assert found, advice
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a line of advice leaves its file to be closed by itself
        exec(found.group(1), {"Image": Image, "ImageOps": ImageOps, "ImageCms": ImageCms, "np": np, "file": file})  # noqa: S102
        gc.collect()


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path, suffix: str, orientation: int) -> None:
    file = tmp_path / f"photo.{suffix}"
    tags = Image.Exif()
    tags[0x0112] = orientation
    large = gradient().resize((24, 16), Image.Resampling.NEAREST)
    large.save(file, exif=tags, quality=95)
    with Image.open(file) as image:
        shown = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)
    assert decode(file).shape == ((24, 16, 3) if orientation > 4 else (16, 24, 3))
    np.testing.assert_allclose(decode(file), shown, atol=1)
    upright = np.asarray(large).astype(int)
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, -1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright),
    }
    assert np.abs(decode(file) - turned[orientation]).mean() < 12


def test_damaged_exif_leaves_a_picture_as_it_lies(tmp_path: Path) -> None:
    file = tmp_path / "photo.jpg"
    gradient().save(file, exif=b"Exif\x00\x00nothing of the kind", quality=95)
    assert decode(file).shape == (4, 6, 3)


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_greys_of_16_bits_become_8_with_their_levels_kept_apart(tmp_path: Path, suffix: str, dtype: str) -> None:
    levels = np.arange(256).reshape(16, 16) * 257
    file = tmp_path / f"scan.{suffix}"
    Image.fromarray(levels.astype(dtype).astype(np.uint16)).save(file)
    np.testing.assert_array_equal(decode(file)[..., 0], np.arange(256).reshape(16, 16))


def see_through(file: Path, kind: str) -> Path:
    """Write a picture whose left half is transparent: magenta or white where that is ignored, and green or grey 40."""
    places = np.zeros((8, 8), np.uint8)
    places[:, 4:] = 1
    icon = Image.fromarray(places)
    if kind in {"P", "gif"}:
        icon = icon.copy()
        icon.putpalette([255, 0, 255, 10, 200, 10] + [0] * 762)
        icon.save(file, transparency=0 if kind == "gif" else bytes([0, 255]))
    elif kind in {"L", "LA", "I;16"}:
        grey = Image.fromarray(np.where(places, 40, 200).astype(np.uint16 if kind == "I;16" else np.uint8))
        if kind == "LA":
            grey.putalpha(Image.fromarray(places * 255))
        grey.save(file, **({} if kind == "LA" else {"transparency": 200}))
    else:
        colours = Image.fromarray(np.where(places[..., None], [10, 200, 10], [255, 0, 255]).astype(np.uint8))
        if kind == "RGBA":
            colours.putalpha(Image.fromarray(places * 255))
        colours.save(file, **({} if kind == "RGBA" else {"transparency": (255, 0, 255)}))
    return file


@pytest.mark.parametrize("kind", ["P", "gif", "L", "LA", "RGB", "RGBA"])
def test_every_kind_of_transparency_is_refused_and_its_advice_puts_it_on_white(tmp_path: Path, kind: str) -> None:
    file = see_through(tmp_path / f"icon.{'gif' if kind == 'gif' else 'png'}", kind)
    error = refused(file)
    assert_says(error, f"its mode is {'P' if kind == 'gif' else kind}")
    follow(file, error.remedy)
    pixels = decode(file)
    assert (pixels[:, :4] == 255).all()
    np.testing.assert_array_equal(pixels[0, 7], [40] if kind in {"L", "LA"} else [10, 200, 10])


def test_a_transparent_level_of_16_bits_is_refused_and_its_advice_keeps_all_levels(tmp_path: Path) -> None:
    file = see_through(tmp_path / "scan.png", "I;16")
    follow(file, refused(file).remedy)
    with Image.open(file) as image:
        assert sorted(set(np.asarray(image).reshape(-1).tolist())) == [40, 200]
    assert decode(file).shape == (8, 8, 1)


def test_a_transparent_colour_that_no_pixel_has_hides_nothing(tmp_path: Path) -> None:
    gradient("P").save(tmp_path / "a.gif", transparency=255)
    gradient("L").save(tmp_path / "b.png", transparency=254)
    expected = np.asarray(gradient("P").convert("RGB"))
    np.testing.assert_array_equal(decode(tmp_path / "a.gif"), expected)
    np.testing.assert_array_equal(decode(tmp_path / "b.png")[..., 0], np.asarray(gradient("L")))


@pytest.mark.parametrize(("mode", "suffix"), [("CMYK", "jpg"), ("CMYK", "tif"), ("LAB", "tif"), ("YCbCr", "tif")])
def test_other_colours_are_refused_with_a_line_that_makes_them_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    file = tmp_path / f"print.{suffix}"
    flat = Image.new("RGB", (8, 8), (200, 120, 40))
    if mode == "LAB":
        flat = ImageCms.profileToProfile(
            flat, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
    flat.convert(mode).save(file)
    error = refused(file)
    assert_says(error, f"its mode is {mode}")
    follow(file, error.remedy)
    np.testing.assert_allclose(decode(file)[4, 4].astype(int), [200, 120, 40], atol=6)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_levels_without_a_known_range_are_refused_with_a_line_that_keeps_them_apart(tmp_path: Path, kind: Any) -> None:
    file = tmp_path / "heights.tif"
    Image.fromarray((np.arange(64).reshape(8, 8) * 100 - 3000).astype(kind)).save(file)
    error = refused(file)
    assert "-3000" in error.remedy
    follow(file, error.remedy)
    levels = decode(file)[..., 0].reshape(-1).astype(int)
    assert (np.diff(levels) > 0).all()
    assert (levels[0], levels[-1]) == (0, 255)


@pytest.mark.parametrize("suffix", ["gif", "webp", "tif", "png"])
def test_several_pictures_in_one_file_are_refused_with_a_line_that_keeps_the_first(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"film.{suffix}"
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(file, save_all=True, append_images=frames[1:], lossless=True)
    error = refused(file)
    assert_says(error, "it holds 3 frames")
    follow(file, error.remedy)
    np.testing.assert_allclose(decode(file)[4, 4].astype(int), [255, 0, 0], atol=3)


def test_the_preview_that_a_camera_adds_is_no_second_picture(tmp_path: Path) -> None:
    file = tmp_path / "phone.jpg"
    large = Image.new("RGB", (16, 16), "red")
    large.save(file, "MPO", save_all=True, append_images=[Image.new("RGB", (4, 4), "blue")])
    np.testing.assert_allclose(decode(file)[4, 4].astype(int), [255, 0, 0], atol=3)


@pytest.mark.parametrize("kind", ["RGB", "L", "I;16", "CMYK", "F", "RGBA"])
def test_a_picture_of_another_kind_becomes_a_png_by_the_lines_that_are_advised(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "scan.tif"
    wide = {"I;16": np.uint16, "F": np.float32}
    levels = np.arange(64).reshape(8, 8)
    image = Image.fromarray(levels.astype(wide[kind]) * 1000) if kind in wide else gradient(kind)
    image.save(file)
    follow(file, as_png(file))
    pixels = decode(tmp_path / "scan.png")
    assert pixels.shape[-1] == (1 if kind in {"L", *wide} else 3)
    assert len(np.unique(pixels)) >= (60 if kind in wide else 20)


def test_a_grey_of_16_bits_in_another_kind_keeps_them_as_a_png(tmp_path: Path) -> None:
    file = tmp_path / "scan.pgm"
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(file)
    follow(file, as_png(file))
    np.testing.assert_array_equal(decode(tmp_path / "scan.png"), decode(file))


def test_a_picture_that_declares_more_than_the_memory_is_named_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "huge.png"
    Image.new("1", (3000, 2000)).save(file)
    monkeypatch.setattr("synevo.data.memory.memory", lambda: 1 << 20)
    monkeypatch.setattr(pictures, "_pixels", lambda *_: pytest.fail("decoded"))
    assert_says(refused(file), r"huge\.png declares 2000x3000 pixels, .* 45\.8 MiB; there are 1\.0 MiB of memory")


def test_a_picture_beyond_what_pillow_opens_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "huge.png"
    Image.new("1", (300, 200)).save(file)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    assert decode(file).shape == (200, 300, 1)  # above the limit is no reason to warn …
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5_000)
    assert_says(refused(file), r"huge\.png cannot be read as an image")  # … above twice the limit it is refused


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "webp", "tif"])
def test_a_damaged_picture_is_read_or_named_and_never_a_traceback(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"a.{suffix}"
    gradient().save(file)
    whole = file.read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(40):
        hurt = bytearray(whole)
        for place in draw.integers(0, len(hurt), 3):
            hurt[place] = draw.integers(256)
        file.write_bytes(hurt)
        try:
            assert decode(file).dtype == np.uint8
        except DataError as error:
            assert str(file) in error.problem  # noqa: PT017 (either is right)
