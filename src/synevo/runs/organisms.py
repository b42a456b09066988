"""Organisms of a run: they are built from its plan and its files, and turned into arrays for files."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from synevo import ancestors, keys
from synevo.compaction import probes
from synevo.data import datasets
from synevo.data.datasets import Dataset
from synevo.data.problems import named
from synevo.data.problems.described import Described, refuse, weights_of
from synevo.data.problems.own import find_problem
from synevo.errors import AncestorError, PlanError, RunError
from synevo.files.tensors import Tensors, pack_tensors, unpack_tensors
from synevo.files.writing import hash_of, read, write
from synevo.genetics.heredity import Worth
from synevo.genetics.organism import Organism, Species
from synevo.lineage.allowance import allowance
from synevo.lineage.doubts import Basis
from synevo.model.network import Inputs, Network, build, call, outline
from synevo.plan.fields import Plan
from synevo.runs import measuring
from synevo.runs.measuring import Timing, describe
from synevo.runs.rundir import RunDir
from synevo.tasks.classification import classification
from synevo.tasks.task import Batch, Problem, at_once, first
from synevo.training.compiling import give_back_memory
from synevo.wiring.dissection import dissect

LATENCY_BATCHES = (1, 256)
"""The sizes of the batches that are timed; a batch of large examples is smaller."""

LATENCY_ROOM = 2**23
"""The numbers that the largest step of a timed batch may hold: an engine keeps several such arrays a network."""

_PROBED = 8
"""The number of images on which the outputs of an ancestor are looked at."""

_ROUNDED = 0.02
"""How far from 1 the sum of probabilities may be: those of 16 bits are rounded."""

_UNITS = ":units"

_WORTH = "worth.safetensors"
"""The file of what was measured of an individual. The lineage does not name it: without it, that is measured again."""

_BASIS, _CHECK, _CLUSTERS, _SYNAPSES = ":basis", ":check", ":clusters", "synapses/"


@dataclass(frozen=True)
class Context:
    """The plan, the problem and the species, which all individuals of a run share.

    `dataset` is the source of the problem if it classifies images, `described` that of another built-in task. Both are
    None for a user's own problem.
    """

    plan: Plan
    problem: Problem
    species: Species
    dataset: Dataset | None
    described: Described | None = None

    def inputs(self, count: int, *, test: bool = False) -> Inputs:
        """Return the arguments of a network for the first examples of the validation split, or of the test split.

        They are fewer than `count` where examples are large: see `synevo.tasks.task.at_once`.
        """
        examples = self.problem.test if test else self.problem.validation
        count = min(count, at_once(examples, count))
        return self.problem.task.inputs(jax.tree.map(jnp.asarray, first(examples, count)))


def resolve(plan: Plan) -> Plan:
    """Return the plan with the fields filled in that depend on the ancestor and the data; errors as in `prepare`."""
    if not named.is_built_in(plan):
        return plan
    if not named.of_images(plan):
        return named.resolve(plan)
    data = datasets.resolve(plan.data, native_size=ancestors.native_size(plan.ancestor.name))
    return plan.model_copy(update={"data": data})


def prepare(plan: Plan, ancestor: str | None = None, *, initialised: bool = True) -> Context:
    """Load the examples of a plan and build its species, by the plan's ancestor or, where it has moved, by `ancestor`.

    Without `initialised`, the untrained network of the species is shapes and dtypes alone: initialising a network
    compiles a small program for each of its arrays.

    Raises:
        DataError, TaskError, PlanError, AncestorError: if the data, the task, the plan or the ancestor is unfit.
    """
    give_back_memory()
    make = _factory(ancestor or plan.ancestor.name)
    dataset, described = _read(plan)
    problem = _problem(plan, dataset, described)
    if dataset is not None:
        make = ancestors.taking(make, dataset.shape, len(dataset.classes))
    elif described is not None:
        make = ancestors.taking(make, described.shape, described.outputs)
    else:
        make = ancestors.taking(make)
    allowance(plan.evolution.max_drop, 1.0, problem.task.name)  # a budget that does not suit the score is refused
    batch = first(problem.train, 2)
    _check_moved(plan, batch)
    if initialised:
        inputs = problem.task.inputs(jax.tree.map(jnp.asarray, batch))
        template = build(make, inputs, keys.derive(keys.root(plan.seed), "initialisation"))
    else:
        inputs = jax.eval_shape(problem.task.inputs, batch)
        template = outline(make, inputs)
    species = Species(dissect(template, inputs), template).protecting(plan.evolution.protect, plan.evolution.only)
    if dataset is not None:
        _check_logits(template, inputs, len(dataset.classes))
    elif described is not None:
        _check_answer(template, inputs, described)
    return Context(plan, problem, species, dataset, described)


def problem_of(plan: Plan) -> Problem:
    """Return the task and the examples of a plan; DataError, TaskError or PlanError if there are none."""
    return _problem(plan, *_read(plan))


def _read(plan: Plan) -> tuple[Dataset | None, Described | None]:
    """Return the images of a plan that classifies some, or the problem of another built-in task."""
    if not named.is_built_in(plan):
        return None, None
    if named.of_images(plan):
        return datasets.load(plan.data, seed=plan.seed), None
    return None, named.describe(plan)


def _problem(plan: Plan, dataset: Dataset | None, described: Described | None) -> Problem:
    """Return the problem of images, of another built-in task, or of the user's own."""
    if dataset is not None:
        return _of_images(plan, dataset)
    return find_problem(plan.task.name) if described is None else described.problem


def _of_images(plan: Plan, dataset: Dataset) -> Problem:
    """Return the problem of classifying images, with the loss of the plan."""
    refuse(plan, "score", "ignore")
    weights = weights_of(plan, np.bincount(dataset.train.labels, minlength=len(dataset.classes)))
    task = classification(dataset.mean, dataset.deviation, weights=weights, smoothing=plan.task.label_smoothing)
    return dataset.problem._replace(task=task) if weights or plan.task.label_smoothing else dataset.problem


def _check_answer(network: Network, inputs: Inputs, described: Described) -> None:
    """Raise AncestorError where a network's outputs do not have the shape that a built-in task expects."""
    found = jax.eval_shape(Network.__call__, network, *inputs)
    shape, answer = getattr(found, "shape", None), described.answer
    alike = shape is not None and (shape[1:] == answer or (shape[1:] == () and answer == (1,)))
    if alike and jnp.issubdtype(found.dtype, jnp.floating):
        return
    said = f"{found.dtype} {_axes(found)}" if shape is not None else f"a {type(found).__name__} of {_leaves(found)}"
    wanted, given = (", ".join(map(str, one)) for one in (answer, described.shape))
    raise AncestorError(
        f"The ancestor gives {said}; this task expects one array of numbers [n, {wanted}].",
        remedy=f"The factory is called with the shape of an input, ({given}), the number of outputs, "
        f"{described.outputs}, and an nnx.Rngs: make the last layer of these. For all else, write a task of your own "
        "(synevo guide own-task).",
    )


def _check_logits(network: Network, inputs: Inputs, classes: int) -> None:
    """Raise AncestorError where a network for images does not give one logit for each class."""
    found = jax.eval_shape(Network.__call__, network, *inputs)
    shape = getattr(found, "shape", None)
    if shape is not None and shape[1:] == (classes,) and jnp.issubdtype(found.dtype, jnp.floating):
        return
    said = f"{found.dtype} {_axes(found)}" if shape is not None else f"a {type(found).__name__} of {_leaves(found)}"
    raise AncestorError(
        f"The ancestor gives {said} for images of {classes} classes; logits are one array of numbers [n, {classes}].",
        remedy=f"Return the logits alone, and give the last layer {classes} outputs: the factory is given the number "
        "of classes behind the shape of the images. For all else, write a task of your own (synevo guide own-task).",
    )


def _leaves(outputs: Any) -> str:
    return ", ".join(_axes(leaf) for leaf in jax.tree.leaves(outputs)) or "nothing"


def _axes(array: Any) -> str:
    return f"[{', '.join(['n', *map(str, array.shape[1:])])}]"


def _factory(name: str) -> Callable[..., Any]:
    """Return the factory of an ancestor; raise AncestorError, also with the words for one that has moved."""
    try:
        return ancestors.find(name)
    except AncestorError as error:
        raise ancestors.moved(error) from error


def _check_moved(plan: Plan, batch: Batch) -> None:
    """Raise PlanError where the plan moves images, and a batch has none."""
    moving = [name for name in ("ancestor_training", "training") if (part := getattr(plan, name)).shift or part.flip]
    if moving and not (isinstance(batch, Mapping) and "image" in batch):
        still = " ".join(f"--set {name}.shift=0 --set {name}.flip=false" for name in moving)
        raise PlanError(
            f"The plan moves images in training, and the batches of the task {plan.task.name} hold none as 'image'.",
            remedy=f"Leave them where they are: {still}.",
        )


def basis_of(context: Context) -> Basis:
    """Return what the scores of a lineage rest on: the sizes of its splits, and for images what chance gives."""
    validation, test = len(context.problem.validation), len(context.problem.test)
    if context.dataset is None:
        return Basis(validation, test, context.described and context.described.chance)
    chance = float(np.bincount(context.dataset.validation.labels).max() / validation)
    return Basis(validation, test, chance, _gives_probabilities(context))


def _gives_probabilities(context: Context) -> bool:
    """Return whether the untrained outputs for each of some images are at least 0 and sum to 1, as behind a softmax.

    The images are given one by one: a call on one image is compiled anyway, to measure its latency.
    """
    inputs = context.inputs(_PROBED)
    for place in range(_PROBED):
        one = jax.tree.map(lambda array: array[place % len(array)][None], inputs)  # noqa: B023
        outputs = np.asarray(call(context.species.template, *one), np.float64)
        if not ((outputs >= 0).all() and abs(outputs.sum() - 1) < _ROUNDED):
            return False
    return True


def to_tensors(organism: Organism) -> tuple[Tensors, Tensors]:
    """Return the weights and the masks of an organism for its files; the units are among the masks."""
    weights = {name: np.asarray(array) for name, array in organism.network.arrays.items()}
    return weights, {**organism.masks, _UNITS: organism.units}


def load_organism(run: RunDir, species: Species, which: int | str) -> Organism:
    """Return an individual's organism, by its name or by the generation of which it is the head.

    Raises:
        RunError: if there is none, its files are damaged, or they belong to another model.
    """
    weights, bits = run.load_individual(which)
    if set(weights) != set(species.template.arrays):
        raise RunError(
            f"The ancestor's model has changed since {which} of {run.path} was made.",
            remedy="Give the model back its layers, or start another run.",
        )
    return organism_of(species, weights, bits)


def organism_of(species: Species, weights: Tensors, bits: Tensors) -> Organism:
    """Return the organism of these weights and masks, as `to_tensors` gives them."""
    units, bits = bits[_UNITS], {name: mask for name, mask in bits.items() if name != _UNITS}
    arrays = jax.device_put(weights)  # one by one, `jnp.asarray` would compile a program for each new shape
    groups = species.anatomy.wiring.groups_left(units)
    return Organism(species, species.template.like(arrays, groups=groups), bits, units)


def save_worth(run: RunDir, name: str, basis: str, worth: Worth) -> None:
    """Write what was measured on a `basis` of the individual with this name, or of a parent that it is the best of."""
    tensors = {_SYNAPSES + array: np.asarray(values) for array, values in worth.synapses.items()}
    if worth.clusters is not None:
        tensors[_CLUSTERS] = worth.clusters
    tensors[_BASIS] = _text(basis)
    write(_worth_of(run, name), pack_tensors({**tensors, _CHECK: _text(_check(tensors))}))


def load_worth(run: RunDir, name: str, basis: str) -> Worth | None:
    """Return what was measured of an individual; None where that was not on this `basis`, or cannot be read."""
    path = _worth_of(run, name)
    try:
        tensors = unpack_tensors(path, read(path))
    except RunError:
        return None
    check = tensors.pop(_CHECK, None)
    found = tensors.pop(_BASIS, None)
    if check is None or found is None or not np.array_equal(found, _text(basis)):
        return None
    if not np.array_equal(check, _text(_check({**tensors, _BASIS: found}))):
        return None
    clusters = tensors.pop(_CLUSTERS, None)
    synapses = {array.removeprefix(_SYNAPSES): values for array, values in tensors.items()}
    return Worth(jax.device_put(synapses), clusters)


def copy_worth(source: RunDir, run: RunDir, name: str) -> None:
    """Take what was measured of an individual along to another run that has it."""
    with suppress(RunError):  # it was never measured
        write(_worth_of(run, name), read(_worth_of(source, name)))


def _worth_of(run: RunDir, name: str) -> Path:
    return run.path / "individuals" / name / _WORTH


def _text(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8)


def _check(tensors: Tensors) -> str:
    """Return a hash of arrays, with their names, dtypes and shapes."""
    parts = (f"{name} {one.dtype} {one.shape}".encode() + one.tobytes() for name, one in sorted(tensors.items()))
    return hash_of(b"".join(parts))


class Times(NamedTuple):
    """The timing of each network, and the `engine` that ran them: its name, in words, and its threads."""

    timings: dict[str, Timing]
    engine: dict[str, Any]


class Stopwatch(Protocol):
    """What measures the latency of networks: an engine."""

    def require(self, context: Context) -> None:
        """Raise ExportError if the engine cannot run networks of this kind."""
        ...

    def time(self, context: Context, networks: Mapping[str, Network], batch: int, *, rounds: int) -> Times:
        """Return the times of networks on one batch of validation examples, in turns; ExportError where one fails."""
        ...


class InJax:
    """Measures latency in JAX as it runs here, with all of its threads."""

    def require(self, context: Context) -> None:
        """Do nothing: JAX runs every network."""

    def time(self, context: Context, networks: Mapping[str, Network], batch: int, *, rounds: int) -> Times:
        """Return the times of networks on one batch of validation examples, in turns."""
        inputs = jax.tree.map(
            lambda array: jnp.asarray(np.resize(array, (batch, *array.shape[1:]))), context.inputs(batch)
        )
        contestants = {name: partial(call, network, *inputs) for name, network in networks.items()}
        return Times(measuring.race(contestants, rounds=rounds), measuring.jax_engine(measuring.threads()))


IN_JAX = InJax()


def batches(context: Context) -> list[int]:
    """Return the sizes of the batches that are timed, the smallest first; large networks get smaller ones."""
    room = probes.at_once(context.species.anatomy.program, LATENCY_ROOM)
    return sorted({min(room, at_once(context.problem.test, most)) for most in LATENCY_BATCHES})


def measure(context: Context, networks: Mapping[str, Network], stopwatch: Stopwatch = IN_JAX) -> dict[str, Any]:
    """Return each network's latency in ms by batch size (median, quartiles, rounds), the engine, and the machine."""
    rows: dict[str, Any] = {name: {} for name in networks}
    engine: dict[str, Any] = {}
    for batch in batches(context):
        timings, engine = stopwatch.time(context, networks, batch, rounds=50)
        for name, timing in timings.items():
            rows[name][str(batch)] = asdict(timing)
    return {"latency_ms": rows, "engine": engine, "machine": describe()}
