"""An organism is one individual: its network, masks and units. A species is the part that all of a lineage share."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from flax import linen, nnx

from synevo.errors import CompactionError
from synevo.model.linen import as_nnx
from synevo.model.network import Inputs, Network, put_together, take_apart
from synevo.wiring import masks
from synevo.wiring.cutting import cut, cut_masks, cut_state, left_of, uncut
from synevo.wiring.dissection import Anatomy, dissect, example_of
from synevo.wiring.identities import Flags
from synevo.wiring.masks import Masks
from synevo.wiring.protection import protected


@dataclass(frozen=True)
class Species:
    """The shared parts of all individuals of a lineage: the ancestor's anatomy and its untrained network."""

    anatomy: Anatomy
    template: Network

    def protecting(self, protect: str | None, only: str | None) -> "Species":
        """Return the species in which the units of some layers stay (`synevo.wiring.protection.protected`)."""
        if protect is None and only is None:
            return self
        wiring = protected(self.anatomy.wiring, protect=protect, only=only)
        return replace(self, anatomy=replace(self.anatomy, wiring=wiring))


@dataclass(frozen=True)
class Organism:
    """One individual: its network at its physical size, its `masks` in the ancestor's shapes, its `units` [units].

    However small it is, masks and units keep their places in the ancestor: the gene tags of 1811.07966. For an
    offspring, `expected_synapses` is the expected number of surviving synapses, `sampled_synapses` the number sampled,
    both before unviable parts were trimmed.
    """

    species: Species
    network: Network
    masks: Masks
    units: Flags
    expected_synapses: float | None = None
    sampled_synapses: int | None = None

    @classmethod
    def of(
        cls, model: nnx.Module | linen.Module, example: Any, *, variables: dict[str, Any] | None = None
    ) -> "Organism":
        """Return a model as an ancestor with all synapses alive; the model itself stays as it is.

        `example` describes the arguments of the model, as for `synevo.compact`; a Linen module comes with its
        `variables`.

        Raises:
            AncestorError: where a Linen module does not run on its inputs alone, or the variables are not its own.
        """
        example = example_of(example)
        if isinstance(model, linen.Module):
            model = as_nnx(model, example, variables=variables)
        network = take_apart(model)
        return cls.first(Species(dissect(network, example), network), network)

    @classmethod
    def first(cls, species: Species, network: Network) -> "Organism":
        """Return the ancestor of a species, with these arrays."""
        wiring = species.anatomy.wiring
        return cls(species, network, masks.full(wiring, species.template), np.ones(wiring.units, bool))

    @classmethod
    def left(cls, species: Species, weights: Network, alive: Masks, units: Flags) -> "Organism":
        """Return the organism that these masks and units leave of `weights`; all are in the ancestor's shapes."""
        return cls(species, cut(masks.apply(alive, weights), species.anatomy.wiring, units), alive, units)

    @property
    def living(self) -> Masks:
        """The masks in the shapes of the organism's own network."""
        return cut_masks(self.masks, self.species.anatomy.wiring, self.units)

    @property
    def whole(self) -> Network:
        """The network in the ancestor's shapes, with zeros where it has lost units."""
        return uncut(self.network, self.species.anatomy.wiring, self.units, self.species.template)

    @property
    def inputs(self) -> Inputs:
        """The arguments of the network, as shapes and dtypes for two examples."""
        return self.species.anatomy.inputs

    @property
    def synapses(self) -> int:
        """The number of living synapses."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    @property
    def efficiency(self) -> float:
        """The synaptic efficiency: the ancestor's synapses divided by the living ones."""
        return sum(mask.size for mask in self.masks.values()) / self.synapses

    @property
    def model(self) -> nnx.Module:
        """The network as an nnx.Module in evaluation mode; its arrays are copies."""
        model: nnx.Module = put_together(self.network.map(lambda _, array: array.copy()))
        return model

    def cut(self, state: Any, parent: "Organism") -> Any:
        """Return the state of the optimiser of this offspring's `parent`, in the offspring's shapes.

        It is any pytree whose leaves mirror the arrays of the parent's model (`synevo.wiring.cutting.cut_state`).

        Raises:
            CompactionError: where a leaf mirrors no array, or the offspring has units that the parent has not.
        """
        return cut_state(state, left_of(self.species.anatomy.wiring, parent.units, self.units))

    def trained(self, model: nnx.Module) -> "Organism":
        """Return the organism with the arrays of its `model` after training.

        Raises:
            CompactionError: where the model has other arrays, or a dead synapse is no longer zero.
        """
        network = take_apart(model)
        own, found = ({k: a.shape for k, a in one.arrays.items()} for one in (self.network, network))
        if own != found:
            raise CompactionError(
                f"This is not the model of the organism: its arrays are {found}, not {own}.",
                remedy="Train the model that `organism.model` gave.",
            )
        revived = [name for name, mask in self.living.items() if np.asarray(network.parameters[name])[~mask].any()]
        if revived:
            raise CompactionError(
                f"Dead synapses of {', '.join(revived)} are no longer zero.",
                remedy="Train with optax.chain(optimiser, synevo.keep_dead(organism.living)).",
            )
        return replace(self, network=self.network.like(network.arrays))
