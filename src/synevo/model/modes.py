"""Modes: what a model is told when it is called: its mode, keys in training, the names of axes of devices.

A model may take its mode as an argument of its call (`train`, `deterministic`), as most Linen modules and many
published NNX models do, and keys (`rngs`). Both are given by name. Names that mean the same (`inference`) are told
where they take True or False. Everything else that a call wants is an input.
"""

import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
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

_SYNONYMS = {
    **dict.fromkeys(["is_train", "train_mode", "training_mode", "in_training"], True),
    **dict.fromkeys(["use_dropout", "enable_dropout", "dropout_on"], True),
    **dict.fromkeys(["test", "testing", "is_test", "test_mode"], False),
    **dict.fromkeys(["evaluate", "evaluation", "is_eval", "eval_mode"], False),
    **dict.fromkeys(["inference", "is_inference", "inference_mode", "disable_dropout"], False),
}
"""Arguments with the same meaning, which are told only where they take True or False; and the value in training."""

KEYS = ("rngs", "rng", "key")
"""The arguments that take keys: an `nnx.Rngs`, or one key where they are not annotated as one."""

_UNBOUND = re.compile(r"unbound axis name: (\w+)")


def run(model: Any, inputs: Sequence[Any], key: Array | None, **given: Any) -> Any:
    """Call a model in evaluation mode, or in training mode with keys made of `key`; `given` are more arguments.

    Raises:
        AncestorError: where its call wants an argument that is no input, no mode and no key.
    """
    arguments = _free(model.__call__, len(inputs))
    told = {name: value == (key is not None) for name, value in _modes(arguments).items() if name not in given}
    for name in arguments.keys() & set(KEYS):
        if key is not None or arguments[name].default is inspect.Parameter.empty:
            told[name] = _keys(arguments[name], jax.random.key(0) if key is None else key)
    _check(model, inputs, told | given)
    return model(*inputs, **told, **given)


def takes_modes(model: Any) -> bool:
    """Return whether the call of a model takes its mode or keys."""
    arguments = _free(model.__call__, 0)
    return bool(_modes(arguments) or arguments.keys() & set(KEYS))


def unknown_switches(model: Any) -> list[tuple[str, bool]]:
    """Return the arguments of a model's call that nobody sets and that may be on or off, with each value to try."""
    arguments = _free(_asking(model).__call__, 0)
    return [
        (name, value)
        for name, one in arguments.items()
        if name not in {*_modes(arguments), *KEYS}
        and (isinstance(one.default, bool) or (one.default is None and "bool" in str(one.annotation)))
        for value in (True, False)
        if value is not one.default
    ]


def _asking(model: Any) -> Any:
    """Return the module whose call says what it wants: the model, or the Linen module that it holds."""
    return getattr(type(model), "held", lambda model: model)(model)


def told_by(model: Any, name: str, *, value: bool) -> str:
    """Return a class of three lines that tells an argument of the user's own, which has this value in training."""
    asking = _asking(model)
    kind = getattr(type(asking), "_as_written", type(asking)).__name__
    parameters = inspect.signature(asking.__call__).parameters.values()
    wanted = [one.name for one in parameters if one.default is inspect.Parameter.empty and one.name != name]
    inputs = ", ".join(wanted)
    return (
        f"class Told({kind}):\n"
        f"    def __call__(self, {inputs}, *, train):\n"
        f"        return super().__call__({inputs}, {name}={'train' if value else 'not train'})"
    )


def written_at(model: Any) -> str:
    """Return the file and line of the call of a model."""
    code = getattr(inspect.unwrap(type(_asking(model)).__call__), "__code__", None)
    if code is None:
        return "unknown line"
    file = code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{file}:{code.co_firstlineno}"


def modes_of_fields(values: Mapping[str, Any]) -> dict[str, bool]:
    """Return those of the fields of a module that set its mode, and the value of each in training."""
    known = {name: MODES[name] for name in values.keys() & MODES.keys()}
    return known | {name: _SYNONYMS[name] for name, one in values.items() if name in _SYNONYMS and one in (True, False)}


def modes_of_call(call: Any) -> dict[str, bool]:
    """Return the arguments of a call that set the mode, and the value of each in training."""
    return _modes(_free(call, 0))


def _modes(arguments: Mapping[str, inspect.Parameter]) -> dict[str, bool]:
    known = {name: MODES[name] for name in arguments if name in MODES}
    return known | {name: _SYNONYMS[name] for name, one in arguments.items() if name in _SYNONYMS and _is_switch(one)}


def _is_switch(argument: inspect.Parameter) -> bool:
    """Return whether an argument takes True or False, as far as its default and its annotation say."""
    if argument.default is inspect.Parameter.empty:
        return argument.annotation in {inspect.Parameter.empty, bool, "bool", Any, "Any"}
    return argument.default is None or isinstance(argument.default, bool)


def evaluating(model: Any) -> Any:
    """Return a model that a call without a word about its mode evaluates, whatever its own code takes for granted."""
    kind: Any = type(model)
    arguments = _free(kind.__call__, 0)
    modes = tuple(
        (name, not value)
        for name, value in _modes(arguments).items()
        if arguments[name].default is not None and arguments[name].default is not (not value)
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
        asked = _asked(signature, told)
        if asked:
            raise AncestorError(
                f"{type(model).__name__} wants {asked} in its call ({written_at(model)}), which nobody gives.",
                remedy=f"If it sets the mode, say so in a class of your own, and use that (`not train` if it is true "
                f"in evaluation):\n\n{told_by(model, asked, value=True)}",
            ) from None
        if by_name := _by_name(signature, told):
            raise AncestorError(
                f"{type(model).__name__} takes {', '.join(by_name)} by name alone ({written_at(model)}), but inputs "
                "are given in their order.",
                remedy=f"Take them by their place in a class of your own, and use that:\n\n{_by_place(model, by_name)}",
            ) from None
        raise AncestorError(
            f"{type(model).__name__} cannot be called with {len(inputs)} "
            f"{'input' if len(inputs) == 1 else 'inputs'}: {error}.",
            remedy=f"Its call is given the inputs in their order, its mode where it takes {', '.join(MODES)}, and keys "
            f"where it takes {', '.join(KEYS)}. Give every other argument a default, or give it as an input.",
        ) from None


def _by_name(signature: inspect.Signature, told: Mapping[str, Any]) -> list[str]:
    """Return the arguments without a default that a call takes by name alone, and that nobody gives."""
    kind, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
    parameters = signature.parameters.values()
    return [one.name for one in parameters if one.kind is kind and one.default is empty and one.name not in told]


def _by_place(model: Any, by_name: Sequence[str]) -> str:
    """Return a class of three lines that takes arguments by their place, which the model takes by name alone."""
    kind = getattr(type(model), "_as_written", type(model)).__name__
    parameters = inspect.signature(model.__call__).parameters.values()
    wanted = [
        one.name
        for one in parameters
        if one.default is inspect.Parameter.empty and one.kind is one.POSITIONAL_OR_KEYWORD
    ]
    passed = ", ".join([*wanted, *(f"{name}={name}" for name in by_name)])
    return (
        f"class ByPlace({kind}):\n"
        f"    def __call__(self, {', '.join([*wanted, *by_name])}):\n"
        f"        return super().__call__({passed})"
    )


def _asked(signature: inspect.Signature, told: dict[str, Any]) -> str | None:
    """Return the only argument that a call wants beside its inputs, if it says that it is a bool."""
    empty = inspect.Parameter.empty
    wanted = [one for one in signature.parameters.values() if one.default is empty and one.name not in told]
    switches = [one.name for one in wanted if one.annotation in {bool, "bool"}]
    return switches[0] if len(switches) == 1 else None
