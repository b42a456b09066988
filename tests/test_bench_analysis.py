"""`make analysis`: the growth of a cost with size, and a row of the table."""

import sys

import bench_analysis
import pytest
from bench_analysis import exponent, growths


def test_the_exponent_of_a_power_is_found() -> None:
    sizes = [10.0, 100.0, 1000.0]
    assert exponent(sizes, [3 * size**1.5 for size in sizes]) == pytest.approx(1.5)
    assert exponent(sizes, [0.5, 0.5, 0.5]) == pytest.approx(0)
    assert exponent([10.0, 10.0], [1.0, 2.0]) is None


def test_what_grows_faster_than_it_may_is_marked() -> None:
    def row(units: int, seconds: float) -> dict[str, object]:
        return {"units": units, "steps": 0, "places": units**2, "dissect": (seconds, 0, 0)}

    head, by_units, by_places = growths({"resnet20": row(10, 1), "resnet56": row(100, 100)}, ["dissect"])
    assert head.split()[-2:] == ["residual", "all"]
    assert by_units.split()[-2:] == ["2.00!", "2.00!"]
    assert by_places.split()[-2:] == ["1.00", "1.00"]


def test_a_row_holds_sizes_and_costs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_analysis.py", "--only", "lenet5", "--stages", "dissect", "check"])
    bench_analysis.main()
    row = next(text for text in capsys.readouterr().out.splitlines() if text.startswith("lenet5"))
    name, parameters, *_, check_memory = row.split()
    assert (name, parameters) == ("lenet5", "143,978")
    assert len(row.split()) == 5 + 2 * 3
    assert float(check_memory) > 0
