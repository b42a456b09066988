"""`make shapes` in its small form, for one network: the whole row is there."""

import sys

import bench_published
import pytest


def test_a_row_says_what_was_removed_and_what_it_cost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_published.py", "--small", "--only", "MNIST CNN"])
    bench_published.main()
    head, row = capsys.readouterr().out.splitlines()[-2:]
    for title in ("removable", "difference", "dissect CPU", "dissect MiB", "compact CPU", "compact MiB"):
        assert title in head
    assert row.startswith("MNIST CNN")
    assert len(row.split()) == 2 + len(bench_published.COLUMNS)
