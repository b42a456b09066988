"""Delivery: a network is written, opened again by the software of its format, and compared with its source.

A file appears under its name only after it has classified real test images as its source does. The JSON beside it
describes its input, its output, and the result of the comparison.
"""

import importlib
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from synevo import __version__
from synevo.compaction.proof import TOLERANCE
from synevo.data.datasets import Dataset
from synevo.data.images import Images
from synevo.deploy.reload import Reloaded
from synevo.deploy.schema import seal
from synevo.errors import ExportError
from synevo.files.writing import hash_of, require_replaceable, write, write_json
from synevo.runs import measuring
from synevo.runs.lock import require_folder
from synevo.runs.rundir import owner_of_file
from synevo.tasks.classification import AS_THEY_ARE

BATCH, CHECKED, CALIBRATING = 256, 1000, 300
"""Numbers of images: of a batch, of the comparison of a float format, and of the calibration of whole numbers."""

Runner = Callable[[NDArray[np.uint8]], NDArray[Any]]


@dataclass(frozen=True)
class Format:
    """A format: its module, the ending of its files, the software that runs them, and the `extra` of synevo it needs.

    `agreement` is the share of test images that must be classified as by the source. Below 1, numbers are coarser than
    the source's: logits may differ, training images calibrate them, and the whole test split is classified.
    """

    module: str
    ending: str
    needs: str
    extra: str | None = None
    agreement: float = 1.0
    rebuilt: bool = False
    """Whether the ancestor's factory is needed to open a file."""


FORMATS: dict[str, Format] = {
    "safetensors": Format("safetensors", "safetensors", "synevo", rebuilt=True),
    "stablehlo": Format("stablehlo", "stablehlo", "JAX and flatbuffers"),
    "onnx": Format("onnx", "onnx", "any ONNX runtime (opset 18)", extra="onnx"),
    "tflite": Format("tflite", "tflite", "any LiteRT or TFLite interpreter", extra="tflite"),
    "tflite-int8": Format(
        "tflite_int8", "int8.tflite", "any LiteRT or TFLite interpreter", extra="tflite", agreement=0.95
    ),
}


@dataclass(frozen=True)
class Comparison:
    """The exported network beside its source on `images` test images: logits, classes, accuracies, ms at batch 1.

    `max_difference` is between logits, `top1_agreement` the share of images in the same class.
    """

    images: int
    max_difference: float
    largest_logit: float
    top1_agreement: float
    accuracy: float
    source_accuracy: float
    latency_ms: float
    source_latency_ms: float


@dataclass(frozen=True)
class Delivered:
    """A file that was written and checked, and its size in bytes."""

    path: Path
    size: int
    comparison: Comparison


def deliver(reloaded: Reloaded, dataset: Dataset, name: str, path: Path) -> Delivered:
    """Write a network to `path` in the format `name`, and its description to `path`.json, after comparing it.

    Raises:
        RunError: if the network is not for images of classes.
        ExportError: if no file may be written there, an extra is missing, a step of the model has no counterpart in the
            format, or the written file does not compute the same as its source; then there is no file.
    """
    reloaded.require_images()
    require_place(path)
    format_ = FORMATS[name]
    module = _module(name, format_)
    coarse = format_.agreement < 1
    content = module.write(reloaded, *([dataset.train.pixels[:CALIBRATING]] if coarse else []))
    contract = _contract(reloaded, format_, name, content)
    if coarse:
        contract["output"] |= module.describe(content)
        contract = seal(contract)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        unproven = Path(scratch) / path.name
        write(unproven, content)
        write_json(_beside(unproven), contract)
        images = dataset.test if coarse else Images(dataset.test.pixels[:CHECKED], dataset.test.labels[:CHECKED])
        opened = module.open_file(unproven, *([reloaded.ancestor] if format_.rebuilt else []))
        comparison = _compare(reloaded, images, opened)
        _check(comparison, format_, path)
        write_json(_beside(unproven), {**contract, "checked": asdict(comparison)})
        _beside(unproven).replace(_beside(path))
        unproven.replace(path)
    return Delivered(path, len(content), comparison)


def require_place(path: Path) -> None:
    """Raise ExportError if an export may not be written to `path`: a folder, or among the files of a run.

    Raises:
        RunError: if a device or a pipe stands there, or a folder on the way to it is a file.
    """
    for one in (path, _beside(path)):
        require_replaceable(one)
        if one.is_dir():
            raise ExportError(
                f"{one} is a folder, and the export is a file.",
                remedy=f"Name a file in it: --output {one / 'network'}.",
            )
    if not path.parent.is_dir():
        require_folder(path.parent)
    run = owner_of_file(path)
    if run is not None:
        raise ExportError(
            f"{path} is among the files of the run {run}, which an export would replace.",
            remedy=f"Leave --output out, and it is written to {run / 'exports'}; or name a file elsewhere.",
        )


def _module(name: str, format_: Format) -> Any:
    try:
        return importlib.import_module(f"synevo.deploy.formats.{format_.module}")
    except ImportError as error:
        extra = f"pip install '.[{format_.extra}]'" if format_.extra else "pip install --upgrade synevo"
        raise ExportError(f"Exporting to {name} needs {error.name}, which is not installed.", remedy=extra) from None


def _contract(reloaded: Reloaded, format_: Format, name: str, content: bytes) -> dict[str, Any]:
    """Return the description of a file for its users: its input, its output, its classes and its origin."""
    height, width, channels = reloaded.shape
    about = reloaded.architecture["input"]
    contract = {
        "format": name,
        "synevo": __version__,
        "generation": reloaded.generation,
        "sha256": hash_of(content),
        "bytes": len(content),
        "runs_with": format_.needs,
        "input": {
            "name": "pixels",
            "dtype": "uint8",
            "shape": ["n", height, width, channels],
            "meaning": f"raw pixels, 0 … 255, channels last; {_normalised(about)}",
            "mean": about["mean"],
            "deviation": about["deviation"],
        },
        "output": {
            "name": "logits",
            "dtype": "float32",
            "shape": ["n", len(reloaded.classes)],
            "meaning": "the largest is the class; softmax makes them probabilities",
        },
        "classes": reloaded.classes,
        "architecture": reloaded.architecture,
    }
    return seal(contract)


def _normalised(about: Mapping[str, Any]) -> str:
    """Return what becomes of the pixels of an input in the network."""
    if set(about["mean"]) == {0.0} and set(about["deviation"]) == {AS_THEY_ARE}:
        return "the network takes them as they are, as float32"
    return "normalisation (pixel / 255 - mean) / deviation is part of the network"


def _compare(reloaded: Reloaded, images: Images, exported: Runner) -> Comparison:
    """Run the exported network and its source on images, and compare their logits, classes and times."""
    compiled = jax.jit(reloaded.logits)

    def source(pixels: NDArray[np.uint8]) -> NDArray[Any]:
        return np.asarray(compiled(reloaded.network, jnp.asarray(pixels)))

    expected, found = (_run(runner, images) for runner in (source, exported))
    one = images.pixels[:1]
    timings = measuring.race({"exported": lambda: exported(one), "source": lambda: source(one)}, rounds=50)
    classes = {name: logits.argmax(axis=1) for name, logits in (("found", found), ("expected", expected))}
    return Comparison(
        len(images),
        float(np.abs(found - expected).max()),
        float(np.abs(expected).max()),
        float((classes["found"] == classes["expected"]).mean()),
        float((classes["found"] == images.labels).mean()),
        float((classes["expected"] == images.labels).mean()),
        timings["exported"].median,
        timings["source"].median,
    )


def _run(runner: Runner, images: Images) -> NDArray[np.float64]:
    """Return the logits [images, classes] of all images, in batches; the last batch may be smaller."""
    parts = [runner(images.pixels[first : first + BATCH]) for first in range(0, len(images), BATCH)]
    return np.concatenate(parts).astype(np.float64)


def _check(found: Comparison, format_: Format, path: Path) -> None:
    near = found.max_difference <= TOLERANCE * max(found.largest_logit, 1.0)
    if near if format_.agreement == 1 else found.top1_agreement >= format_.agreement:
        return
    raise ExportError(
        f"{path} was deleted, because it is not its source: logits differ by {found.max_difference:.2g} "
        f"(largest {found.largest_logit:.3g}), and {100 * found.top1_agreement:.2f} % of {found.images} test images "
        "are classified alike.",
        remedy="Export to another format, such as stablehlo, and please report the model.",
    )


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
