"""Adoption: an ancestor gets the weights that it was given where it was trained, and is proven to be that network."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from numpy.typing import NDArray

from synevo.adoption.filling import fill
from synevo.adoption.outputs import compare_outputs, read_expected
from synevo.adoption.reading import content_of
from synevo.adoption.rules import Rules, parse_rules
from synevo.adoption.weights import read
from synevo.errors import AdoptionError
from synevo.lineage.individuals import Adoption
from synevo.model.network import Inputs, Network
from synevo.plan.fields import Plan


def adopted(
    network: Network,
    inputs: Inputs,
    plan: Plan,
    *,
    expect: Path | None = None,
    prepare: Callable[[NDArray[Any]], Any] | None = None,
) -> tuple[Network, Adoption | None]:
    """Return the network with the weights of the plan, and where they came from: None if it is to be trained from new.

    `inputs` are the arguments of a call, or their shapes and dtypes. The outputs are compared with those in the file to
    `expect`, if there is one; `prepare` makes the network's input of its pixels [n, height, width, channels].

    Raises:
        AdoptionError: if the weights cannot be read, do not fit the network, or it gives other outputs.
    """
    path, names = plan.ancestor.weights, plan.ancestor.names
    if path is None and expect is None and plan.ancestor_training.epochs:
        return network, None
    adoption = Adoption()
    if path is not None:
        weights = read(Path(path))
        network = fill(network, weights, inputs, rules=_read_rules(names)).network
        source = weights.source
        step = {} if source.step is None else {"step": str(source.step)}
        said = {name: str(value) for name, value in source.metadata.items()} | step
        adoption = Adoption(path, source.kind, source.sha256, said)
    if expect is not None:
        expected = read_expected(expect, prepare)
        difference, examples = compare_outputs(network, expected), len(jax.tree.leaves(expected.inputs)[0])
        adoption = replace(adoption, difference=difference, examples=examples)
    return network, adoption


def _read_rules(names: str | None) -> Rules:
    """Return the rules in a file of names; AdoptionError if it is none."""
    if names is None:
        return Rules()
    try:
        return parse_rules(content_of(Path(names)).decode())
    except UnicodeDecodeError:
        raise AdoptionError(f"{names} is no text.", remedy="Name the TOML file with the rules.") from None
