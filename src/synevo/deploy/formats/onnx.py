"""ONNX: the graph in operations of opset 18, for any number of images, run by ONNX Runtime."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from synevo.deploy.formats.graph import graph_of, unsupported
from synevo.deploy.formats.onnx_rules import RULES
from synevo.deploy.formats.onnx_writer import Writer
from synevo.deploy.reload import Reloaded

OPSET, IR_VERSION = 18, 9


def write(reloaded: Reloaded) -> bytes:
    """Return the content of an ONNX file with the model.

    Its input is `pixels` uint8 [n, height, width, channels], its output `logits` float32 [n, classes].

    Raises:
        ExportError: if a step has no counterpart in ONNX; the message names the line of the user's model.
    """
    graph = graph_of(reloaded)
    writer = Writer(graph)
    for step in graph.steps:
        rule = RULES.get(step.primitive)
        if rule is None:
            raise unsupported(step, "ONNX")
        made = rule(writer, step)
        made = made if isinstance(made, list) else [made]
        writer.tensors |= dict(zip(step.results, made, strict=True))
    writer.node("Identity", writer.plain(graph.logits), result="logits")
    pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", *graph.shapes[graph.pixels][1:]])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(reloaded.classes)])
    model = helper.make_model(
        helper.make_graph(writer.nodes, "synevo", [pixels], [logits], writer.initializers),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="synevo",
    )
    helper.set_model_props(model, {"classes": json.dumps(reloaded.classes)})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def open_file(path: Path) -> Callable[[NDArray[np.uint8]], NDArray[Any]]:
    """Return the model in a file, as a function from pixels [n, height, width, channels] to logits [n, classes]."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda pixels: np.asarray(session.run(["logits"], {"pixels": pixels})[0])
