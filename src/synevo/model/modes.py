"""Modes: what a model is told when it is called: its mode, keys in training, the names of axes of devices.

A model may take its mode as an argument of its call (`train`, `deterministic`), as most Linen modules and many
published NNX models do, and keys (`rngs`). Both are given by name. Everything else that a call wants is an input.
"""

import inspect
import re
import types
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
from flax import nnx
from jax import Array

from synevo.errors import AncestorError

MODES = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}
"""The arguments that set the mode of a model, and the value of each in training."""

KEYS = ("rngs", "rng", "key")
"""The arguments that take keys: an `nnx.Rngs`, or one key where they are not annotated as one."""

_UNBOUND = re.compile(r"unbound axis name: (\w+)")


def run(model: Any, inputs: Sequence[Any], key: Array | None, **given: Any) -> Any:
    """Call a model in evaluation mode, or in training mode with keys made of `key`; `given` are more arguments.

    Raises:
        AncestorError: where its call wants an argument that is no input, no mode and no key.
    """
    arguments = _free(model.__call__, len(inputs))
    told = {name: MODES[name] == (key is not None) for name in arguments.keys() & MODES.keys()}
    for name in arguments.keys() & set(KEYS):
        if key is not None or arguments[name].default is inspect.Parameter.empty:
            told[name] = _keys(arguments[name], jax.random.key(0) if key is None else key)
    _check(model, inputs, told | given)
    return model(*inputs, **told, **given)


def takes_modes(model: Any) -> bool:
    """Return whether the call of a model takes its mode or keys."""
    return bool(_free(model.__call__, 0).keys() & {*MODES, *KEYS})


def unknown_switches(model: Any) -> dict[str, bool]:
    """Return the arguments of a model's call that are on or off by default and that nobody sets, with the default."""
    arguments = _free(model.__call__, 0)
    return {name: one.default for name, one in arguments.items() if isinstance(one.default, bool) and name not in MODES}


def evaluating(model: Any) -> Any:
    """Return a model that a call without a word about its mode evaluates, whatever its own code takes for granted."""
    kind: Any = type(model)
    modes = tuple(
        (name, not MODES[name])
        for name, one in _free(kind.__call__, 0).items()
        if name in MODES and one.default is not None and one.default is not (not MODES[name])
    )
    if modes:
        object.__setattr__(model, "__class__", _evaluating(kind, modes))
    return model


def as_written(model: Any) -> Any:
    """Return a model of the user's own class again, where `evaluating` has changed it."""
    object.__setattr__(model, "__class__", getattr(type(model), "_as_written", type(model)))
    return model


@cache
def _evaluating(kind: Any, modes: tuple[tuple[str, bool], ...]) -> type[Any]:
    signature = inspect.signature(kind.__call__)

    def call(self: Any, *inputs: Any, **given: Any) -> Any:
        said = signature.bind_partial(self, *inputs, **given).arguments
        return kind.__call__(self, *inputs, **given, **{name: mode for name, mode in modes if name not in said})

    own = {"__call__": call, "__module__": kind.__module__, "__qualname__": kind.__qualname__, "_as_written": kind}
    return types.new_class(kind.__name__, (kind,), exec_body=lambda space: space.update(own))


def under_axes(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that may average over named axes of devices, as `BatchNorm(axis_name="batch")` does.

    Each such axis has one place: the function sees the whole batch.
    """
    bound: dict[str, Callable[..., Any]] = {}
    while True:
        try:
            return function(*arguments)
        except NameError as error:
            found = _UNBOUND.search(str(error))
            if found is None or found[1] in bound:
                raise
            bound[found[1]] = function
            function = jax.vmap(function, in_axes=None, out_axes=None, axis_name=found[1], axis_size=1)


def _free(call: Any, inputs: int) -> dict[str, inspect.Parameter]:
    """Return the arguments of a call that can be given by name, behind its first `inputs`."""
    try:
        parameters = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        return {}
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    taken = [one.name for one in parameters if one.kind in by_place][:inputs]
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {one.name: one for one in parameters if one.kind in named and one.name not in taken}


def _keys(argument: inspect.Parameter, key: Array) -> Any:
    """Return what an argument for keys is given: an `nnx.Rngs`, or a key."""
    return nnx.Rngs(key) if argument.name == "rngs" or "Rngs" in str(argument.annotation) else key


def _check(model: Any, inputs: Sequence[Any], told: dict[str, Any]) -> None:
    try:
        signature = inspect.signature(model.__call__)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(*inputs, **told)
    except TypeError as error:
        raise AncestorError(
            f"{type(model).__name__} cannot be called with {len(inputs)} "
            f"{'input' if len(inputs) == 1 else 'inputs'}: {error}.",
            remedy=f"Its call is given the inputs in their order, its mode where it takes {', '.join(MODES)}, and keys "
            f"where it takes {', '.join(KEYS)}. Give every other argument a default, or give it as an input.",
        ) from None
