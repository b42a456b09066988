"""The cache of decoded images: decoded once, checked when read, and done without where it must be."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import written
from written import damage, plan_for, same, write_folder, write_image

from synevo.data import datasets, folders


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
