"""Organisms of a run: from its plan and its files to networks, and back."""

from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synevo import ancestors, keys
from synevo.data import datasets
from synevo.errors import RunError
from synevo.files.tensors import Tensors
from synevo.genetics.organism import Organism, Species
from synevo.model.network import Blueprint, Network, build, forward, normalise
from synevo.plan.fields import Plan
from synevo.runs import stopwatch
from synevo.runs.machine import describe
from synevo.runs.rundir import RunDir
from synevo.tasks.images import Dataset
from synevo.wiring.dissection import dissect

LATENCY_BATCHES = (1, 256)

_UNITS = ":units"


@dataclass(frozen=True)
class Habitat:
    """What a run's individuals live in: the plan, the images and the species."""

    plan: Plan
    dataset: Dataset
    species: Species


def resolve(plan: Plan) -> Plan:
    """The plan with all that depends on the ancestor and the data filled in."""
    data = datasets.resolve(plan.data, native_size=ancestors.native_size(plan.ancestor.name))
    return plan.model_copy(update={"data": data})


def settle(plan: Plan) -> Habitat:
    """Load the images and build the species of a plan."""
    dataset = datasets.load(plan.data, seed=plan.seed)
    key = keys.derive(keys.root(plan.seed), "initialisation")
    blueprint, template = build(ancestors.find(plan.ancestor.name), dataset.shape, len(dataset.classes), key)
    return Habitat(plan, dataset, Species(blueprint, dissect(blueprint, template, dataset.shape), template))


def dismantle(organism: Organism) -> tuple[Tensors, Tensors]:
    """The weights and the masks of an organism as files hold them."""
    weights = {name: np.asarray(array) for name, array in organism.network.arrays.items()}
    return weights, {**organism.masks, _UNITS: organism.units}


def load_organism(run: RunDir, species: Species, which: int | str) -> Organism:
    """An individual's organism, by name or as the head of a generation.

    Raises:
        RunError: where there is none, or its files are damaged or are those of another model.
    """
    weights, bits = run.load_individual(which)
    if set(weights) != set(species.template.arrays):
        raise RunError(
            f"The ancestor's model has changed since {which} of {run.path} was made.",
            remedy="Give the model back its layers, or start another run.",
        )
    units = bits.pop(_UNITS)
    return Organism(assembled(species.template, weights), bits, units)


def assembled(template: Network, weights: Tensors) -> Network:
    """The network with the arrays of a file."""
    return Network(
        {name: jnp.asarray(weights[name]) for name in template.parameters},
        {name: jnp.asarray(weights[name]) for name in template.statistics},
    )


def measure(habitat: Habitat, networks: dict[str, tuple[Blueprint, Network]]) -> dict[str, Any]:
    """Latency in milliseconds of networks side by side, by batch size: median, quartiles and rounds."""
    dataset = habitat.dataset
    rows: dict[str, Any] = {name: {} for name in networks}
    for batch in LATENCY_BATCHES:
        calls = _calls(networks, dataset, batch)
        for name, timing in stopwatch.race(calls, rounds=50).items():
            rows[name][str(batch)] = asdict(timing)
    return {"latency_ms": rows, "machine": describe()}


def _runnable(species: Species, organism: Organism) -> tuple[Blueprint, Network]:
    """How an organism runs, and its arrays."""
    return species.blueprint_of(organism.units), organism.network


def _calls(networks: dict[str, tuple[Blueprint, Network]], dataset: Dataset, batch: int) -> dict[str, Any]:
    """A compiled forward pass of each network on one batch of images."""
    pixels = np.resize(dataset.validation.pixels, (batch, *dataset.shape))
    images = normalise(jnp.asarray(pixels), dataset.mean, dataset.deviation)
    run = jax.jit(forward, static_argnums=0)
    return {
        name: (lambda blueprint=blueprint, network=network: run(blueprint, network, images))
        for name, (blueprint, network) in networks.items()
    }
