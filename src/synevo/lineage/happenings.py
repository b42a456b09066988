"""Happenings: what a run yields while it works, for whoever shows it."""

from dataclasses import dataclass

from synevo.lineage.individuals import Individual, Lineage


@dataclass(frozen=True)
class Epoch:
    """An epoch of offspring `number` of a generation has ended, which took `seconds` for `images` images."""

    generation: int
    number: int
    epoch: int
    epochs: int
    loss: float
    images: int
    seconds: float


@dataclass(frozen=True)
class Grown:
    """An individual has been added to the lineage."""

    individual: Individual
    lineage: Lineage


Happening = Epoch | Grown
