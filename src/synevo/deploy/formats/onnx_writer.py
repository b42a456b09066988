"""Writing an ONNX graph: its nodes, its constants, and the order in which the axes of its tensors are.

JAX keeps channels last, ONNX wants them second. A tensor here may therefore have its axes in another order than the
value that it stands for; orders travel along with the signal and are only undone where a step needs it (a flatten), so
that one transposition of the pixels is usually all there is.
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
    """A tensor of the ONNX graph whose axis i is axis `order[i]` of the value that it stands for."""

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
        """The name of a constant."""
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.array(array, order="C"), name))
        return name

    def integers(self, values: Any) -> str:
        """The name of a constant vector of integers, as axes and shapes are."""
        return self.constant(np.asarray(values, np.int64).reshape(-1))

    def ordered(self, operand: Operand, order: Order) -> str:
        """The name of an operand with its axes in this order; scalars have none."""
        known = self.graph.known(operand)
        if known is not None:
            return self.constant(known.transpose(order) if known.ndim else known)
        assert isinstance(operand, int)
        tensor = self.tensors[operand]
        if tensor.order in (order, ()):
            return tensor.name
        return self.node("Transpose", tensor.name, perm=[tensor.order.index(axis) for axis in order])

    def plain(self, operand: Operand) -> str:
        """The name of an operand with its axes as JAX has them."""
        return self.ordered(operand, identity(len(self.graph.shape(operand))))

    def order_of(self, step: Step) -> Order:
        """The order of axes that the operands of a step are in: that of the first that is not as JAX has it."""
        rank = max(len(self.graph.shape(operand)) for operand in step.operands)
        for operand in step.operands:
            tensor = self.tensors.get(operand) if isinstance(operand, int) else None
            if tensor is not None and len(tensor.order) == rank and tensor.order != identity(rank):
                return tensor.order
        return identity(rank)

    def sizes(self, step: Step, sizes: Sizes) -> str:
        """The name of a shape, whose symbolic sizes are multiples of the number of images."""
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
        """The name of a tensor, whose axes are as JAX has them, in another shape."""
        symbolic = [place for place, size in enumerate(sizes) if is_symbolic(size)]
        if len(symbolic) == 1:
            sizes = tuple(-1 if place == symbolic[0] else size for place, size in enumerate(sizes))
        return self.node("Reshape", name, self.sizes(step, sizes))


def identity(rank: int) -> Order:
    """The axes as JAX has them."""
    return tuple(range(rank))
