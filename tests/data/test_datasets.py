import contextlib
import io
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from synevo.data import datasets, folders
from synevo.data import tfds as prepared
from synevo.errors import DataError, PlanError
from synevo.plan.fields import DataPlan
from synevo.tasks.images import Images

REAL = Path(os.environ.get("TFDS_DATA_DIR", "nowhere"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SYNEVO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    return tmp_path / "cache" / "datasets"


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def whole_npz(folder: Path, *shape: int, classes: int = 2) -> Path:
    return write_npz(folder / "own.npz", images=noise(*shape), labels=np.arange(shape[0]) % classes)


def write_image(path: Path, *, mode: str = "L", size: tuple[int, int] = (4, 4), level: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).convert(mode).save(path)
    return path


def write_folder(root: Path, *, classes: Sequence[str] = ("cat", "ant"), count: int = 5, mode: str = "L") -> Path:
    for place, name in enumerate(classes):
        for item in range(count):
            write_image(root / name / f"{item}.png", mode=mode, level=100 * place + item)
    return root


def plan_for(source: Path | str, **fields: Any) -> DataPlan:
    return DataPlan(dataset=str(source), **fields)


def load_error(source: Path | str, **fields: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        datasets.load(plan_for(source, **fields), seed=0)
    assert caught.value.remedy
    return caught.value


def same(one: Images, other: Images) -> bool:
    return np.array_equal(one.pixels, other.pixels) and np.array_equal(one.labels, other.labels)


class TestDigits:
    def test_all_images_are_there_in_the_full_range_of_grey(self) -> None:
        data = datasets.load(DataPlan(), seed=0)
        parts = (data.train, data.validation, data.test)
        assert data.shape == (8, 8, 1)
        assert data.classes == tuple("0123456789")
        assert all(part.pixels.dtype == np.uint8 and part.labels.dtype == np.int32 for part in parts)
        ours = sorted(image.tobytes() for part in parts for image in part.pixels)
        theirs = sorted(np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in load_digits().images)
        assert ours == theirs

    def test_the_test_split_is_the_same_for_every_seed_and_the_validation_split_is_not(self) -> None:
        one, again, other = (datasets.load(DataPlan(), seed=seed) for seed in (0, 0, 1))
        assert same(one.test, other.test)
        assert same(one.validation, again.validation)
        assert same(one.train, again.train)
        assert not same(one.validation, other.validation)

    def test_every_class_gives_a_fifth_to_test_and_its_share_to_validation(self) -> None:
        data = datasets.load(DataPlan(validation=0.25), seed=3)
        counts = np.bincount(load_digits().target)
        test, validation = np.bincount(data.test.labels), np.bincount(data.validation.labels)
        assert np.all(np.abs(test - 0.2 * counts) <= 0.5)
        assert np.all(np.abs(validation - 0.25 * (counts - test)) <= 0.5)

    def test_the_splits_are_the_ones_that_published_figures_rest_on(self) -> None:
        data = datasets.load(DataPlan(), seed=0)
        assert data.test.labels[:12].tolist() == [1, 0, 2, 6, 6, 4, 8, 5, 7, 1, 7, 9]
        assert data.validation.labels[:12].tolist() == [1, 3, 7, 0, 0, 1, 0, 1, 4, 7, 4, 2]


class TestSize:
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
    def test_digits_reach_the_size_of_the_network(self, native: int | None, size: int, fit: str) -> None:
        plan = datasets.resolve(DataPlan(), native_size=native)
        assert (plan.image_size, plan.fit) == (size, fit)
        assert datasets.load(plan, seed=0).shape == (size, size, 1)

    def test_resolving_twice_changes_nothing(self) -> None:
        plan = datasets.resolve(DataPlan(), native_size=12)
        assert datasets.resolve(plan, native_size=12) == plan
        assert datasets.resolve(plan, native_size=None) == plan

    def test_the_size_that_the_user_chose_goes_before_the_native_one(self) -> None:
        plan = datasets.resolve(DataPlan(image_size=32), native_size=12)
        assert (plan.image_size, plan.fit) == (32, "resize")
        assert datasets.resolve(DataPlan(fit="resize"), native_size=12).fit == "resize"

    def test_padding_puts_zeros_around_an_unchanged_image(self) -> None:
        small, large = (datasets.load(DataPlan(image_size=size), seed=0).test.pixels for size in (8, 11))
        assert np.array_equal(large[:, 1:9, 1:9], small)
        assert large.sum() == small.sum()

    def test_resizing_keeps_flat_colours_and_their_channels(self, tmp_path: Path) -> None:
        images = np.broadcast_to(np.array([10, 20, 30], np.uint8), (9, 4, 4, 3))
        path = write_npz(tmp_path / "flat.npz", images=images, labels=np.arange(9) % 3)
        data = datasets.load(plan_for(path, image_size=30), seed=0)
        assert data.shape == (30, 30, 3)
        assert np.array_equal(np.unique(data.train.pixels.reshape(-1, 3), axis=0), [[10, 20, 30]])

    def test_resizing_halves_by_averaging_neighbours(self, tmp_path: Path) -> None:
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
    def test_choices_that_contradict_each_other_are_refused(self, fields: dict[str, Any], words: str) -> None:
        with pytest.raises(PlanError, match=words):
            datasets.resolve(DataPlan(**fields), native_size=None)
        with pytest.raises(PlanError, match=words):
            datasets.load(DataPlan(**fields), seed=0)

    def test_a_fit_of_none_on_the_size_of_another_network_is_refused(self) -> None:
        with pytest.raises(PlanError, match="12x12 are expected"):
            datasets.resolve(DataPlan(fit="none"), native_size=12)

    def test_images_that_are_not_square_stay_so_where_any_size_will_do(self, tmp_path: Path) -> None:
        path = whole_npz(tmp_path, 12, 4, 6)
        plan = datasets.resolve(plan_for(path), native_size=None)
        assert (plan.image_size, plan.fit) == (None, "none")
        assert datasets.resolve(plan, native_size=None) == plan
        assert datasets.load(plan, seed=0).shape == (4, 6, 1)

    def test_images_that_are_not_square_become_so_only_as_the_user_says(self, tmp_path: Path) -> None:
        path = whole_npz(tmp_path, 12, 4, 6)
        with pytest.raises(DataError, match=r"8x8 pixels are expected.* 4x6"):
            datasets.resolve(plan_for(path), native_size=8)
        with pytest.raises(PlanError, match="no size"):
            datasets.resolve(plan_for(path, fit="pad"), native_size=None)
        for fit in ("pad", "resize"):
            plan = datasets.resolve(plan_for(path, fit=fit), native_size=8)
            assert datasets.load(plan, seed=0).shape == (8, 8, 1)


class TestPlaces:
    def test_sources_outside_tfds_have_no_data_dir(self) -> None:
        assert datasets.resolve(DataPlan(data_dir="somewhere"), native_size=None).data_dir is None

    def test_paths_become_absolute_so_that_a_run_goes_on_from_any_folder(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(whole_npz(tmp_path, 12, 4, 4).parent)
        plan = datasets.resolve(plan_for("own.npz"), native_size=None)
        assert plan.dataset == str((tmp_path / "own.npz").resolve())

    def test_prepared_data_are_looked_for_where_the_plan_the_environment_or_tfds_says(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


class TestNpz:
    def test_one_set_of_arrays_gives_up_a_fixed_stratified_fifth(self, tmp_path: Path) -> None:
        data = datasets.load(plan_for(whole_npz(tmp_path, 60, 4, 4, 3, classes=3)), seed=1)
        assert data.name == "own"
        assert data.classes == ("0", "1", "2")
        assert data.shape == (4, 4, 3)
        assert np.bincount(data.test.labels).tolist() == [4, 4, 4]
        assert len(data.train) + len(data.validation) == 48

    def test_a_test_split_of_its_own_is_kept_as_it_is(self, tmp_path: Path) -> None:
        images, labels = noise(20, 5, 5, 1), np.arange(20) % 2
        path = write_npz(
            tmp_path / "own.npz",
            train_images=images[:12],
            train_labels=labels[:12],
            test_images=images[12:],
            test_labels=labels[12:],
        )
        data = datasets.load(plan_for(path), seed=0)
        assert same(data.test, Images(images[12:], labels[12:].astype(np.int32)))
        assert len(data.train) + len(data.validation) == 12

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"pictures": noise(4, 4, 4)}, "must hold images and labels; found pictures"),
            ({"images": noise(4, 4, 4) / 255, "labels": [0, 1, 0, 1]}, "must be uint8 .* found float64"),
            ({"images": noise(4, 4), "labels": [0, 1, 0, 1]}, r"found \[4, 4\]"),
            ({"images": noise(4, 3, 8, 8), "labels": [0, 1, 0, 1]}, r"found \[4, 3, 8, 8\]"),
            ({"images": noise(4, 8, 8, 4), "labels": [0, 1, 0, 1]}, r"found \[4, 8, 8, 4\]"),
            ({"images": noise(0, 4, 4), "labels": np.zeros(0, int)}, "is empty"),
            ({"images": noise(4, 4, 4), "labels": [0.0, 1, 0, 1]}, "must be integers .* found float64"),
            ({"images": noise(4, 4, 4), "labels": np.eye(4, dtype=int)}, r"found int64 \[4, 4\]"),
            ({"images": noise(4, 4, 4), "labels": [0, 1, 0]}, "found 4 and 3"),
            ({"images": noise(4, 4, 4), "labels": [0, -1, 0, 1]}, "found -1"),
            ({"images": noise(4, 4, 4), "labels": [0, 2, 0, 3]}, "none is 1, and the largest is 3"),
            ({"images": noise(4, 4, 4), "labels": [1, 2, 1, 2]}, "none is 0"),
            ({"images": noise(4, 4, 4), "labels": [0, 0, 0, 0]}, "at least two classes"),
            ({"images": noise(3, 4, 4), "labels": [0, 0, 1]}, "'1' has a single image"),
            ({"images": np.array([None] * 4), "labels": [0, 1, 0, 1]}, "cannot be read: Object arrays"),
        ],
    )
    def test_anything_else_is_refused_with_what_was_found(
        self, tmp_path: Path, arrays: dict[str, Any], words: str
    ) -> None:
        assert_says(load_error(write_npz(tmp_path / "own.npz", **arrays)), words)

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"test_labels": np.array([0, 5])}, "test_labels must be in 0 … 1; found 5"),
            ({"test_images": noise(2, 5, 5)}, r"one shape; found \(4, 4, 1\) and \(5, 5, 1\)"),
        ],
    )
    def test_a_test_split_that_does_not_match_its_train_split_is_refused(
        self, tmp_path: Path, changed: dict[str, Any], words: str
    ) -> None:
        arrays = {"train_images": noise(8, 4, 4), "train_labels": np.arange(8) % 2}
        arrays |= {"test_images": noise(2, 4, 4), "test_labels": np.array([0, 1])}
        assert_says(load_error(write_npz(tmp_path / "own.npz", **(arrays | changed))), words)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        assert_says(load_error(tmp_path / "gone.npz"), r"no file .*gone\.npz")

    def test_a_file_that_is_no_archive_is_refused(self, tmp_path: Path) -> None:
        np.save(tmp_path / "plain.npy", noise(4, 4, 4))
        path = (tmp_path / "plain.npy").rename(tmp_path / "plain.npz")
        assert_says(load_error(path), "not an .npz file")

    def test_a_damaged_archive_is_refused(self, tmp_path: Path) -> None:
        path = whole_npz(tmp_path, 40, 8, 8)
        damage(path, at=1000)
        assert_says(load_error(path), "cannot be read: Bad CRC")

    def test_floats_are_refused_with_the_line_that_converts_them(self, tmp_path: Path) -> None:
        path = write_npz(tmp_path / "own.npz", images=noise(4, 4, 4) / 255, labels=[0, 1, 0, 1])
        assert "np.rint(images * 255).astype(np.uint8)" in load_error(path).remedy


class TestFolder:
    def test_classes_are_the_sorted_names_of_the_folders(self, tmp_path: Path) -> None:
        data = datasets.load(plan_for(write_folder(tmp_path / "pets")), seed=0)
        assert (data.name, data.classes, data.shape) == ("pets", ("ant", "cat"), (4, 4, 1))
        for part in (data.train, data.validation, data.test):
            assert np.array_equal(part.pixels[:, 0, 0, 0] >= 100, part.labels == 0)

    def test_folders_for_train_and_test_are_kept_apart(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "pets" / "train", count=6)
        write_folder(tmp_path / "pets" / "test", count=3)
        data = datasets.load(plan_for(tmp_path / "pets"), seed=0)
        assert len(data.test) == 6
        assert len(data.train) + len(data.validation) == 12

    @pytest.mark.parametrize("suffix", ["png", "jpg", "jpeg", "bmp", "gif", "webp", "PNG"])
    def test_the_usual_formats_are_read(self, tmp_path: Path, suffix: str) -> None:
        for name in ("a", "b"):
            for item in range(4):
                write_image(tmp_path / "set" / name / f"{item}.{suffix}", mode="RGB", level=200)
        data = datasets.load(plan_for(tmp_path / "set"), seed=0)
        assert np.all(np.abs(data.train.pixels.astype(int) - 200) <= 3)

    @pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("1", 1), ("RGB", 3), ("P", 3)])
    def test_greyscale_has_one_channel_and_colour_three(self, tmp_path: Path, mode: str, channels: int) -> None:
        data = datasets.load(plan_for(write_folder(tmp_path / "set", mode=mode)), seed=0)
        assert data.shape == (4, 4, channels)

    def test_hidden_and_other_files_are_passed_over(self, tmp_path: Path) -> None:
        root = write_folder(tmp_path / "set")
        (root / ".git").mkdir()
        (root / "README.md").write_text("about")
        (root / "ant" / ".hidden.png").write_text("about")
        (root / "ant" / "notes.txt").write_text("about")
        data = datasets.load(plan_for(root), seed=0)
        assert len(data.train) + len(data.validation) + len(data.test) == 10

    @pytest.mark.parametrize("image", [{"size": (4, 5)}, {"mode": "RGB"}])
    def test_two_images_that_differ_are_both_named(self, tmp_path: Path, image: dict[str, Any]) -> None:
        root = write_folder(tmp_path / "set")
        odd = write_image(root / "cat" / "odd.png", **image)
        error = load_error(root)
        assert str(odd) in str(error)
        assert str(root / "ant" / "0.png") in str(error)
        assert "4x4 pixels in greyscale" in str(error)

    def test_an_image_with_transparency_is_refused(self, tmp_path: Path) -> None:
        root = write_folder(tmp_path / "set", mode="RGBA")
        assert_says(load_error(root), "its mode is RGBA")

    @pytest.mark.parametrize("keep", [0, 10, 45])
    def test_an_unreadable_image_is_named(self, tmp_path: Path, keep: int) -> None:
        root = write_folder(tmp_path / "set")
        odd = root / "cat" / "1.png"
        odd.write_bytes(odd.read_bytes()[:keep])
        assert_says(load_error(root), r"1\.png cannot be read as an image")

    def test_an_empty_class_is_named(self, tmp_path: Path) -> None:
        root = write_folder(tmp_path / "set")
        (root / "dog").mkdir()
        assert_says(load_error(root), r"dog holds no image")

    def test_train_without_test_is_not_mistaken_for_a_class(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "set" / "train")
        write_folder(tmp_path / "set" / "val")
        assert "needs both train/ and test/" in load_error(tmp_path / "set").remedy

    def test_fewer_than_two_classes_are_refused(self, tmp_path: Path) -> None:
        assert_says(load_error(write_folder(tmp_path / "set", classes=["cat"])), "at least two classes; found 1")

    def test_classes_that_only_train_or_test_has_are_named(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "set" / "train", classes=["ant", "bee", "cat"])
        write_folder(tmp_path / "set" / "test", classes=["ant", "bee"])
        assert_says(load_error(tmp_path / "set"), "only one of them has cat")

    def test_a_class_with_too_few_images_to_be_split_is_named(self, tmp_path: Path) -> None:
        assert_says(load_error(write_folder(tmp_path / "set", count=2)), "'ant' has a single image left")

    def test_a_folder_that_may_not_be_read_is_no_bug_of_ours(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: Path) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(folders, "_list_classes", refuse)
        assert_says(load_error(tmp_path), "Permission denied")


class TestCache:
    @pytest.fixture
    def decoded(self, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
        files: list[Path] = []
        decode = folders.decode
        monkeypatch.setattr(folders, "decode", lambda file: files.append(file) or decode(file))
        return files

    def test_images_are_decoded_once_whatever_size_they_are_brought_to(
        self, tmp_path: Path, decoded: list[Path]
    ) -> None:
        plan = plan_for(write_folder(tmp_path / "set"))
        first = datasets.load(plan, seed=0)
        decoded.clear()
        again = datasets.load(plan, seed=0)
        assert datasets.load(plan.model_copy(update={"image_size": 9}), seed=0).shape == (9, 9, 1)
        assert set(decoded) == {tmp_path / "set" / "ant" / "0.png"}
        assert same(first.train, again.train)
        assert same(first.test, again.test)

    @pytest.mark.parametrize("hurt", [lambda data: data[:50], lambda data: data[:-1], lambda _: b"", None])
    def test_a_damaged_cache_is_rebuilt(
        self, tmp_path: Path, cache: Path, hurt: Callable[[bytes], bytes] | None
    ) -> None:
        plan = plan_for(write_folder(tmp_path / "set"))
        first = datasets.load(plan, seed=0)
        (file,) = cache.iterdir()
        sound = file.read_bytes()
        if hurt is None:
            damage(file, at=len(sound) // 2)
        else:
            file.write_bytes(hurt(sound))
        assert file.read_bytes() != sound
        assert same(datasets.load(plan, seed=0).test, first.test)
        assert file.read_bytes() == sound
        assert list(cache.iterdir()) == [file]

    def test_a_folder_whose_images_changed_is_read_again(self, tmp_path: Path) -> None:
        root = write_folder(tmp_path / "set")
        before = datasets.load(plan_for(root), seed=0)
        write_image(root / "cat" / "more.bmp")
        after = datasets.load(plan_for(root), seed=0)
        assert len(after.train) + len(after.test) == len(before.train) + len(before.test) + 1
        changed = write_image(root / "cat" / "more.bmp", level=255)
        os.utime(changed, ns=(0, 0))
        last = datasets.load(plan_for(root), seed=0)
        assert max(part.pixels.max() for part in (last.train, last.validation, last.test)) == 255

    def test_folders_of_one_name_do_not_share_a_cache(self, tmp_path: Path) -> None:
        one = datasets.load(plan_for(write_folder(tmp_path / "one" / "set")), seed=0)
        other = datasets.load(plan_for(write_folder(tmp_path / "other" / "set", count=6)), seed=0)
        assert len(other.train) > len(one.train)

    def test_a_cache_that_cannot_be_written_is_done_without(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("not a folder")
        monkeypatch.setenv("SYNEVO_CACHE", str(tmp_path / "file"))
        assert len(datasets.load(plan_for(write_folder(tmp_path / "set")), seed=0).test) == 2

    def test_a_full_disk_leaves_nothing_half_written(
        self, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fill(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", fill)
        assert len(datasets.load(plan_for(write_folder(tmp_path / "set")), seed=0).test) == 2
        assert list(cache.iterdir()) == []

    def test_it_lies_in_the_cache_folder_of_the_user_unless_told_otherwise(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = write_folder(tmp_path / "set")
        monkeypatch.delenv("SYNEVO_CACHE")
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        datasets.load(plan_for(root), seed=0)
        assert len(list((tmp_path / "home/.cache/synevo/datasets").iterdir())) == 1
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        datasets.load(plan_for(root), seed=0)
        assert len(list((tmp_path / "xdg/synevo/datasets").iterdir())) == 1


class TestNormalisation:
    def test_pixels_are_only_scaled_by_default(self) -> None:
        data = datasets.load(DataPlan(), seed=0)
        assert (data.mean, data.deviation) == ((0.0,), (1.0,))

    def test_standardised_training_pixels_have_mean_0_and_deviation_1_in_each_channel(self, tmp_path: Path) -> None:
        pixels = noise(40, 4, 4, 3) // np.array([1, 2, 4], np.uint8)
        path = write_npz(tmp_path / "own.npz", images=pixels, labels=np.arange(40) % 2)
        data = datasets.load(plan_for(path, normalise="standardise"), seed=0)
        x = (data.train.pixels / 255 - data.mean) / data.deviation
        assert np.allclose(x.mean(axis=(0, 1, 2)), 0, atol=1e-12)
        assert np.allclose(x.std(axis=(0, 1, 2)), 1)

    def test_a_channel_without_variation_is_not_divided_by_zero(self, tmp_path: Path) -> None:
        path = write_npz(tmp_path / "own.npz", images=np.full((8, 4, 4), 51, np.uint8), labels=np.arange(8) % 2)
        data = datasets.load(plan_for(path, normalise="standardise"), seed=0)
        assert data.mean == pytest.approx((0.2,))
        assert data.deviation == (1e-3,)


def assert_says(error: DataError, words: str) -> None:
    assert re.search(words, str(error)), str(error)


def damage(path: Path, *, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def features(**changed: Any) -> dict[str, Any]:
    """What TFDS notes in features.json about a set of 4x4 greyscale images of two classes."""
    kind = "tensorflow_datasets.core.features."
    image = {"shape": {"dimensions": ["4", "4", "1"]}, "dtype": "uint8", "encodingFormat": "png"}
    members: dict[str, Any] = {
        "image": {"pythonClassName": f"{kind}image_feature.Image", "image": image},
        "label": {"pythonClassName": f"{kind}class_label_feature.ClassLabel", "classLabel": {"numClasses": "2"}},
    }
    members |= changed
    kept = {key: member for key, member in members.items() if member}
    return {"pythonClassName": f"{kind}features_dict.FeaturesDict", "featuresDict": {"features": kept}}


def prepare(
    data_dir: Path,
    *,
    home: str = "tiny",
    version: str = "1.0.0",
    labels: Mapping[str, Sequence[int]] | None = None,
    noted: Mapping[str, Any] | None = None,
    file_format: str = "array_record",
) -> Path:
    """Lay out a tiny prepared data set as TFDS does, without TensorFlow: pixel k of image k is 10 k."""
    labels = {"train": [0, 1] * 4, "test": [1, 0]} if labels is None else labels
    folder = data_dir / home / version
    folder.mkdir(parents=True)
    (folder / "features.json").write_text(json.dumps(noted or features()))
    (folder / "label.labels.txt").write_text("off\non\n")
    splits = [
        {"name": split, "numBytes": "1", "shardLengths": [str(len(marks))], "filepathTemplate": TEMPLATE}
        for split, marks in labels.items()
    ]
    info = {"name": home.partition("/")[0], "version": version, "fileFormat": file_format, "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    for split, marks in labels.items():
        write_records(folder / f"{home.partition('/')[0]}-{split}.array_record-00000-of-00001", marks)
    return folder


TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


def write_records(path: Path, labels: Sequence[int]) -> None:
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_generated_pb2 as example
    from tensorflow_datasets.proto import tf_feature_generated_pb2 as feature

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for place, label in enumerate(labels):
        png = io.BytesIO()
        Image.new("L", (4, 4), 10 * place).save(png, "png")
        members = {
            "image": feature.Feature(bytes_list=feature.BytesList(value=[png.getvalue()])),
            "label": feature.Feature(int64_list=feature.Int64List(value=[label])),
        }
        writer.write(example.Example(features=feature.Features(feature=members)).SerializeToString())
    writer.close()


class TestPrepared:
    def test_images_and_labels_are_read_in_their_order_with_the_names_of_their_classes(self, tmp_path: Path) -> None:
        prepare(tmp_path)
        data = datasets.load(plan_for("tiny", data_dir=str(tmp_path)), seed=0)
        assert (data.name, data.classes, data.shape) == ("tiny", ("off", "on"), (4, 4, 1))
        assert data.test.pixels[:, 0, 0, 0].tolist() == [0, 10]
        assert data.test.labels.tolist() == [1, 0]
        levels = np.concatenate([data.train.pixels, data.validation.pixels])[:, 0, 0, 0]
        assert sorted(levels.tolist()) == [0, 10, 20, 30, 40, 50, 60, 70]

    def test_validation_tests_where_there_is_no_test_split(self, tmp_path: Path) -> None:
        prepare(tmp_path, labels={"train": [0, 1] * 4, "validation": [1, 1, 0]})
        data = datasets.load(plan_for("tiny", data_dir=str(tmp_path)), seed=0)
        assert data.test.labels.tolist() == [1, 1, 0]

    def test_the_newest_version_is_taken_unless_one_is_named(self, tmp_path: Path) -> None:
        for version, count in (("1.0.0", 2), ("9.0.0", 3), ("10.0.0", 4)):
            prepare(tmp_path, version=version, labels={"train": [0, 1] * count, "test": [0, 1]})
        (tmp_path / "tiny" / "11.0.0").mkdir()  # begun, not finished
        for name, count in (("tiny", 8), ("tiny:9.0.0", 6)):
            data = datasets.load(plan_for(name, data_dir=str(tmp_path)), seed=0)
            assert len(data.train) + len(data.validation) == count

    def test_the_default_config_is_the_one_that_tfds_noted(self, tmp_path: Path) -> None:
        prepare(tmp_path, home="tiny/large", labels={"train": [0, 1] * 5, "test": [0, 1]})
        prepare(tmp_path, home="tiny/small", labels={"train": [0, 1] * 2, "test": [0, 1]})
        assert prepared.find_prepared("tiny", tmp_path) is None
        (tmp_path / "tiny" / ".config").mkdir()
        (tmp_path / "tiny" / ".config" / "metadata.json").write_text('{"default_config_name": "small"}')
        for name, count in (("tiny", 4), ("tiny/large", 10), ("tiny/small:1.0.0", 4)):
            data = datasets.load(plan_for(name, data_dir=str(tmp_path)), seed=0)
            assert len(data.train) + len(data.validation) == count

    def test_a_second_load_decodes_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        prepare(tmp_path)
        plan = plan_for("tiny", data_dir=str(tmp_path))
        first = datasets.load(plan, seed=0)
        monkeypatch.setattr(prepared, "decode", lambda *_, **__: pytest.fail("decoded again"))
        assert same(datasets.load(plan, seed=0).train, first.train)

    def test_a_load_is_silent(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        prepare(tmp_path)
        capfd.readouterr()
        datasets.load(plan_for("tiny", data_dir=str(tmp_path)), seed=0)
        assert capfd.readouterr() == ("", "")

    def test_warnings_of_tfds_are_silenced_and_its_prints_leave_stdout_to_results(
        self, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
    ) -> None:
        log = logging.getLogger("absl")
        with prepared._tfds():
            log.warning("OpenCV is not installed.")
            print("Downloading and preparing …")  # noqa: T201
        assert capsys.readouterr() == ("", "Downloading and preparing …\n")
        assert caplog.records == []
        log.warning("others may go on")
        assert len(caplog.records) == 1

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"labels": {"train": [0, 1] * 4}}, "a test or validation split; found train"),
            ({"labels": {"test": [0, 1] * 4}}, "a train split .* found test"),
            ({"labels": {"train": [0, 1] * 4, "test": [0, -1]}}, r"labels of test must be in 0 … 1; found -1"),
            ({"file_format": "tfrecord"}, "must be prepared as array_record; it is tfrecord"),
            ({"noted": features(label=None)}, "not an image classification set.*found image"),
            ({"noted": features(image=None)}, "not an image classification set.*found label"),
            ({"noted": features() | {"featuresDict": {}}}, "not an image classification set"),
            ({"noted": {"nonsense": 1}}, "cannot be read"),
        ],
    )
    def test_what_a_classifier_cannot_be_trained_on_is_refused(
        self, tmp_path: Path, fields: dict[str, Any], words: str
    ) -> None:
        prepare(tmp_path, **fields)
        assert_says(load_error("tiny", data_dir=str(tmp_path)), words)

    @pytest.mark.parametrize(("shape", "dtype"), [(["-1", "-1", "3"], "uint8"), (["4", "4", "1"], "uint16")])
    def test_images_of_varying_size_or_of_another_depth_are_refused(
        self, tmp_path: Path, shape: list[str], dtype: str
    ) -> None:
        image = features()["featuresDict"]["features"]["image"]
        image["image"] |= {"shape": {"dimensions": shape}, "dtype": dtype}
        prepare(tmp_path, noted=features(image=image))
        assert_says(load_error("tiny", data_dir=str(tmp_path)), "uint8 images of one size")

    @pytest.mark.parametrize("keep", [0, 50, 200_000])
    def test_damaged_records_are_no_bug_of_ours(self, tmp_path: Path, keep: int) -> None:
        folder = prepare(tmp_path, labels={"train": [0, 1] * 40, "test": [0, 1]})
        records = folder / "tiny-train.array_record-00000-of-00001"
        data = records.read_bytes()
        records.write_bytes(data[: min(keep, len(data) // 2)])
        assert_says(load_error("tiny", data_dir=str(tmp_path)), "cannot be read")


class TestUnprepared:
    @pytest.fixture(autouse=True)
    def no_retries(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import tensorflow_datasets as tfds

        monkeypatch.setattr(tfds, "builder", lambda *_, **__: pytest.fail("TFDS was left to itself"))

    @pytest.fixture
    def tensorflow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(prepared.importlib.util, "find_spec", lambda _: SimpleNamespace())

    def test_without_tensorflow_the_error_names_the_folder_the_extra_and_the_option(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(prepared.importlib.util, "find_spec", lambda _: None)
        prepare(tmp_path, home="held")
        error = load_error("mnist", data_dir=str(tmp_path))
        assert_says(error, r"mnist is not prepared in .*\(it holds held\), and TensorFlow")
        assert str(tmp_path) in error.problem
        for word in ("pip install 'synevo[prepare]'", "--data-dir DIR", "TFDS_DATA_DIR"):
            assert word in error.remedy

    @pytest.mark.usefixtures("tensorflow")
    def test_without_a_network_the_error_says_so_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any) -> None:
            raise OSError(-3, "Temporary failure in name resolution")

        monkeypatch.setattr(prepared.socket, "getaddrinfo", fail)
        assert_says(load_error("mnist", data_dir=str(tmp_path / "gone")), "cannot be downloaded")

    @pytest.mark.usefixtures("tensorflow")
    def test_a_look_up_that_never_answers_is_not_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answer = threading.Event()
        monkeypatch.setattr(prepared.socket, "getaddrinfo", lambda *_: answer.wait(60))
        monkeypatch.setattr(prepared, "PATIENCE", 0.01)
        assert_says(load_error("mnist", data_dir=str(tmp_path)), "cannot be downloaded")
        assert not answer.is_set()
        answer.set()

    def test_the_patience_for_a_look_up_leaves_room_within_five_seconds(self) -> None:
        assert prepared.PATIENCE <= 2

    @pytest.mark.parametrize("name", ["fashion_mnsit", "Mnist", "no/such/folder", "images.zip", "a:b:c"])
    def test_an_unknown_name_gets_near_ones_and_the_other_kinds_of_source(self, tmp_path: Path, name: str) -> None:
        error = load_error(name, data_dir=str(tmp_path))
        assert "There is no data set" in error.problem
        assert ("mnist" in error.problem.partition("Did you mean")[2]) == ("mn" in name.lower())
        for kind in ("digits", ".npz", "folder", "TFDS"):
            assert kind in error.remedy

    @pytest.mark.parametrize(
        ("name", "meant"),
        [("fashion_mnsit", "fashion_mnist"), ("Mnist", "mnist"), ("digit", "digits"), ("cifar_10", "cifar10")],
    )
    def test_a_misspelled_name_is_answered_with_the_data_set_that_was_meant(
        self, tmp_path: Path, name: str, meant: str
    ) -> None:
        assert f"Did you mean '{meant}'?" in load_error(name, data_dir=str(tmp_path)).problem

    @pytest.mark.usefixtures("tensorflow")
    def test_with_both_it_is_prepared_as_array_record_with_downloads_of_its_own(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        calls: list[dict[str, Any]] = []
        with stand_in(monkeypatch, lambda given: calls.append(given) or prepare(tmp_path, home="mnist")):
            for name in ("mnist", "mnist"):
                data = datasets.load(plan_for(name, data_dir=str(tmp_path)), seed=0)
        assert len(data.test) == 2
        assert len(calls) == 1
        assert calls[0]["file_format"] == "array_record"
        assert calls[0]["download_dir"] == str(tmp_path / "downloads" / "mnist")

    @pytest.mark.usefixtures("tensorflow")
    def test_a_failed_preparation_is_no_bug_of_ours(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_: dict[str, Any]) -> None:
            raise AssertionError("Manual download required.\nMore lines.")

        with stand_in(monkeypatch, fail):
            error = load_error("mnist", data_dir=str(tmp_path))
        assert_says(error, r"could not prepare mnist in .*: Manual download required\.\n")
        assert "catalog/mnist" in error.remedy


@contextlib.contextmanager
def stand_in(monkeypatch: pytest.MonkeyPatch, act: Callable[[dict[str, Any]], Any]) -> Any:
    """A network and a TFDS whose builder does `act` instead of downloading."""
    import tensorflow_datasets as tfds

    def builder(name: str, *, data_dir: str) -> Any:
        path = Path(data_dir) / name / "1.0.0"
        return SimpleNamespace(data_path=path, download_and_prepare=lambda **given: act(given))

    monkeypatch.setattr(prepared, "_network", lambda: True)
    monkeypatch.setattr(tfds, "builder", builder)
    yield


@pytest.mark.skipif(not (REAL / "mnist").is_dir(), reason="TFDS_DATA_DIR names no folder that holds mnist")
class TestRealMnist:
    def test_it_has_28_pixels_a_side_and_is_padded_for_a_network_of_32(self) -> None:
        plan = datasets.resolve(plan_for("mnist", data_dir=str(REAL)), native_size=32)
        assert (plan.image_size, plan.fit) == (32, "pad")
        assert datasets.resolve(plan_for("mnist", data_dir=str(REAL)), native_size=None).image_size == 28

    def test_its_first_images_are_the_ones_that_the_tutorials_of_tfds_show(self) -> None:
        import tensorflow_datasets as tfds

        folder = prepared.find_prepared("mnist:3.0.1", REAL)
        assert folder is not None
        builder = tfds.builder_from_directory(folder)
        images = prepared.decode(builder, "train[:10]", image="image", label="label", shape=(28, 28, 1))
        assert images.labels.tolist() == [4, 1, 0, 7, 8, 1, 2, 7, 1, 6]
        assert images.pixels.max() == 255
