"""Reload: a compacted network as an ordinary `nnx.Module`, in a process without the run.

    from synevo.deploy.reload import load

    model = load("runs/demo")               # or runs/demo/compact/g08, or a copy of that folder, or an exported file
    logits = model(images)                  # float32 [n, height, width, channels], normalised as in training

The ancestor's factory is called once, its attributes are set to the smaller sizes, and its arrays are replaced by the
compacted ones. The result can be trained further (`nnx.Optimizer`, `nnx.jit`, `nnx.grad`) and compacted again
(`synevo.compaction.in_memory.compact`); a Linen ancestor comes back as a `synevo.model.linen.Linen`. Reading executes
no code except the factory: a built-in one, or one that the user has named.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from synevo import ancestors
from synevo.deploy import schema
from synevo.errors import AncestorError, RunError, damaged
from synevo.files.tensors import Tensors, unpack_tensors
from synevo.files.writing import hash_of
from synevo.model.arguments import arranged
from synevo.model.network import Inputs, Network, outline, put_together
from synevo.runs import sameness, trusted
from synevo.runs.rundir import RunDir, read_compact
from synevo.tasks.classification import classification
from synevo.tasks.task import Task

Ancestor = Callable[..., Any] | str
"""A factory, or its name: built in, or `package.module:factory`."""


Sizes = tuple[int | str, ...]
"""The sizes of an array; free ones are names, or products such as 8*height."""


@dataclass(frozen=True)
class Free:
    """Free sizes: the `shapes` of the arrays that a network takes, and the bounds of their names."""

    shapes: tuple[Sizes, ...]
    at_most: Mapping[str, int]


@dataclass(frozen=True)
class Reloaded:
    """A compacted network, its `architecture`, the document beside its weights, and the `ancestor` that built it.

    `free` are the sizes that an export of it leaves open beside the number of examples.
    """

    network: Network
    architecture: Mapping[str, Any]
    ancestor: Ancestor | None = None
    free: Free | None = None

    @property
    def of_images(self) -> bool:
        """Whether the network is for images of classes."""
        return "input" in self.architecture and "classes" in self.architecture

    @property
    def generation(self) -> int:
        """The generation that was compacted."""
        return int(self.architecture["generation"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of its images."""
        height, width, channels = self._of_images("input")["shape"]
        return height, width, channels

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes, in the order of its logits."""
        return tuple(self._of_images("classes"))

    @property
    def task(self) -> Task:
        """The task of the network: the classification of images with the normalisation of its training."""
        about = self._of_images("input")
        return classification(tuple(about["mean"]), tuple(about["deviation"]))

    def logits(self, network: Network, pixels: Array) -> Array:
        """Return the logits [n, classes] of `network` for uint8 images [n, height, width, channels]."""
        logits: Array = network(*self.task.inputs({"image": pixels}))
        return logits

    def require_images(self) -> None:
        """Raise RunError if the network is not for images of classes."""
        self._of_images("input")

    def _of_images(self, part: str) -> Any:
        """Return a part of the architecture that only networks for images of classes have; RunError for others."""
        if part not in self.architecture:
            raise RunError(
                f"This network is for the task {self.architecture.get('task')}, not for images of classes.",
                remedy="Use it as a module, which synevo.load(path) gives, or on arrays in a file: synevo predict.",
            )
        return self.architecture[part]


def load(path: str | Path, *, generation: int | None = None, ancestor: Ancestor | None = None) -> nnx.Module:
    """Return the compacted network at `path` as an nnx.Module in evaluation mode.

    `path` is a run (its best compacted generation, or `generation`), a folder `compact/gNN` of a run or a copy of it,
    or a file of `synevo export --to safetensors` with its .json beside it. Call a module of images on
    float32 [n, height, width, channels], normalised as (pixel / 255 - mean) / deviation; `mean` and `deviation` are
    under `input` in architecture.json (0 and 1/255 for a network that takes pixels of 0 … 255 as they are). Dead
    synapses inside it are zeros that further training may revive.

    `ancestor` is the factory that builds the network, or its name. A file that was received may name any code, so it
    is needed unless the file names a built-in ancestor, or one that you have started a run with.

    Raises:
        RunError: if there is no compacted network, its files are damaged, its ancestor is not trusted, or the
            ancestor's model has changed.
        AncestorError: if the ancestor cannot be imported or built.
    """
    model: nnx.Module = put_together(reload(path, generation=generation, ancestor=ancestor).network)
    return model


def reload(path: str | Path, *, generation: int | None = None, ancestor: Ancestor | None = None) -> Reloaded:
    """Return the compacted network at `path` as arrays, with its architecture; arguments and errors as in `load`."""
    path = Path(path)
    weights, architecture = _read(path, generation)
    schema.check_architecture(path, architecture, weights)
    chosen = _trusted(path, architecture["ancestor"]) if ancestor is None else ancestor
    name = chosen if isinstance(chosen, str) else architecture["ancestor"]
    inputs = _inputs(path, architecture)
    whole = _outline(_factory(chosen), architecture, inputs)
    if set(weights) != set(whole.arrays):
        raise sameness.changed(name, "it has other arrays")
    arrays = {name: jnp.asarray(array) for name, array in weights.items()}
    network = whole.like(arrays, groups=architecture["groups"])
    if "program" in architecture:
        sameness.check(network, inputs, architecture["program"], name)
    return Reloaded(network, architecture, chosen)


def _trusted(path: Path, name: str) -> str:
    """Return the name of the ancestor that a file names; raise RunError if the user has not named it before."""
    trusted.require(name, path)
    return name


def _factory(ancestor: Ancestor) -> Callable[..., Any]:
    """Return the factory of an ancestor; raise AncestorError if it cannot be imported."""
    if not isinstance(ancestor, str):
        return ancestor
    try:
        return ancestors.find(ancestor)
    except AncestorError as error:
        raise ancestors.moved(error) from error


def _inputs(path: Path, architecture: Mapping[str, Any]) -> Inputs:
    """Return the shapes and dtypes of the arguments of a network, for two examples."""
    if "arguments" not in architecture:
        return (jax.ShapeDtypeStruct((2, *architecture["input"]["shape"]), jnp.float32),)
    leaves = [jax.ShapeDtypeStruct((2, *one["shape"]), jnp.dtype(one["dtype"])) for one in architecture["arguments"]]
    if "structure" not in architecture:
        return tuple(leaves)
    try:
        found: Inputs = tuple(arranged(architecture["structure"], leaves))
    except (TypeError, KeyError, ValueError, IndexError, AttributeError, RecursionError):
        raise damaged(path, "structure of its architecture is none of arguments") from None
    return found


def _outline(factory: Callable[..., Any], architecture: Mapping[str, Any], inputs: Inputs) -> Network:
    """Return the ancestor's network with shapes in place of arrays."""
    if "made_with" in architecture:
        made = architecture["made_with"]
        return outline(ancestors.taking(factory, tuple(made["shape"]), made["outputs"]), inputs)
    if "arguments" in architecture:
        return outline(ancestors.taking(factory), inputs)
    return outline(
        ancestors.taking(factory, tuple(architecture["input"]["shape"]), len(architecture["classes"])), inputs
    )


def best_compacted(run: RunDir) -> int:
    """Return the best generation if it is compacted, or the youngest compacted one; raise RunError if none is."""
    made = run.compacted()
    if not made:
        raise RunError(
            f"{run.path} has no compacted network yet.", remedy=f"Make one with `synevo compact {run.path}`."
        )
    best = run.load_lineage().best(run.load_plan().evolution.max_drop)
    return best.generation if best and best.generation in made else made[-1]


def _read(path: Path, generation: int | None) -> tuple[Tensors, dict[str, Any]]:
    """Return the weights and the architecture at `path`: a run, a compacted folder, or an exported file."""
    if path.is_file():
        return _read_exported(path)
    if (path / "hashes.json").is_file():
        weights, documents = read_compact(path)
    else:
        run = RunDir(path)
        run.load_plan()
        weights, documents = run.load_compact(best_compacted(run) if generation is None else generation)
    if "architecture" not in documents:
        raise damaged(path, "architecture.json is not among its files")
    return weights, documents["architecture"]


def _read_exported(path: Path) -> tuple[Tensors, dict[str, Any]]:
    beside = path.with_name(f"{path.name}.json")
    if not beside.is_file():
        raise RunError(
            f"{path} comes without its architecture: there is no {beside.name} beside it.",
            remedy="Copy both files that `synevo export --to safetensors` wrote, or name a run.",
        )
    content = path.read_bytes()
    try:
        contract = json.loads(beside.read_text("utf-8"))
        architecture, sha = contract["architecture"], contract["sha256"]
        schema.check_contract(beside, contract)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise damaged(beside, "it is not what `synevo export --to safetensors` wrote") from None
    if hash_of(content) != sha:
        raise damaged(path, "it is not the file that was written (its hash differs)")
    return unpack_tensors(path, content), architecture
