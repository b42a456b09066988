"""Rules, one for each primitive, that write a step of a JAX program in operations of ONNX, opset 18."""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from onnx import helper

from synevo.deploy.formats.graph import is_symbolic, taken, unsupported
from synevo.deploy.formats.onnx_writer import Tensor, Writer, identity
from synevo.wiring.tracing import Step

LETTERS = "abcdefghijklmnopqrstuvwxyz"

Made: TypeAlias = Tensor | list[Tensor]
Rule: TypeAlias = Callable[[Writer, Step], Made]


def _elementwise(write: Callable[..., str]) -> Rule:
    """Return a rule for an operation that acts on every element alike."""

    def rule(writer: Writer, step: Step) -> Tensor:
        order = writer.order_of(step)
        return Tensor(write(writer, *(writer.ordered(operand, order) for operand in step.operands)), order)

    return rule


def _named(operation: str) -> Rule:
    return _elementwise(lambda writer, *names: writer.node(operation, *names))


def _one(writer: Writer) -> str:
    return writer.constant(np.float32(1))


def _keep(writer: Writer, step: Step) -> Tensor:
    operand = step.operands[0]
    assert isinstance(operand, int)
    return writer.tensors[operand]


def _cast(writer: Writer, step: Step) -> Tensor:
    order = writer.order_of(step)
    target = helper.np_dtype_to_tensor_dtype(np.dtype(step.parameters["new_dtype"]))
    return Tensor(writer.node("Cast", writer.ordered(step.operands[0], order), to=target), order)


def _integer_pow(writer: Writer, step: Step) -> Tensor:
    order, exponent = writer.order_of(step), writer.constant(np.float32(step.parameters["y"]))
    return Tensor(writer.node("Pow", writer.ordered(step.operands[0], order), exponent), order)


def _reshape(writer: Writer, step: Step) -> Tensor:
    sizes = writer.graph.shapes[step.results[0]]
    return Tensor(writer.reshaped(step, writer.plain(step.operands[0]), sizes), identity(len(sizes)))


def _broadcast(writer: Writer, step: Step) -> Tensor:
    sizes, axes = writer.graph.shapes[step.results[0]], step.parameters["broadcast_dimensions"]
    own, known = writer.graph.shape(step.operands[0]), writer.graph.known(step.operands[0])
    spread = tuple(own[axes.index(axis)] if axis in axes else 1 for axis in range(len(sizes)))
    if known is not None:
        name = writer.constant(known.reshape(spread))
    else:
        name = writer.reshaped(step, writer.plain(step.operands[0]), spread)
    if spread != tuple(sizes):
        name = writer.node("Expand", name, writer.sizes(step, sizes))
    return Tensor(name, identity(len(sizes)))


def _transpose(writer: Writer, step: Step) -> Tensor:
    permutation, tensor = tuple(step.parameters["permutation"]), _keep(writer, step)
    return Tensor(tensor.name, tuple(permutation.index(axis) for axis in tensor.order))


def _concatenate(writer: Writer, step: Step) -> Tensor:
    order = writer.order_of(step)
    names = [writer.ordered(operand, order) for operand in step.operands]
    return Tensor(writer.node("Concat", *names, axis=order.index(step.parameters["dimension"])), order)


def _slice(writer: Writer, step: Step) -> Tensor:
    tensor, shape = _keep(writer, step), writer.graph.shape(step.operands[0])
    starts, limits = step.parameters["start_indices"], step.parameters["limit_indices"]
    strides = step.parameters["strides"] or (1,) * len(starts)
    axes = [axis for axis, size in enumerate(shape) if (starts[axis], strides[axis]) != (0, 1) or limits[axis] != size]
    if any(is_symbolic(limits[axis]) for axis in axes):
        raise unsupported(step, "ONNX", "it cuts the batch")
    places = writer.integers([tensor.order.index(axis) for axis in axes])
    chosen = (writer.integers([values[axis] for axis in axes]) for values in (starts, limits))
    steps = writer.integers([strides[axis] for axis in axes])
    return Tensor(writer.node("Slice", tensor.name, *chosen, places, steps), tensor.order)


def _gather(writer: Writer, step: Step) -> Tensor:
    found = taken(writer.graph, step)
    if found is None:
        raise unsupported(step, "ONNX", "it takes more than places along one axis")
    axis, places = found
    name = writer.node("Gather", writer.plain(step.operands[0]), writer.constant(places.astype(np.int64)), axis=axis)
    return Tensor(name, identity(len(writer.graph.shapes[step.results[0]])))


def _tile(writer: Writer, step: Step) -> Tensor:
    order = identity(len(writer.graph.shapes[step.results[0]]))
    return Tensor(
        writer.node("Tile", writer.plain(step.operands[0]), writer.sizes(step, step.parameters["reps"])), order
    )


def _reverse(writer: Writer, step: Step) -> Tensor:
    tensor, axes = _keep(writer, step), step.parameters["dimensions"]
    ends = writer.integers([-1] * len(axes)), writer.integers([np.iinfo(np.int64).min] * len(axes))
    places = writer.integers([tensor.order.index(axis) for axis in axes])
    return Tensor(writer.node("Slice", tensor.name, *ends, places, ends[0]), tensor.order)


def _split(writer: Writer, step: Step) -> Made:
    tensor = _keep(writer, step)
    names = [f"t{len(writer.nodes)}_{number}" for number in range(len(step.results))]
    sizes, axis = writer.integers(step.parameters["sizes"]), tensor.order.index(step.parameters["axis"])
    return [Tensor(name, tensor.order) for name in writer.split("Split", tensor.name, sizes, results=names, axis=axis)]


def _unstack(writer: Writer, step: Step) -> Made:
    axis, name = step.parameters["axis"], writer.plain(step.operands[0])
    names = [f"t{len(writer.nodes)}_{number}" for number in range(len(step.results))]
    parts = writer.split("Split", name, writer.integers([1] * len(names)), results=names, axis=axis)
    order = identity(len(writer.graph.shapes[step.results[0]]))
    return [Tensor(writer.node("Squeeze", part, writer.integers(axis)), order) for part in parts]


def _pad(writer: Writer, step: Step) -> Tensor:
    tensor, edges = _keep(writer, step), step.parameters["padding_config"]
    if any(inside or low < 0 or high < 0 for low, high, inside in edges):
        raise unsupported(step, "ONNX", "it cuts edges off, or pads between places")
    margins = [edges[axis][side] for side in (0, 1) for axis in tensor.order]
    return Tensor(
        writer.node("Pad", tensor.name, writer.integers(margins), writer.plain(step.operands[1])), tensor.order
    )


def _reduce(operation: str) -> Rule:
    def rule(writer: Writer, step: Step) -> Tensor:
        tensor, axes = _keep(writer, step), step.parameters["axes"]
        places = writer.integers([tensor.order.index(axis) for axis in axes])
        left = sorted(set(tensor.order) - set(axes))
        order = tuple(left.index(axis) for axis in tensor.order if axis not in axes)
        return Tensor(writer.node(operation, tensor.name, places, keepdims=0), order)

    return rule


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


def _convolution(writer: Writer, step: Step) -> Tensor:
    of, numbers = step.parameters, step.parameters["dimension_numbers"]
    signal, kernel = step.operands
    if of["batch_group_count"] != 1:
        raise unsupported(step, "ONNX", "it groups the batch")
    if any(stretch != 1 for stretch in of["lhs_dilation"]):
        return _transposed_convolution(writer, step)
    name = writer.node(
        "Conv",
        writer.ordered(signal, tuple(numbers.lhs_spec)),
        writer.ordered(kernel, tuple(numbers.rhs_spec)),
        strides=list(of["window_strides"]),
        dilations=list(of["rhs_dilation"]),
        group=of["feature_group_count"],
        pads=_pads(of["padding"]),
    )
    return Tensor(name, tuple(numbers.out_spec))


def _transposed_convolution(writer: Writer, step: Step) -> Tensor:
    """Write a convolution of a dilated signal as a transposed convolution with the kernel turned around."""
    of, numbers = step.parameters, step.parameters["dimension_numbers"]
    signal, kernel = step.operands
    known = writer.graph.known(kernel)
    if known is None or of["feature_group_count"] != 1 or any(stride != 1 for stride in of["window_strides"]):
        raise unsupported(step, "ONNX", "its kernel, its groups or its strides")
    outputs, inputs, *places = numbers.rhs_spec
    turned = np.flip(known.transpose(inputs, outputs, *places), tuple(range(2, known.ndim)))
    reach = [(size - 1) * stretch for size, stretch in zip(turned.shape[2:], of["rhs_dilation"], strict=True)]
    margins = [(far - low, far - high) for far, (low, high) in zip(reach, of["padding"], strict=True)]
    if min(min(margin) for margin in margins) < 0:
        raise unsupported(step, "ONNX", "its padding is larger than its kernel")
    name = writer.node(
        "ConvTranspose",
        writer.ordered(signal, tuple(numbers.lhs_spec)),
        writer.constant(turned),
        strides=list(of["lhs_dilation"]),
        dilations=list(of["rhs_dilation"]),
        pads=_pads(margins),
    )
    return Tensor(name, tuple(numbers.out_spec))


def _pads(margins: Any) -> list[int]:
    return [int(margin[side]) for side in (0, 1) for margin in margins]


def _window(writer: Writer, step: Step) -> tuple[Tensor, dict[str, Any], float]:
    """Return the signal of a pooling, with batch and channels first, its attributes, and the places of a window."""
    of = step.parameters
    if any(stretch != 1 for stretch in of["base_dilation"]):
        raise unsupported(step, "ONNX", "it pools a stretched signal")
    sizes, strides, margins = of["window_dimensions"], of["window_strides"], of["padding"]
    free = [axis for axis, size in enumerate(sizes) if (size, strides[axis], *margins[axis]) == (1, 1, 0, 0)]
    if len(free) < 2:  # noqa: PLR2004  (batch and channels)
        raise unsupported(step, "ONNX", "it pools the batch or the channels")
    places = [axis for axis in range(len(sizes)) if axis not in (free[0], free[-1])]
    order = (free[0], free[-1], *places)
    attributes = {
        "kernel_shape": [sizes[axis] for axis in places],
        "strides": [strides[axis] for axis in places],
        "pads": _pads([margins[axis] for axis in places]),
    }
    if any(of["window_dilation"][axis] != 1 for axis in places):
        raise unsupported(step, "ONNX", "its window is stretched")
    return Tensor(writer.ordered(step.operands[0], order), order), attributes, float(np.prod(sizes))


def _max_pool(writer: Writer, step: Step) -> Tensor:
    tensor, attributes, _ = _window(writer, step)
    return Tensor(writer.node("MaxPool", tensor.name, **attributes), tensor.order)


def _sum_pool(writer: Writer, step: Step) -> Tensor:
    tensor, attributes, places = _window(writer, step)
    mean = writer.node("AveragePool", tensor.name, count_include_pad=1, **attributes)
    return Tensor(writer.node("Mul", mean, writer.constant(np.float32(places))), tensor.order)


def _select(writer: Writer, which: str, first: str, second: str) -> str:
    return writer.node("Where", which, second, first)


def _clamp(writer: Writer, low: str, x: str, high: str) -> str:
    return writer.node("Min", writer.node("Max", x, low), high)


_NAMED = {
    "add": "Add",
    "add_any": "Add",
    "sub": "Sub",
    "mul": "Mul",
    "div": "Div",
    "pow": "Pow",
    "max": "Max",
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
    **dict.fromkeys(("stop_gradient", "copy", "copy_p", "optimization_barrier"), _keep),
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshape),
    "ne": _elementwise(lambda writer, a, b: writer.node("Not", writer.node("Equal", a, b))),
    "square": _elementwise(lambda writer, x: writer.node("Mul", x, x)),
    "rsqrt": _elementwise(lambda writer, x: writer.node("Reciprocal", writer.node("Sqrt", x))),
    "log1p": _elementwise(lambda writer, x: writer.node("Log", writer.node("Add", x, _one(writer)))),
    "expm1": _elementwise(lambda writer, x: writer.node("Sub", writer.node("Exp", x), _one(writer))),
    "erfc": _elementwise(lambda writer, x: writer.node("Sub", _one(writer), writer.node("Erf", x))),
    "select_n": _elementwise(_select),
    "clamp": _elementwise(_clamp),
    "integer_pow": _integer_pow,
    "convert_element_type": _cast,
    "broadcast_in_dim": _broadcast,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "slice": _slice,
    "gather": _gather,
    "tile": _tile,
    "rev": _reverse,
    "split": _split,
    "unstack": _unstack,
    "pad": _pad,
    **{f"reduce_{name}": _reduce(f"Reduce{name.title()}") for name in ("sum", "max", "min", "prod")},
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
    "reduce_window_max": _max_pool,
    "reduce_window_sum": _sum_pool,
}
