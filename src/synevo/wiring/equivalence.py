"""Equivalence: what computes the same, although it is not equal.

An einsum of several arrays multiplies them in the order that costs least, and the order changes with their sizes. Two
orders are the same product if the same axes of the same arrays meet in them.

A callback is often a function that the model's code makes anew at each call. Two such functions are alike if they have
the same code, and what they read around them is alike. Where this cannot be seen, they are not.
"""

import functools
import inspect
import re
import types
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from itertools import takewhile
from typing import Any

import numpy as np
from flax import linen, nnx

from synevo.wiring.origins import Labels
from synevo.wiring.tracing import Operand, Program, Step

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def same_product(
    predicted: Program, before: int, found: Program, after: int, numbers: Mapping[int, int]
) -> tuple[list[Step], list[Step]] | None:
    """Return the steps of one product in two programs, from the places `before` and `after`; None where there is none.

    They are the fewest that multiply the same arrays over the same axes. `numbers` are the values of the program
    `found` by those of `predicted`.
    """
    runs = [
        list(takewhile(lambda step: step.primitive in _PRODUCTS, program.steps[start : start + MOST]))
        for program, start in ((predicted, before), (found, after))
    ]
    same = {value: value for value in numbers.values()}
    forms = [
        {length: form for length in range(1, len(run) + 1) if (form := _form(program, run[:length], known))}
        for program, run, known in ((predicted, runs[0], numbers), (found, runs[1], same))
    ]
    return next(
        (
            (runs[0][:one], runs[1][:other])
            for one, form in forms[0].items()
            for other, wanted in forms[1].items()
            if form == wanted
        ),
        None,
    )


MOST = 24
"""The most steps of a product: more than an einsum of eight arrays has."""


class _Labels:
    """The labels of the axes of values in a product, as in the subscripts of an einsum: those that meet are tied."""

    def __init__(self, program: Program, numbers: Mapping[int, int]) -> None:
        self.program, self.numbers = program, numbers
        self.read: dict[int, Labels] = {}
        self.made: dict[int, Labels] = {}
        self.count = 0
        self.tied: dict[int, int] = {}

    def of(self, operand: Operand) -> Labels:
        """Return the labels of an operand; LookupError where it is no array, or is read twice."""
        if isinstance(operand, int) and operand in self.made:
            return self.made.pop(operand)
        number = self.numbers.get(operand) if isinstance(operand, int) else None
        if not isinstance(operand, int) or number is None or number in self.read:
            raise LookupError
        first, self.count = self.count, self.count + len(self.program.shapes[operand])
        return self.read.setdefault(number, tuple(range(first, self.count)))

    def tie(self, one: int, other: int) -> None:
        """Note that two axes meet."""
        a, b = self.root(one), self.root(other)
        self.tied |= {a: b} if a != b else {}

    def root(self, label: int) -> int:
        """Return the label that stands for all that are tied with this one."""
        return label if label not in self.tied else self.root(self.tied[label])


def _form(program: Program, steps: list[Step], numbers: Mapping[int, int]) -> Any:
    """Return the axes that meet in a product of several arrays, whatever the order; None where it is no plain product.

    Also returned are the precisions of its steps, and its dtype.
    """
    labels, names, precisions = _Labels(program, numbers), dict[int, int](), Counter[str]()
    try:
        for step in steps:
            labels.made[step.results[0]] = _PRODUCTS[step.primitive](step, labels)
            precisions[str([step.parameters.get(name) for name in ("precision", "preferred_element_type")])] += 1
    except LookupError:
        return None
    if labels.made.keys() != {steps[-1].results[0]}:
        return None

    def named(axes: Labels) -> list[int]:
        return [names.setdefault(labels.root(label), len(names)) for label in axes]

    met = [(value, named(labels.read[value])) for value in sorted(labels.read)]
    (result,) = labels.made.values()
    return met, named(result), precisions.keys(), program.dtypes[steps[-1].results[0]]


def _dot(step: Step, labels: _Labels) -> Labels:
    left, right = map(labels.of, step.operands)
    contracted, batch = step.parameters["dimension_numbers"]
    for one, other in (pair for sides in (contracted, batch) for pair in zip(*sides, strict=True)):
        labels.tie(left[one], right[other])
    free = [
        label
        for number, side in enumerate((left, right))
        for axis, label in enumerate(side)
        if axis not in (*contracted[number], *batch[number])
    ]
    return (*(left[axis] for axis in batch[0]), *free)


def _transposed(step: Step, labels: _Labels) -> Labels:
    own = labels.of(step.operands[0])
    return tuple(own[axis] for axis in step.parameters["permutation"])


def _summed(step: Step, labels: _Labels) -> Labels:
    own = labels.of(step.operands[0])
    return tuple(label for axis, label in enumerate(own) if axis not in step.parameters["axes"])


_PRODUCTS: dict[str, Callable[[Step, _Labels], Labels]] = {
    "dot_general": _dot,
    "transpose": _transposed,
    "reduce_sum": _summed,
    "convert_element_type": lambda step, labels: labels.of(step.operands[0]),
}


def alike(old: Any, new: Any) -> bool:
    """Return whether two parameters of a step are the same, functions and programs among them."""
    if old is new:
        return True
    if callable(old) and callable(new):
        return _alike_inside(old, new, frozenset())
    if isinstance(old, tuple | list) and isinstance(new, tuple | list) and len(old) == len(new):
        return all(map(alike, old, new))
    one, other = (getattr(program, "jaxpr", program) for program in (old, new))
    if hasattr(one, "eqns") and hasattr(other, "eqns"):
        return _same_programs(one, other) and str(getattr(old, "consts", "")) == str(getattr(new, "consts", ""))
    return bool(old == new) or str(old) == str(new)


def _same_programs(old: Any, new: Any) -> bool:
    """Return whether two jaxprs are the same, but for the addresses of alike callbacks."""
    if _ADDRESS.sub("", str(old)) != _ADDRESS.sub("", str(new)):
        return False
    pairs = zip(old.eqns, new.eqns, strict=True)
    return all(
        alike(value, after.params[name])
        for before, after in pairs
        for name, value in before.params.items()
        if name == "callback" or hasattr(getattr(value, "jaxpr", value), "eqns") or isinstance(value, tuple)
    )


def _alike_inside(old: Any, new: Any, seen: frozenset[tuple[int, int]]) -> bool:
    """Return whether two values that a function reads are the same, as far as can be seen."""
    pair = id(old), id(new)
    if old is new or pair in seen:
        return True
    if type(old) is not type(new):
        return False
    one, other = _parts(old), _parts(new)
    if one is None or other is None:
        return _equal(old, new)
    return one.keys() == other.keys() and all(
        _alike_inside(value, other[name], seen | {pair}) for name, value in one.items()
    )


def _parts(value: Any) -> Mapping[Any, Any] | None:
    """Return what a value is made of, as far as this makes another value of the same kind the same; None if unknown."""
    for kind, parts in _KINDS.items():
        if isinstance(value, kind):
            return parts(value)
    return {one.name: getattr(value, one.name) for one in fields(value)} if is_dataclass(value) else None


def _of_function(function: types.FunctionType) -> dict[str, Any]:
    """Return the code of a function and what it reads around it; of modules, the attributes that its code names."""
    names, around = _names(function.__code__), inspect.getclosurevars(function).nonlocals
    read = {
        name: {one: getattr(value, one) for one in sorted(names & vars(value).keys())}
        if isinstance(value, nnx.Module | linen.Module)
        else value
        for name, value in around.items()
    }
    return {"code": function.__code__, "given": (function.__defaults__, function.__kwdefaults__), "around": read}


def _names(code: types.CodeType) -> set[str]:
    """Return the names of attributes, and the texts, in the code of a function and of the functions in it."""
    texts = {one for one in code.co_consts if isinstance(one, str)}
    inner = [_names(one) for one in code.co_consts if isinstance(one, types.CodeType)]
    return texts.union(code.co_names, *inner)


_KINDS: dict[type[Any], Callable[[Any], Mapping[Any, Any]]] = {
    nnx.Variable: lambda _: {},  # a callback cannot read the arrays of a network that is traced
    types.FunctionType: _of_function,
    types.MethodType: lambda method: {"function": method.__func__, "self": method.__self__},
    functools.partial: lambda part: {"function": part.func, "given": part.args, "keywords": part.keywords},
    dict: lambda values: values,
    list: lambda values: dict(enumerate(values)),
    tuple: lambda values: dict(enumerate(values)),
    nnx.Module: vars,
}


def _equal(old: Any, new: Any) -> bool:
    try:
        return bool(np.all(old == new)) and np.shape(old) == np.shape(new)
    except Exception:  # noqa: BLE001  (whatever the user's class raises: then it is not seen to be the same)
        return False
