"""ONNX in whole numbers: weights and signals in eight bits, their ranges calibrated on training images.

ONNX Runtime's own quantisation writes it: pairs of QuantizeLinear and DequantizeLinear around the operations, which
runtimes compute in whole numbers where they can. Weights have a scale a channel. Pixels and logits are those of `onnx`.
"""

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from synevo.deploy.formats import onnx
from synevo.deploy.formats.onnx import open_file
from synevo.deploy.reload import Reloaded
from synevo.errors import ExportError, first_line

__all__ = ["describe", "open_file", "write"]

_AT_ONCE = 32
"""The number of images that are calibrated at once."""


class _Images(CalibrationDataReader):
    """Gives the images of a calibration, some at a time, and then None."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        self.parts = iter(np.array_split(images, max(1, len(images) // _AT_ONCE)))

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """Return the next images, as the model takes them."""
        part = next(self.parts, None)
        return None if part is None else {"pixels": part}


def write(reloaded: Reloaded, calibration: NDArray[np.uint8]) -> bytes:
    """Return the content of an ONNX file in whole numbers, calibrated on images [n, height, width, channels].

    Raises:
        ExportError: if a step has no counterpart in ONNX, or none in whole numbers.
    """
    content = onnx.write(reloaded)
    with tempfile.TemporaryDirectory(prefix="synevo-onnx-") as folder:
        floats, ready, whole = (Path(folder) / f"{name}.onnx" for name in ("floats", "ready", "whole"))
        floats.write_bytes(content)
        try:
            logging.disable(logging.WARNING)  # which says of every model how it could have been prepared
            quant_pre_process(floats, ready, skip_symbolic_shape=True)
            quantize_static(
                ready,
                whole,
                _Images(calibration),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"QDQDisableWeightAdjustForInt32Bias": True},  # which wants biases of one axis
            )
        except Exception as error:  # whatever ONNX Runtime raises
            raise ExportError(
                f"ONNX Runtime does not write the model in whole numbers: {first_line(error)}",
                remedy="Export it in floats with --to onnx.",
            ) from error
        finally:
            logging.disable(logging.NOTSET)
        return whole.read_bytes()


def describe(content: bytes) -> dict[str, Any]:
    """Return nothing: logits are floats, as in every other format."""
    del content
    return {}
