"""A user's own problem: found by its name, and each way to be wrong says what is wrong and how it is mended."""

import sys
from collections.abc import Iterator
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from synevo.data.problems.own import find_problem
from synevo.errors import TaskError

MODULE = """
import jax.numpy as jnp
import numpy as np
from synevo import InMemory, Problem, Task

task = Task(
    inputs=lambda batch: (batch["x"],),
    loss=lambda outputs, batch: jnp.square(outputs[:, 0] - batch["y"]),
    score=lambda outputs, batch: jnp.abs(outputs[:, 0] - batch["y"]),
    name="mean error",
    better="lower",
)


def split(count):
    return InMemory({"x": np.arange(3 * count, dtype=np.float32).reshape(count, 3), "y": np.ones(count)})


class Lazy:
    def __len__(self):
        return 5

    def __getitem__(self, places):
        return {"x": np.ones((len(places), 3)), "y": np.ones(len(places))}


class Endless:
    def __getitem__(self, places):
        return places


def whole():
    return Problem(task, split(6), split(2), split(3))


def lazy():
    return Problem(task, Lazy(), Lazy(), split(3))


def of_one_array():
    return Problem(task, *(InMemory(np.ones((4, 3))) for _ in range(3)))


def needs_an_argument(path):
    return whole()


def breaks():
    raise FileNotFoundError("train.csv")


def pair():
    return task, split(6)


def without_task():
    return Problem("regression", split(6), split(2), split(3))


def in_a_dictionary():
    return Problem(task, split(6), {"x": 1}.keys(), split(3))


def endless():
    return Problem(task, Endless(), split(2), split(3))


def empty():
    return Problem(task, split(6), split(2), split(0))


def lists():
    return Problem(task, split(6), split(2), InMemory({"x": [1.0, 2.0], "y": [1.0, 2.0]}))


def with_a_scalar():
    return Problem(task, split(6), split(2), InMemory({"x": np.ones((4, 3)), "z": np.float32(1)}))


def without_arrays():
    return Problem(task, InMemory({}), split(2), split(3))


def a_list():
    return Problem(task, [{"x": 1}, {"x": 2}], split(2), split(3))


def uneven():
    return Problem(task, split(6), InMemory({"x": np.ones((4, 3)), "y": np.ones(3)}), split(3))


number = 3
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with a module of a user in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    (tmp_path / "my_problems.py").write_text(MODULE)
    yield tmp_path
    for name in ("my_problems", "my_broken_problems"):
        sys.modules.pop(name, None)


def test_a_problem_is_found_in_the_working_directory_with_its_task_and_its_splits() -> None:
    problem = find_problem("my_problems:whole")
    assert (problem.task.name, problem.task.better) == ("mean error", "lower")
    assert [len(split) for split in (problem.train, problem.validation, problem.test)] == [6, 2, 3]
    batch = problem.train[np.array([4, 0])]
    np.testing.assert_array_equal(batch["x"], [[12, 13, 14], [0, 1, 2]])
    np.testing.assert_array_equal(problem.task.inputs(batch)[0], batch["x"])
    np.testing.assert_array_equal(problem.task.loss(jnp.array([[3.0], [1.0]]), {"y": jnp.ones(2)}), [4.0, 0.0])


@pytest.mark.parametrize(("name", "count"), [("lazy", 5), ("of_one_array", 4)])
def test_examples_are_whatever_has_a_length_and_gives_batches(name: str, count: int) -> None:
    assert len(find_problem(f"my_problems:{name}").train) == count


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("regression", "There is no task 'regression'"),
        ("my_problem:whole", "'my_problem' of the task could not be imported: No module named 'my_problem'"),
        ("my_problems:half", "my_problems has no callable 'half'"),
        ("my_problems:number", "my_problems has no callable 'number'"),
        ("my_problems:needs_an_argument", r"needs_an_argument\(\) raised TypeError: .*'path'"),
        ("my_problems:breaks", r"my_problems:breaks\(\) raised FileNotFoundError: train\.csv"),
        ("my_problems:pair", r"my_problems:pair\(\) returned a tuple, not a synevo\.Problem"),
        ("my_problems:without_task", r"The task of my_problems:without_task\(\) is a str, not a synevo\.Task"),
        ("my_problems:in_a_dictionary", "The validation examples of .* are a dict_keys, without __getitem__"),
        ("my_problems:endless", "The train examples of .* are a Endless, without __len__"),
        ("my_problems:empty", "The test examples of my_problems:empty are none"),
        ("my_problems:lists", "The first of the test examples of my_problems:lists cannot be read: TypeError"),
        ("my_problems:with_a_scalar", "The first of the test examples of .* cannot be read"),
        ("my_problems:without_arrays", "The first of the train examples of .* cannot be read"),
        ("my_problems:a_list", "The first of the train examples of my_problems:a_list cannot be read: TypeError"),
        ("my_problems:uneven", "The validation examples of my_problems:uneven are arrays of 3, 4 examples"),
    ],
)
def test_what_is_no_problem_says_what_was_found(name: str, words: str) -> None:
    with pytest.raises(TaskError, match=words):
        find_problem(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("regression", "package.module:function"),
        ("my_problem:whole", "PYTHONPATH"),
        ("my_problems:half", "Name the task as package.module:function"),
        ("my_problems:breaks", "a callable without arguments that returns a synevo.Problem"),
        ("my_problems:pair", "returns a synevo.Problem"),
        ("my_problems:endless", "Examples have a length, and give the batch of the examples at given places"),
        ("my_problems:empty", "at least one example"),
        ("my_problems:a_list", "an array of integers"),
        ("my_problems:uneven", "one row an example"),
    ],
)
def test_what_is_no_problem_says_how_it_is_mended(name: str, words: str) -> None:
    with pytest.raises(TaskError) as caught:
        find_problem(name)
    assert words in caught.value.remedy


def test_a_module_that_cannot_be_imported_is_shown_with_its_error_and_the_line_that_tries_it(folder: Path) -> None:
    (folder / "my_broken_problems.py").write_text("1 / 0")
    with pytest.raises(TaskError, match="ZeroDivisionError: division by zero") as caught:
        find_problem("my_broken_problems:whole")
    assert "python -c 'import my_broken_problems'" in caught.value.remedy
