"""The caches: their place and size are told, and clearing removes what synevo made and nothing of the user's."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from synevo.cli.app import app
from synevo.files.caches import caches, clear

KEY = "0123456789abcdef0123"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of caches, in which the user keeps data sets of their own as well."""
    monkeypatch.delenv("SYNEVO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    images, programs = tmp_path / "synevo/datasets", tmp_path / "synevo/xla"
    for file in (
        *(images / f"photos-{KEY}.{kind}" for kind in ("arrays", "train")),
        images / "mine.arrays",
        images / "birds" / f"photos-{KEY}.arrays",
        programs / "jit_step-cache",
        programs / "autotuned" / "gpu",
    ):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 10)
    (programs / "elsewhere").symlink_to(images / "birds")
    return tmp_path


def test_the_place_and_the_size_of_each_cache_are_told(home: Path) -> None:
    images, programs = caches()
    assert (images.folder, len(images.files), images.size) == (home / "synevo/datasets", 2, 20)
    assert (programs.folder, len(programs.files)) == (home / "synevo/xla", 3)
    assert 20 < programs.size < 500, "a link counts as itself"
    shown = CliRunner().invoke(app, ["cache"]).output
    assert f"{images.folder}: decoded images, 2 files, 20 B" in shown
    assert (home / "synevo/xla/jit_step-cache").exists()


def test_clearing_removes_what_synevo_made_and_leaves_what_the_user_keeps_there(home: Path) -> None:
    shown = CliRunner().invoke(app, ["cache", "--clear"]).output
    assert "decoded images, 2 files, 20 B, removed" in shown
    left = sorted(path.relative_to(home / "synevo").as_posix() for path in (home / "synevo").rglob("*"))
    birds = f"datasets/birds/photos-{KEY}.arrays"
    assert left == ["datasets", "datasets/birds", birds, "datasets/mine.arrays"]
    assert [cache.size for cache in caches()] == [0, 0]


def test_a_cache_that_a_user_chose_is_looked_at_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNEVO_CACHE", str(home / "chosen"))
    assert caches()[0].folder == home / "chosen/datasets"
    assert [len(cache.files) for cache in clear()] == [0, 3]
