"""Sets that are larger than the memory for them: read when they are needed, and otherwise as those that are not."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import written
from written import damage, load_error, noise, plan_for, prepare, same, write_folder, write_image, write_npz

from synevo.data import datasets, findings, folders, memory, moments
from synevo.data.datasets import Dataset
from synevo.data.images import Images, Streamed
from synevo.errors import DataError, RunError
from synevo.plan.examples import DataPlan
from synevo.runs.documents import require_machine
from synevo.runs.rundir import RunDir
from synevo.tasks.task import InMemory

NO_ROOM = 1e-9
"""GiB: room for a single byte."""

SPLITS = ("train", "validation", "test")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return written.empty_cache(tmp_path, monkeypatch)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were decoded."""
    names: list[str] = []
    decode = folders.decode
    monkeypatch.setattr(folders, "decode", lambda file: (names.append(file.name), decode(file))[1])
    return names


def both(plan: DataPlan) -> Iterator[tuple[Images, Images]]:
    """Each split in memory, and as it is streamed."""
    resident, streamed = (datasets.load(plan.model_copy(update={"memory": room}), seed=3) for room in (None, NO_ROOM))
    assert (resident.classes, resident.shape) == (streamed.classes, streamed.shape)
    for name in SPLITS:
        yield getattr(resident, name), getattr(streamed, name)


def write_splits(folder: Path) -> Path:
    for split in ("train", "test", "val"):
        write_folder(folder / split, count=4)
    return folder


def write_arrays(folder: Path, **arrays: Any) -> Path:
    folder.mkdir()
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def write_packed(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


def write_tfds(folder: Path) -> str:
    prepare(folder, labels={"train": [0, 1] * 4, "test": [1, 0, 1]})
    return "tiny"


ARRAYS = {"images": noise(24, 4, 4, 3), "labels": np.arange(24) % 2}

KINDS: dict[str, Callable[[Path], Path | str]] = {
    "folder": lambda place: write_folder(place / "set", count=9),
    "splits": lambda place: write_splits(place / "set"),
    "npz": lambda place: write_npz(place / "set.npz", **ARRAYS),
    "columns": lambda place: write_npz(place / "set.npz", **ARRAYS | {"images": np.asfortranarray(ARRAYS["images"])}),
    "packed": lambda place: write_packed(place / "set.npz", **ARRAYS),
    "arrays": lambda place: write_arrays(place / "set", **ARRAYS),
    "tfds": write_tfds,
}
"""Every kind of source, of images of 4x4 pixels."""


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.parametrize("fields", [{}, {"image_size": 6}, {"image_size": 3}], ids=["as it is", "padded", "resized"])
def test_a_streamed_set_holds_the_same_images_in_the_same_splits_and_order(
    tmp_path: Path, kind: str, fields: dict[str, Any]
) -> None:
    for resident, streamed in both(plan_for(KINDS[kind](tmp_path), data_dir=str(tmp_path), **fields)):
        assert isinstance(resident.pixels, np.ndarray)
        assert isinstance(resident.examples, InMemory)
        assert isinstance(streamed.pixels, Streamed)
        assert streamed.pixels.shape == resident.pixels.shape
        places = np.array([len(resident) - 1, 0])
        held, read = resident.examples[places], streamed.examples[places]
        for name in ("image", "label"):
            assert read[name].dtype == held[name].dtype
            assert np.array_equal(read[name], held[name])
        assert same(Images(streamed.pixels[:], streamed.labels), resident)


def test_nothing_is_decoded_before_it_is_needed_and_nothing_is_written(
    tmp_path: Path, cache: Path, decoded: list[str]
) -> None:
    data = datasets.load(plan_for(write_folder(tmp_path / "set", count=20), memory=NO_ROOM), seed=0)
    assert set(decoded) <= {"0.png"}  # the first file, for its size
    assert len(data.train) + len(data.validation) + len(data.test) == 40
    decoded.clear()
    assert data.train.examples[np.array([4, 2, 9])]["image"].shape == (3, 4, 4, 1)
    assert len(decoded) == 3
    assert not cache.exists()


def test_images_in_a_file_that_is_not_compressed_are_not_read_where_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_npz(tmp_path / "set.npz", images=noise(2000, 16, 16), labels=np.arange(2000) % 2)
    monkeypatch.setattr("synevo.data.memory.memory", lambda: 1 << 17)  # of 500 kB
    data = datasets.load(plan_for(path), seed=0)
    assert data.findings is not None
    assert (data.findings.streamed, data.findings.budget) == (True, 1 << 15)
    monkeypatch.undo()
    np.testing.assert_array_equal(data.test.pixels[:], datasets.load(plan_for(path), seed=0).test.pixels)


def test_the_budget_is_that_of_the_plan_or_a_share_of_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory", lambda: 8 << 30)
    assert (memory.budget(None), memory.budget(1.5)) == (2 << 30, 3 << 29)
    monkeypatch.setattr(memory, "_on_device", lambda: [4 << 30])
    assert (memory.budget(None), memory.budget(1.5)) == (1 << 30, 3 << 29)


def test_the_choice_is_by_the_bytes_of_the_final_size() -> None:
    """1,797 digits take 115,008 bytes, and 28 x 28 pixels are 12.25 times as many."""
    for size, took in ((8, 115_008), (28, 1_408_848)):
        for room, streamed in ((took, False), (took - 1, True)):
            found = datasets.load(DataPlan(image_size=size, memory=room / 2**30), seed=0).findings
            assert found is not None
            assert (found.size, found.streamed) == (took, streamed)


def test_mean_and_deviation_of_a_streamed_set_come_from_a_sample_that_the_plan_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "SAMPLE", 7)
    path = write_npz(tmp_path / "set.npz", images=noise(60, 4, 4, 3), labels=np.arange(60) % 2)
    plan = plan_for(path, normalise="standardise")
    assert datasets.resolve(plan, native_size=None).sample is None
    small = datasets.resolve(plan.model_copy(update={"memory": NO_ROOM}), native_size=None)
    assert small.sample == 7
    sampled, again, other = (datasets.load(small, seed=seed) for seed in (0, 0, 1))
    assert (sampled.mean, sampled.deviation) == (again.mean, again.deviation)
    assert sampled.mean != other.mean
    resident = datasets.load(small.model_copy(update={"memory": 1}), seed=0)  # on a machine with more memory
    assert (resident.mean, resident.deviation) == (sampled.mean, sampled.deviation)
    whole = datasets.load(plan, seed=0)
    x = whole.train.pixels / 255
    np.testing.assert_allclose(whole.mean, x.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(whole.deviation, x.std(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(sampled.mean, whole.mean, atol=0.1)


def test_a_sample_is_of_so_many_images_of_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    levels = np.arange(50, dtype=np.uint8)

    def read(places: Any) -> Any:
        asked.extend(places)
        return np.broadcast_to(levels[places][:, None, None, None], (len(places), 2, 2, 1))

    monkeypatch.setattr(moments, "_COUNTED", 4)
    (mean,), (deviation,) = moments.moments(Streamed(read, np.arange(50), (2, 2, 1)), sample=11, seed=0)
    assert len(asked) == len(set(asked)) == 11
    assert max(asked) > 25 > min(asked)
    assert (mean, deviation) == pytest.approx((np.mean(asked) / 255, np.std(asked) / 255))


def test_a_cache_on_disk_is_filled_as_images_are_read_and_decodes_each_once(
    tmp_path: Path, cache: Path, decoded: list[str]
) -> None:
    plan = plan_for(write_folder(tmp_path / "set", count=20), memory=NO_ROOM, disk_cache=True)
    expected = datasets.load(plan.model_copy(update={"memory": 1}), seed=0)
    (whole,) = cache.iterdir()
    whole.unlink()
    first = datasets.load(plan, seed=0)
    decoded.clear()
    first.train.examples[np.array([1, 5])]
    assert len(decoded) == 2
    assert sorted(file.suffix for file in cache.iterdir()) == [".train"]
    again = datasets.load(plan, seed=0)  # as another command
    decoded.clear()
    for _ in range(2):
        np.testing.assert_array_equal(again.train.pixels[:], expected.train.pixels)
    assert len(decoded) == len(expected.train) - 2
    other = datasets.load(plan, seed=1)  # another validation split, of the same images
    decoded.clear()
    rest = np.concatenate([other.train.pixels[:], other.validation.pixels[:]])
    held = np.concatenate([expected.train.pixels, expected.validation.pixels])
    assert sorted(one.tobytes() for one in rest) == sorted(one.tobytes() for one in held)
    assert len(decoded) == len(expected.validation)


def test_a_record_of_the_cache_that_was_hurt_or_moved_is_decoded_again(tmp_path: Path, cache: Path) -> None:
    plan = plan_for(write_folder(tmp_path / "set", count=20), memory=NO_ROOM, disk_cache=True)
    expected = datasets.load(plan, seed=0).train.pixels[:]
    (file,) = cache.iterdir()
    sound = file.read_bytes()
    length = 32 + 16
    damage(file, at=33)
    assert np.array_equal(datasets.load(plan, seed=0).train.pixels[:], expected)
    assert file.read_bytes() == sound
    file.write_bytes(sound[length : 2 * length] + sound[length:])  # the second one in place of the first
    assert np.array_equal(datasets.load(plan, seed=0).train.pixels[:], expected)
    file.write_bytes(sound[:70])
    assert np.array_equal(datasets.load(plan, seed=0).train.pixels[:], expected)
    file.unlink()
    os.mkfifo(file)
    assert np.array_equal(datasets.load(plan, seed=0).train.pixels[:], expected)


def test_a_disk_without_room_for_the_cache_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwrite", fill)
    plan = plan_for(write_folder(tmp_path / "set"), memory=NO_ROOM, disk_cache=True)
    assert len(datasets.load(plan, seed=0).train.pixels[:]) == 6


def test_what_was_found_is_said_in_a_line_with_the_way_and_its_bytes(tmp_path: Path) -> None:
    def say(data: Dataset) -> str:
        return findings.in_words(data.problem[1:], data.findings)

    root = write_folder(tmp_path / "set", count=30)
    resident, streamed = (datasets.load(plan_for(root, memory=room), seed=0) for room in (1, NO_ROOM))
    assert say(resident) == (
        "60 images, 2 classes: 44 to train, 4 to validate, 12 to test.\n"
        "Their pixels take 0.9 KiB and stay in memory (up to 1.0 GiB: data.memory)."
    )
    assert "take 0.9 KiB, more than 0.0 KiB (data.memory): they are read and decoded when they are needed" in say(
        streamed
    )
    assert streamed.findings is not None
    table = findings.as_table(streamed.findings)
    assert (table["way"], table["bytes"], table["budget_bytes"], table["images"]) == ("streamed", 960, 1, 60)


def test_what_was_found_is_kept_beside_the_machine_and_verified(tmp_path: Path) -> None:
    found = datasets.load(DataPlan(memory=NO_ROOM), seed=0).findings
    assert found is not None
    run, table = RunDir(tmp_path), findings.as_table(found)
    run.save_machine({"device": "cpu", "data": table})
    require_machine(run)
    run.save_machine({"device": "cpu", "data": {**table, "way": "guessed"}})
    with pytest.raises(RunError, match=r"machine\.json is damaged: data\.way"):
        require_machine(run)


def mixed(root: Path) -> Path:
    """Squares of several sizes; of the cats, one is in colour."""
    for label in ("ant", "cat"):
        for place in range(6):
            side = 4 + place
            mode = "RGB" if (label, place) == ("cat", 3) else "L"
            write_image(root / label / f"{place}.png", size=(side, side), level=20 * place, mode=mode)
    return root


def test_squares_of_several_sizes_and_greys_among_colours_are_fitted_where_a_size_is_known(tmp_path: Path) -> None:
    root = mixed(tmp_path / "set")
    plan = datasets.resolve(plan_for(root), native_size=8)
    assert (plan.fit, plan.image_size, plan.channels) == ("resize", 8, 3)
    assert datasets.resolve(plan, native_size=None) == plan
    for resident, streamed in both(plan):
        assert resident.pixels.shape[1:] == (8, 8, 3)
        assert np.array_equal(resident.pixels, streamed.pixels[:])
    grey = datasets.resolve(plan_for(root, channels=1), native_size=8)
    assert datasets.load(grey, seed=0).shape == (8, 8, 1)


def test_images_of_several_sizes_are_refused_by_their_headers_where_nothing_says_how_they_get_one(
    tmp_path: Path, decoded: list[str]
) -> None:
    root = mixed(tmp_path / "set")
    with pytest.raises(DataError, match="heights from 4 to 9 and widths from 4 to 9 pixels") as caught:
        datasets.resolve(plan_for(root), native_size=None)
    assert "--set data.fit=resize --set data.image_size=N" in caught.value.remedy
    write_image(root / "ant" / "wide.png", size=(30, 10))
    with pytest.raises(DataError, match="heights from 4 to 10 and widths from 4 to 30 pixels"):
        datasets.resolve(plan_for(root), native_size=8)
    assert set(decoded) <= {"0.png"}
    assert datasets.resolve(plan_for(root, fit="resize"), native_size=8).fit == "resize"


def hurt(root: Path) -> Path:
    """Two files of three kinds that cannot be read."""
    for name, content in (("ant/bad.png", b"\x89PNG but no more"), ("cat/0.png", b"")):
        (root / name).write_bytes(content)
    return root


@pytest.mark.parametrize("room", [None, NO_ROOM], ids=["resident", "streamed"])
def test_a_file_that_cannot_be_read_stops_with_its_name_or_is_left_out_and_listed(
    tmp_path: Path, room: float | None
) -> None:
    root = hurt(write_folder(tmp_path / "set", count=9))
    error = load_error(root) if room is None else None
    if error is None:
        data = datasets.load(plan_for(root, memory=room), seed=0)
        with pytest.raises(DataError) as caught:
            [images.pixels[:] for images in (data.train, data.validation, data.test)]
        error = caught.value
    assert "bad.png" in error.problem or "0.png" in error.problem
    assert "--set data.damaged=leave-out" in error.remedy
    plan = datasets.resolve(plan_for(root, damaged="leave-out", memory=room), native_size=None)
    assert plan.left_out == ("ant/bad.png", "cat/0.png")
    for part, whole in both(plan):
        assert np.array_equal(part.pixels, whole.pixels[:])
    data = datasets.load(plan, seed=0)
    assert len(data.train) + len(data.validation) + len(data.test) == 17
    assert "Left out, because they cannot be read: 2 (ant/bad.png, cat/0.png)." in findings.in_words(
        data.problem[1:], data.findings
    )


def test_files_that_are_left_out_are_looked_for_once_and_stay_out_when_they_are_mended(
    tmp_path: Path, decoded: list[str]
) -> None:
    root = hurt(write_folder(tmp_path / "set", count=9))
    plan = datasets.resolve(plan_for(root, damaged="leave-out", memory=NO_ROOM), native_size=None)
    before = datasets.load(plan, seed=0).train.pixels[:]
    write_image(root / "cat" / "0.png")
    decoded.clear()
    assert np.array_equal(datasets.load(plan, seed=0).train.pixels[:], before)
    assert len(decoded) <= len(before) + 2


def test_a_class_of_which_nothing_can_be_read_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "set", count=3)
    for place in range(3):
        (root / "cat" / f"{place}.png").write_bytes(b"none")
    with pytest.raises(DataError, match="All 3 files of the class 'cat' are left out"):
        datasets.resolve(plan_for(root, damaged="leave-out"), native_size=None)
