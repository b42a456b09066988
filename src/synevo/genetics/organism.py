"""An organism: one individual as its network, its masks and its units; and what all of a lineage share."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from synevo.model.network import Blueprint, Network
from synevo.wiring.dissection import Anatomy, fitted
from synevo.wiring.masks import Masks


@dataclass(frozen=True)
class Species:
    """What all individuals of a lineage share: how to run them, and the ancestor's anatomy and untrained arrays."""

    blueprint: Blueprint
    anatomy: Anatomy
    template: Network

    @property
    def everyone(self) -> NDArray[np.bool_]:
        """All units of the ancestor [units]."""
        return np.ones(self.anatomy.wiring.units, bool)

    def blueprint_of(self, units: NDArray[np.bool_]) -> Blueprint:
        """How the network of these `units` [units] runs: the user's model with the sizes that they leave."""
        return fitted(self.blueprint, self.anatomy.wiring, units)


@dataclass(frozen=True)
class Organism:
    """One individual's network at its physical size, its `masks` in the ancestor's shapes, and its `units` [units]."""

    network: Network
    masks: Masks
    units: NDArray[np.bool_]
