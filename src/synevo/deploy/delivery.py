"""Delivery: a network is written, opened again by the software of its format, and compared with its source.

A file appears under its name only after it has given for real test examples what its source gives. The JSON beside it
describes its inputs, its outputs, and the result of the comparison.
"""

import gzip
import importlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from synevo import __version__
from synevo.deploy.comparison import Comparison, compare, table
from synevo.deploy.interface import BATCH, Leaf, given, leaves_of, wanted, with_free_sizes
from synevo.deploy.reload import Reloaded
from synevo.errors import ExportError
from synevo.files.writing import hash_of, require_replaceable, write, write_json
from synevo.runs.documents import seal
from synevo.runs.lock import require_folder
from synevo.runs.rundir import owner_of_file
from synevo.tasks.classification import AS_THEY_ARE
from synevo.tasks.task import InMemory, Problem, first

COARSE = 0.1
"""The largest difference of an output in whole numbers, as a share of its largest value, where there are no classes."""

CHECKED, CALIBRATING = 1000, 300
"""Numbers of examples: of the comparison of a float format, and of the calibration of whole numbers."""


@dataclass(frozen=True)
class Format:
    """A format: its module, the ending of its files, the software that runs them, and the `extra` of synevo it needs.

    `agreement` is the share of test examples that must be classified as by the source. Below 1, numbers are coarser
    than the source's: outputs may differ, training examples calibrate them, and the whole test split is compared.
    """

    module: str
    ending: str
    needs: str
    extra: str | None = None
    agreement: float = 1.0
    rebuilt: bool = False
    """Whether the ancestor's factory is needed to open a file."""
    resizable: bool = False
    """Whether a file may leave sizes free beside the number of examples."""
    images_alone: bool = False
    """Whether it is for images of classes alone."""


FORMATS: dict[str, Format] = {
    "safetensors": Format("safetensors", "safetensors", "synevo", rebuilt=True, resizable=True),
    "stablehlo": Format("stablehlo", "stablehlo", "JAX and flatbuffers", resizable=True),
    "onnx": Format("onnx", "onnx", "any ONNX runtime (opset 18)", resizable=True),
    "onnx-int8": Format("onnx_int8", "int8.onnx", "any ONNX runtime (opset 18)", agreement=0.95, images_alone=True),
    "tflite": Format("tflite", "tflite", "any LiteRT or TFLite interpreter", extra="tflite"),
    "tflite-int8": Format(
        "tflite_int8",
        "int8.tflite",
        "any LiteRT or TFLite interpreter",
        extra="tflite",
        agreement=0.95,
        images_alone=True,
    ),
    "c": Format("c_float", "c", "any C99 or C++ compiler"),
    "c-int8": Format("c_int8", "int8.c", "any C99 or C++ compiler", agreement=0.95),
}


@dataclass(frozen=True)
class Delivered:
    """A file that was written, its size in bytes, how the check ended, and the JSON beside it.

    Without a check, nothing on this machine can run the file.
    """

    path: Path
    size: int
    comparison: Comparison | None
    contract: Mapping[str, Any]


def require_format(reloaded: Reloaded, name: str) -> None:
    """Raise ExportError if a network cannot be written in the format `name`, whatever its steps."""
    if FORMATS[name].images_alone and not reloaded.of_images:
        raise ExportError(
            f"{name} is for images of classes alone, and this network is for the task "
            f"{reloaded.architecture.get('task')}: whole numbers are calibrated for the range of pixels, and checked "
            "by the classes that they give.",
            remedy="Export it in floats, --to onnx, stablehlo or tflite, or in whole numbers with --to c-int8.",
        )


def deliver(reloaded: Reloaded, problem: Problem, name: str, path: Path, *, packed: bool = False) -> Delivered:
    """Write a network to `path` in the format `name`, and its description to `path`.json, after comparing it.

    A safetensors file may be `packed`; then the description says what it would take dense, and gzipped. Sizes beside
    the number of examples are left free where the network's code and the format allow it.
    Without the compiler that a C file needs, there is no comparison.

    Raises:
        ExportError: if no file may be written there, an extra is missing, a step of the model has no counterpart in the
            format, or the written file does not compute the same as its source; then there is no file.
    """
    require_format(reloaded, name)
    require_place(path)
    format_ = FORMATS[name]
    module = module_of(name)
    open_ended = with_free_sizes(reloaded) if format_.resizable else reloaded
    path.parent.mkdir(parents=True, exist_ok=True)
    if open_ended.free is not None:
        try:
            return _deliver(open_ended, problem, name, module, path, packed=packed)
        except ExportError:  # at the sizes of the training, there may be a way
            pass
    return _deliver(replace(reloaded, free=None), problem, name, module, path, packed=packed)


def _deliver(reloaded: Reloaded, problem: Problem, name: str, module: Any, path: Path, *, packed: bool) -> Delivered:
    """Write a network and its description after comparing it, with the sizes that it has; errors as in `deliver`."""
    format_, task = FORMATS[name], problem.task
    coarse = format_.agreement < 1
    calibration = leaves_of(reloaded, task, first(problem.train, CALIBRATING)) if coarse else []
    content = module.write(reloaded, packed=True) if packed else module.write(reloaded, *calibration)
    contract = _contract(reloaded, format_, name, content)
    if format_.images_alone:
        contract["output"] |= module.describe(content)
        contract = seal(contract)
    if hasattr(module, "costs"):
        contract["costs"], contract["call"] = module.costs(content), module.called(content)
    if packed:
        dense = module.write(reloaded)
        contract["dense_bytes"], contract["dense_gzip_bytes"] = len(dense), len(gzip.compress(dense, mtime=0))
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as scratch:
        unproven = Path(scratch) / path.name
        write(unproven, content)
        write_json(_beside(unproven), contract)
        examples = problem.test if coarse else InMemory(first(problem.test, CHECKED))
        opened = module.open_file(unproven, *([reloaded.ancestor] if format_.rebuilt else []))
        if opened is not None and "costs" in contract:
            contract["costs"] |= {"bytes_compiled": opened.size}
        comparison = None if opened is None else compare(reloaded, task, examples, opened)
        if comparison is not None:
            _check(comparison, format_, path, reloaded)
        contract |= {"checked": table(comparison, of_images=reloaded.of_images) if comparison else None}
        write_json(_beside(unproven), contract)
        _beside(unproven).replace(_beside(path))
        unproven.replace(path)
    return Delivered(path, len(content), comparison, contract)


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


def module_of(name: str) -> Any:
    """Return the module that writes and opens a format; raise ExportError if its software is not installed."""
    format_ = FORMATS[name]
    try:
        return importlib.import_module(f"synevo.deploy.formats.{format_.module}")
    except ImportError as error:
        extra = f"pip install '.[{format_.extra}]'" if format_.extra else "In the folder of synevo: pip install ."
        raise ExportError(f"Exporting to {name} needs {error.name}, which is not installed.", remedy=extra) from None


def _contract(reloaded: Reloaded, format_: Format, name: str, content: bytes) -> dict[str, Any]:
    """Return the description of a file for its users: its inputs, its outputs and its origin."""
    interface = _of_images(reloaded) if reloaded.of_images else _of_arrays(reloaded)
    return seal(
        {
            **interface,
            "format": name,
            "synevo": __version__,
            "generation": reloaded.generation,
            "sha256": hash_of(content),
            "bytes": len(content),
            "runs_with": format_.needs,
            "architecture": reloaded.architecture,
        }
    )


def _of_images(reloaded: Reloaded) -> dict[str, Any]:
    """Return what a network takes and gives that classifies images."""
    about = reloaded.architecture["input"]
    (pixels,), (logits,) = given(reloaded), wanted(reloaded)
    return {
        "input": {
            **_described(pixels),
            "meaning": f"raw pixels, 0 … 255, channels last; {_normalised(about)}",
            "resizing": _resizing(about),
            "mean": about["mean"],
            "deviation": about["deviation"],
        },
        "output": {**_described(logits), "meaning": "the largest is the class; softmax makes them probabilities"},
        "classes": reloaded.classes,
    }


def _of_arrays(reloaded: Reloaded) -> dict[str, Any]:
    """Return what a network takes and gives: every array in its order, and the sizes that are free."""
    return {
        "inputs": [_described(leaf) for leaf in given(reloaded)],
        "outputs": [_described(leaf) for leaf in wanted(reloaded)],
        "free": {name: {"meaning": meaning} | bound for name, meaning, bound in _free(reloaded)},
    }


def _free(reloaded: Reloaded) -> Iterator[tuple[str, str, dict[str, int]]]:
    """Yield name, meaning and bound of each free size."""
    yield BATCH, "the number of examples", {}
    free = reloaded.free
    for shape in free.shapes if free else ():
        for size in shape[1:]:
            if isinstance(size, str):
                name = size.rpartition("*")[-1]
                bound = {"at_most": free.at_most[name]} if free and name in free.at_most else {}
                yield name, f"where it stands, the size is {size}", bound


def _described(leaf: Leaf) -> dict[str, Any]:
    return {**asdict(leaf), "shape": list(leaf.shape)}


def _resizing(about: Mapping[str, Any]) -> str:
    """Return who brings an image to the size of the input, and how the training did it."""
    (height, width, channels), (tall, wide, _) = about["shape"], about["source_shape"]
    colours = "in grey (ITU-R 601 luma)" if channels == 1 else "in RGB"
    start = "not part of the file: the caller gives images of this size"
    if about["fit"] == "pad":
        return (
            f"{start}, {colours}; in training, images of {tall}x{wide} got zeros around them, up to {height}x{width}. "
            f"Images of other sizes are stretched to {tall}x{wide} first, bilinearly (Pillow's BILINEAR)"
        )
    if about["fit"] == "resize":
        return f"{start}, {colours}; in training, images were stretched to it bilinearly (Pillow's BILINEAR)"
    return f"{start}, {colours}, as those of the training were; `synevo predict` stretches others to it bilinearly"


def _normalised(about: Mapping[str, Any]) -> str:
    """Return what becomes of the pixels of an input in the network."""
    if set(about["mean"]) == {0.0} and set(about["deviation"]) == {AS_THEY_ARE}:
        return "the network takes them as they are, as float32"
    return "normalisation (pixel / 255 - mean) / deviation is part of the network"


def _check(found: Comparison, format_: Format, path: Path, reloaded: Reloaded) -> None:
    """Raise ExportError if a file is not near its source."""
    if _near(found, format_, reloaded):
        return
    agreement = found.top1_agreement
    worst = found.worst
    agreed = f", and {100 * agreement:.2f} % of them are classified alike" if agreement is not None else ""
    raise ExportError(
        f"{path} was deleted, because it is not its source: on {found.examples} test examples {worst.name} differs by "
        f"{worst.max_difference:.2g} (largest {worst.largest:.3g}){agreed}.",
        remedy="Export to another format, such as stablehlo, and please report the model.",
    )


def _near(found: Comparison, format_: Format, reloaded: Reloaded) -> bool:
    """Return whether outputs differ by no more than a format's numbers may.

    Coarse ones without classes are judged by the largest difference of each output that is made of floats.
    """
    if format_.agreement == 1:
        return found.near
    if found.top1_agreement is not None:
        return found.top1_agreement >= format_.agreement
    floats = {leaf.name for leaf in wanted(reloaded) if leaf.dtype == "float32"}
    judged = [one for one in found.outputs if one.name in floats] or list(found.outputs)
    return all(one.relative <= COARSE for one in judged)


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
