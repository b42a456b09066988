"""The memory that there is: the least of what the machine, the process and the container allow."""

import resource
from pathlib import Path

import pytest

from synevo.data import memory
from synevo.errors import DataError


def test_it_is_no_more_than_what_the_process_may_address(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = memory.memory()
    assert 1 << 28 < whole < 1 << 50
    monkeypatch.setattr(resource, "getrlimit", lambda _: (whole // 2, resource.RLIM_INFINITY))
    assert memory.memory() == whole // 2


@pytest.mark.parametrize(("text", "bound"), [("1048576\n", 1 << 20), ("max\n", None)])
def test_it_is_no_more_than_what_a_container_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, bound: int | None
) -> None:
    monkeypatch.setattr(memory, "_GROUP", tmp_path / "none")
    free = memory.memory()
    (tmp_path / "memory.max").write_text(text)
    monkeypatch.setattr(memory, "_GROUP", tmp_path / "memory.max")
    assert memory.memory() == (bound or free)


def test_what_needs_more_is_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory", lambda: 3 << 30)
    memory.check_room(3 << 30, "These need", remedy="Fewer.")
    with pytest.raises(DataError, match=r"These need 64\.0 GiB; there are 3\.0 GiB of memory\.\nFewer\."):
        memory.check_room(64 << 30, "These need", remedy="Fewer.")
