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
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import count, takewhile
from typing import Any

import numpy as np
from flax import nnx

from synevo.wiring.tracing import Program, Step

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def same_product(
    predicted: Program, before: int, found: Program, after: int, numbers: Mapping[int, int]
) -> tuple[list[Step], list[Step]] | None:
    """Return the steps of an einsum in two programs, from the places `before` and `after`, if only their order differs.

    `numbers` are the values of the program `found` by those of `predicted`. There is nothing where the steps are not
    the first of an einsum of several arrays, or are in one order, or multiply other axes.
    """
    runs = []
    for program, start in ((predicted, before), (found, after)):
        steps = program.steps
        product = steps[start].product
        if not product or (start and steps[start - 1].product == product):
            return None
        runs.append(list(takewhile(lambda step: step.product == product, steps[start:])))  # noqa: B023
    if [(step.primitive, *map(str, step.parameters.values())) for step in runs[0]] == [
        (step.primitive, *map(str, step.parameters.values())) for step in runs[1]
    ]:
        return None
    same = {value: value for step in found.steps for value in step.operands if isinstance(value, int)}
    forms = _form(predicted, runs[0], numbers), _form(found, runs[1], same)
    return (runs[0], runs[1]) if forms[0] is not None and forms[0] == forms[1] else None


def _form(program: Program, steps: list[Step], numbers: Mapping[int, int]) -> Any:
    """Return the axes that meet in a product of several arrays, whatever the order; None where it is no plain product.

    Each axis has a label, as in the subscripts of an einsum: labels of axes that meet are tied.
    """
    labels: dict[int, tuple[int, ...]] = {}
    fresh, tied, read, arithmetic = count(), dict[int, int](), dict[int, tuple[int, ...]](), Counter[str]()

    def of(operand: Any) -> tuple[int, ...] | None:
        if operand in labels:
            return labels.pop(operand)  # what is read twice is no plain product
        if not isinstance(operand, int) or operand not in numbers or numbers[operand] in read:
            return None
        own = tuple(next(fresh) for _ in program.shapes[operand])
        return read.setdefault(numbers[operand], own)

    def root(label: int) -> int:
        return label if label not in tied else root(tied[label])

    for step in steps:
        operands = [of(operand) for operand in step.operands]
        if step.primitive not in _PRODUCTS or any(one is None for one in operands):
            return None
        if step.primitive == "dot_general":
            left, right = operands
            contracted, batch = step.parameters["dimension_numbers"]
            for one, other in (pair for pairs in (contracted, batch) for pair in zip(*pairs, strict=True)):
                a, b = root(left[one]), root(right[other])  # type: ignore[index]
                tied |= {a: b} if a != b else {}
            arithmetic[str([step.parameters[name] for name in ("precision", "preferred_element_type")])] += 1
            made = [left[axis] for axis in batch[0]]  # type: ignore[index]
            for side, gone in ((left, (*contracted[0], *batch[0])), (right, (*contracted[1], *batch[1]))):
                made += [label for axis, label in enumerate(side) if axis not in gone]  # type: ignore[arg-type]
        elif step.primitive == "transpose":
            made = [operands[0][axis] for axis in step.parameters["permutation"]]  # type: ignore[index]
        else:
            gone = step.parameters.get("axes", ())
            made = [label for axis, label in enumerate(operands[0]) if axis not in gone]  # type: ignore[arg-type]
        labels[step.results[0]] = tuple(made)
    if labels.keys() != {steps[-1].results[0]}:
        return None
    names: dict[int, int] = {}

    def named(axes: Sequence[int]) -> list[int]:
        return [names.setdefault(root(label), len(names)) for label in axes]

    met = [(value, named(read[value])) for value in sorted(read)]
    (result,) = labels.values()
    return met, named(result), arithmetic, program.dtypes[steps[-1].results[0]]


_PRODUCTS = {"dot_general", "transpose", "reduce_sum", "convert_element_type"}


def alike(old: Any, new: Any) -> bool:
    """Return whether two parameters of a step are the same, functions and programs among them."""
    if old is new:
        return True
    if callable(old) and callable(new):
        return _alike_inside(old, new, frozenset())
    if isinstance(old, tuple | list) and isinstance(new, tuple | list) and len(old) == len(new):
        return str(old) == str(new) or all(map(alike, old, new))
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
    parts = _parts(old), _parts(new)
    if parts[0] is None or parts[1] is None:
        return _equal(old, new)
    one, other = parts
    return one.keys() == other.keys() and all(
        _alike_inside(value, other[name], seen | {pair}) for name, value in one.items()
    )


def _parts(value: Any) -> dict[Any, Any] | None:
    """Return what a value is made of, as far as this makes another value of the same kind the same; None if unknown."""
    if isinstance(value, nnx.Variable):
        return {}  # a callback cannot read the arrays of a network that is traced
    if isinstance(value, types.FunctionType):
        around = inspect.getclosurevars(value)
        return {"code": value.__code__, "defaults": value.__defaults__, "keywords": value.__kwdefaults__} | {
            "nonlocals": around.nonlocals
        }
    if isinstance(value, types.MethodType):
        return {"function": value.__func__, "self": value.__self__}
    if isinstance(value, functools.partial):
        return {"function": value.func, "given": value.args, "keywords": value.keywords}
    if isinstance(value, dict):
        return value
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    if is_dataclass(value):
        return {one.name: getattr(value, one.name, None) for one in fields(value) if one.name != "parent"}
    if isinstance(value, nnx.Module):
        return vars(value)
    return None


def _equal(old: Any, new: Any) -> bool:
    try:
        return bool(np.all(old == new)) and np.shape(old) == np.shape(new)
    except Exception:  # noqa: BLE001  (whatever the user's class raises: then it is not seen to be the same)
        return False
