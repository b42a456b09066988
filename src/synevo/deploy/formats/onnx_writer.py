"""The writer of an ONNX graph: its nodes, its constants, and the order of the axes of each tensor.

JAX keeps channels last, ONNX wants them second. So a tensor may have its axes in another order than its value in JAX.
The order is noted with the tensor and undone only where a step needs it (a flatten), so that usually the pixels alone
are transposed, once.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from onnx import helper, numpy_helper

from synevo.deploy.formats.graph import Graph, Sizes, is_symbolic, unsupported
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
        self.tensors = {graph.pixels: Tensor("pixels", identity(len(graph.shapes[graph.pixels])))}
        self._batch = ""

    def node(self, operation: str, *inputs: str, result: str = "", **attributes: Any) -> str:
        """Add a node and return the name of its only result."""
        return self.split(operation, *inputs, results=[result or f"t{len(self.nodes)}"], **attributes)[0]

    def split(self, operation: str, *inputs: str, results: list[str], **attributes: Any) -> list[str]:
        """Add a node of several results and return their names."""
        self.nodes.append(helper.make_node(operation, inputs, results, **attributes))
        return results

    def constant(self, array: Any) -> str:
        """Add a constant and return its name."""
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def integers(self, values: Any) -> str:
        """Add a constant vector of integers, such as axes or a shape, and return its name."""
        return self.constant(np.asarray(values, np.int64).reshape(-1))

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

    def sizes(self, step: Step, sizes: Sizes) -> str:
        """Return the name of a shape; raise ExportError if a symbolic size is no multiple of the number of images."""
        if not any(map(is_symbolic, sizes)):
            return self.integers(sizes)
        if not self._batch:
            self._batch = self.node("Shape", "pixels", start=0, end=1)
        pieces = []
        for size in sizes:
            factor, star, batch = str(size).rpartition("*")
            if not is_symbolic(size):
                pieces.append(self.integers(size))
            elif batch == "n" and (not star or factor.isdigit()):
                pieces.append(self.node("Mul", self._batch, self.integers(int(factor))) if star else self._batch)
            else:
                raise unsupported(step, "ONNX", f"a size is {size}")
        return self.node("Concat", *pieces, axis=0)

    def reshaped(self, step: Step, name: str, sizes: Sizes) -> str:
        """Reshape the tensor `name`, with its axes in JAX's order, and return the name of the result."""
        symbolic = [place for place, size in enumerate(sizes) if is_symbolic(size)]
        if len(symbolic) == 1:
            sizes = tuple(-1 if place == symbolic[0] else size for place, size in enumerate(sizes))
        return self.node("Reshape", name, self.sizes(step, sizes))


def identity(rank: int) -> Order:
    """Return JAX's order of axes: 0 … rank-1."""
    return tuple(range(rank))
