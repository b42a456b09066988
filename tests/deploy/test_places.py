"""Where an export may be written: to a file, never over a folder, a pipe, a device or what a run keeps for itself."""

import os
from pathlib import Path

import pytest

from synevo.deploy.delivery import require_place
from synevo.errors import SynevoError
from synevo.files.writing import write
from synevo.runs.rundir import RunDir


@pytest.mark.parametrize("path", ["folder", "file/below", "pipe", "named", ".", "link to a folder"])
def test_what_is_no_file_is_refused_and_stays(tmp_path: Path, path: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "named.json").mkdir()
    (tmp_path / "file").write_text("mine")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link to a folder").symlink_to("folder")
    before = {one: one.lstat().st_mode for one in tmp_path.rglob("*")}
    with pytest.raises(SynevoError):
        require_place(tmp_path / path)
    assert {one: one.lstat().st_mode for one in tmp_path.rglob("*")} == before


def test_the_one_writer_replaces_no_pipe_and_no_device(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(SynevoError, match="a device or a pipe"):
            write(path, b"content")
    assert pipe.is_fifo()
    assert link.is_symlink()


@pytest.mark.parametrize(
    "name",
    [
        *("plan.toml", "lineage.jsonl", "machine.json", "individuals/g01/weights.safetensors", "training/x"),
        *("compact/g02/weights.safetensors", "report/index.html", "tensorboard/x"),
    ],
)
def test_no_file_of_a_run_is_replaced(finished: RunDir, name: str) -> None:
    with pytest.raises(SynevoError, match="among the files of the run"):
        require_place(finished.path / name)


def test_a_file_beside_what_a_run_keeps_or_anywhere_else_may_be_written(finished: RunDir, tmp_path: Path) -> None:
    for path in (finished.path / "exports" / "g02.onnx", finished.path / "mine.onnx", tmp_path / "new" / "mine.onnx"):
        require_place(path)
