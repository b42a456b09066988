"""Find a user's own function by its name `package.module:function`, and the line at which it fails."""

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable
from typing import Any

from synevo.errors import SynevoError, did_you_mean


def find_named(name: str, *, what: str, error: type[SynevoError]) -> Callable[..., Any]:
    """Return the callable with a name `package.module:function`; the working directory is searched, too.

    Raises:
        SynevoError: the class `error`, where it cannot be imported or is not callable; `what` names it in the text.
    """
    module_name, _, attribute = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as problem:
        here = f"{module_name}.".startswith(f"{problem.name}.")
        raise error(
            f"The module {module_name!r} of {what} could not be imported: {problem}.",
            remedy="Run synevo in the folder that holds it, or add that folder to PYTHONPATH."
            if here
            else f"Install {problem.name}, which it imports.",
        ) from None
    except (Exception, SystemExit) as problem:  # whatever the user's code raises
        raise error(
            f"The module {module_name!r} of {what} could not be imported: {type(problem).__name__}: {problem}.",
            remedy=f"Mend it until `python -c 'import {module_name}'` works.",
        ) from problem
    found = getattr(module, attribute, None)
    if not callable(found):
        near = did_you_mean(
            attribute, [one for one, value in vars(module).items() if callable(value) and one[:1] != "_"]
        )
        raise error(
            f"{module_name} has no callable {attribute!r}.{near}", remedy=f"Name {what} as package.module:function."
        )
    named: Callable[..., Any] = found
    return named


def line_of(function: Callable[..., Any], error: Exception | None = None) -> str:
    """Return `file:line` of a user's function, or of the last line in its file on the way to an error.

    Where it is not written in Python, the result is its name.
    """
    try:
        written = inspect.unwrap(function)
        path, (_, first) = inspect.getfile(written), inspect.getsourcelines(written)
    except (TypeError, OSError):
        return getattr(function, "__name__", type(function).__name__)
    frames = traceback.extract_tb(error.__traceback__) if error else []
    lines = [frame.lineno for frame in frames if frame.filename == path and frame.lineno]
    name = path.replace("\\", "/").rpartition("/")[2]
    return f"{name}:{lines[-1] if lines else first}"
