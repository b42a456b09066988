"""Elementwise steps as C expressions of their operands, which are names or numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np

from synevo.deploy.formats.graph import unsupported
from synevo.wiring.tracing import Step

Expression = Callable[..., str]
"""A function from the step and the C texts of its operands to the C text of its result."""

MOST_FACTORS = 4
"""The largest exponent that is written as a product."""


def type_of(dtype: Any) -> str:
    """Return the C type in which values of a dtype are computed; "" if there is none."""
    kind = np.dtype(dtype)
    if kind == np.float32:
        return "float"
    if kind in (np.dtype(np.bool_), np.dtype(np.int32), np.dtype(np.int16), np.dtype(np.int8), np.dtype(np.uint8)):
        return "int"
    return ""


def _function(name: str) -> Expression:
    return lambda _, *operands: f"{name}({', '.join(operands)})"


def _infix(sign: str) -> Expression:
    return lambda _, a, b: f"{a} {sign} {b}"


def _integer_pow(step: Step, x: str) -> str:
    exponent = int(step.parameters["y"])
    if not 1 <= abs(exponent) <= MOST_FACTORS:
        return f"powf({x}, {exponent}.0f)"
    product = " * ".join([x] * abs(exponent))
    return product if exponent > 0 else f"1.0f / ({product})"


def _convert(step: Step, x: str) -> str:
    target = np.dtype(step.parameters["new_dtype"])
    if target == np.bool_:
        return f"{x} != 0"
    if not type_of(target) or target.itemsize < np.dtype(np.int32).itemsize:
        raise unsupported(step, "C", f"it computes in {target}")
    return f"({type_of(target)}){x}"


def _select(step: Step, which: str, *cases: str) -> str:
    if len(cases) != 2:  # noqa: PLR2004  (a truth value chooses between two)
        raise unsupported(step, "C", f"it selects among {len(cases)}")
    return f"{which} ? {cases[1]} : {cases[0]}"


EXPRESSIONS: dict[str, Expression] = {
    **{name: _infix(sign) for name, sign in {"add": "+", "add_any": "+", "sub": "-", "mul": "*", "div": "/"}.items()},
    **{name: _infix(sign) for name, sign in {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">"}.items()},
    **{name: _infix(sign) for name, sign in {"ge": ">=", "and": "&", "or": "|", "xor": "^"}.items()},
    **{
        name: _function(f"{name}f")
        for name in ("floor", "ceil", "exp", "exp2", "log", "log1p", "expm1", "sqrt", "cbrt", "erf", "erfc", "pow")
    },
    **{
        name: _function(f"{name}f")
        for kind in ("sin", "cos", "tan")
        for name in (kind, f"a{kind}", f"{kind}h", f"a{kind}h")
    },
    "atan2": _function("atan2f"),
    "rem": _function("fmodf"),
    "max": lambda _, a, b: f"{a} > {b} ? {a} : {b}",
    "min": lambda _, a, b: f"{a} < {b} ? {a} : {b}",
    "neg": lambda _, x: f"-{x}",
    "abs": lambda _, x: f"{x} < 0 ? -{x} : {x}",
    "sign": lambda _, x: f"{x} > 0 ? 1 : {x} < 0 ? -1 : 0",
    "is_finite": lambda _, x: f"{x} - {x} == 0.0f",
    "round": lambda step, x: f"{'rintf' if int(step.parameters['rounding_method']) == 1 else 'roundf'}({x})",
    "square": lambda _, x: f"{x} * {x}",
    "rsqrt": lambda _, x: f"1.0f / sqrtf({x})",
    "logistic": lambda _, x: f"1.0f / (1.0f + expf(-{x}))",
    "not": lambda _, x: f"!{x}",
    "clamp": lambda _, low, x, high: f"{x} < {low} ? {low} : {x} > {high} ? {high} : {x}",
    "integer_pow": _integer_pow,
    "convert_element_type": _convert,
    "select_n": _select,
}
"""Rules by primitive. Truth values are integers, 0 or 1."""

OF_INTEGERS: dict[str, Expression] = {
    "div": lambda _, a, b: f"{b} == 0 ? -1 : {b} == -1 ? 0 - {a} : {a} / {b}",
    "rem": lambda _, a, b: f"{b} == 0 ? {a} : {b} == -1 ? 0 : {a} % {b}",
}
"""Rules of integers where they differ: C does not say what a division by 0 gives, XLA does."""
