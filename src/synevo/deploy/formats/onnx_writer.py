"""The writer of an ONNX graph: its nodes, its constants, and the order of the axes of each tensor.

JAX keeps channels last, ONNX wants them second. So a tensor may have its axes in another order than its value in JAX.
The order is noted with the tensor and undone only where a step needs it (a flatten), so that usually the pixels alone
are transposed, once.
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from onnx import helper, numpy_helper

from synevo.deploy.formats.graph import Graph, Sizes, is_symbolic
from synevo.wiring.tracing import Operand, Step

Order: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor of the ONNX graph; its axis i is axis `order[i]` of its value in JAX."""

    name: str
    order: Order


class Writer:
    """Collects the nodes and the constants of an ONNX graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.tensors = {
            value: Tensor(leaf.name, identity(len(leaf.shape)))
            for value, leaf in zip(graph.inputs, graph.given, strict=True)
        }
        self._sizes: dict[str, str] = {}

    def node(self, operation: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its only result."""
        return self.split(operation, *inputs, results=[result or f"t:{len(self.nodes)}"], **attributes)[0]

    def split(self, operation: str, *inputs: str, results: list[str], **attributes: Any) -> list[str]:
        """Add a node of several results and return their names."""
        self.nodes.append(helper.make_node(operation, inputs, results, **attributes))
        return results

    def constant(self, array: Any) -> str:
        """Add a constant and return its name."""
        name = f"c:{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def integers(self, values: Any) -> str:
        """Add a constant vector of integers, such as axes or a shape, and return its name."""
        return self.constant(np.asarray(values, np.int64).reshape(-1))

    def tensor(self, operand: Operand) -> Tensor:
        """Return an operand with its axes in the order that it has."""
        if self.graph.known(operand) is not None:
            return Tensor(self.plain(operand), identity(len(self.graph.shape(operand))))
        assert isinstance(operand, int)
        return self.tensors[operand]

    def ordered(self, operand: Operand, order: Order) -> str:
        """Return the name of an operand with its axes in this order, transposed if needed; a scalar stays as it is."""
        known = self.graph.known(operand)
        if known is not None:
            return self.constant(known.transpose(order) if known.ndim else known)
        assert isinstance(operand, int)
        tensor = self.tensors[operand]
        if tensor.order in (order, ()):
            return tensor.name
        return self.node("Transpose", tensor.name, perm=[tensor.order.index(axis) for axis in order])

    def plain(self, operand: Operand) -> str:
        """Return the name of an operand with its axes in JAX's order."""
        return self.ordered(operand, identity(len(self.graph.shape(operand))))

    def order_of(self, step: Step) -> Order:
        """Return the order of axes for a step: that of its first operand in another order than JAX's, or JAX's."""
        rank = max(len(self.graph.shape(operand)) for operand in step.operands)
        for operand in step.operands:
            tensor = self.tensors.get(operand) if isinstance(operand, int) else None
            if tensor is not None and len(tensor.order) == rank and tensor.order != identity(rank):
                return tensor.order
        return identity(rank)

    def cast(self, name: str, dtype: Any) -> str:
        """Return the name of a tensor as numbers of this dtype."""
        return self.node("Cast", name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def choice(self, which: str, yes: str, no: str, dtype: Any) -> str:
        """Return the name of the choice between two tensors of this dtype, by truth values."""
        kind = np.dtype(dtype)
        if kind in _CHOSEN:
            return self.node("Where", which, yes, no)
        wide = np.dtype(np.float32 if jnp.issubdtype(kind, jnp.inexact) else np.int64)
        return self.cast(self.node("Where", which, self.cast(yes, wide), self.cast(no, wide)), kind)

    def sizes(self, sizes: Sequence[Any]) -> str:
        """Return the name of a vector of sizes, such as a shape."""
        if not any(map(is_symbolic, sizes)):
            return self.integers(sizes)
        pieces = [self._size(size) if is_symbolic(size) else self.integers(size) for size in sizes]
        return self.node("Concat", *pieces, axis=0)

    def _size(self, size: Any) -> str:
        """Return the name of a vector of a symbolic size alone."""
        text = str(size)
        if text not in self._sizes:
            self._sizes[text] = self._computed(ast.parse(text.replace("^", "**"), mode="eval").body)
        return self._sizes[text]

    def _computed(self, expression: ast.expr) -> str:
        """Write an expression of sizes: names, whole numbers, + - *, powers, and floordiv, mod, max, min."""
        match expression:
            case ast.Constant(value=int(value)):
                return self.integers(value)
            case ast.Name(id=name):
                return self._symbol(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.node("Neg", self._computed(operand))
            case ast.BinOp(left=left, op=operator, right=right):
                return self.node(_OPERATORS[type(operator)], self._computed(left), self._computed(right))
            case ast.Call(func=ast.Name(id=name), args=arguments):
                first, second = map(self._computed, arguments)
                return self.node(_FUNCTIONS[name], first, second)
        raise KeyError(ast.unparse(expression))

    def _symbol(self, name: str) -> str:
        """Return the name of a vector of the size with a name alone, which is read from an input."""
        for leaf in self.graph.given:
            for axis, size in enumerate(leaf.shape):
                factor, _, symbol = str(size).rpartition("*")
                if symbol == name and not isinstance(size, int):
                    whole = self.node("Shape", leaf.name, start=axis, end=axis + 1)
                    return self.node("Div", whole, self.integers(int(factor))) if factor else whole
        raise KeyError(name)

    def reshaped(self, name: str, sizes: Sizes) -> str:
        """Reshape the tensor `name`, with its axes in JAX's order, and return the name of the result."""
        symbolic = [place for place, size in enumerate(sizes) if is_symbolic(size)]
        if len(symbolic) == 1:
            sizes = tuple(-1 if place == symbolic[0] else size for place, size in enumerate(sizes))
        return self.node("Reshape", name, self.sizes(sizes))


_CHOSEN = {np.dtype(kind) for kind in (np.float32, np.float64, np.int32, np.int64, np.uint8)}
"""The dtypes between which ONNX Runtime chooses on a CPU."""

_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.Pow: "Pow"}

_FUNCTIONS = {"floordiv": "Div", "mod": "Mod", "max": "Max", "min": "Min"}
"""Functions of sizes, which are never negative, so that a division towards zero is one downwards."""


def identity(rank: int) -> Order:
    """Return JAX's order of axes: 0 … rank-1."""
    return tuple(range(rank))
