"""Rules, one for each primitive, that write a step of a JAX program in operations of TensorFlow."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
from jax.lax import GatherScatterMode

from synevo.deploy.formats.graph import Graph, Sizes, axis_taken, is_symbolic, taken, unsupported
from synevo.wiring.tracing import Step

LETTERS = "abcdefghijklmnopqrstuvwxyz"
PICTURE = 4
"""The number of axes of TensorFlow's convolutions and poolings: batch, height, width, channels."""


@dataclass(frozen=True)
class Context:
    """The context of a rule: the graph, the step, and the number of images as a tensor."""

    graph: Graph
    step: Step
    batch: Any

    @property
    def sizes(self) -> Sizes:
        """The sizes of the step's result."""
        return self.graph.shapes[self.step.results[0]]

    def of(self, name: str) -> Any:
        """Return a parameter of the step."""
        return self.step.parameters[name]

    def refuse(self, why: str = "") -> Exception:
        """Return the error for a step without a counterpart."""
        return unsupported(self.step, "TFLite", why)


Rule: TypeAlias = Callable[..., Any]


def _plain(operation: Callable[..., Any]) -> Rule:
    """Return a rule for an operation that acts on every element alike."""

    def rule(context: Context, *operands: Any) -> Any:
        del context
        return operation(*operands)

    return rule


def _reshape(context: Context, x: Any) -> Any:
    return tf.reshape(x, _one_open(context, context.sizes))


def _one_open(context: Context, sizes: Sizes) -> list[int]:
    """Return a shape with -1 for its symbolic size; raise ExportError if there are two."""
    if sum(map(is_symbolic, sizes)) > 1:
        raise context.refuse("two of its sizes depend on the number of images")
    return [-1 if is_symbolic(size) else int(size) for size in sizes]


def _broadcast(context: Context, x: Any) -> Any:
    sizes, axes = context.sizes, context.of("broadcast_dimensions")
    own = context.graph.shape(context.step.operands[0])
    spread = tuple(own[axes.index(axis)] if axis in axes else 1 for axis in range(len(sizes)))
    x = tf.reshape(x, _one_open(context, spread))
    if spread == tuple(sizes):
        return x
    return tf.broadcast_to(x, _counted(context, sizes))


def _counted(context: Context, sizes: Sizes) -> Any:
    """Return sizes as a tensor, with the number of images for the symbolic size n; raise ExportError for others."""
    if any(str(size) != "n" for size in sizes if is_symbolic(size)):
        raise context.refuse(f"its size is {sizes}")
    return tf.stack([context.batch if is_symbolic(size) else size for size in sizes])


def _reduce(operation: Callable[..., Any]) -> Rule:
    def rule(context: Context, x: Any) -> Any:
        return operation(x, axis=list(context.of("axes")))

    return rule


def _slice(context: Context, x: Any) -> Any:
    starts, limits = context.of("start_indices"), context.of("limit_indices")
    strides = context.of("strides") or (1,) * len(starts)
    shape = context.graph.shape(context.step.operands[0])
    whole = [limit == size for limit, size in zip(limits, shape, strict=True)]
    if any(is_symbolic(limit) and not all_ for limit, all_ in zip(limits, whole, strict=True)):
        raise context.refuse("it cuts the batch")
    cuts = zip(starts, limits, strides, whole, strict=True)
    return x[tuple(slice(start, None if all_ else limit, stride) for start, limit, stride, all_ in cuts)]


def _gather(context: Context, x: Any, places: Any) -> Any:
    found = taken(context.graph, context.step)
    if found is not None:
        axis, known = found
        return tf.gather(x, tf.constant(known, tf.int32), axis=axis)
    one = axis_taken(context.graph, context.step)
    if one is None or is_symbolic(context.graph.shape(context.step.operands[0])[one]):
        raise context.refuse("it takes more than places along one axis")
    return _looked_up(context, x, tf.cast(places[..., 0], tf.int32), one)


def _looked_up(context: Context, x: Any, places: Any, axis: int) -> Any:
    """Take slices along an axis at computed places; those outside have a value, or are limited, as in JAX."""
    size = context.graph.shape(context.step.operands[0])[axis]
    limited = tf.clip_by_value(places, 0, size - 1)
    made = tf.gather(x, limited, axis=axis)
    if GatherScatterMode.from_any(context.of("mode")) != GatherScatterMode.FILL_OR_DROP:
        return made
    if not x.dtype.is_floating:
        raise context.refuse("integers at places outside have a value of JAX's own")
    value = np.nan if context.of("fill_value") is None else context.of("fill_value")
    inside = tf.equal(limited, places)
    for _ in range(len(x.shape) - 1 - axis):
        inside = tf.expand_dims(inside, -1)
    return tf.where(inside, made, tf.constant(value, x.dtype))


def _pad(context: Context, x: Any, value: Any) -> Any:
    edges = context.of("padding_config")
    if any(inside or low < 0 or high < 0 for low, high, inside in edges):
        raise context.refuse("it cuts edges off, or pads between places")
    return tf.pad(x, [edge[:2] for edge in edges], constant_values=value)


def _dot(context: Context, left: Any, right: Any) -> Any:
    (left_axes, right_axes), (left_batch, right_batch) = context.of("dimension_numbers")
    ranks = len(left.shape), len(right.shape)
    if ranks == (2, 2) and not left_batch:
        return tf.matmul(left, right, transpose_a=left_axes[0] == 0, transpose_b=right_axes[0] == 1)
    first, rest = list(LETTERS[: ranks[0]]), iter(LETTERS[ranks[0] :])
    shared = dict(zip((*right_axes, *right_batch), (*left_axes, *left_batch), strict=True))
    second = [first[shared[axis]] if axis in shared else next(rest) for axis in range(ranks[1])]
    free = [letter for axis, letter in enumerate(first) if axis not in (*left_axes, *left_batch)]
    result = [first[axis] for axis in left_batch] + free + [letter for letter in second if letter not in first]
    return tf.einsum(f"{''.join(first)},{''.join(second)}->{''.join(result)}", left, right)


def _convolution(context: Context, signal: Any, kernel: Any) -> Any:
    """Convolve with channels last, group by group if there are several, and transpose to the step's order of axes."""
    numbers, groups = context.of("dimension_numbers"), context.of("feature_group_count")
    if len(signal.shape) != PICTURE or context.of("batch_group_count") != 1:
        raise context.refuse("it is not of pictures, or groups the batch")
    x = tf.transpose(signal, [numbers.lhs_spec[axis] for axis in (0, 2, 3, 1)])
    outputs, inputs, *places = numbers.rhs_spec
    kernel = tf.transpose(kernel, [*places, inputs, outputs])
    back = [(0, 2, 3, 1).index(place) for place in np.argsort(numbers.out_spec).tolist()]
    if any(stretch != 1 for stretch in context.of("lhs_dilation")):
        return tf.transpose(_transposed_convolution(context, x, kernel), back)
    x, padding = _padded(x, context.of("padding"), kernel, context)
    strides, stretches = list(context.of("window_strides")), list(context.of("rhs_dilation"))
    if groups > 1 and groups == x.shape[-1]:
        height, width, _, filters = kernel.shape
        kernel = tf.reshape(kernel, [height, width, groups, filters // groups])
        y = tf.nn.depthwise_conv2d(x, kernel, [1, *strides, 1], padding, dilations=stretches)
    else:
        pairs = zip(tf.split(x, groups, axis=-1), tf.split(kernel, groups, axis=-1), strict=True)
        y = [tf.nn.conv2d(part, own, strides, padding, dilations=stretches) for part, own in pairs]
        y = tf.concat(y, axis=-1) if groups > 1 else y[0]
    return tf.transpose(y, back)


def _transposed_convolution(context: Context, x: Any, kernel: Any) -> Any:
    """Convolve a dilated signal: a transposed convolution with the kernel turned around, without its margins."""
    plain = (context.of("feature_group_count"), *context.of("rhs_dilation"), *context.of("window_strides"))
    cuts = [
        (size - 1 - low, size - 1 - high)
        for size, (low, high) in zip(kernel.shape[:2], context.of("padding"), strict=True)
    ]
    if set(plain) != {1} or min(min(cut) for cut in cuts) < 0:
        raise context.refuse("its groups, its strides or its padding")
    strides, turned = list(context.of("lhs_dilation")), tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
    sides = zip(x.shape[1:3], kernel.shape[:2], strides, strict=True)
    whole = [(size - 1) * stride + places for size, places, stride in sides]
    y = tf.nn.conv2d_transpose(x, turned, tf.stack([context.batch, *whole, turned.shape[2]]), strides, "VALID")
    rows, columns = (slice(low, side - high) for side, (low, high) in zip(whole, cuts, strict=True))
    return y[:, rows, columns, :]


def _padded(x: Any, margins: Any, kernel: Any, context: Context) -> tuple[Any, str]:
    """Return the signal and the remaining padding, SAME or VALID; it is padded here if SAME would differ."""
    rows = zip(x.shape[1:3], kernel.shape[:2], context.of("window_strides"), context.of("rhs_dilation"), strict=True)
    same = []
    for size, places, stride, stretch in rows:
        total = max((-(-size // stride) - 1) * stride + (places - 1) * stretch + 1 - size, 0)
        same.append((total // 2, total - total // 2))
    if [tuple(margin) for margin in margins] == same:
        return x, "SAME"
    if min(min(margin) for margin in margins) < 0:
        raise context.refuse("it cuts edges off")
    if any(max(margin) > 0 for margin in margins):
        x = tf.pad(x, [(0, 0), *margins, (0, 0)])
    return x, "VALID"


def _pool(operation: Callable[..., Any], edge: float) -> Rule:
    def rule(context: Context, x: Any) -> Any:
        sizes, strides, margins = (context.of(name) for name in ("window_dimensions", "window_strides", "padding"))
        stretches = (*context.of("base_dilation"), *context.of("window_dilation"))
        if len(sizes) != PICTURE or set(stretches) != {1} or (sizes[0], sizes[3], strides[0], strides[3]) != (1,) * 4:
            raise context.refuse("its window is stretched, or not of height and width alone")
        if any(max(margin) > 0 for margin in margins):
            x = tf.pad(x, margins, constant_values=edge)
        return operation(x, sizes[1:3], strides[1:3], "VALID")

    return rule


def _mean_pool_times_places(x: Any, sizes: Any, strides: Any, padding: str) -> Any:
    return tf.nn.avg_pool2d(x, sizes, strides, padding) * float(np.prod(sizes))


RULES: dict[str, Rule] = {
    **{
        name: _plain(getattr(tf.math, name))
        for name in ("abs", "sign", "floor", "ceil", "exp", "log", "log1p", "expm1", "sqrt", "rsqrt", "tanh", "erf")
    },
    **{name: _plain(getattr(tf.math, name)) for name in ("erfc", "sin", "cos", "square", "pow")},
    **dict.fromkeys(
        ("stop_gradient", "copy", "copy_p", "optimization_barrier", "sharding_constraint"), _plain(lambda x: x)
    ),
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshape),
    **dict.fromkeys(("add", "add_any"), _plain(tf.add)),
    "sub": _plain(tf.subtract),
    "mul": _plain(tf.multiply),
    "div": _plain(tf.divide),
    "neg": _plain(tf.negative),
    "max": _plain(tf.maximum),
    "min": _plain(tf.minimum),
    "logistic": _plain(tf.sigmoid),
    "eq": _plain(tf.equal),
    "ne": _plain(tf.not_equal),
    "lt": _plain(tf.less),
    "le": _plain(tf.less_equal),
    "gt": _plain(tf.greater),
    "ge": _plain(tf.greater_equal),
    "and": _plain(tf.logical_and),
    "or": _plain(tf.logical_or),
    "not": _plain(tf.logical_not),
    "select_n": _plain(lambda which, first, second: tf.where(which, second, first)),
    "clamp": _plain(lambda low, x, high: tf.minimum(tf.maximum(x, low), high)),
    "integer_pow": lambda context, x: tf.pow(x, tf.constant(context.of("y"), x.dtype)),
    "convert_element_type": lambda context, x: tf.cast(x, np.dtype(context.of("new_dtype"))),
    "broadcast_in_dim": _broadcast,
    "transpose": lambda context, x: tf.transpose(x, context.of("permutation")),
    "concatenate": lambda context, *parts: tf.concat(parts, axis=context.of("dimension")),
    "slice": _slice,
    "gather": _gather,
    "tile": lambda context, x: tf.tile(x, _counted(context, context.of("reps"))),
    "rev": lambda context, x: tf.reverse(x, list(context.of("dimensions"))),
    "unstack": lambda context, x: tf.unstack(x, num=len(context.step.results), axis=context.of("axis")),
    "stack": lambda context, *parts: tf.stack(parts, axis=context.of("axis")),
    "split": lambda context, x: list(tf.split(x, list(context.of("sizes")), axis=context.of("axis"))),
    "pad": _pad,
    "reduce_sum": _reduce(tf.reduce_sum),
    "reduce_max": _reduce(tf.reduce_max),
    "reduce_min": _reduce(tf.reduce_min),
    "reduce_prod": _reduce(tf.reduce_prod),
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
    "reduce_window_max": _pool(tf.nn.max_pool2d, -np.inf),
    "reduce_window_sum": _pool(_mean_pool_times_places, 0.0),
}
