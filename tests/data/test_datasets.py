"""Images ready for a run: where they lie, in which size they come, and how they are normalised."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import written
from written import assert_says, load_error, noise, plan_for, prepare, whole_npz, write_folder, write_npz

from synevo.data import datasets
from synevo.data.datasets import Dataset
from synevo.data.images import Images
from synevo.errors import DataError, PlanError
from synevo.plan.examples import DataPlan


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return written.empty_cache(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("native", "size", "fit"),
    [
        (None, 8, "none"),
        (8, 8, "none"),
        (9, 9, "pad"),
        (16, 16, "pad"),
        (17, 17, "resize"),
        (7, 7, "resize"),
    ],
)
def test_digits_reach_the_size_of_the_network(native: int | None, size: int, fit: str) -> None:
    plan = datasets.resolve(DataPlan(), native_size=native)
    assert (plan.image_size, plan.fit) == (size, fit)
    assert datasets.load(plan, seed=0).shape == (size, size, 1)


def test_resolving_twice_changes_nothing() -> None:
    plan = datasets.resolve(DataPlan(), native_size=12)
    assert datasets.resolve(plan, native_size=12) == plan
    assert datasets.resolve(plan, native_size=None) == plan


def test_the_size_that_the_user_chose_goes_before_the_native_one() -> None:
    plan = datasets.resolve(DataPlan(image_size=32), native_size=12)
    assert (plan.image_size, plan.fit) == (32, "resize")
    assert datasets.resolve(DataPlan(fit="resize"), native_size=12).fit == "resize"


def test_padding_puts_zeros_around_an_unchanged_image() -> None:
    small, large = (datasets.load(DataPlan(image_size=size), seed=0).test.pixels for size in (8, 11))
    assert np.array_equal(large[:, 1:9, 1:9], small)
    assert large.sum() == small.sum()


def test_resizing_keeps_flat_colours_and_their_channels(tmp_path: Path) -> None:
    images = np.broadcast_to(np.array([10, 20, 30], np.uint8), (9, 4, 4, 3))
    path = write_npz(tmp_path / "flat.npz", images=images, labels=np.arange(9) % 3)
    data = datasets.load(plan_for(path, image_size=30), seed=0)
    assert data.shape == (30, 30, 3)
    assert np.array_equal(np.unique(data.train.pixels.reshape(-1, 3), axis=0), [[10, 20, 30]])


def test_resizing_halves_by_averaging_neighbours(tmp_path: Path) -> None:
    ramp = np.tile(np.arange(0, 160, 10, dtype=np.uint8), (8, 16, 1))
    path = write_npz(tmp_path / "ramp.npz", images=ramp, labels=np.arange(8) % 2)
    halved = datasets.load(plan_for(path, image_size=8), seed=0).train.pixels[0, 4, 1:-1, 0]
    assert np.all(np.abs(halved - np.arange(25, 145, 20).astype(int)) <= 1)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"fit": "pad", "image_size": 4}, "cannot make images of 8x8 pixels smaller"),
        ({"fit": "none", "image_size": 9}, "keeps images of 8x8"),
    ],
)
def test_choices_that_contradict_each_other_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(PlanError, match=words):
        datasets.resolve(DataPlan(**fields), native_size=None)
    with pytest.raises(PlanError, match=words):
        datasets.load(DataPlan(**fields), seed=0)


def test_a_fit_of_none_on_the_size_of_another_network_is_refused() -> None:
    with pytest.raises(PlanError, match="12x12 are expected"):
        datasets.resolve(DataPlan(fit="none"), native_size=12)


def test_images_that_are_not_square_stay_so_where_any_size_will_do(tmp_path: Path) -> None:
    path = whole_npz(tmp_path, 12, 4, 6)
    plan = datasets.resolve(plan_for(path), native_size=None)
    assert (plan.image_size, plan.fit) == (None, "none")
    assert datasets.resolve(plan, native_size=None) == plan
    assert datasets.load(plan, seed=0).shape == (4, 6, 1)


def test_images_that_are_not_square_become_so_only_as_the_user_says(tmp_path: Path) -> None:
    path = whole_npz(tmp_path, 12, 4, 6)
    with pytest.raises(DataError, match=r"8x8 pixels are expected.* 4x6"):
        datasets.resolve(plan_for(path), native_size=8)
    with pytest.raises(PlanError, match="no size"):
        datasets.resolve(plan_for(path, fit="pad"), native_size=None)
    for fit in ("pad", "resize"):
        plan = datasets.resolve(plan_for(path, fit=fit), native_size=8)
        assert datasets.load(plan, seed=0).shape == (8, 8, 1)


def test_sources_outside_tfds_have_no_data_dir() -> None:
    assert datasets.resolve(DataPlan(data_dir="somewhere"), native_size=None).data_dir is None


def test_paths_become_absolute_so_that_a_run_goes_on_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(whole_npz(tmp_path, 12, 4, 4).parent)
    plan = datasets.resolve(plan_for("own.npz"), native_size=None)
    assert plan.dataset == str((tmp_path / "own.npz").resolve())


def test_prepared_data_are_looked_for_where_the_plan_the_environment_or_tfds_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for place in ("named", "set", "home/tensorflow_datasets"):
        prepare(tmp_path / place)
    plan = datasets.resolve(plan_for("tiny"), native_size=None)
    assert plan.data_dir == str((tmp_path / "home/tensorflow_datasets").resolve())
    monkeypatch.setenv("TFDS_DATA_DIR", "set")
    assert datasets.resolve(plan_for("tiny"), native_size=None).data_dir == str((tmp_path / "set").resolve())
    named = datasets.resolve(plan_for("tiny", data_dir="named"), native_size=None)
    assert named.data_dir == str((tmp_path / "named").resolve())


def test_pixels_are_only_scaled_by_default() -> None:
    data = datasets.load(DataPlan(), seed=0)
    assert (data.mean, data.deviation) == ((0.0,), (1.0,))


def test_numbers_of_one_s_own_are_those_of_each_channel_whatever_the_images(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "own.npz", images=noise(40, 4, 4, 3), labels=np.arange(40) % 2)
    mean, deviation = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    data = datasets.load(plan_for(path, mean=mean, deviation=deviation), seed=0)
    assert (data.mean, data.deviation) == (mean, deviation)
    (found,) = data.problem.task.inputs({"image": data.test.pixels})
    np.testing.assert_allclose(found, (data.test.pixels / 255 - mean) / deviation, atol=1e-5)
    data = datasets.load(plan_for(path, mean=0.5, deviation=(0.1, 0.2, 0.3)), seed=0)
    assert (data.mean, data.deviation) == ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))


def test_without_normalisation_a_network_gets_every_pixel_as_it_is(tmp_path: Path) -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 4, 4, 1)
    data = datasets.load(
        plan_for(write_npz(tmp_path / "own.npz", images=every, labels=np.arange(16) % 2), normalise="none"), seed=0
    )
    (found,) = data.problem.task.inputs({"image": jnp.asarray(every)})
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, every)
    np.testing.assert_allclose((every / 255 - data.mean) / data.deviation, every, rtol=1e-12)


@pytest.mark.parametrize("name", ["mean", "deviation"])
def test_numbers_that_are_not_one_a_channel_are_refused_before_anything_is_read(name: str) -> None:
    plan = DataPlan(**{"mean": 0.5, "deviation": 0.5, name: (0.4, 0.5)})
    for use in (lambda: datasets.resolve(plan, native_size=None), lambda: datasets.load(plan, seed=0)):
        with pytest.raises(PlanError, match=rf"data\.{name} has 2 numbers, and the images have 1 channel") as caught:
            use()
        assert f"--set data.{name}=" in caught.value.remedy


def test_a_split_of_tfds_cannot_be_named_for_other_sources() -> None:
    with pytest.raises(PlanError, match=r"data\.validation_split names a split of a TFDS data set, and digits is none"):
        datasets.resolve(DataPlan(validation_split="validation"), native_size=None)


def test_standardised_training_pixels_have_mean_0_and_deviation_1_in_each_channel(tmp_path: Path) -> None:
    pixels = noise(40, 4, 4, 3) // np.array([1, 2, 4], np.uint8)
    path = write_npz(tmp_path / "own.npz", images=pixels, labels=np.arange(40) % 2)
    data = datasets.load(plan_for(path, normalise="standardise"), seed=0)
    x = (data.train.pixels / 255 - data.mean) / data.deviation
    assert np.allclose(x.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    assert np.allclose(x.std(axis=(0, 1, 2)), 1)


def test_a_channel_without_variation_is_not_divided_by_zero(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "own.npz", images=np.full((8, 4, 4), 51, np.uint8), labels=np.arange(8) % 2)
    data = datasets.load(plan_for(path, normalise="standardise"), seed=0)
    assert data.mean == pytest.approx((0.2,))
    assert data.deviation == (1e-3,)


def test_a_dataset_has_the_shape_of_its_images() -> None:
    images = Images(np.zeros((1, 28, 32, 3), np.uint8), np.zeros(1, np.int32))
    assert Dataset("d", ("a", "b"), images, images, images, (0.0,) * 3, (1.0,) * 3).shape == (28, 32, 3)


def test_the_problem_of_a_dataset_is_to_tell_its_normalised_images_apart() -> None:
    data = datasets.load(DataPlan(normalise="standardise"), seed=0)
    task, *splits = data.problem
    assert (task.name, task.better) == ("accuracy", "higher")
    for split, images in zip(splits, (data.train, data.validation, data.test), strict=True):
        assert len(split) == len(images)
        batch = split[np.array([2, 0])]
        np.testing.assert_array_equal(batch["image"], images.pixels[[2, 0]])
        np.testing.assert_array_equal(batch["label"], images.labels[[2, 0]])
        (x,) = task.inputs(batch)
        expected = (images.pixels[[2, 0]] / 255 - data.mean[0]) / data.deviation[0]
        np.testing.assert_allclose(x, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("own.npy", "np.savez('set.npz', images=np.load('"),
        ("own.csv", "synevo guide own-task"),
        ("own.json", "synevo guide own-task"),
        ("own.zip", "python -m zipfile -e '"),
        ("own.tar", "python -m tarfile -e '"),
        ("own.tar.gz", "python -m tarfile -e '"),
        ("own.TGZ", "python -m tarfile -e '"),
        ("cat.png", "a folder of class folders"),
        ("own.pkl", "an .npz file"),
        ("sub/data", "an .npz file"),
    ],
)
def test_a_file_of_another_kind_is_named_with_what_makes_a_data_set_of_it(
    tmp_path: Path, name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / name).write_bytes(b"content")
    for source in (name, tmp_path / name):
        error = load_error(source)
        assert_says(error, rf"{Path(name).name} is a file \(.*\), and no data set as it is")
        assert words in error.remedy


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_that_is_unpacked_as_advised_is_a_data_set(tmp_path: Path, kind: str) -> None:
    folder = write_folder(tmp_path / "set")
    packed = shutil.make_archive(str(tmp_path / "packed"), kind, folder)
    found = re.search(r"python (-m \w+ -e) '(.*)' FOLDER", load_error(packed).remedy)
    assert found
    subprocess.run([sys.executable, *found[1].split(), found[2], str(tmp_path / "FOLDER")], check=True)
    assert datasets.load(plan_for(tmp_path / "FOLDER"), seed=0).classes == ("ant", "cat")


def test_what_is_neither_a_file_nor_a_folder_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.bin")
    assert_says(load_error(tmp_path / "pipe.bin"), "neither a file nor a folder")


def test_a_folder_may_end_like_a_file_of_arrays(tmp_path: Path) -> None:
    assert datasets.load(plan_for(write_folder(tmp_path / "set.npz")), seed=0).classes == ("ant", "cat")
