"""How a network uses its arrays, read from its program: which convolutions are transposed, and what is flattened.

Two frameworks may use the same matrix in another way although its shape is the same. PyTorch flattens a map as
[channels, height, width] and Flax as [height, width, channels]. A transposed convolution turns its kernel, or does not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from flax import nnx

from synevo.model.network import Inputs, Network, put_together
from synevo.wiring.programs import program_of
from synevo.wiring.tracing import Program, Step

_ELEMENTWISE = {
    *("abs", "add", "clamp", "convert_element_type", "copy", "div", "erf", "erf_inv", "exp", "integer_pow", "log"),
    *("log1p", "logistic", "max", "min", "mul", "neg", "pow", "rsqrt", "select_n", "sign", "sqrt", "square"),
    *("stop_gradient", "sub", "tanh"),
}

_KEEPING = {"convert_element_type", "copy", "reshape", "rev", "transpose"}
"""Steps after which an array is still that array."""


@dataclass(frozen=True)
class Use:
    """How an array is used: the number of the first step that reads it, and what its layout depends on.

    `convolves` is whether it is a kernel of a convolution, `transposed` whether this is a transposed one, and `turned`
    whether its kernel is turned before it is used (Flax: `transpose_kernel=True`). `flattened` is the shape [height,
    width, channels] of a map that is flattened in front of a matrix, where the order of its numbers matters.
    """

    order: int
    convolves: bool = False
    transposed: bool = False
    turned: bool = False
    flattened: tuple[int, ...] | None = None


def uses(network: Network, inputs: Inputs) -> dict[str, Use]:
    """Return how a network uses each array that its outputs depend on, for inputs of these shapes."""
    program = program_of(network, inputs)
    makers = {result: step for step in program.steps for result in step.results}
    names = {value: name for name, value in program.arrays.items()}
    found: dict[str, Use] = {}
    for order, step in enumerate(program.steps):
        for place, operand in enumerate(step.operands) if step.primitive not in _KEEPING else ():
            value, passed = _origin(makers, operand)
            if isinstance(value, int) and value in names:
                use = _use(program, makers, step, place, Use(order, turned="rev" in passed))
                found[names[value]] = _both(found.get(names[value]), use)
    stated = {name: replace(found[name], transposed=True, turned=turned) for name, turned in _transposed(network)}
    return found | stated


def _both(first: Use | None, second: Use) -> Use:
    """Return what two uses of one array say about it."""
    if first is None:
        return second
    return Use(
        first.order,
        first.convolves or second.convolves,
        first.transposed or second.transposed,
        first.turned or second.turned,
        first.flattened or second.flattened,
    )


def _transposed(network: Network) -> list[tuple[str, bool]]:
    """Return the kernels of Flax's transposed convolutions, and whether they are turned."""
    return [
        ("/".join(map(str, (*path, "kernel"))), bool(module.transpose_kernel))
        for path, module in nnx.iter_modules(put_together(network))
        if isinstance(module, nnx.ConvTranspose)
    ]


def lists_of(network: Network) -> set[tuple[str, ...]]:
    """Return the paths of the lists of layers in Flax's `Sequential`, for which PyTorch has no name."""
    return {
        (*map(str, path), "layers")
        for path, module in nnx.iter_modules(put_together(network))
        if isinstance(module, nnx.Sequential)
    }


def _origin(makers: Mapping[int, Step], operand: Any) -> tuple[Any, set[str]]:
    """Return the value that an operand was before it was turned or cast, and the steps that did so."""
    passed = set()
    while isinstance(operand, int) and operand in makers and makers[operand].primitive in _KEEPING:
        passed.add(makers[operand].primitive)
        operand = makers[operand].operands[0]
    return operand, passed


def _use(program: Program, makers: Mapping[int, Step], step: Step, place: int, use: Use) -> Use:
    """Return how a step uses the operand at a place, of which the order and the turning are known."""
    if step.primitive == "conv_general_dilated" and place == 1:
        apart = any(one > 1 for one in step.parameters["lhs_dilation"])
        return replace(use, convolves=True, transposed=apart or use.turned)
    if step.primitive == "dot_general" and place == 1:
        ((left, _), _) = step.parameters["dimension_numbers"]
        value = step.operands[0]
        if isinstance(value, int) and tuple(left) == (len(program.shapes[value]) - 1,):
            return replace(use, flattened=_flattened(program, makers, value))
    return use


def _flattened(program: Program, makers: Mapping[int, Step], value: Any) -> tuple[int, ...] | None:
    """Return the shape of the map, without its examples, that was flattened to a value, where its order matters."""
    shapes = program.shapes
    while isinstance(value, int) and value in makers:
        step = makers[value]
        if step.primitive == "reshape":
            (before,) = step.operands
            shape = shapes[before] if isinstance(before, int) else ()
            if len(shape) > 2 and shapes[value][-1] > shape[-1] > 1:  # noqa: PLR2004
                return None if _channels_first(makers, before) else shape[1:]
            value = before
        elif step.primitive in _ELEMENTWISE:
            same = [one for one in step.operands if isinstance(one, int) and shapes[one] == shapes[value]]
            value = same[-1] if same else None
        else:
            return None
    return None


def _channels_first(makers: Mapping[int, Step], value: Any) -> bool:
    """Return whether a map was brought into the order of PyTorch before it was flattened."""
    step = makers.get(value)
    if step is None or step.primitive != "transpose":
        return False
    order = tuple(step.parameters["permutation"])
    return order == (0, len(order) - 1, *range(1, len(order) - 1))
