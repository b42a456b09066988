"""Rules, one for each primitive, that write a step of a JAX program in operations of ONNX, opset 18."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from synevo.deploy.formats import onnx_places as places
from synevo.deploy.formats import onnx_windows as windows
from synevo.deploy.formats.graph import unsupported
from synevo.deploy.formats.onnx_places import Made, keep
from synevo.deploy.formats.onnx_writer import Tensor, Writer, identity
from synevo.wiring.tracing import Step

LETTERS = "abcdefghijklmnopqrstuvwxyz"

Rule: TypeAlias = Callable[[Writer, Step], Made]


def _elementwise(write: Callable[..., str]) -> Rule:
    """Return a rule for an operation that acts on every element alike."""

    def rule(writer: Writer, step: Step) -> Tensor:
        order = writer.order_of(step)
        return Tensor(write(writer, *(writer.ordered(operand, order) for operand in step.operands)), order)

    return rule


def _named(operation: str) -> Rule:
    return _elementwise(lambda writer, *names: writer.node(operation, *names))


def _beside(number: float, write: Callable[[Writer, str, str], str]) -> Rule:
    """Return a rule for an operation of every element and a number, which is of the same dtype."""

    def rule(writer: Writer, step: Step) -> Tensor:
        order, constant = writer.order_of(step), np.asarray(number, writer.graph.dtype(step.operands[0]))
        return Tensor(write(writer, writer.ordered(step.operands[0], order), writer.constant(constant)), order)

    return rule


def _cast(writer: Writer, step: Step) -> Tensor:
    order = writer.order_of(step)
    return Tensor(writer.cast(writer.ordered(step.operands[0], order), step.parameters["new_dtype"]), order)


def _integer_pow(writer: Writer, step: Step) -> Tensor:
    power = _beside(step.parameters["y"], lambda writer, x, exponent: writer.node("Pow", x, exponent))
    made = power(writer, step)
    assert isinstance(made, Tensor)
    return made


def _reduce(operation: str, *, of_truths: bool = False) -> Rule:
    """Return a rule for a reduction along axes; truth values are reduced as numbers, as ONNX wants them."""

    def rule(writer: Writer, step: Step) -> Tensor:
        tensor, axes = keep(writer, step), step.parameters["axes"]
        places = writer.integers([tensor.order.index(axis) for axis in axes])
        left = sorted(set(tensor.order) - set(axes))
        order = tuple(left.index(axis) for axis in tensor.order if axis not in axes)
        name = writer.cast(tensor.name, np.int32) if of_truths else tensor.name
        name = writer.node(operation, name, places, keepdims=0)
        return Tensor(writer.cast(name, np.bool_) if of_truths else name, order)

    return rule


def _place_of(operation: str) -> Rule:
    """Return a rule for the place of the largest or smallest value along an axis, the first of equal ones."""

    def rule(writer: Writer, step: Step) -> Tensor:
        (axis,) = step.parameters["axes"]
        name = writer.node(operation, writer.plain(step.operands[0]), axis=axis, keepdims=0)
        order = identity(len(writer.graph.shapes[step.results[0]]))
        return Tensor(writer.cast(name, step.parameters["index_dtype"]), order)

    return rule


def _cumulative_sum(writer: Writer, step: Step) -> Tensor:
    axis = writer.constant(np.int64(step.parameters["axis"]))
    name = writer.node("CumSum", writer.plain(step.operands[0]), axis, reverse=int(step.parameters["reverse"]))
    return Tensor(name, identity(len(writer.graph.shapes[step.results[0]])))


def _top(writer: Writer, step: Step) -> Made:
    values, places = writer.split(
        "TopK",
        writer.plain(step.operands[0]),
        writer.integers(step.parameters["k"]),
        results=[f"t:{len(writer.nodes)}_{number}" for number in range(2)],
        axis=step.parameters.get("axis", -1),
    )
    order = identity(len(writer.graph.shapes[step.results[0]]))
    return [Tensor(values, order), Tensor(writer.cast(places, writer.graph.dtypes[step.results[1]]), order)]


def _dot(writer: Writer, step: Step) -> Tensor:
    (left_axes, right_axes), (left_batch, right_batch) = step.parameters["dimension_numbers"]
    left, right = step.operands
    ranks = len(writer.graph.shape(left)), len(writer.graph.shape(right))
    if tuple(left_axes) == (ranks[0] - 1,) and not left_batch and ranks[1] == 2:  # noqa: PLR2004  (a matrix)
        matrix = writer.ordered(right, (right_axes[0], 1 - right_axes[0]))
        return Tensor(writer.node("MatMul", writer.plain(left), matrix), identity(ranks[0]))
    first, rest = list(LETTERS[: ranks[0]]), iter(LETTERS[ranks[0] :])
    shared = dict(zip((*right_axes, *right_batch), (*left_axes, *left_batch), strict=True))
    second = [first[shared[axis]] if axis in shared else next(rest) for axis in range(ranks[1])]
    free = [letter for axis, letter in enumerate(first) if axis not in (*left_axes, *left_batch)]
    result = [first[axis] for axis in left_batch] + free + [letter for letter in second if letter not in first]
    equation = f"{''.join(first)},{''.join(second)}->{''.join(result)}"
    name = writer.node("Einsum", writer.plain(left), writer.plain(right), equation=equation)
    return Tensor(name, identity(len(result)))


def _is_finite(writer: Writer, x: str) -> str:
    return writer.node("Not", writer.node("Or", writer.node("IsInf", x), writer.node("IsNaN", x)))


def _round(writer: Writer, step: Step) -> Tensor:
    if int(step.parameters["rounding_method"]) != 1:
        raise unsupported(step, "ONNX", "it rounds halves away from zero")
    order = writer.order_of(step)
    return Tensor(writer.node("Round", writer.ordered(step.operands[0], order)), order)


def _select(writer: Writer, step: Step) -> Tensor:
    """Write a choice between two by truth values; these are one an element, or one for all."""
    if len(step.operands) != 3:  # noqa: PLR2004  (a truth value chooses between two)
        raise unsupported(step, "ONNX", f"it selects among {len(step.operands) - 1}")
    order = writer.order_of(step)
    which, first, second = (writer.ordered(operand, order) for operand in step.operands)
    dtype = writer.graph.dtypes[step.results[0]]
    return Tensor(writer.choice(writer.cast(which, np.bool_), second, first, dtype), order)


def _largest(writer: Writer, step: Step) -> Tensor:
    """Write the larger of two; beside zero it is a rectifier, which runtimes compute within a convolution."""
    order = writer.order_of(step)
    known = [writer.graph.known(operand) for operand in step.operands]
    zero = [value is not None and np.issubdtype(value.dtype, np.floating) and not value.any() for value in known]
    for place, other in ((0, 1), (1, 0)):
        if zero[place] and len(writer.graph.shape(step.operands[other])) == len(writer.graph.shapes[step.results[0]]):
            return Tensor(writer.node("Relu", writer.ordered(step.operands[other], order)), order)
    return Tensor(writer.node("Max", *(writer.ordered(operand, order) for operand in step.operands)), order)


def _clamp(writer: Writer, low: str, x: str, high: str) -> str:
    return writer.node("Min", writer.node("Max", x, low), high)


_NAMED = {
    "add": "Add",
    "add_any": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "pow": "Pow",
    "min": "Min",
    "neg": "Neg",
    "abs": "Abs",
    "sign": "Sign",
    "floor": "Floor",
    "ceil": "Ceil",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "tanh": "Tanh",
    "logistic": "Sigmoid",
    "erf": "Erf",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "asin": "Asin",
    "acos": "Acos",
    "atan": "Atan",
    "sinh": "Sinh",
    "cosh": "Cosh",
    "asinh": "Asinh",
    "acosh": "Acosh",
    "atanh": "Atanh",
    "eq": "Equal",
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "and": "And",
    "or": "Or",
    "not": "Not",
    "xor": "Xor",
}

RULES: dict[str, Rule] = {
    **{primitive: _named(operation) for primitive, operation in _NAMED.items()},
    **dict.fromkeys(("stop_gradient", "copy", "copy_p", "optimization_barrier", "sharding_constraint"), keep),
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), places.reshape),
    "ne": _elementwise(lambda writer, a, b: writer.node("Not", writer.node("Equal", a, b))),
    "square": _elementwise(lambda writer, x: writer.node("Mul", x, x)),
    "rsqrt": _elementwise(lambda writer, x: writer.node("Reciprocal", writer.node("Sqrt", x))),
    "log1p": _beside(1, lambda writer, x, one: writer.node("Log", writer.node("Add", x, one))),
    "expm1": _beside(1, lambda writer, x, one: writer.node("Sub", writer.node("Exp", x), one)),
    "erfc": _beside(1, lambda writer, x, one: writer.node("Sub", one, writer.node("Erf", x))),
    "exp2": _beside(2, lambda writer, x, two: writer.node("Pow", two, x)),
    "rem": _elementwise(lambda writer, a, b: writer.node("Mod", a, b, fmod=1)),
    "is_finite": _elementwise(_is_finite),
    "round": _round,
    "max": _largest,
    "select_n": _select,
    "clamp": _elementwise(_clamp),
    "integer_pow": _integer_pow,
    "convert_element_type": _cast,
    "broadcast_in_dim": places.broadcast,
    "transpose": places.transpose,
    "concatenate": places.concatenate,
    "slice": places.cut,
    "gather": places.gather,
    "tile": places.tile,
    "rev": places.reverse,
    "split": places.split,
    "unstack": places.unstack,
    "stack": places.stack,
    "pad": places.pad,
    **{f"reduce_{name}": _reduce(f"Reduce{name.title()}") for name in ("sum", "max", "min", "prod")},
    "reduce_and": _reduce("ReduceMin", of_truths=True),
    "reduce_or": _reduce("ReduceMax", of_truths=True),
    "argmax": _place_of("ArgMax"),
    "argmin": _place_of("ArgMin"),
    "cumsum": _cumulative_sum,
    "top_k": _top,
    "iota": places.iota,
    "dim_as_value": places.size,
    "dynamic_slice": places.dynamic_slice,
    "dot_general": _dot,
    "conv_general_dilated": windows.convolution,
    "reduce_window_max": windows.max_pool,
    "reduce_window_sum": windows.sum_pool,
}
