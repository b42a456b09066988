"""The arguments of a network as JSON: they come back as they were."""

import json
from typing import Any, NamedTuple

import jax
import pytest

from synevo.model.arguments import arranged, structure_of

CASES = [
    ("x",),
    ("x", "y"),
    ({"tokens": "t", "mask": "m"},),
    ("x", ["y", ("z", {"w": "v", "a": "b"})]),
    ((), "x"),
]


class Pair(NamedTuple):
    one: Any
    other: Any


@pytest.mark.parametrize("inputs", CASES, ids=str)
def test_arguments_come_back_from_their_structure_and_their_arrays(inputs: Any) -> None:
    structure = json.loads(json.dumps(structure_of(inputs)))
    assert arranged(structure, jax.tree.leaves(inputs)) == inputs


def test_containers_that_json_cannot_name_have_no_structure() -> None:
    assert structure_of((Pair("x", "y"),)) is None
    assert structure_of(({1: "x"},)) is None
