"""TFLite: the graph in TensorFlow's operations, converted by TensorFlow's converter, run by the LiteRT interpreter.

TensorFlow keeps channels last, as JAX does, so steps are translated without a change of axes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from synevo.deploy.formats.graph import Graph, graph_of, unsupported
from synevo.deploy.formats.tflite_rules import RULES, Context
from synevo.deploy.reload import Reloaded
from synevo.wiring.tracing import Operand


def write(reloaded: Reloaded) -> bytes:
    """Return the content of a TFLite file with the model.

    Its input is `pixels` uint8 [n, height, width, channels], its output `logits` float32 [n, classes].

    Raises:
        ExportError: if a step has no counterpart in TensorFlow; the message names the line of the user's model.
    """
    return bytes(converter_of(graph_of(reloaded), tf.uint8).convert())


def converter_of(graph: Graph, dtype: Any) -> Any:
    """Return TensorFlow's converter for a graph with pixels of this `dtype`."""
    shape = (None, *graph.shapes[graph.pixels][1:])

    def classify(pixels: Any) -> Any:
        return {"logits": run_graph(graph, pixels)}

    traced = tf.function(classify, input_signature=[tf.TensorSpec(shape, dtype, name="pixels")], autograph=False)
    return tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], tf.Module())


def run_graph(graph: Graph, pixels: Any) -> Any:
    """Return the logits [n, classes] of pixels [n, height, width, channels], step by step in TensorFlow."""
    values: dict[int, Any] = {graph.pixels: pixels}
    batch = tf.shape(pixels)[0]
    for step in graph.steps:
        rule = RULES.get(step.primitive)
        if rule is None:
            raise unsupported(step, "TFLite")
        operands = [_operand(graph, values, operand) for operand in step.operands]
        made = rule(Context(graph, step, batch), *operands)
        values |= dict(zip(step.results, made if isinstance(made, list) else [made], strict=True))
    return values[graph.logits]


def _operand(graph: Graph, values: dict[int, Any], operand: Operand) -> Any:
    known = graph.known(operand)
    if known is not None:
        return tf.constant(known)
    assert isinstance(operand, int)
    return values[operand]


def open_file(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """Return the model in a file, as a function from pixels [n, height, width, channels] to logits [n, classes].

    Logits in whole numbers are converted to floats.
    """
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    (given,), (wanted,) = interpreter.get_input_details(), interpreter.get_output_details()
    scale, zero = wanted["quantization"]

    def run(pixels: NDArray[np.uint8]) -> NDArray[Any]:
        if tuple(interpreter.get_input_details()[0]["shape"]) != pixels.shape:
            interpreter.resize_tensor_input(given["index"], pixels.shape)
            interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], pixels)
        interpreter.invoke()
        logits = interpreter.get_tensor(wanted["index"])
        return (logits.astype(np.float32) - zero) * scale if scale else logits

    return run
