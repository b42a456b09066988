"""ONNX: the graph in operations of opset 18, for any number of examples, run by ONNX Runtime."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper
from onnxruntime.capi.onnxruntime_pybind11_state import OrtMemType

from synevo.deploy.formats.graph import graph_of, unsupported
from synevo.deploy.formats.onnx_rules import RULES
from synevo.deploy.formats.onnx_writer import Tensor, Writer
from synevo.deploy.interface import Leaf
from synevo.deploy.reload import Reloaded
from synevo.wiring.tracing import Step

OPSET, IR_VERSION = 18, 9


def write(reloaded: Reloaded) -> bytes:
    """Return the content of an ONNX file with the model, whose inputs and outputs are those of its interface.

    Raises:
        ExportError: if a step has no counterpart in ONNX; the message names the line of the user's model.
    """
    graph = graph_of(reloaded)
    writer = Writer(graph)
    for step in graph.steps:
        writer.tensors |= dict(zip(step.results, _written(writer, step), strict=True))
    for output, leaf in zip(graph.outputs, graph.wanted, strict=True):
        writer.node("Identity", writer.plain(output), result=leaf.name)
    model = helper.make_model(
        helper.make_graph(
            writer.nodes, "synevo", [*map(_info, graph.given)], [*map(_info, graph.wanted)], writer.initializers
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="synevo",
    )
    if reloaded.of_images:
        helper.set_model_props(model, {"classes": json.dumps(reloaded.classes)})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def _written(writer: Writer, step: Step) -> list[Tensor]:
    """Write a step and return its results; raise ExportError if it has no counterpart."""
    rule = RULES.get(step.primitive)
    if rule is None:
        raise unsupported(step, "ONNX")
    made = rule(writer, step)
    return made if isinstance(made, list) else [made]


def _info(leaf: Leaf) -> Any:
    return helper.make_tensor_value_info(
        leaf.name, helper.np_dtype_to_tensor_dtype(jnp.dtype(leaf.dtype)), list(leaf.shape)
    )


def open_file(path: Path, threads: int | None = None) -> Callable[..., Any]:
    """Return the model in a file, as a function from the arrays that it takes to those that it gives.

    One array is given as it is, several as a list. It computes with so many threads, by default one a core.
    """
    _share_memory()
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.use_env_allocators", "1")
    if threads is not None:
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.force_spinning_stop", "1")  # so that idle threads cost nobody time
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(*leaves: NDArray[Any]) -> Any:
        found = session.run(None, dict(zip(names, leaves, strict=True)))
        return found[0] if len(found) == 1 else found

    return run


@cache
def _share_memory() -> None:
    """Let all models that are open share what memory they need to compute; one alone takes as much as without."""
    place = onnxruntime.OrtMemoryInfo("Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, OrtMemType.DEFAULT)
    onnxruntime.create_and_register_allocator(place, onnxruntime.OrtArenaCfg({}))
