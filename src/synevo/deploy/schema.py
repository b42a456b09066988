"""The documents beside the weights of a network, checked before anything is done with them.

A file that was received may say anything. Names, shapes and sizes are checked before the ancestor is looked for, and
arrays before they are given to it.
"""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from synevo import ancestors
from synevo.errors import NEWER, RunError, damaged
from synevo.files.tensors import Tensors
from synevo.runs.documents import meaning
from synevo.runs.rundir import ARCHITECTURE_FORMAT

MOST_VALUES = 2**30
"""The most values that an example may have."""


def _name(name: str) -> str:
    """Return the name of an ancestor; raise ValueError if none can have it."""
    parts = name.replace(":", ".").split(".")
    if name in ancestors.BUILT_IN or (name.count(":") == 1 and all(map(str.isidentifier, parts))):
        return name
    raise ValueError("it names no ancestor")


def _few(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape; raise ValueError if it has too many values for an example."""
    if np.prod([float(size) for size in shape]) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES} values are no example")
    return shape


def _number(dtype: str) -> str:
    """Return the name of a dtype; raise ValueError if arrays have no such numbers."""
    import jax.numpy as jnp  # noqa: PLC0415  (knows bfloat16)

    try:
        kind = jnp.dtype(dtype)
    except TypeError:
        raise ValueError("there is no such dtype") from None
    if kind.hasobject:
        raise ValueError("objects are no numbers")
    return dtype


Size = Annotated[int, Field(ge=1, le=MOST_VALUES)]
Shape = Annotated[tuple[Size, ...], AfterValidator(_few)]
ImageShape = Annotated[tuple[Size, Size, Size], AfterValidator(_few)]
Deviation = Annotated[float, Field(gt=0)]


class _Part(BaseModel):
    """A part of the document, read as it stands: a text is no number."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Images(_Part):
    """The images that a network takes."""

    shape: ImageShape
    mean: Annotated[tuple[float, ...], Field(min_length=1)]
    deviation: Annotated[tuple[Deviation, ...], Field(min_length=1)]
    source_shape: ImageShape
    fit: Literal["none", "pad", "resize"]
    brightness: tuple[float, float] | None = None


class _Argument(_Part):
    """An array that a network takes, without its first axis."""

    shape: Shape
    dtype: Annotated[str, AfterValidator(_number)]


class _MadeWith(_Part):
    """What the factory of a network for a built-in task is called with."""

    shape: Shape
    outputs: Size


class _Program(_Part):
    """What a network computed when it was written: `synevo.runs.sameness`."""

    model_config = ConfigDict(allow_inf_nan=True)  # outputs may be none

    fingerprint: str
    outputs: tuple[tuple[tuple[float, ...], ...], ...]


class _Architecture(_Part):
    """What is needed, beside the weights, to run a network: of images, or of any arguments."""

    generation: Annotated[int, Field(ge=1)]
    ancestor: Annotated[str, AfterValidator(_name)]
    arrays: dict[str, tuple[Annotated[int, Field(ge=0)], ...]]
    groups: dict[str, Size]
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    input: _Images | None = None
    arguments: Annotated[tuple[_Argument, ...], Field(min_length=1)] | None = None
    made_with: _MadeWith | None = None
    program: _Program | None = None


def check_architecture(path: Path, architecture: Any, weights: Tensors) -> None:
    """Raise RunError if the architecture of the network at `path` is of another format, or damaged."""
    if not isinstance(architecture, dict):
        raise damaged(path, "its architecture is no JSON object")
    _check_format(path, architecture.get("format"))
    try:
        found = _Architecture.model_validate_json(json.dumps(architecture))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise damaged(path, f"{where} of its architecture: {first['msg']}") from None
    _check_parts(path, found)
    if found.arrays != {name: array.shape for name, array in weights.items()}:
        raise damaged(path, "its architecture lists other arrays than its weights hold")


def _check_parts(path: Path, found: _Architecture) -> None:
    """Raise RunError if the input of an architecture is missing or contradicts itself."""
    if found.arguments is None and (found.input is None or found.classes is None):
        raise damaged(path, "its architecture does not say what the network takes")
    if found.input is None:
        return
    numbers = {len(found.input.mean), len(found.input.deviation)}
    if not numbers <= {1, found.input.shape[-1]}:
        raise damaged(path, "mean and deviation of its architecture are not one a channel")


def _check_format(path: Path, found: Any) -> None:
    if found != ARCHITECTURE_FORMAT:
        newer = isinstance(found, int) and found > ARCHITECTURE_FORMAT
        raise RunError(
            f"{path} was compacted by {'a newer' if newer else 'an older'} synevo "
            f"(format {found!r}; this one reads {ARCHITECTURE_FORMAT}).",
            remedy=NEWER if newer else "Run `synevo compact` on its run again.",
        )


def check_contract(path: Path, contract: dict[str, Any]) -> None:
    """Raise RunError if the description of an exported file, which is at `path`, is not what was written.

    Older versions wrote no hash of it: there, what is said twice must agree.
    """
    if "contract" in contract:
        if contract["contract"] != meaning(contract):
            raise damaged(path, "it is not what was written (its hash differs)")
        return
    architecture = contract["architecture"]
    inner, outer = architecture["input"], contract["input"]
    same = contract["classes"] == architecture["classes"] and outer["shape"][1:] == inner["shape"]
    if not same or any(outer[name] != inner[name] for name in ("mean", "deviation")):
        raise damaged(path, "it contradicts itself about classes or input")
