"""A user's own problem: a task and its examples, named as `package.module:function`."""

import jax

from synevo.errors import TaskError
from synevo.model.named import find_named
from synevo.tasks.task import Problem, Task, first

_REMEDY = "A task is named as package.module:function, a callable without arguments that returns a synevo.Problem."


def find_problem(name: str) -> Problem:
    """Return the problem that the function `package.module:function` makes, and check it.

    Raises:
        TaskError: if it cannot be imported, raises something, or returns anything but a problem with examples.
    """
    if ":" not in name:
        raise TaskError(f"There is no task {name!r}.", remedy=_REMEDY)
    function = find_named(name, what="the task", error=TaskError)
    try:
        problem = function()
    except Exception as error:
        raise TaskError(f"{name}() raised {type(error).__name__}: {error}", remedy=_REMEDY) from error
    for found, kind in ((problem, Problem), (getattr(problem, "task", None), Task)):
        if not isinstance(found, kind):
            what = f"{name}() returned" if kind is Problem else f"The task of {name}() is"
            raise TaskError(f"{what} a {type(found).__name__}, not a synevo.{kind.__name__}.", remedy=_REMEDY)
    for split in ("train", "validation", "test"):
        _check(name, split, getattr(problem, split))
    return problem


def _check(name: str, split: str, examples: object) -> None:
    """Raise TaskError if a split is no sequence of examples, is empty, or its arrays differ in length."""
    missing = [method for method in ("__len__", "__getitem__") if not hasattr(examples, method)]
    if missing:
        raise TaskError(
            f"The {split} examples of {name} are a {type(examples).__name__}, without {' and '.join(missing)}.",
            remedy="Examples have a length, and give the batch of the examples at given places: see synevo.Task.",
        )
    try:
        count = len(examples)  # type: ignore[arg-type]
        jax.tree.map(len, first(examples, 2) if count else ())  # type: ignore[arg-type]
    except Exception as error:
        raise TaskError(
            f"The first of the {split} examples of {name} cannot be read: {type(error).__name__}: {error}",
            remedy="Examples give the batch of the examples at given places, an array of integers: see synevo.Task.",
        ) from error
    sizes = {leaf.shape[0] for leaf in jax.tree.leaves(getattr(examples, "arrays", None))}
    if not count or len(sizes) > 1:
        found = f"arrays of {', '.join(map(str, sorted(sizes)))} examples" if count else "none"
        raise TaskError(
            f"The {split} examples of {name} are {found}.",
            remedy="Give every split at least one example, and each of its arrays one row an example.",
        )
