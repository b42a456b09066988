"""Happenings: the events that a run yields while it works, to be shown."""

from dataclasses import dataclass

from synevo.lineage.course import Candidate
from synevo.lineage.individuals import Individual, Lineage


@dataclass(frozen=True)
class Epoch:
    """The event that an epoch of offspring `number` of a generation has ended, after `seconds` for `images` images.

    `candidate` says which of several candidates for that offspring was trained.
    """

    generation: int
    number: int
    epoch: int
    epochs: int
    loss: float
    images: int
    seconds: float
    candidate: Candidate | None = None


@dataclass(frozen=True)
class Within:
    """The event that `step` of the `steps` of an epoch have been taken, `seconds` after it began."""

    generation: int
    number: int
    epoch: int
    epochs: int
    step: int
    steps: int
    seconds: float
    candidate: Candidate | None = None


@dataclass(frozen=True)
class Grown:
    """The event that an individual was added to the lineage."""

    individual: Individual
    lineage: Lineage


@dataclass(frozen=True)
class Doubted:
    """The event that something was noticed that makes the lineage mean less than it seems to, in words."""

    text: str


@dataclass(frozen=True)
class Found:
    """The event that something was found out, in words: the examples and how they are kept, or what filters cost."""

    text: str


Happening = Epoch | Within | Grown | Doubted | Found
