"""The interface of an exported network: the arrays that a file takes and gives, by name, and which sizes are free.

A network for images takes raw pixels, and its normalisation is part of the file. Any other takes the arrays of its
arguments as they are. The first axis of each counts examples, of which there may be any number, n. Where the network's
code allows it, the length of a sequence or height and width of a map are free, too:

    ["n", "length"]                         any length
    ["n", "8*height", "8*width", 3]         multiples of 8
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, combinations
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from numpy.typing import NDArray

from synevo.compaction import probes
from synevo.compaction.in_memory import without_dead
from synevo.deploy.reload import Free, Reloaded, Sizes
from synevo.errors import ExportError, SynevoError
from synevo.model.arguments import arranged
from synevo.model.network import Network, path_of
from synevo.tasks.task import Task
from synevo.wiring.programs import first_line, for_one_run, line_of
from synevo.wiring.tracing import EXAMPLES, Program, trace

BATCH = "n"
"""The name of the number of examples."""

_FREE = {2: ("length",), 3: ("length",), 4: ("height", "width"), 5: ("depth", "height", "width")}
"""The names of the axes behind the first that may be free, for an array of so many axes."""

_MULTIPLES = (2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Leaf:
    """An array that a file takes or gives; sizes that are free are names, or products such as 8*height."""

    name: str
    dtype: str
    shape: Sizes


def specs(reloaded: Reloaded, count: int | None = None) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Return the arrays that an exported network takes for `count` examples, or any number: shapes and dtypes.

    Raises:
        ExportError: where its arguments come in containers that no file describes.
    """
    own = _shapes(reloaded)
    free = reloaded.free or Free(tuple((BATCH, *shape[1:]) for shape, _ in own), {})
    scope = export.SymbolicScope([f"{name} <= {most}" for name, most in free.at_most.items()])
    batch = BATCH if count is None else count
    shapes = [export.symbolic_shape(", ".join(map(str, (batch, *shape[1:]))), scope=scope) for shape in free.shapes]
    return tuple(jax.ShapeDtypeStruct(shape, dtype) for shape, (_, dtype) in zip(shapes, own, strict=True))


def _shapes(reloaded: Reloaded) -> list[tuple[tuple[int, ...], Any]]:
    """Return shape, with an example, and dtype of each array that an exported network takes."""
    if reloaded.of_images:
        return [((1, *reloaded.shape), jnp.dtype(jnp.uint8))]
    if "structure" not in reloaded.architecture:
        raise ExportError(
            "The arguments of the network come in containers that a file cannot describe.",
            remedy="Give the model its arrays as arguments, or in tuples, lists and dicts.",
        )
    return [((1, *one["shape"]), jnp.dtype(one["dtype"])) for one in reloaded.architecture["arguments"]]


def arguments(reloaded: Reloaded, leaves: Sequence[Any]) -> tuple[Any, ...]:
    """Return the arrays that an exported file takes as the arguments of the network; those of images as they are."""
    if reloaded.of_images:
        return tuple(leaves)
    return tuple(arranged(reloaded.architecture["structure"], list(leaves)))


def unpadded(reloaded: Reloaded) -> Reloaded:
    """Return a network without the dead filters with which its widths were rounded up; itself where that fails."""
    if reloaded.architecture.get("round_to", 1) == 1:
        return reloaded
    if reloaded.of_images:
        example: tuple[Any, ...] = (jax.ShapeDtypeStruct((2, *reloaded.shape), jnp.float32),)
    else:
        example = arguments(
            reloaded, [jax.ShapeDtypeStruct((2, *shape[1:]), kind) for shape, kind in _shapes(reloaded)]
        )
    try:
        return replace(reloaded, network=without_dead(reloaded.network, example))
    except SynevoError:  # with its padding it is larger than it must be, and right
        return reloaded


def answers(reloaded: Reloaded, network: Network, *leaves: Any) -> Any:
    """Return the outputs of `network` for the arrays that an exported file of `reloaded` takes."""
    inputs = arguments(reloaded, leaves)
    return reloaded.logits(network, *inputs) if reloaded.of_images else network(*inputs)


def leaves_of(reloaded: Reloaded, task: Task, batch: Any) -> list[NDArray[Any]]:
    """Return the arrays that an exported file takes for a batch of a task."""
    if reloaded.of_images:
        return [np.asarray(batch["image"])]
    return [np.asarray(leaf) for leaf in jax.tree.leaves(task.inputs(jax.tree.map(jnp.asarray, batch)))]


def given(reloaded: Reloaded) -> tuple[Leaf, ...]:
    """Return the arrays that an exported file takes; errors as in `specs`."""
    names = ["pixels"] if reloaded.of_images else _names(reloaded)
    return tuple(_leaf(*pair) for pair in zip(names, specs(reloaded), strict=True))


def wanted(reloaded: Reloaded, outputs: Any = None) -> tuple[Leaf, ...]:
    """Return the arrays that an exported file gives, no name of which is among those that it takes.

    `outputs` are those of its program for any number of examples, where that has been traced.

    Raises:
        ExportError: as in `specs`, and where the model's code depends on a free size.
    """
    outputs = outlined(reloaded) if outputs is None else outputs
    if reloaded.of_images:
        return (_leaf("logits", outputs),)
    paths = [(_joined("", path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(outputs)]
    names = [path if path and not path[0].isdigit() else f"output{path}" for path, _ in paths]
    if {leaf.name for leaf in given(reloaded)} & set(names):
        names = [f"output/{name}" for name in names]
    return tuple(_leaf(name, leaf) for name, (_, leaf) in zip(names, paths, strict=True))


def outlined(reloaded: Reloaded) -> Any:
    """Return the outputs of an exported network as shapes and dtypes; errors as in `wanted`."""
    try:
        return jax.eval_shape(lambda network, *leaves: answers(reloaded, network, *leaves), *_call(reloaded))
    except Exception as error:  # whatever the user's code raises
        raise dependent(error) from error


def _call(reloaded: Reloaded) -> tuple[Any, ...]:
    return (reloaded.network, *specs(reloaded))


def traced(reloaded: Reloaded, count: int | None = None) -> Program:
    """Return the program of an exported network, from the arrays that it takes to those that it gives.

    It is for `count` examples, or for any number.

    Raises:
        ExportError: as in `wanted`.
    """
    network = reloaded.network

    def run(arrays: Any, *leaves: Any) -> Any:
        return answers(reloaded, network.like(arrays), *leaves)

    given = specs(reloaded, count)
    try:
        return trace(run, network.arrays, *given)
    except Exception as error:  # whatever the user's code raises
        raise dependent(error) from error


def dependent(error: Exception) -> ExportError:
    """Return the error for a model that cannot be traced for any number of examples."""
    return ExportError(
        f"The model cannot be written for any number of examples: {type(error).__name__}: {first_line(error)} "
        f"({line_of(error)}).",
        remedy="Write the batch as x.shape[0] or -1 in the model's code, and do not compute with it.",
    )


def _leaf(name: str, like: Any) -> Leaf:
    sizes = tuple(int(size) if isinstance(size, int | np.integer) else str(size) for size in like.shape)
    return Leaf(name, str(like.dtype), sizes)


def _names(reloaded: Reloaded) -> list[str]:
    """Return the name of each array of the arguments: the argument's name in the model's call, and the path in it."""
    structure = reloaded.architecture["structure"]
    count = len(reloaded.architecture["arguments"])
    arguments = arranged(structure, list(range(count)))
    called = _arguments(reloaded.network, len(arguments))
    placed = {
        leaf: _joined(name, path)
        for name, argument in zip(called, arguments, strict=True)
        for path, leaf in jax.tree_util.tree_leaves_with_path(argument)
    }
    return [placed[place] for place in range(count)]


def _arguments(network: Network, count: int) -> list[str]:
    """Return the names of the first arguments of the model's call: input0, input1, … where it does not say them."""
    model = jax.eval_shape(lambda: network.blueprint.model(network.arrays, None))
    asking = getattr(type(model), "held", lambda model: model)(model)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [one.name for one in inspect.signature(asking.__call__).parameters.values() if one.kind in kinds]
    unnamed = ["input"] if count == 1 else [f"input{place}" for place in range(count)]
    return [*parameters[:count], *unnamed[len(parameters) :]]


def _joined(name: str, path: tuple[Any, ...]) -> str:
    return "/".join(part for part in (name, path_of(path)) if part)


# Free sizes


def with_free_sizes(reloaded: Reloaded) -> Reloaded:
    """Return a network whose export takes all the sizes that its code can be traced for, with any number of examples.

    Code is tried at a larger size first: it must run there, and give finite numbers. If it runs and gives others, as
    behind the end of a table of positions, sizes are at most those of the training.
    """
    own = _shapes(reloaded)
    if reloaded.of_images:
        return reloaded
    symbols = {symbol: None for shape, _ in own for symbol in _symbols(shape)}
    for chosen in chain.from_iterable(combinations(symbols, count) for count in range(len(symbols), 0, -1)):
        for multiple in _multiples(reloaded, chosen):
            at_most = _limits(reloaded, chosen, multiple)
            if at_most is None:
                continue
            found = replace(reloaded, free=Free(tuple(_freed(shape, chosen, multiple) for shape, _ in own), at_most))
            try:
                outlined(found)
            except ExportError:
                continue
            return found
    return reloaded


_Symbol = tuple[str, int]
"""A size that may be free: its name, and what it is in training."""


def _symbols(shape: tuple[int, ...]) -> Iterator[_Symbol]:
    yield from ((name, size) for name, size in zip(_FREE.get(len(shape), ()), shape[1:], strict=False) if size > 1)


def _named(chosen: Sequence[_Symbol]) -> dict[_Symbol, str]:
    """Return the name of each free size; the second of the same kind is length2."""
    kinds = [name for name, _ in chosen]
    return {
        one: one[0] + ("" if not (before := kinds[:place].count(one[0])) else str(before + 1))
        for place, one in enumerate(chosen)
    }


def _freed(shape: tuple[int, ...], chosen: Sequence[_Symbol], multiple: int) -> Sizes:
    names = _named(chosen)
    axes = _FREE.get(len(shape), ())
    sizes = [
        (f"{multiple}*" if multiple > 1 else "") + names[axes[place], size]
        if place < len(axes) and (axes[place], size) in names
        else size
        for place, size in enumerate(shape[1:])
    ]
    return (BATCH, *sizes)


def at_once(reloaded: Reloaded, most: int) -> int:
    """Return how many examples, `most` at most, a network is given at once: fewer where its largest step is large.

    Raises:
        ExportError: as in `wanted`.
    """
    return min(most, probes.at_once(traced(replace(reloaded, free=None), EXAMPLES)))


def _multiples(reloaded: Reloaded, chosen: Sequence[_Symbol]) -> list[int]:
    """Return what sizes may be multiples of, the likeliest first: of the strides on the way through the network."""
    least = _stride(reloaded)
    fit = (least, *(one for one in _MULTIPLES if one > least))
    return [multiple for multiple in fit if all(size % multiple == 0 for _, size in chosen)]


def _stride(reloaded: Reloaded) -> int:
    """Return the largest product of strides on a way through the program."""
    program = traced(replace(reloaded, free=None), 2)
    reach = dict.fromkeys((*program.inputs, *program.arrays.values(), *program.constants), 1)
    for step in program.steps:
        before = max((reach[one] for one in step.operands if isinstance(one, int)), default=1)
        strides, stretches = step.parameters.get("window_strides", ()), step.parameters.get("lhs_dilation", ())
        after = max(before * max(strides or (1,)) // max(stretches or (1,)), 1)
        reach |= dict.fromkeys(step.results, after)
    return max(reach.values())


def _limits(reloaded: Reloaded, chosen: Sequence[_Symbol], multiple: int) -> dict[str, int] | None:
    """Return the bounds of free sizes: none, or the sizes of the training; None where the code runs at these alone."""
    own = _shapes(reloaded)
    larger = [_with(shape, chosen, multiple) for shape, _ in own]
    run = for_one_run(lambda network, *leaves: answers(reloaded, network, *leaves))
    zeros = [jnp.zeros((2, *shape[1:]), dtype) for shape, (_, dtype) in zip(larger, own, strict=True)]
    try:
        outputs = jax.tree.leaves(run(reloaded.network, *zeros))
    except Exception:  # noqa: BLE001  (whatever the user's code raises: it does not run at another size)
        return None
    if all(bool(np.isfinite(np.asarray(leaf, np.float64)).all()) for leaf in outputs):
        return {}
    return {name: size // multiple for (_, size), name in _named(chosen).items()}


def _with(shape: tuple[int, ...], chosen: Sequence[_Symbol], more: int) -> tuple[int, ...]:
    """Return a shape with the chosen sizes larger by so much."""
    axes = _FREE.get(len(shape), ())
    return (
        shape[0],
        *(
            size + more if place < len(axes) and (axes[place], size) in chosen else size
            for place, size in enumerate(shape[1:])
        ),
    )


def at_another_size(reloaded: Reloaded, leaves: Sequence[NDArray[Any]]) -> list[NDArray[Any]] | None:
    """Return examples at a size that is not the training's, cut or repeated; None where no size is free."""
    if reloaded.free is None:
        return None
    return [_resized(leaf, shape, reloaded.free) for leaf, shape in zip(leaves, reloaded.free.shapes, strict=True)]


def _resized(leaf: NDArray[Any], shape: Sizes, free: Free) -> NDArray[Any]:
    for axis, size in enumerate(shape):
        if axis and isinstance(size, str):
            factor, _, name = size.rpartition("*")
            multiple, own = int(factor or 1), leaf.shape[axis]
            smaller = name in free.at_most
            other = max(own - multiple, multiple) if smaller else own + multiple
            leaf = np.take(leaf, np.arange(other), axis=axis, mode="wrap")
    return leaf
