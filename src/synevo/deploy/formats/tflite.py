"""TFLite: the graph in TensorFlow's operations, converted by TensorFlow's converter, run by the LiteRT interpreter.

TensorFlow keeps channels last, as JAX does, so steps are translated without a change of axes.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from synevo.deploy.formats.graph import Graph, graph_of, unsupported
from synevo.deploy.formats.tflite_rules import RULES, Context
from synevo.deploy.interface import Leaf
from synevo.deploy.reload import Reloaded
from synevo.wiring.tracing import Operand


def write(reloaded: Reloaded) -> bytes:
    """Return the content of a TFLite file with the model, whose inputs and outputs are those of its interface.

    Raises:
        ExportError: if a step has no counterpart in TensorFlow; the message names the line of the user's model.
    """
    return bytes(converter_of(graph_of(reloaded)).convert())


def converter_of(graph: Graph, dtype: Any = None) -> Any:
    """Return TensorFlow's converter for a graph, with inputs of this `dtype` or of their own.

    Signatures name arrays `input_000`, `input_001`, … and `output_000`, …, since the names of TensorFlow are no paths.
    """
    specs = [
        tf.TensorSpec((None, *leaf.shape[1:]), dtype or np.dtype(leaf.dtype), name=name)
        for name, leaf in zip(_numbered(graph.given, "input", "pixels"), graph.given, strict=True)
    ]
    names = _numbered(graph.wanted, "output", "logits")

    def run(*inputs: Any) -> Any:
        return dict(zip(names, run_graph(graph, *inputs), strict=True))

    traced = tf.function(run, input_signature=specs, autograph=False)
    return tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], tf.Module())


def _numbered(leaves: Sequence[Leaf], kind: str, alone: str) -> list[str]:
    """Return names for arrays in TensorFlow: that of images, or numbers in their order."""
    if [leaf.name for leaf in leaves] == [alone]:
        return [alone]
    return [f"{kind}_{place:03d}" for place in range(len(leaves))]


def run_graph(graph: Graph, *inputs: Any) -> list[Any]:
    """Return the outputs of a graph for its inputs, step by step in TensorFlow."""
    values: dict[int, Any] = dict(zip(graph.inputs, inputs, strict=True))
    batch = tf.shape(inputs[0])[0]
    for step in graph.steps:
        rule = RULES.get(step.primitive)
        if rule is None:
            raise unsupported(step, "TFLite")
        operands = [_operand(graph, values, operand) for operand in step.operands]
        made = rule(Context(graph, step, batch), *operands)
        values |= dict(zip(step.results, made if isinstance(made, list) else [made], strict=True))
    return [tf.identity(_operand(graph, values, output)) for output in graph.outputs]


def _operand(graph: Graph, values: dict[int, Any], operand: Operand) -> Any:
    known = graph.known(operand)
    if known is not None:
        return tf.constant(known)
    assert isinstance(operand, int)
    return values[operand]


def open_file(path: Path, threads: int | None = None) -> Callable[..., Any]:
    """Return the model in a file, as a function from the arrays that it takes to those that it gives.

    One array is given as it is, several as a list. Logits in whole numbers are converted to floats. It computes with so
    many threads, by default with one.
    """
    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    given, wanted = (
        sorted(details, key=lambda one: _place(one["name"]))
        for details in (interpreter.get_input_details(), interpreter.get_output_details())
    )

    def run(*leaves: NDArray[Any]) -> Any:
        shapes = {one["index"]: tuple(one["shape"]) for one in interpreter.get_input_details()}
        if any(shapes[one["index"]] != leaf.shape for one, leaf in zip(given, leaves, strict=True)):
            for one, leaf in zip(given, leaves, strict=True):
                interpreter.resize_tensor_input(one["index"], leaf.shape)
            interpreter.allocate_tensors()
        for one, leaf in zip(given, leaves, strict=True):
            interpreter.set_tensor(one["index"], leaf)
        interpreter.invoke()
        found = [_floats(interpreter.get_tensor(one["index"]), one) for one in wanted]
        return found[0] if len(found) == 1 else found

    return run


def _place(name: str) -> int:
    """Return the place of an array of a file among its inputs or outputs, by its name in TensorFlow."""
    found = re.search(r"(?:input|output)_(\d+)|:(\d+)$", name)
    return int(found[1] or found[2]) if found else 0


def _floats(array: NDArray[Any], about: Mapping[str, Any]) -> NDArray[Any]:
    scale, zero = about["quantization"]
    return (array.astype(np.float32) - zero) * scale if scale else array
