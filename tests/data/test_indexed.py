"""Examples of anything that has a length and gives single examples by place."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from synevo.data.indexed import Indexed
from synevo.errors import DataError


class Rows:
    """A map-style set, as Hugging Face's: a row is a dictionary, its vectors are lists."""

    def __init__(self, change: Callable[[int, dict[str, Any]], None] = lambda *_: None) -> None:
        self.change = change
        self.read: list[int] = []

    def __len__(self) -> int:
        return 6

    def __getitem__(self, place: int) -> dict[str, Any]:
        assert type(place) is int
        self.read.append(place)
        row = {"x": [place, 2.5], "y": place % 2, "map": {"z": np.full((2, 3), place, np.uint8)}}
        self.change(place, row)
        return row


def test_single_examples_are_stacked_leaf_by_leaf_and_read_only_when_asked_for() -> None:
    rows = Rows()
    examples = Indexed(rows)
    assert (len(examples), rows.read) == (6, [])
    batch = examples[np.array([4, 1])]
    assert rows.read == [4, 1]
    np.testing.assert_array_equal(batch["x"], [[4, 2.5], [1, 2.5]])
    np.testing.assert_array_equal(batch["y"], [0, 1])
    assert batch["map"]["z"].shape == (2, 2, 3)
    assert batch["map"]["z"].dtype == np.uint8


def test_an_example_is_prepared_one_at_a_time() -> None:
    examples = Indexed(Rows(), prepare=lambda row: (np.float32(row["y"]), row["x"][0]))
    first, second = examples[np.array([3, 5, 2])]
    np.testing.assert_array_equal(first, [1, 1, 0])
    np.testing.assert_array_equal(second, [3, 5, 2])


def test_pictures_of_pillow_are_arrays() -> None:
    from PIL import Image

    assert Indexed([Image.new("L", (5, 4), 7)] * 3)[np.array([0, 2])].tolist() == [[[7] * 5] * 4] * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda place, row: row.update(x=[1.0] * place), r"Examples 1 and 2 differ"),
        (lambda place, row: row.pop("y") if place == 2 else None, r"Examples 1 and 2 differ"),
        (
            lambda _, row: row.update(name="cat"),
            r"Example 1 holds <U3 at \['name'\], and batches are arrays of numbers",
        ),
        (lambda _, row: row.update(y=None), None),
    ],
)
def test_examples_that_do_not_stack_are_named(change: Callable[[int, dict[str, Any]], None], words: str | None) -> None:
    if words is None:  # JAX takes None for a place without an array
        assert Indexed(Rows(change))[np.array([1, 2])]["y"] is None
        return
    with pytest.raises(DataError, match=words) as caught:
        Indexed(Rows(change))[np.array([1, 2])]
    assert "prepare=function" in caught.value.remedy
