"""What the networks answer, on the page: numbers against the truth, labels found, and classes of what is no image."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_report import cells, make_run

from synevo.report.page.html import render_page
from synevo.report.page.samples import told
from synevo.report.summary import summarise


def page_with(path: Path, predictions: dict[str, Any] | None, **architecture: Any) -> str:
    """The page of a run whose compacted network gave these answers."""
    run = make_run(path)
    _, documents = run.load_compact(2)
    kept = documents["architecture"] | {"facts": {}} | architecture
    if "classes" in kept["facts"]:
        del kept["classes"]
    run.save_compact(
        2, weights={"w": np.zeros(3)}, documents=documents | {"architecture": kept}, predictions=predictions
    )
    return render_page(run, summarise(run))


def test_numbers_are_drawn_against_the_truth_and_the_worst_are_told(tmp_path: Path) -> None:
    true = np.array([[1.0], [2.0], [3.0]], np.float32)
    ancestor, best = (true + np.array([errors]).T for errors in ([0.5, 0.0, 0.0], [0.25, 0.5, -2.0]))
    page = page_with(tmp_path / "run", {"number:true": true, "number:ancestor": ancestor, "number:best": best})
    assert [[float(value) for value in row] for row in cells(page, "told")] == [[3, 3, 1, 2], [2, 2, 2.5, 0.5]]
    assert 'aria-label="test example 0: best 1.25, true 1"' in page
    assert "in the units of the targets" in page


def test_each_of_several_numbers_has_its_drawing(tmp_path: Path) -> None:
    true = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    page = page_with(tmp_path / "run", {"number:true": true, "number:ancestor": true, "number:best": true * 2})
    assert page.count('name="run-told"') == 3
    assert len(cells(page, "told")) == 8, "the worst of 15"


def test_a_point_is_right_on_the_line() -> None:
    true = np.array([1.0, 4.0])
    line, points = told(true, {"ancestor": true, "best": true}, 460)["layer"]
    assert line["data"]["values"] == [{"x": 1.0, "y": 1.0}, {"x": 4.0, "y": 4.0}]
    assert all(point["x"] == point["y"] for point in points["data"]["values"])


def test_labels_are_counted_the_most_frequent_first(tmp_path: Path) -> None:
    true = np.array([[0, 1], [0, 1], [1, 0]], np.uint8)
    best = np.array([[1, 1], [0, 0], [1, 0]], np.uint8)
    page = page_with(tmp_path / "run", {"label:true": true, "label:ancestor": true, "label:best": best})
    counts = [[int(value) for value in row] for row in cells(page, "labels")]
    assert counts == [[2, 2, 1, 0, 0], [1, 1, 1, 0, 1]], "there, found by ancestor and best, false alarms of both"


def test_classes_of_what_is_no_image_are_confused_without_pictures(tmp_path: Path) -> None:
    said = {name: np.array(values, np.int32) for name, values in SAID.items()}
    page = page_with(tmp_path / "run", said, facts={"classes": ["yes", "no"]})
    assert "Of 3 test examples, both networks get <b>1</b> right" in page
    assert 'data-tip="yes taken for no: 1 (ancestor 0)"' in page
    assert "Lost: the ancestor was right" not in page


SAID = {"labels": [0, 0, 1], "ancestor": [0, 0, 0], "best": [0, 1, 0]}


@pytest.mark.parametrize("predictions", [None, {}])
def test_a_task_without_answers_is_no_fault(tmp_path: Path, predictions: dict[str, Any] | None) -> None:
    part = page_with(tmp_path / "run", predictions).partition('id="outcomes"')[2].partition("</section>")[0]
    assert 'class="note"' in part
    assert "Missing." not in part
