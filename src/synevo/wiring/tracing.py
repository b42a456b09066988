"""A model as a straight program: its jaxpr with every call inlined and every value numbered.

Two programs can be compared step by step: so a compacted model is proven to be the predicted one. Units can be followed
through the program, so that no model needs annotations.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from itertools import takewhile
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal, jaxprs_in_params

from synevo.wiring.loops import ROUND, Loop, joining, loop_of, slices

# Primitives whose body can be inlined, with the parameter that holds the body.
_BODIES = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "remat": "jaxpr",
    "checkpoint": "jaxpr",
    "remat2": "jaxpr",
}


CONTRACTIONS = ("dot_general", "conv_general_dilated")
"""The primitives that contract an axis of a signal with one of an array, or of another signal."""

UNKNOWN = "unknown line"

EXAMPLES = 2
"""The number of examples that a network is traced on; with one, broadcasts would be missing from the program."""


def _folder(package: str) -> str:
    """Return the folder of an installed package, with a separator behind it; "<" where it is not installed."""
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec else None
    return places[0].replace("\\", "/") + "/" if places else "<"


_LIBRARIES = tuple(map(_folder, ("jax", "flax", "jaxlib", "numpy", "opt_einsum")))
_OWN = _folder("synevo")


@dataclass(frozen=True)
class Constant:
    """A literal operand of a step."""

    value: Any


Operand: TypeAlias = int | Constant


@dataclass(frozen=True)
class Step:
    """One primitive: the values that it reads and makes, its parameters, and the line of the user's model.

    `layer` is the layer or function of a library that this line calls, such as LayerNorm; empty where it is unknown.
    """

    primitive: str
    operands: tuple[Operand, ...]
    results: tuple[int, ...]
    parameters: Mapping[str, Any]
    where: str
    operation: Any = field(default=None, compare=False, repr=False)
    layer: str = field(default="", compare=False)

    @property
    def name(self) -> str:
        """The name of the step for a user: that of the library's layer, or of the primitive."""
        return self.layer or self.primitive


@dataclass(frozen=True)
class Program:
    """A traced program with numbered values: `arrays` are the arrays of the network by name, `inputs` the data.

    `dtypes` are those of the values, by number; `outlined` are the outputs as shapes and dtypes, as they are returned.
    """

    arrays: Mapping[str, int]
    inputs: tuple[int, ...]
    outputs: tuple[Operand, ...]
    constants: Mapping[int, Any]
    steps: tuple[Step, ...]
    shapes: Mapping[int, tuple[int, ...]]
    dtypes: Mapping[int, Any] = field(default_factory=dict)
    outlined: Any = field(default=None, compare=False, repr=False)

    @property
    def precision(self) -> float:
        """The relative precision of the coarsest arithmetic in the program; 0 without floating-point numbers."""
        kinds = {self.dtypes[value] for step in self.steps for value in step.results}
        inexact = [kind for kind in kinds if jnp.issubdtype(kind, jnp.inexact)]
        return max((float(jnp.finfo(kind).eps) for kind in inexact), default=0.0)  # type: ignore[no-untyped-call]


def trace(
    function: Callable[..., Any],
    arrays: Mapping[str, Any],
    *inputs: Any,
    located: bool = True,
    differentiable: bool = False,
    unrolled: bool = True,
) -> Program:
    """Trace `function(arrays, *inputs)` as a program; arrays and inputs may be abstract (shape and dtype alone).

    The lines of steps are looked up only if they are to be `located`. In a `differentiable` program, what has a
    derivative of its own stays one step, if it contracts nothing. Loops are `unrolled` (`synevo.wiring.loops`), or stay
    one step.
    """
    closed, outlined = jax.make_jaxpr(function, return_shape=True)(dict(arrays), *inputs)
    inliner = _Inliner(located=located, differentiable=differentiable, unrolled=unrolled)
    return replace(inliner.program(closed, sorted(arrays)), outlined=outlined)


def sources(program: Program) -> dict[int, frozenset[str]]:
    """Return the names of the arrays that each value is computed from, for the values that no input takes part in."""
    found = {number: frozenset({name}) for name, number in program.arrays.items()}
    found |= dict.fromkeys(program.constants, frozenset[str]())
    for step in program.steps:
        read = [operand for operand in step.operands if isinstance(operand, int)]
        if all(operand in found for operand in read):
            own = frozenset[str]().union(*(found[operand] for operand in read))
            found |= dict.fromkeys(step.results, own)
    return found


def evaluate(
    program: Program,
    arrays: Mapping[str, Any],
    *inputs: Any,
    change: Callable[[Step, list[Any]], list[Any]] | None = None,
) -> dict[int, Any]:
    """Run a program on these arrays and inputs; return its values by their numbers.

    `change`, if given, returns the operands that a step is run on, from those that it has.
    """
    values: dict[int, Any] = dict(program.constants)
    values |= {number: arrays[name] for name, number in program.arrays.items()}
    values |= dict(zip(program.inputs, inputs, strict=True))
    for step in program.steps:
        operands = [o.value if isinstance(o, Constant) else values[o] for o in step.operands]
        operands = operands if change is None else change(step, operands)
        made = step.operation.bind(*operands, **step.operation.get_bind_params(step.parameters))
        values |= zip(step.results, made if step.operation.multiple_results else [made], strict=True)
    return values


def evaluate_in_float32(program: Program, arrays: Mapping[str, Any], *inputs: Any) -> list[Any]:
    """Run a program with float32 wherever it computes in a coarser dtype; return its outputs.

    A step that is a program of its own, such as a loop, keeps its dtypes.
    """
    values: dict[int, Any] = {number: arrays[name] for name, number in program.arrays.items()}
    values |= dict(program.constants) | dict(zip(program.inputs, inputs, strict=True))

    def read(operand: Operand) -> Any:
        return _widened(operand.value if isinstance(operand, Constant) else values[operand])

    for step in program.steps:
        operands, parameters = [read(operand) for operand in step.operands], dict(step.parameters)
        if any(map(_is_program, parameters.values())) or step.primitive == "bitcast_convert_type":
            operands = [_narrowed(program, *pair) for pair in zip(step.operands, operands, strict=True)]
        else:
            parameters |= {
                name: jnp.dtype(jnp.float32) for name in _STATED & parameters.keys() if _coarse(parameters[name])
            }
        made = step.operation.bind(*operands, **parameters)
        values |= zip(step.results, made if step.operation.multiple_results else [made], strict=True)
    return [read(output) for output in program.outputs]


_STATED = {"new_dtype", "preferred_element_type", "dtype"}


def _coarse(dtype: Any) -> bool:
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating) and jnp.dtype(dtype).itemsize < 4  # noqa: PLR2004


def _widened(value: Any) -> Any:
    return jnp.asarray(value, jnp.float32) if _coarse(getattr(value, "dtype", None)) else value


def _narrowed(program: Program, operand: Operand, value: Any) -> Any:
    """Return the value of an operand in the dtype that it has in the program."""
    dtype = getattr(operand.value, "dtype", None) if isinstance(operand, Constant) else program.dtypes[operand]
    return jnp.asarray(value, dtype) if _coarse(dtype) else value


def _is_program(parameter: Any) -> bool:
    parts = parameter if isinstance(parameter, tuple) else (parameter,)
    return any(hasattr(part, "jaxpr") or hasattr(part, "eqns") for part in parts)


class _Inliner:
    """The steps and numbered values of a jaxpr, while its calls are inlined."""

    def __init__(self, *, located: bool, differentiable: bool, unrolled: bool) -> None:
        self.located, self.differentiable, self.unrolled = located, differentiable, unrolled
        self.shapes: dict[int, tuple[int, ...]] = {}
        self.dtypes: dict[int, Any] = {}
        self.steps: list[Step] = []
        self.constants: dict[int, Any] = {}

    def program(self, closed: Any, names: list[str]) -> Program:
        """Return the program of a closed jaxpr, whose first arguments are the arrays with these names."""
        values = [self._value(variable) for variable in closed.jaxpr.invars]
        arrays, inputs = dict(zip(names, values, strict=False)), tuple(values[len(names) :])
        outputs = self._inline(closed, values)
        steps = tuple(_without_dead_code(self.steps, outputs))
        return Program(arrays, inputs, outputs, self.constants, steps, self.shapes, self.dtypes)

    def _value(self, variable: Any) -> int:
        number = len(self.shapes)
        self.shapes[number] = tuple(variable.aval.shape)
        self.dtypes[number] = variable.aval.dtype
        return number

    def _constant(self, variable: Any, value: Any) -> Operand:
        if not variable.aval.shape:
            return Constant(value)
        number = self._value(variable)
        self.constants[number] = value
        return number

    def _inline(self, body: Any, arguments: Any, caller: tuple[str, str] = (UNKNOWN, "")) -> tuple[Operand, ...]:
        """Add the steps of a jaxpr, closed or without constants, and of the calls in it; return its outputs.

        `caller` is the line that calls it, and the layer that this line calls.
        """
        jaxpr: Jaxpr = getattr(body, "jaxpr", body)
        return self._run(jaxpr, self._constants(body), arguments, caller)

    def _constants(self, body: Any) -> list[Operand]:
        """Return the operands that are the constants of a jaxpr; one that is not closed has none."""
        variables = getattr(body, "jaxpr", body).constvars
        return [self._constant(*pair) for pair in zip(variables, getattr(body, "consts", ()), strict=True)]

    def _unroll(self, loop: Loop, equation: Any, operands: Any, caller: tuple[str, str]) -> tuple[Operand, ...]:
        """Add the steps of all rounds of a loop; return its results."""
        (constants, carried, sliced), given = loop.operands(operands), self._constants(loop.body)
        like = [variable.aval for variable in loop.operands(equation.invars)[2]]
        where, made = (caller[0], ROUND), list[tuple[int, tuple[Operand, ...]]]()
        for place in loop.rounds:
            taken = self._inline(slices(like, place), sliced, where)
            results = self._run(loop.body.jaxpr, given, (*constants, *carried, *taken), caller)
            carried = results[: loop.carried]
            made.append((place, results[loop.carried :]))
        rows = zip(*(results for _, results in sorted(made, key=lambda pair: pair[0])), strict=True)
        kinds = [variable.aval for variable in loop.body.jaxpr.outvars[loop.carried :]]
        joined = (self._inline(joining(kind, len(made)), row, where)[0] for kind, row in zip(kinds, rows, strict=True))
        return (*carried, *joined)

    def _run(self, jaxpr: Jaxpr, constants: Any, arguments: Any, caller: tuple[str, str]) -> tuple[Operand, ...]:
        """Add the steps of a jaxpr with these constants and arguments, all operands; return its outputs."""
        scope: dict[Any, Operand] = dict(zip(jaxpr.invars, arguments, strict=True))
        scope |= zip(jaxpr.constvars, constants, strict=True)

        def read(atom: Any) -> Operand:
            return Constant(atom.val) if isinstance(atom, Literal) else scope[atom]

        for equation in jaxpr.eqns:
            operands = tuple(read(atom) for atom in equation.invars)
            where = _where(equation, caller) if self.located else caller
            body = equation.params.get(_BODIES.get(equation.primitive.name, ""))
            if body is not None and not (self.differentiable and _has_own_derivative(equation, body)):
                scope.update(zip(equation.outvars, self._inline(body, operands, where), strict=True))
            elif loop := loop_of(equation) if self.unrolled else None:
                results = self._unroll(loop, equation, operands, where)
                scope.update(zip(equation.outvars, results, strict=True))
            else:
                made = tuple(self._value(variable) for variable in equation.outvars)
                self.steps.append(
                    Step(
                        equation.primitive.name, operands, made, equation.params, where[0], equation.primitive, where[1]
                    )
                )
                scope.update(zip(equation.outvars, made, strict=True))
        return tuple(read(atom) for atom in jaxpr.outvars)


def _has_own_derivative(equation: Any, body: Any) -> bool:
    """Return whether a call has a derivative of its own, and contracts nothing."""
    return equation.primitive.name.startswith("custom_") and not _contracts(getattr(body, "jaxpr", body))


def _contracts(jaxpr: Jaxpr) -> bool:
    """Return whether a jaxpr contracts anything, also in what it calls."""
    return any(
        equation.primitive.name in CONTRACTIONS or any(map(_contracts, jaxprs_in_params(equation.params)))
        for equation in jaxpr.eqns
    )


def _without_dead_code(steps: list[Step], outputs: tuple[Operand, ...]) -> Iterator[Step]:
    needed = {value for value in outputs if isinstance(value, int)}
    kept = []
    for step in reversed(steps):
        if needed.intersection(step.results):
            kept.append(step)
            needed.update(value for value in step.operands if isinstance(value, int))
    return reversed(kept)


def _where(equation: Any, caller: tuple[str, str]) -> tuple[str, str]:
    """Return the line of the user's model that made an equation and the layer that it calls, or those of the caller."""
    traceback = equation.source_info.traceback
    frames = list(traceback.frames) if traceback is not None else []
    where = line((frame.file_name, frame.line_num) for frame in frames)
    layer = _layer((frame.file_name, frame.function_name) for frame in frames)
    called = str(equation.params.get("name") or "") if equation.primitive.name in _BODIES else ""
    return (where, layer or ("" if called.startswith(("_", "<")) else called)) if where else caller


def _layer(frames: Iterable[tuple[str, str]]) -> str:
    """Return the outermost layer or public function of a library that a user's line calls, for frames (file, name)."""
    called = [(path.replace("\\", "/"), name) for path, name in frames]
    called = list(takewhile(lambda frame: not _is_of_a_model(frame[0]), called))
    for path, name in reversed(called):
        if any(part in path for part in _LAYERS) and not name.startswith("_") and "<" not in name:
            return name.removesuffix(".__call__")
    return ""


_LAYERS = (
    "flax/nnx/nn/",
    *(
        f"flax/linen/{name}.py"
        for name in ("attention", "linear", "normalization", "pooling", "recurrent", "stochastic")
    ),
    "jax/_src/nn/",
    "jax/_src/lax/",
    "jax/_src/scipy/",
    *(f"jax/_src/numpy/{name}.py" for name in ("fft", "linalg", "reductions", "sorting", "tensor_contractions")),
)


def line(frames: Iterable[tuple[str, int]]) -> str:
    """Return `file:line` of the first of the frames (file, line) that is in the user's model; empty where none is."""
    for path, number in frames:
        name = path.replace("\\", "/")
        if _is_of_a_model(name):
            return f"{name.rpartition('/')[2]}:{number}"
    return ""


def _is_of_a_model(path: str) -> bool:
    """Return whether a file holds a user's model: no file of a library, and none of synevo's except its ancestors."""
    if path.startswith(("<", *_LIBRARIES)):
        return False
    return not path.startswith(_OWN) or path.startswith(f"{_OWN}ancestors/")
