"""Filling: trained weights become the arrays of a network, all of them, or none with everything that is wrong.

    weights = read(path)
    filled = fill(network, weights, inputs)                    filled.network computes with them

Every array of the network comes from one array of the file, and every array of the file goes into one of the network,
save what optimisers and random states leave there. Names decide, never shapes: what these alone suggest is proposed as
text of a NAMES.toml, to be looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import jax.numpy as jnp
import numpy as np

from synevo.adoption.layouts import Misfit, arrange, convert
from synevo.adoption.names import Names, framework_of, is_no_weight, spellings, split, without_values
from synevo.adoption.proposal import Open, propose
from synevo.adoption.reading import Arrays
from synevo.adoption.rules import Line, Rule, Rules
from synevo.adoption.uses import Use, lists_of, uses
from synevo.adoption.weights import Weights
from synevo.errors import AdoptionError, did_you_mean, printable
from synevo.model.network import Inputs, Network

_MOST = 40
"""How many lines of one kind an error shows."""


@dataclass(frozen=True)
class Filled:
    """A network with the weights of a file.

    `origins` are the name in the file of each array of the network, `dropped` what in the file is no weight, and
    `converted` which arrays were brought to the network's dtype, in words.
    """

    network: Network
    origins: Mapping[str, str]
    dropped: tuple[str, ...]
    converted: tuple[str, ...]


@dataclass
class _Match:
    """What was found while names were compared: claims on arrays of the network, and everything that is wrong."""

    claims: dict[str, list[tuple[str, Rule | None]]] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    faults: dict[str, list[str]] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)

    def fault(self, kind: str, text: str) -> None:
        self.faults.setdefault(kind, []).append(text)


def fill(network: Network, weights: Weights, inputs: Inputs, *, rules: Rules = Rules()) -> Filled:  # noqa: B008 (frozen)
    """Return a network with trained weights in place of its own.

    `inputs` are the arguments of a call, or their shapes and dtypes: what is flattened is seen in the program.

    Raises:
        AdoptionError: where not every array has its place; all that is wrong is in it, and a `proposal` of names.
    """
    arrays = _unpacked(weights.arrays)
    parts = without_values(arrays)
    framework = framework_of(weights.source.kind, arrays)
    match = _match(network, arrays, parts, rules)
    used = uses(network, inputs)
    targets = network.arrays
    found, origins, converted = {}, {}, []
    for name, claims in sorted(match.claims.items()):
        if len(claims) > 1:
            match.fault("claimed twice", f"{name}: by {' and '.join(sorted(source for source, _ in claims))}")
            continue
        ((source, rule),) = claims
        target = (split(name)[-1], tuple(targets[name].shape))
        use = used.get(name, Use(len(used)))
        one = arrange(arrays[source], parts[source][-1], target, use, framework, rule)
        made = one if isinstance(one, Misfit) else convert(one, targets[name].dtype)
        if isinstance(made, Misfit):
            _note(match, source, name, made)
            continue
        found[name], note = made
        origins[name] = source
        converted += [f"{source}: {note}"] if note else []
    missing = [name for name in targets if name not in match.claims and not rules.keeps(name)]
    _require_whole(weights, match, _open(network, arrays, parts, missing, match.left, used, framework))
    kept = {name: array for name, array in targets.items() if name not in found}
    adopted = network.like({name: jnp.asarray(array) for name, array in found.items()} | kept)
    return Filled(adopted, origins, tuple(sorted(match.dropped)), tuple(converted))


def _unpacked(arrays: Arrays) -> Arrays:
    """Return the arrays with PyTorch's packed projections of an attention as three."""
    found: Arrays = {}
    for name, array in arrays.items():
        front, packed, role = name.rpartition("in_proj_")
        if packed and role in {"weight", "bias"} and array.shape and array.shape[0] % 3 == 0:
            thirds = zip(("query", "key", "value"), np.split(array, 3), strict=True)
            found |= {f"{front}{part}.{role}": third for part, third in thirds}
        elif ".out_proj." in name and f"{name.partition('.out_proj.')[0]}.in_proj_weight" in arrays:
            found[name.replace(".out_proj.", ".out.")] = array
        else:
            found[name] = array
    return found


def _match(network: Network, arrays: Arrays, parts: Mapping[str, tuple[str, ...]], rules: Rules) -> _Match:
    """Compare the names of a file with those of a network, by rules first."""
    match = _Match()
    names = Names(network.arrays, lists=lists_of(network))
    streams = {tuple(map(str, stream.path)) for stream in network.blueprint.streams}
    for source, own in parts.items():
        spelled = [source, *("/".join(one) for one in spellings(own))]
        rule, to = rules.find(spelled) or (None, None)
        if rules.drops(spelled):
            match.dropped.append(source)
        elif to is not None and to not in network.arrays:
            match.fault("led nowhere", f"{source}: its rule names {to}.{did_you_mean(to, network.arrays)}")
        elif to is not None:
            match.claims.setdefault(to, []).append((source, rule))
        else:
            _claim(match, source, rule, names.find(own), is_no_weight(own, arrays[source], streams))
    return match


def _claim(match: _Match, source: str, rule: Rule | None, found: list[str], no_weight: bool) -> None:  # noqa: FBT001
    if len(found) == 1:
        match.claims.setdefault(found[0], []).append((source, rule))
    elif found:
        match.fault("ambiguous", f"{source}: it may be {' or '.join(found)}")
    elif no_weight:
        match.dropped.append(source)
    else:
        match.left.append(source)


def _note(match: _Match, source: str, name: str, misfit: Misfit) -> None:
    pair = source if split(source) == split(name) else f"{source} → {name}"
    match.fault("ambiguous" if misfit.ambiguous else "of another shape or dtype", f"{pair}: {misfit.reason}")
    if misfit.flatten or misfit.axes:
        why = "if the map was flattened channels first" if misfit.flatten else "or the other order"
        match.lines.append(Line(source, name, why, misfit.flatten, misfit.axes))


def _open(
    network: Network,
    arrays: Arrays,
    parts: Mapping[str, tuple[str, ...]],
    missing: list[str],
    left: list[str],
    used: Mapping[str, Use],
    framework: str,
) -> Open:
    """Return what has found no partner, in the order in which the network uses it, and the file has it."""
    end = len(used) + max((use.order for use in used.values()), default=0)
    order = {name: used[name].order if name in used else end for name in missing}
    return Open(
        {name: tuple(network.arrays[name].shape) for name in sorted(missing, key=lambda one: (order[one], one))},
        {name: (list(spellings(parts[name]))[-1], tuple(arrays[name].shape)) for name in left},
        {name: used[name].flattened for name in missing if name in used and framework == "torch"},
    )


def _require_whole(weights: Weights, match: _Match, rest: Open) -> None:
    """Raise AdoptionError with everything that is wrong, if anything is."""
    ours = {name: ("/".join(split(name)), shape) for name, shape in rest.missing.items()}
    theirs = {name: ("/".join(own), shape) for name, (own, shape) in rest.left.items()}
    for kind, these, those in (("missing in the file", ours, theirs), ("left over in the file", theirs, ours)):
        names = {spelled: name for name, (spelled, _) in those.items()}
        for number, (name, (spelled, shape)) in enumerate(sorted(these.items())):
            near = did_you_mean(spelled, names, in_full=names) if number < _MOST else ""
            match.fault(kind, f"{name} {list(shape)}.{near}")
    if not match.faults:
        return
    problem = [f"{weights.source.path} ({weights.source.kind}) does not fit the network."]
    for kind in sorted(match.faults):
        texts = sorted(match.faults[kind])
        problem.append(f"{len(texts)} {'array is' if len(texts) == 1 else 'arrays are'} {kind}:")
        problem += [f"  {printable(text)}" for text in texts[:_MOST]]
        problem += [f"  … and {len(texts) - _MOST} more"] if len(texts) > _MOST else []
    proposal = propose(rest, match.lines)
    raise AdoptionError("\n".join(problem), remedy=_remedy(match, proposal), proposal=proposal)


def _remedy(match: _Match, proposal: str) -> str:
    if proposal:
        lines = proposal.splitlines()
        shown = lines if len(lines) <= _MOST else [*lines[:_MOST], f"  … and {len(lines) - _MOST} lines more"]
        return "\n".join(["Say in a NAMES.toml what is what. As far as shapes and order tell:", *shown])
    if "left over in the file" in match.faults and "missing in the file" not in match.faults:
        return "If the network does not need them, name them in a NAMES.toml: drop = ['REGULAR EXPRESSION']."
    return (
        "Use the network that these weights were trained in, or say in a NAMES.toml what is what: names = "
        "[{from = 'REGULAR EXPRESSION', to = 'PATH'}], drop and keep."
    )
