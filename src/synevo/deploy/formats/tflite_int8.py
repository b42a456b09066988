"""TFLite in whole numbers: weights and signals in eight bits, their ranges calibrated on training images.

The input is raw pixels (uint8, scale 1). The output is int8: a logit is (output - zero_point) · scale, and the largest
output is the class.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from synevo.deploy.formats.graph import graph_of
from synevo.deploy.formats.tflite import converter_of, open_file
from synevo.deploy.reload import Reloaded
from synevo.errors import ExportError, first_line

__all__ = ["describe", "open_file", "write"]


def write(reloaded: Reloaded, calibration: NDArray[np.uint8]) -> bytes:
    """Return the content of a TFLite file in whole numbers, calibrated on images [n, height, width, channels].

    Raises:
        ExportError: if a step has no counterpart in TensorFlow, or none in whole numbers.
    """
    images = calibration.astype(np.float32)
    images[0].flat[0], images[0].flat[-1] = 0, 255  # the whole range, so that the input is raw pixels

    def representative() -> Iterator[list[Any]]:
        yield from ([image[None]] for image in images)

    converter = converter_of(graph_of(reloaded), tf.float32)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.int8
    try:
        content = bytes(converter.convert())
    except Exception as error:  # the converter's own classes vary
        raise ExportError(
            f"The model has a step that TFLite does not know in whole numbers: {first_line(error)}",
            remedy="Export it in floats with --to tflite.",
        ) from error
    (pixels,) = Interpreter(model_content=content).get_input_details()
    if pixels["quantization"] != (1.0, 0):
        raise ExportError(
            f"The pixels would have to go in with scale and zero point {pixels['quantization']}, not as they are.",
            remedy="Export it in floats with --to tflite.",
        )
    return content


def describe(content: bytes) -> dict[str, Any]:
    """Return dtype, scale and zero point of the logits in the `content` of a file."""
    (logits,) = Interpreter(model_content=content).get_output_details()
    scale, zero = logits["quantization"]
    return {"dtype": "int8", "scale": float(scale), "zero_point": int(zero)}
