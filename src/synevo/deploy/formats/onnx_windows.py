"""Rules for convolutions and pooling, in operations of ONNX, opset 18."""

from typing import Any

import numpy as np

from synevo.deploy.formats.graph import is_symbolic, unsupported
from synevo.deploy.formats.onnx_writer import Tensor, Writer
from synevo.wiring.tracing import Step


def convolution(writer: Writer, step: Step) -> Tensor:
    """Write a convolution, or a transposed one."""
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
        pads=_pads(step, of["padding"]),
    )
    return Tensor(name, tuple(numbers.out_spec))


def _transposed_convolution(writer: Writer, step: Step) -> Tensor:
    """Write a convolution of a dilated signal as a transposed convolution with the kernel turned around."""
    of, numbers = step.parameters, step.parameters["dimension_numbers"]
    signal, kernel = step.operands
    groups = of["feature_group_count"]
    known = writer.graph.known(kernel)
    if known is None or any(stride != 1 for stride in of["window_strides"]):
        raise unsupported(step, "ONNX", "it is stretched, and its kernel is computed or it has strides")
    outputs, inputs, *places = numbers.rhs_spec
    split = known.transpose(outputs, inputs, *places).reshape(groups, -1, known.shape[inputs], *_of(known, places))
    turned = np.flip(split.swapaxes(1, 2), tuple(range(3, split.ndim)))
    turned = turned.reshape(-1, *turned.shape[2:])
    reach = [(size - 1) * stretch for size, stretch in zip(turned.shape[2:], of["rhs_dilation"], strict=True)]
    margins = [(far - low, far - high) for far, (low, high) in zip(reach, of["padding"], strict=True)]
    name = writer.node(
        "ConvTranspose",
        writer.ordered(signal, tuple(numbers.lhs_spec)),
        writer.constant(turned),
        strides=list(of["lhs_dilation"]),
        dilations=list(of["rhs_dilation"]),
        group=groups,
        pads=_pads(step, [(max(low, 0), max(high, 0)) for low, high in margins]),
    )
    if any(side < 0 for margin in margins for side in margin):
        edges = _pads(step, [(0, 0), (0, 0), *((max(-low, 0), max(-high, 0)) for low, high in margins)])
        name = writer.node("Pad", name, writer.integers(edges))
    return Tensor(name, tuple(numbers.out_spec))


def _of(array: Any, axes: Any) -> list[int]:
    return [array.shape[axis] for axis in axes]


def _pads(step: Step, margins: Any) -> list[int]:
    if any(is_symbolic(side) for margin in margins for side in margin):
        raise unsupported(step, "ONNX", "its padding depends on a size that is free")
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
        "pads": _pads(step, [margins[axis] for axis in places]),
    }
    if any(of["window_dilation"][axis] != 1 for axis in places):
        raise unsupported(step, "ONNX", "its window is stretched")
    return Tensor(writer.ordered(step.operands[0], order), order), attributes, float(np.prod(sizes))


def max_pool(writer: Writer, step: Step) -> Tensor:
    """Write a maximum in windows."""
    tensor, attributes, _ = _window(writer, step)
    return Tensor(writer.node("MaxPool", tensor.name, **attributes), tensor.order)


def sum_pool(writer: Writer, step: Step) -> Tensor:
    """Write a sum in windows."""
    tensor, attributes, places = _window(writer, step)
    mean = writer.node("AveragePool", tensor.name, count_include_pad=1, **attributes)
    return Tensor(writer.node("Mul", mean, writer.constant(np.float32(places))), tensor.order)
