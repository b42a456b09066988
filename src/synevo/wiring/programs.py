"""The programs of a network in its two modes; a network that does not run, or has no two modes, is refused in words."""

import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax

from synevo.errors import AncestorError, SynevoError
from synevo.model.given import another_width, described
from synevo.model.modes import MODES, run, told_by, unknown_switches, written_at
from synevo.model.network import Inputs, Network
from synevo.wiring.tracing import UNKNOWN, Program, line, trace


def program_of(network: Network, inputs: Inputs, *, differentiable: bool = False, unrolled: bool = True) -> Program:
    """Return the program of a network in evaluation mode, without the lines of its steps.

    In a `differentiable` program, functions keep the derivatives that are their own; loops are `unrolled` (`trace`).
    """

    def evaluate(arrays: dict[str, Any], *inputs: Any) -> Any:
        return network.like(arrays)(*inputs)

    options = {"differentiable": differentiable, "unrolled": unrolled}
    return trace(evaluate, _abstract(network), *inputs, located=False, **options)


def evaluation_program(network: Network, inputs: Inputs) -> Program:
    """Return the program of a network in evaluation mode.

    Raises:
        AncestorError: where it does not run, or still updates its averages over batches.
    """
    averages, moved = network.blueprint.averages & network.statistics.keys(), set[str]()

    def evaluate(arrays: dict[str, Any], *inputs: Any) -> Any:
        outputs, statistics = network.like(arrays).evaluate(*inputs)
        moved.update(_moved(averages, arrays, statistics))
        return outputs

    program = _in_words("evaluation", trace, evaluate, _abstract(network), inputs=inputs)
    if moved or _draws(program):
        _refuse_switch(network, inputs, averages, (bool(moved), _draws(program)), training=False)
    if moved:
        raise AncestorError(
            f"The network trains in evaluation mode, too: it normalises by the batch and updates {_some(moved)}.",
            remedy=f"Take the mode as an argument of the call that is named one of {', '.join(MODES)}, and pass it on; "
            "or leave use_running_average to model.train() and model.eval().",
        )
    return program


def training_program(network: Network, inputs: Inputs) -> tuple[Program, dict[int, str]]:
    """Return the program of a network in training mode, and the names of the statistics in its outputs by position.

    Raises:
        AncestorError: where it does not run, or an argument that nobody sets keeps it from training.
    """
    averages, moved = network.blueprint.averages & network.statistics.keys(), set[str]()

    def train(arrays: dict[str, Any], key: Any, *inputs: Any) -> Any:
        outputs, updated = network.like(arrays).train(key, *inputs)
        moved.update(_moved(averages, arrays, updated.statistics))
        return outputs, [updated.statistics[name] for name in sorted(network.statistics)]

    program = _in_words("training", trace, train, _abstract(network), jax.random.key(0), inputs=inputs)
    active = bool(moved), _draws(program)
    if not all(active):
        _refuse_switch(network, inputs, averages, active, training=True)
    first = len(program.outputs) - len(network.statistics)
    return program, dict(enumerate(sorted(network.statistics), first))


def for_one_run(function: Callable[..., Any], *, static_argnames: Sequence[str] = ()) -> Callable[..., Any]:
    """Return a function that is compiled in less time into slower code, where this is known to pay: on the CPU."""
    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    options = quick if jax.default_backend() == "cpu" else None
    return jax.jit(function, static_argnames=tuple(static_argnames), compiler_options=options)


def first_line(error: Exception) -> str:
    """Return the first line of what an error says."""
    return (str(error).strip() or "no message").splitlines()[0].rstrip(".")


def line_of(error: Exception) -> str:
    """Return the file and line of the user's model that an error comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    return line((frame.filename, frame.lineno or 0) for frame in reversed(frames)) or UNKNOWN


def _abstract(network: Network) -> dict[str, Any]:
    return {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in network.arrays.items()}


def _in_words(mode: str, function: Callable[..., Any], *arguments: Any, inputs: Inputs) -> Any:
    """Call a function that runs the user's code on `inputs`, after other arguments; say in words what it raises."""
    try:
        return function(*arguments, *inputs)
    except SynevoError:
        raise
    except Exception as error:
        where = line_of(error)
        raise AncestorError(
            f"The network does not run in {mode} mode on {described(inputs)}: {type(error).__name__}: "
            f"{first_line(error)} ({where}).",
            remedy=another_width(error, inputs)
            or "Mend the network until it runs under jax.jit on a batch of two examples. Its call is given the "
            f"inputs, its mode where it takes {', '.join(MODES)}, and keys for training where it takes rngs.",
        ) from error


def _moved(averages: Collection[str], before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    return [name for name in averages if after[name] is not before[name]]


def _draws(program: Program) -> bool:
    """Return whether a program draws random numbers."""
    return any(step.primitive.startswith(("random_bits", "threefry", "rng_")) for step in program.steps)


def _refuse_switch(
    network: Network, inputs: Inputs, averages: Collection[str], active: tuple[bool, bool], *, training: bool
) -> None:
    """Raise AncestorError where an argument of the call that nobody sets would make the network train, or evaluate.

    `active` says whether it moves averages, and whether it draws random numbers, when nobody sets the argument.
    """
    model = network.blueprint.model(network.arrays, None)
    for name, value in unknown_switches(model):
        moved = set[str]()

        def call(arrays: dict[str, Any], key: Any, *inputs: Any) -> Any:
            model = network.blueprint.model(arrays, key if training else None)
            outputs = run(model, inputs, key if training else None, **{name: value})  # noqa: B023
            moved.update(_moved(averages, arrays, network.statistics_of(model)))  # noqa: B023
            return outputs

        try:
            program = trace(call, _abstract(network), jax.random.key(0), *inputs)
        except Exception:  # noqa: BLE001, S112  (whatever the user's code raises: it is no switch for training then)
            continue
        found = bool(moved), _draws(program)
        if any(one != other and one == training for one, other in zip(found, active, strict=True)):
            mode = "trains" if training else "evaluates"
            raise AncestorError(
                f"The network never {mode} as it should: it does so only with {name}={value}, which nobody gives "
                f"({written_at(model)}).",
                remedy=f"Rename {name} to one of {', '.join(MODES)}: then synevo sets it. Or say what it means in a "
                f"class of your own, and use that:\n\n{told_by(model, name, value=value is training)}",
            )


def _some(names: Collection[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")
