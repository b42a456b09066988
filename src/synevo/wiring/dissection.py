"""Dissect a network: find which slices of which arrays live and die together.

Every element of every axis of every array gets an identity. The rules (`synevo.wiring.rules.follow`) follow the
identities through the traced program, and unite those that must be removed together: a filter, its bias, its
normalisation, the rows of the next layer over which a flatten spreads it, both sides of a residual sum. A set of
identities that may be removed is a *unit*. A set that reaches the output, or meets a primitive without a rule, is
frozen: never removed, and named with its reason. A family of units is frozen, too, if the model's own code does not run
as predicted without some of them. Trials find this out: they remove a share of every family, half of it at first.

A layer is an array that is contracted with a signal; its elements are the synapses of the paper. Units are numbered
once, in the ancestor, and keep their number however small the network becomes: the number is the gene tag of
1811.07966. Two kinds of units can meet on one axis, such as heads and the places within a head. The elements of this
axis are *derived* from several units, and numbered after them.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache, cached_property
from math import ceil
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synevo.errors import ProofError
from synevo.model.fitting import stated_sizes
from synevo.model.network import Inputs, Network
from synevo.wiring.comparison import Difference, Survivors, differences
from synevo.wiring.identities import MET, TOLD, TRIED, WINDOW, Axis, Flags, Identities, Numbers
from synevo.wiring.programs import evaluation_program, first_line, line_of, program_of, training_program
from synevo.wiring.rules.follow import follow
from synevo.wiring.rules.reshaping import merge_axes
from synevo.wiring.stated import Told, propose, reason
from synevo.wiring.tracing import EXAMPLES, Program
from synevo.wiring.trials import Family, find_uses, offenders
from synevo.wiring.units import GRAINS, PERMANENT, Frozen, Layer, Wiring, keep_one, survives
from synevo.wiring.walking import Contraction

_TRIALS = (1 / 2, 0, 0.8, 0.3, 0, 1 / 2, 0.8, 0, 0.3, 0.9)
"""The shares of every family that trials remove. With derived units, code may fail with some shares only."""


@dataclass(frozen=True)
class Anatomy:
    """The traced program of a network, its wiring, and the unit at each place of each axis of each value.

    `inputs` are the arguments of the network as shapes and dtypes for two examples: with one, broadcasts would be
    missing.
    """

    program: Program
    units: Mapping[int, tuple[Numbers, ...]]
    wiring: Wiring
    inputs: Inputs

    @property
    def divides(self) -> bool:
        """Whether an axis of a value holds derived units, such as the places of all heads in a row."""
        return any((axis >= self.wiring.units).any() for axis in self._different.values())

    @cached_property
    def _different(self) -> dict[int, Numbers]:
        """The axes of all values; most are shared by many, and are found by their identity."""
        return {id(axis): axis for axes in self.units.values() for axis in axes}

    def survivors(self, alive: Flags) -> Survivors:
        """Return flags of what is left along each axis of each value with only the `alive` units [units]."""
        fates = self.wiring.fates(alive)
        left = {key: survives(axis, fates) for key, axis in self._different.items()}
        return {value: tuple(left[id(axis)] for axis in axes) for value, axes in self.units.items()}


def example_of(inputs: Any) -> Inputs:
    """Return the arguments of a network as shapes and dtypes, for two examples.

    `inputs` is the shape of one float32 array without its first axis, such as (height, width, channels); or it is a
    tuple of arguments: pytrees of arrays, or of their shapes and dtypes, whose first axis counts examples. A single
    array is the only argument.
    """
    inputs = (inputs,) if hasattr(inputs, "shape") else inputs
    if all(isinstance(size, int | np.integer) for size in inputs):
        return (jax.ShapeDtypeStruct((EXAMPLES, *inputs), jnp.float32),)
    return jax.tree.map(lambda array: jax.ShapeDtypeStruct((EXAMPLES, *array.shape[1:]), array.dtype), tuple(inputs))


def dissect(network: Network, inputs: Inputs) -> Anatomy:
    """Trace a network on `inputs` (see `example_of`), and follow its units through the program.

    The anatomy is that of evaluation. Units that the training program cannot lose are frozen, too.

    Raises:
        AncestorError: where the network does not run on them, or does not train.
    """
    inputs = example_of(inputs)
    program = evaluation_program(network, inputs)
    identities, contractions = follow(program, trained=network.parameters.keys())
    values = identities.axes
    if network.statistics or network.blueprint.has_modes:
        training, updates = training_program(network, inputs)
        follow(training, identities, arrays={k: values[v] for k, v in program.arrays.items()}, updates=updates)
        identities.axes = values
    return _try(network, inputs, program, identities, contractions)


def check(network: Network, anatomy: Anatomy, alive: Flags) -> int:
    """Check that the model's own code runs without the units that are not `alive` [units]; return its number of steps.

    Only the shapes of the ancestor's `network` matter.

    Raises:
        ProofError: where the model's code does not run as the wiring predicts.
    """
    for difference in _differences(network, anatomy, alive):
        raise difference.error
    return len(anatomy.program.steps)


def _differences(network: Network, anatomy: Anatomy, alive: Flags) -> Iterator[Difference]:
    """Yield the differences between the predicted program without the units that are not `alive`, and the real one."""
    survivors, blueprint = anatomy.survivors(alive), network.blueprint

    def cut(name: str, array: Any) -> Any:
        sizes = tuple(int(axis.sum()) for axis in survivors[anatomy.program.arrays[name]])
        return jax.ShapeDtypeStruct(sizes, array.dtype)

    shapes = {name: cut(name, array) for name, array in network.arrays.items()}
    evaluating = replace(network, blueprint=replace(blueprint, training=blueprint.evaluation))
    try:
        found = program_of(evaluating.like(shapes, groups=anatomy.wiring.groups_left(alive)), anatomy.inputs)
    except Exception as error:  # noqa: BLE001  (whatever the user's code raises)
        where = line_of(error)
        stopped = ProofError(
            f"The compacted model would not run: {type(error).__name__}: {first_line(error)} ({where}).",
            remedy="The model's code states its widths; write sizes as x.shape[...] or -1 so that they follow.",
        )
        stopped.__cause__ = error
        yield Difference(stopped, where)
    else:
        yield from differences(anatomy.program, survivors, found)


def _try(
    network: Network, inputs: Inputs, program: Program, identities: Identities, contractions: list[Contraction]
) -> Anatomy:
    """Return the anatomy, after freezing the families of units without which the model's own code does not run."""
    sizes, told = stated_sizes(network.blueprint, network.arrays), Told()
    while True:
        numbers = _number_units(program, identities)
        trained = network.parameters.keys()
        anatomy = Anatomy(program, *_anatomy(program, identities, contractions, numbers, trained, told), inputs)
        found = [[numbers[root] for root in family if root in numbers] for family in identities.families()]
        families = find_uses([family for family in found if family], program, anatomy.units, anatomy.wiring)
        offending, known = _offending(network, anatomy, families, {k: n for k, n in sizes.items() if k not in told})
        if not offending and not known:
            return anatomy
        told |= known
        roots = {unit: root for root, unit in numbers.items()}
        for family, difference in offending:
            why = reason(family, difference, program, anatomy.units, anatomy.wiring)
            identities.freeze_sets([roots[unit] for unit in family.units], why)


def _offending(
    network: Network, anatomy: Anatomy, families: list[Family], sizes: Mapping[str, int]
) -> tuple[list[tuple[Family, Difference]], Told]:
    """Return families without which the model's own code does not run, and the attributes that others need to be told.

    They are found by one trial; there are none where all trials pass. `sizes` are the attributes that may be told.
    """
    for seed, share in enumerate(_TRIALS if anatomy.divides else _TRIALS[:2]):

        def fails(tried: list[Family], told: Told | None = None) -> list[Difference]:
            alive = _without(anatomy.wiring, families, tried, share, seed)  # noqa: B023
            return list(_differences(network, _tell(anatomy, told or {}), alive))

        if families and (found := fails(families)):
            return _settle(offenders(families, found, fails), anatomy, sizes, fails)
    return [], {}


def _settle(
    offending: list[tuple[Family, Difference]],
    anatomy: Anatomy,
    sizes: Mapping[str, int],
    fails: Callable[[list[Family], Told], list[Difference]],
) -> tuple[list[tuple[Family, Difference]], Told]:
    """Return the offending families for which no attribute can be told, and the attributes for the others."""
    kinds: dict[Any, list[tuple[Family, Difference]]] = {}
    for pair in offending:
        kinds.setdefault(pair[0].uses, []).append(pair)
    left, known = [], Told()
    for pairs in kinds.values():
        kind = [family for family, _ in pairs]
        proposals = propose(kind, sizes, anatomy.units, anatomy.wiring)
        told = next((told for told in proposals if not fails(kind, known | told)), None)
        if told is None:
            left += pairs
        else:
            known |= told
    return left, known


def _tell(anatomy: Anatomy, told: Told) -> Anatomy:
    """Return the anatomy with attributes of modules that count its units."""
    counted = {name: anatomy.units[value][axis] for name, (value, axis) in told.items()}
    return replace(anatomy, wiring=replace(anatomy.wiring, groups={**anatomy.wiring.groups, **counted}))


def _without(wiring: Wiring, families: list[Family], tried: list[Family], share: float, seed: int) -> Flags:
    """Remove a share of the families that are `tried`, at least one unit each, and empty no axis; return flags [units].

    Which units go does not depend on which of the `families` are tried.
    """
    alive = np.ones(wiring.units, bool)
    random = np.random.default_rng(seed)
    for family in families:
        drawn = random.permutation(family.units)[: max(1, int(share * len(family.units)))]
        if family in tried:
            alive[drawn] = False
    return keep_one(wiring, alive)


def _number_units(program: Program, identities: Identities) -> dict[int, int]:
    """Assign unit numbers to the atomic sets, in the order in which the arrays first meet a signal."""
    order = [operand for step in program.steps for operand in step.operands if isinstance(operand, int)]
    arrays = set(program.arrays.values())
    numbers, roots = dict[int, int](), identities.roots()
    axes = (axis for value in dict.fromkeys(order) if value in arrays for axis in identities.axes[value])
    for root in dict.fromkeys(root for axis in axes for root in roots[axis.ids].tolist()):
        for part in identities.parts(root):
            numbers.setdefault(part, len(numbers))
    return numbers


def _anatomy(
    program: Program,
    identities: Identities,
    contractions: list[Contraction],
    numbers: Mapping[int, int],
    trained: Collection[str],
    told: Told,
) -> tuple[dict[int, tuple[Numbers, ...]], Wiring]:
    """Return the unit at each place of each axis of each value, and the wiring.

    A place is permanent if its identity has no parts, a unit if it has one, and a derived unit if it has several.
    """
    derived: dict[tuple[int, ...], int] = {}
    known: dict[frozenset[int], tuple[int, ...]] = {}
    merged = _merge(_of_signals(contractions), program, identities)
    roots = identities.roots()
    unseen = PERMANENT - 1
    of_root = np.full(len(roots), unseen, np.int64)
    different: dict[bytes, Numbers] = {}

    def unit(root: int) -> int:
        parts = tuple(numbers[part] for part in identities.parts(root) if part in numbers)
        if len(parts) < 2:  # noqa: PLR2004  (two make a derived unit)
            return parts[0] if parts else PERMANENT
        parts = known.setdefault(frozenset(parts), parts)
        return len(numbers) + derived.setdefault(parts, len(derived))

    def number(axis: Axis) -> Numbers:
        own = roots[axis.ids]
        new = np.unique(own[of_root[own] == unseen])
        of_root[new] = [unit(root) for root in new.tolist()]
        units = of_root[own]
        return different.setdefault(units.tobytes(), units)

    units = {value: tuple(number(axis) for axis in axes) for value, axes in identities.axes.items()}
    slots = {name: units[value] for name, value in program.arrays.items()}
    groups = {c.array: number(c.groups) for c in contractions if c.groups is not None}
    counted = {name: units[value][axis] for name, (value, axis) in told.items()}
    groups |= {name: axis for name, axis in counted.items() if (axis != PERMANENT).any()}
    emptiable = {id(axis): axis for axes in units.values() for axis in axes if len(axis) and (axis != PERMANENT).all()}
    contracted = _layers(_of_signals(contractions), merged, number)
    wiring = Wiring(
        tuple(layer for layer in contracted if layer.name in trained and layer.grain != "none"),
        slots,
        len(numbers),
        _frozen(program, identities, slots, contractions),
        tuple(derived),
        tuple(emptiable.values()),
        groups,
        contracted,
        order=_order(_of_signals(contractions)),
    )
    return units, wiring


def _of_signals(contractions: list[Contraction]) -> list[Contraction]:
    """Return the contractions that count.

    If a signal passes through an array, its contractions with other arrays do not, as in a power iteration.
    """
    heard = {found.array for found in contractions if not found.aside}
    return [found for found in contractions if not (found.aside and found.array in heard)]


def _order(contractions: list[Contraction]) -> tuple[str, ...]:
    """Return the names of the arrays in the order of their uses; nothing where each is used once."""
    names = tuple(found.array for found in contractions)
    return names if len(set(names)) < len(names) else ()


def _merge(contractions: list[Contraction], program: Program, identities: Identities) -> dict[str, tuple[Axis, Axis]]:
    """Return the inputs and the outputs of each array that is contracted, at its first use, as one axis each."""
    merged: dict[str, tuple[Axis, Axis]] = {}
    for found in contractions:
        if found.array not in merged:
            axes = identities.axes[program.arrays[found.array]]
            inputs, outputs = ([axes[k] for k in side] for side in (found.input_axes, found.output_axes))
            merged[found.array] = merge_axes(identities, inputs), merge_axes(identities, outputs)
    return merged


def _layers(
    contractions: list[Contraction], merged: Mapping[str, tuple[Axis, Axis]], number: Callable[[Axis], Numbers]
) -> tuple[Layer, ...]:
    """Make one layer of each array, at its first use; every later use adds to its positions."""
    layers: dict[str, Layer] = {}
    positions: dict[str, Fraction] = {}
    for found in contractions:
        positions[found.array] = positions.get(found.array, Fraction(0)) + found.positions
        if found.array in layers:
            known = layers[found.array]
            layers[found.array] = replace(
                known,
                positions=ceil(positions[found.array]),
                grain=max(known.grain, found.grain, key=GRAINS.index),
                beside=tuple(sorted({*known.beside, *found.beside})),
            )
            continue
        inputs, outputs = merged[found.array][0], number(merged[found.array][1])
        groups = None
        if found.groups is not None:
            groups = np.repeat(number(found.groups), len(outputs) // len(found.groups))
        layers[found.array] = Layer(
            found.array,
            _plain(found.input_axes),
            _plain(found.output_axes),
            number(inputs),
            outputs,
            ceil(found.positions),
            groups,
            found.grain,
            found.beside,
        )
    return tuple(layers.values())


def _plain(axes: tuple[int, ...]) -> int | tuple[int, ...]:
    return axes[0] if len(axes) == 1 else axes


def _frozen(
    program: Program, identities: Identities, slots: Mapping[str, tuple[Numbers, ...]], contractions: list[Contraction]
) -> tuple[Frozen, ...]:
    """Return what is frozen, with one entry for each array, axis and reason, as `Frozen` says."""
    roots = identities.roots()
    known: dict[int, frozenset[int]] = {}

    def atoms(root: int) -> frozenset[int]:
        if root not in known:
            known[root] = frozenset(identities.atoms(root))
        return known[root]

    def held(axes: Iterable[Axis]) -> set[int]:
        return {atom for axis in axes for root in np.unique(roots[axis.ids]).tolist() for atom in atoms(root)}

    arrays = {name: identities.axes[value] for name, value in program.arrays.items()}
    read = held(arrays[found.array][k] for found in contractions for k in found.input_axes)
    made = held(arrays[found.array][k] for found in contractions for k in found.output_axes)
    said = held(axis for output in program.outputs if isinstance(output, int) for axis in identities.axes[output])
    said -= read

    @cache
    def why(root: int) -> str:
        """Return the reason of a set that one could hope to remove; nothing for others."""
        reason = identities.reason(root)
        hoped = reason.weight in {TOLD, TRIED} or (reason.weight in {MET, WINDOW} and not made.isdisjoint(atoms(root)))
        return reason.text if hoped and said.isdisjoint(atoms(root)) else ""

    found: Counter[tuple[str, int, str]] = Counter()
    for name, axes in slots.items():
        for axis, units in enumerate(axes):
            kept, counts = np.unique(roots[arrays[name][axis].ids[units == PERMANENT]], return_counts=True)
            for root, count in zip(kept.tolist(), counts.tolist(), strict=True):
                if reason := why(root):
                    found[name, axis, reason] += count
    return tuple(Frozen(name, axis, count, reason) for (name, axis, reason), count in found.items())
