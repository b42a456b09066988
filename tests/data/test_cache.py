"""The cache of decoded images: decoded once, checked when read, and done without where it must be."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import written
from written import damage, plan_for, same, write_folder, write_image

from synevo.data import datasets, folders
from synevo.files.tensors import pack_tensors
from synevo.files.writing import hash_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return written.empty_cache(tmp_path, monkeypatch)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    files: list[Path] = []
    decode = folders.decode
    monkeypatch.setattr(folders, "decode", lambda file: files.append(file) or decode(file))
    return files


def test_images_are_decoded_once_whatever_size_they_are_brought_to(tmp_path: Path, decoded: list[Path]) -> None:
    plan = plan_for(write_folder(tmp_path / "set"))
    first = datasets.load(plan, seed=0)
    decoded.clear()
    again = datasets.load(plan, seed=0)
    assert datasets.load(plan.model_copy(update={"image_size": 9}), seed=0).shape == (9, 9, 1)
    assert set(decoded) == {tmp_path / "set" / "ant" / "0.png"}
    assert same(first.train, again.train)
    assert same(first.test, again.test)


@pytest.mark.parametrize("hurt", [lambda data: data[:50], lambda data: data[:-1], lambda _: b"", None])
def test_a_damaged_cache_is_rebuilt(tmp_path: Path, cache: Path, hurt: Callable[[bytes], bytes] | None) -> None:
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


def test_a_folder_whose_images_changed_is_read_again(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set")
    before = datasets.load(plan_for(root), seed=0)
    write_image(root / "cat" / "more.bmp")
    after = datasets.load(plan_for(root), seed=0)
    assert len(after.train) + len(after.test) == len(before.train) + len(before.test) + 1
    changed = write_image(root / "cat" / "more.bmp", level=255)
    os.utime(changed, ns=(0, 0))
    last = datasets.load(plan_for(root), seed=0)
    assert max(part.pixels.max() for part in (last.train, last.validation, last.test)) == 255


def test_folders_of_one_name_do_not_share_a_cache(tmp_path: Path) -> None:
    one = datasets.load(plan_for(write_folder(tmp_path / "one" / "set")), seed=0)
    other = datasets.load(plan_for(write_folder(tmp_path / "other" / "set", count=6)), seed=0)
    assert len(other.train) > len(one.train)


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SYNEVO_CACHE", str(tmp_path / "file"))
    assert len(datasets.load(plan_for(write_folder(tmp_path / "set")), seed=0).test) == 2


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fill)
    assert len(datasets.load(plan_for(write_folder(tmp_path / "set")), seed=0).test) == 2
    assert list(cache.iterdir()) == []


def test_it_lies_in_the_cache_folder_of_the_user_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def plant(file: Path, **arrays: Any) -> None:
    content = pack_tensors({name.replace("_", "/"): array for name, array in arrays.items()})
    file.write_bytes(bytes.fromhex(hash_of(content)) + content)


PIXELS, LABELS = np.full((10, 4, 4, 1), 77, np.uint8), (np.arange(10) % 2).astype(np.int32)


@pytest.mark.parametrize(
    "changed",
    [
        {"train_pixels": PIXELS.astype(np.float64)},
        {"train_pixels": PIXELS.reshape(10, 2, 8, 1)},
        {"train_pixels": PIXELS.reshape(10, 16)},
        {"test_pixels": PIXELS[:9]},
        {"train_labels": LABELS + 98},
        {"test_labels": LABELS - 1},
        {"train_labels": LABELS.astype(np.int64)},
        {"train_labels": LABELS.reshape(10, 1)},
        {"test_pixels": PIXELS[:0], "test_labels": LABELS[:0]},
        {"train_pixels": np.zeros((), np.uint8)},
        {"validation_pixels": PIXELS[:, :2], "validation_labels": LABELS},
    ],
)
def test_what_was_planted_in_a_cache_is_no_images_of_the_source(
    tmp_path: Path, cache: Path, changed: dict[str, Any]
) -> None:
    plan = plan_for(write_folder(tmp_path / "set"))
    first = datasets.load(plan, seed=0)
    (file,) = cache.iterdir()
    sound = file.read_bytes()
    whole = {"train_pixels": PIXELS, "train_labels": LABELS, "test_pixels": PIXELS, "test_labels": LABELS}
    plant(file, **whole)
    assert (datasets.load(plan, seed=0).train.pixels == 77).all()  # what fits is what the cache is for
    plant(file, **(whole | changed))
    assert same(datasets.load(plan, seed=0).train, first.train)
    assert file.read_bytes() == sound


@pytest.mark.parametrize("content", [b"", b"\x00" * 40, bytes.fromhex(hash_of(b"no tensors")) + b"no tensors"])
def test_what_is_no_cache_at_all_is_replaced(tmp_path: Path, cache: Path, content: bytes) -> None:
    plan = plan_for(write_folder(tmp_path / "set"))
    first = datasets.load(plan, seed=0)
    (file,) = cache.iterdir()
    file.write_bytes(content)
    assert same(datasets.load(plan, seed=0).train, first.train)
    file.unlink()
    os.mkfifo(file)
    assert same(datasets.load(plan, seed=0).train, first.train)


def test_an_image_that_changed_is_read_again_though_its_size_and_its_time_are_the_same(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set")
    file = write_image(root / "cat" / "odd.bmp", level=1)
    before = file.stat()
    assert 1 in levels(root)
    write_image(file, level=251)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = file.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert 251 in levels(root)


def levels(root: Path) -> set[int]:
    data = datasets.load(plan_for(root), seed=0)
    return {int(one) for part in (data.train, data.validation, data.test) for one in np.unique(part.pixels)}


def test_a_long_name_of_a_folder_does_not_lengthen_that_of_its_cache(tmp_path: Path, cache: Path) -> None:
    datasets.load(plan_for(write_folder(tmp_path / ("long" * 60))), seed=0)
    assert len(list(cache.iterdir())) == 1
