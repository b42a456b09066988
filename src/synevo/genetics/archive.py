"""An archive: where the individuals of a lineage are kept, in memory or in a run on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from synevo.genetics.organism import Organism
from synevo.lineage.course import Conception
from synevo.lineage.individuals import Individual, Lineage


@dataclass(frozen=True)
class Birth:
    """An individual has grown up; `organism` is None where every attempt to train it diverged."""

    individual: Individual
    organism: Organism | None


@dataclass(frozen=True)
class Resumption:
    """Where a training was interrupted: the arrays of its state after `epoch` epochs of its `attempt`."""

    attempt: int
    epoch: int
    leaves: Sequence[Any]


class Archive(Protocol):
    """Where a lineage is kept; its methods are those of `Memory`."""

    def lineage(self) -> Lineage:
        """Return the individuals so far."""
        ...

    def organism(self, name: str, /) -> Organism:
        """Return an individual's organism by its name."""
        ...

    def resumption(self, conception: Conception, /) -> Resumption | None:
        """Return where the training of an offspring was interrupted; None where it was not."""
        ...

    def keep(self, birth: Birth, /) -> Birth:
        """Keep an individual that has grown up, and return it as it is kept."""
        ...


@dataclass
class Memory:
    """An archive in memory; nothing in it was interrupted."""

    individuals: Lineage = field(default_factory=Lineage)
    organisms: dict[str, Organism] = field(default_factory=dict)

    def lineage(self) -> Lineage:
        """Return the individuals so far."""
        return self.individuals

    def organism(self, name: str) -> Organism:
        """Return an individual's organism by its name; KeyError where its training failed."""
        return self.organisms[name]

    def resumption(self, _: Conception) -> Resumption | None:
        """Return None."""
        return None

    def keep(self, birth: Birth) -> Birth:
        """Keep an individual that has grown up, and return it."""
        self.individuals = self.individuals.add(birth.individual)
        if birth.organism is not None:
            self.organisms[birth.individual.name] = birth.organism
        return birth
