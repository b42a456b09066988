"""The fingerprint of a program: a hash of all that it computes, the same in every process.

Values are renumbered in the order of their use, so that neither dead code nor the names of variables count. Arrays
count by name and shape, not by their numbers; literals and arrays that the model's code makes count by their numbers.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from synevo.wiring.comparison import IMMATERIAL
from synevo.wiring.tracing import Constant, Operand, Program, Step

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(program: Program) -> str:
    """Return the SHA-256 of the canonical text of a program, in hexadecimal."""
    return hashlib.sha256("\n".join(_lines(program)).encode()).hexdigest()


def _lines(program: Program) -> Iterator[str]:
    """Yield a line for each array, input and step of a program, and one for its outputs."""
    numbers: dict[int, int] = {}
    for name, value in [*sorted(program.arrays.items()), *(("", value) for value in program.inputs)]:
        numbers[value] = len(numbers)
        yield f"{name} {program.shapes[value]}"
    for step in program.steps:
        operands = [_operand(operand, numbers, program) for operand in step.operands]
        for result in step.results:
            numbers[result] = len(numbers)
        shapes = [program.shapes[result] for result in step.results]
        yield f"{step.primitive} {operands} {shapes} {_parameters(step)}"
    yield str([_operand(output, numbers, program) for output in program.outputs])


def _operand(operand: Operand, numbers: dict[int, int], program: Program) -> str:
    """Return a value's number; or, for a literal or an array that the model's code makes, its content."""
    if isinstance(operand, Constant):
        return _text(operand.value)
    return str(numbers[operand]) if operand in numbers else _text(program.constants[operand])


def _parameters(step: Step) -> str:
    return _text({name: value for name, value in step.parameters.items() if name not in IMMATERIAL})


def _text(value: Any) -> str:
    """Return a value as text that does not depend on the process: without addresses, sets in order."""
    if isinstance(value, Mapping):
        return str([(str(name), _text(value[name])) for name in sorted(value, key=str)])
    if isinstance(value, set | frozenset):
        return str(sorted(map(_text, value)))
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return str([_text(one) for one in value])
    if hasattr(value, "jaxpr") and hasattr(value, "consts"):
        return _ADDRESS.sub("", str(value.jaxpr)) + _text(list(value.consts))
    return _content(value) if hasattr(value, "dtype") and hasattr(value, "shape") else _ADDRESS.sub("", str(value))


def _content(array: Any) -> str:
    """Return the dtype, the shape and a hash of the numbers of an array."""
    try:
        content = np.ascontiguousarray(np.asarray(array)).tobytes()
    except TypeError:  # random keys are not numbers
        content = str(array).encode()
    return f"{array.dtype} {tuple(array.shape)} {hashlib.sha256(content).hexdigest()}"
