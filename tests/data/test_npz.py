"""Arrays from .npz files: what is read, and what is refused with what was found."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from written import assert_says, damage, load_error, noise, plan_for, same, whole_npz, write_npz

from synevo.data import datasets
from synevo.data.images import Images
from synevo.errors import DataError


def test_one_set_of_arrays_gives_up_a_fixed_stratified_fifth(tmp_path: Path) -> None:
    data = datasets.load(plan_for(whole_npz(tmp_path, 60, 4, 4, 3, classes=3)), seed=1)
    assert data.name == "own"
    assert data.classes == ("0", "1", "2")
    assert data.shape == (4, 4, 3)
    assert np.bincount(data.test.labels).tolist() == [4, 4, 4]
    assert len(data.train) + len(data.validation) == 48


def test_a_test_split_of_its_own_is_kept_as_it_is(tmp_path: Path) -> None:
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
def test_anything_else_is_refused_with_what_was_found(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    assert_says(load_error(write_npz(tmp_path / "own.npz", **arrays)), words)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"test_labels": np.array([0, 5])}, "test_labels must be in 0 … 1; found 5"),
        ({"test_images": noise(2, 5, 5)}, r"one shape; found \(4, 4, 1\) and \(5, 5, 1\)"),
    ],
)
def test_a_test_split_that_does_not_match_its_train_split_is_refused(
    tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    arrays = {"train_images": noise(8, 4, 4), "train_labels": np.arange(8) % 2}
    arrays |= {"test_images": noise(2, 4, 4), "test_labels": np.array([0, 1])}
    assert_says(load_error(write_npz(tmp_path / "own.npz", **(arrays | changed))), words)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert_says(load_error(tmp_path / "gone.npz"), r"no file .*gone\.npz")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "plain.npy", noise(4, 4, 4))
    path = (tmp_path / "plain.npy").rename(tmp_path / "plain.npz")
    assert_says(load_error(path), "not an .npz file")


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = whole_npz(tmp_path, 40, 8, 8)
    damage(path, at=1000)
    assert_says(load_error(path), "cannot be read: Bad CRC")


def test_floats_are_refused_with_the_line_that_converts_them(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "own.npz", images=noise(4, 4, 4) / 255, labels=[0, 1, 0, 1])
    assert "np.rint(images * 255).astype(np.uint8)" in load_error(path).remedy


def test_a_validation_split_of_its_own_is_kept_as_it_is(tmp_path: Path) -> None:
    images, labels = noise(30, 5, 5, 1), np.arange(30) % 2
    held = {"val_images": images[20:], "val_labels": labels[20:]}
    split = {"train_images": images[:12], "train_labels": labels[:12]}
    split |= {"test_images": images[12:20], "test_labels": labels[12:20]}
    data = datasets.load(plan_for(write_npz(tmp_path / "own.npz", **held, **split)), seed=0)
    assert same(data.validation, Images(images[20:], labels[20:].astype(np.int32)))
    assert same(data.train, Images(images[:12], labels[:12].astype(np.int32)))
    whole = {"images": images[:20], "labels": labels[:20]}
    held = {name.replace("val", "validation"): array for name, array in held.items()}
    data = datasets.load(plan_for(write_npz(tmp_path / "own.npz", **held, **whole)), seed=0)
    assert same(data.validation, Images(images[20:], labels[20:].astype(np.int32)))
    assert (len(data.train), len(data.test)) == (16, 4)


@pytest.mark.parametrize("extra", ["val_images", "more_images", "Unlabelled_Images"])
def test_images_that_would_be_left_out_are_counted_and_named(tmp_path: Path, extra: str) -> None:
    path = write_npz(tmp_path / "own.npz", images=noise(8, 4, 4), labels=np.arange(8) % 2, **{extra: noise(8, 4, 4)})
    assert_says(load_error(path), f"1 arrays of images would be left out: {extra}")


def test_other_arrays_beside_images_are_passed_over(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "own.npz", images=noise(8, 4, 4), labels=np.arange(8) % 2, names=np.array(["a", "b"]))
    assert datasets.load(plan_for(path), seed=0).classes == ("0", "1")


def packed(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def declaring(shape: str, descr: str = "'|u1'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + bytes(100)


def zipped(path: Path, images: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("images.npy", images)
        file.writestr("labels.npy", packed(np.arange(40) % 4))
    return path


def test_an_encrypted_archive_says_so(tmp_path: Path) -> None:
    path = zipped(tmp_path / "own.npz", packed(noise(40, 8, 8)))
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x03\x04") + 6] |= 1
    content[content.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert_says(load_error(path), r"is encrypted \(images\.npy\)")


@pytest.mark.parametrize(
    ("member", "words"),
    [
        (declaring("(1099511627776, 8, 8)"), "declares 70,368,744,177,664 bytes .* holds 100"),
        (declaring("(40, 8, 9)"), "declares 2,880 bytes"),
        (declaring("(-1, 8, 8)"), "declares -64 bytes"),
        (declaring("(" * 300 + ")" * 300), "is no array of NumPy"),
        (declaring("(4, 4)", "'nonsense'"), "is no array of NumPy"),
        (declaring("(1,)" + " " * 60_000), "is no array of NumPy|declares 1 bytes"),
        (b"", "is no array of NumPy"),
        (b"a text that is no array", "is no array of NumPy"),
        (packed(noise(40, 8, 8))[:-1], "declares 2,560 bytes .* holds 2,559"),
    ],
)
def test_a_member_that_is_no_whole_array_is_refused_before_it_is_read(
    tmp_path: Path, member: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("read"))
    assert_says(load_error(zipped(tmp_path / "own.npz", member)), words)


def test_a_bomb_is_weighed_before_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zipped(tmp_path / "own.npz", packed(np.zeros((40, 400, 400), np.uint8)), zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr("synevo.data.memory.memory", lambda: 1 << 20)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_, **__: pytest.fail("unpacked"))
    assert_says(load_error(path), r"declares arrays of 6\.1 MiB; there are 1\.0 MiB of memory")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_damaged_archive_is_refused_and_never_a_traceback(tmp_path: Path, method: int) -> None:
    path = zipped(tmp_path / "own.npz", packed(noise(40, 8, 8)), method)
    whole = path.read_bytes()
    draw = np.random.default_rng(0)
    for _ in range(60):
        hurt = bytearray(whole)
        for place in draw.integers(0, len(hurt), 3):
            hurt[place] = draw.integers(256)
        path.write_bytes(hurt)
        try:
            assert datasets.load(plan_for(path), seed=0).shape == (8, 8, 1)
        except DataError as error:
            assert str(path) in error.problem  # noqa: PT017 (either is right)
