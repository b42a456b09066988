"""Classifying image files: the pixels that the network sees are those that it would have seen in training."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.data import datasets
from synevo.data.images import Images
from synevo.deploy.classification import classify, doubt, read_image
from synevo.deploy.reload import Reloaded, load, reload
from synevo.errors import DataError
from synevo.runs.rundir import RunDir


@pytest.fixture(scope="module")
def network(finished: RunDir) -> Reloaded:
    return reload(finished.path)


@pytest.fixture(scope="module")
def test_images(finished: RunDir) -> Images:
    plan = finished.load_plan()
    return datasets.load(plan.data, seed=plan.seed).test


def expecting(network: Reloaded, **about: Any) -> Reloaded:
    """The network as if it had been trained on other images."""
    return replace(network, architecture={**network.architecture, "input": {**network.architecture["input"], **about}})


def save(path: Path, pixels: Any) -> Path:
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(path)
    return path


def test_a_file_of_a_test_image_is_classified_as_the_module_classifies_it(
    finished: RunDir, network: Reloaded, test_images: Images, tmp_path: Path
) -> None:
    files = [save(tmp_path / f"{n}.png", test_images.pixels[n]) for n in range(5)]
    about = network.architecture["input"]
    x = (test_images.pixels[:5] / 255 - about["mean"][0]) / about["deviation"][0]
    logits = np.asarray(load(finished.path)(jnp.asarray(x, jnp.float32)))  # type: ignore[operator]
    for verdict, row in zip(classify(network, files, top=10), logits, strict=True):
        assert [int(name) for name, _ in verdict.classes] == np.argsort(-row).tolist()
        expected = np.exp(row) / np.exp(row).sum()
        for name, probability in verdict.classes:
            assert probability == pytest.approx(expected[int(name)], rel=1e-3)
        assert sum(probability for _, probability in verdict.classes) == pytest.approx(1)


def test_an_image_of_the_sources_size_is_padded_as_the_data_set_was(network: Reloaded, tmp_path: Path) -> None:
    pixels = np.arange(36, dtype=np.uint8).reshape(6, 6, 1) + 100
    padded = expecting(network, fit="pad", source_shape=[6, 6, 1])
    seen = read_image(save(tmp_path / "a.png", pixels), padded)
    np.testing.assert_array_equal(seen, datasets.brought_to(Images(pixels[None], np.zeros(1)), 8, "pad").pixels[0])  # type: ignore[arg-type]
    np.testing.assert_array_equal(seen[1:7, 1:7], pixels)
    assert seen[0].max() == 0


def test_a_larger_image_is_first_made_as_large_as_the_training_images(network: Reloaded, tmp_path: Path) -> None:
    padded = expecting(network, fit="pad", source_shape=[6, 6, 1])
    seen = read_image(save(tmp_path / "a.png", np.full((60, 90, 1), 200, np.uint8)), padded)
    assert (seen[1:7, 1:7] == 200).all()
    assert seen.sum() == 200 * 36


def test_an_image_is_resized_as_the_data_set_was(network: Reloaded, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 1), np.uint8)
    seen = read_image(save(tmp_path / "a.png", pixels), expecting(network, fit="resize", source_shape=[20, 20, 1]))
    np.testing.assert_array_equal(seen, datasets.brought_to(Images(pixels[None], np.zeros(1)), 8, "resize").pixels[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(("channels", "shape"), [(1, (8, 8, 1)), (3, (8, 8, 3))])
def test_colours_become_grey_and_grey_becomes_colours(
    network: Reloaded, tmp_path: Path, channels: int, shape: tuple[int, ...]
) -> None:
    file = save(tmp_path / "a.png", np.full((8, 8, 4 - channels), 77, np.uint8))
    assert (read_image(file, expecting(network, shape=shape)) == np.full(shape, 77)).all()


def test_a_file_that_is_no_image_or_not_there_is_named(network: Reloaded, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    save(tmp_path / "clear.png", np.zeros((8, 8, 4), np.uint8))
    for name, words in [
        ("text.png", "cannot be read"),
        ("none.png", "There is no file"),
        ("clear.png", "mode is RGBA"),
    ]:
        with pytest.raises(DataError, match=words):
            classify(network, [tmp_path / name], top=1)


def test_a_photograph_is_seen_as_it_is_shown_and_a_scan_of_16_bits_as_one_of_8(
    network: Reloaded, tmp_path: Path
) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (8, 8, 1), np.uint8)
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(np.rot90(upright[..., 0])).save(tmp_path / "photo.png", exif=tags)
    Image.fromarray(upright[..., 0].astype(np.uint16) * 257).save(tmp_path / "scan.tif")
    for name in ("photo.png", "scan.tif"):
        np.testing.assert_array_equal(read_image(tmp_path / name, network), upright)


@pytest.mark.parametrize("name", ["palette.png", "grey.png"])
def test_transparent_colours_are_refused_as_an_alpha_channel_is(network: Reloaded, tmp_path: Path, name: str) -> None:
    image = Image.new("L", (8, 8), 3)
    (image.convert("P") if name == "palette.png" else image).save(tmp_path / name, transparency=3)
    with pytest.raises(DataError, match="with transparent pixels"):
        classify(network, [tmp_path / name], top=1)


def test_the_command_prints_a_table_or_json(finished: RunDir, test_images: Images, tmp_path: Path) -> None:
    files = [str(save(tmp_path / f"{n}.png", test_images.pixels[n])) for n in range(2)]
    words = ["predict", str(finished.path), *files, "--top", "2"]
    said = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert said["generation"] == 2
    assert [one["file"] for one in said["images"]] == files
    first = said["images"][0]["classes"]
    assert len(first) == 2
    assert first[0]["probability"] >= first[1]["probability"]
    table = CliRunner().invoke(app, words).stdout
    assert f"{100 * first[0]['probability']:.2f} %" in table
    assert "1.png" in table


def test_the_latest_run_answers_where_none_is_named(
    finished: RunDir, test_images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished.path, "runs/only")
    Path("runs/latest").symlink_to("only")
    save(tmp_path / "one.png", test_images.pixels[0])
    said = json.loads(CliRunner().invoke(app, ["predict", "one.png", "--json"]).stdout)
    assert (said["run"], [one["file"] for one in said["images"]]) == ("runs/only", ["one.png"])
    wrong = CliRunner().invoke(app, ["predict", "no.png"])
    assert wrong.exit_code == 2
    assert "There is no file no.png." in wrong.stderr


def test_a_run_that_is_not_compacted_is_told_how_to_be(finished: RunDir, tmp_path: Path) -> None:
    shutil.copytree(finished.path, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/compact")
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert "Name one or more: synevo predict" in done.output
    done = CliRunner().invoke(app, ["predict", str(tmp_path / "run"), "some.png"])
    assert done.exit_code == 2
    assert f"synevo compact {tmp_path / 'run'}" in done.stderr


def test_the_negative_of_an_image_is_what_its_inverse_is_taken_for(
    network: Reloaded, test_images: Images, tmp_path: Path
) -> None:
    files = [save(tmp_path / f"{n}.png", test_images.pixels[n]) for n in range(3)]
    negatives = [save(tmp_path / f"not-{n}.png", 255 - test_images.pixels[n]) for n in range(3)]
    straight, turned = classify(network, files, top=10), classify(network, negatives, top=10, invert=True)
    assert [one.classes for one in straight] == [one.classes for one in turned]
    assert doubt(network, straight) == ""
    assert "3 of 3 images are far brighter than those of the training" in doubt(
        network, classify(network, negatives, top=1)
    )
    assert "add --invert" in doubt(network, classify(network, negatives, top=1))
    assert "leave out --invert" in doubt(network, classify(network, files, top=1, invert=True), invert=True)


def test_an_image_is_inverted_before_zeros_are_put_around_it(network: Reloaded, tmp_path: Path) -> None:
    padded = expecting(network, fit="pad", source_shape=[6, 6, 1])
    seen = read_image(save(tmp_path / "a.png", np.full((6, 6, 1), 55, np.uint8)), padded, invert=True)
    assert (seen[1:7, 1:7] == 200).all()
    assert seen[0].max() == 0


def test_images_whose_negatives_are_strange_too_are_no_reason_to_invert(network: Reloaded, tmp_path: Path) -> None:
    grey = classify(
        expecting(network, brightness=[0.9, 0.01]), [save(tmp_path / "a.png", np.full((8, 8, 1), 127, np.uint8))], top=1
    )
    said = doubt(expecting(network, brightness=[0.5, 0.001]), grey)
    assert said == "", "images that are all alike still differ a little"
    dark = [replace(grey[0], brightness=0.1)]
    said = doubt(expecting(network, brightness=[0.4, 0.05]), dark)
    assert said.startswith("1 image is far darker than those of the training (mean level 0.10 of 1, there 0.40 ± 0.05)")
    assert "has not learnt from such images" in said
    assert doubt(expecting(network, brightness=None), dark) == "", "compacted by an older version"


def test_the_command_warns_of_negatives_and_takes_them(finished: RunDir, test_images: Images, tmp_path: Path) -> None:
    file = save(tmp_path / "not.png", 255 - test_images.pixels[0])
    words = ["predict", str(finished.path), str(file), "--json"]
    warned, told = (CliRunner().invoke(app, [*words, *more]) for more in ([], ["--invert"]))
    assert "Warning: 1 image is far brighter" in warned.stderr
    assert told.stderr == ""
    assert json.loads(told.stdout)["training_brightness"][0] == pytest.approx(0.3, abs=0.1)
    assert (
        json.loads(told.stdout)["images"][0]["brightness"] < 0.5 < json.loads(warned.stdout)["images"][0]["brightness"]
    )
