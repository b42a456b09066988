"""An archive: it keeps the individuals of a lineage, in memory or in a run on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from synevo.genetics.heredity import Worth
from synevo.genetics.organism import Organism
from synevo.lineage.course import Conception
from synevo.lineage.individuals import Individual, Lineage


@dataclass(frozen=True)
class Birth:
    """The event that an individual was trained; `organism` is None where every attempt diverged."""

    individual: Individual
    organism: Organism | None


@dataclass(frozen=True)
class Resumption:
    """The state of an interrupted training: its arrays after `epoch` epochs of its `attempt`.

    Within an epoch, also the number of its steps that were taken, and the sum of their losses.
    """

    attempt: int
    epoch: int
    leaves: Sequence[Any]
    step: int = 0
    loss: float = float("nan")


class Archive(Protocol):
    """The interface of an archive; `Memory` is one."""

    def lineage(self) -> Lineage:
        """Return the individuals so far."""
        ...

    def organism(self, name: str, /) -> Organism:
        """Return an individual's organism by its name."""
        ...

    def resumption(self, conception: Conception, /) -> Resumption | None:
        """Return the state of the interrupted training of an offspring; None where there is none."""
        ...

    def keep(self, birth: Birth, /) -> Birth:
        """Keep a trained individual, and return it as it is kept."""
        ...

    def recall(self, names: Sequence[str], basis: str, /) -> Worth | None:
        """Return what was measured of a parent, made of the individuals with these names; None unless on this basis."""
        ...

    def remember(self, names: Sequence[str], basis: str, worth: Worth, /) -> None:
        """Keep what was measured of a parent on a basis (`synevo.genetics.measured`)."""
        ...


@dataclass
class Memory:
    """An archive in memory; no training in it was interrupted."""

    individuals: Lineage = field(default_factory=Lineage)
    organisms: dict[str, Organism] = field(default_factory=dict)
    worths: dict[str, tuple[str, Worth]] = field(default_factory=dict)

    def lineage(self) -> Lineage:
        """Return the individuals so far."""
        return self.individuals

    def organism(self, name: str) -> Organism:
        """Return an individual's organism by its name; KeyError where its training failed."""
        return self.organisms[name]

    def resumption(self, _: Conception) -> Resumption | None:
        """Return None: no training was interrupted."""
        return None

    def keep(self, birth: Birth) -> Birth:
        """Keep a trained individual, and return it."""
        self.individuals = self.individuals.add(birth.individual)
        if birth.organism is not None:
            self.organisms[birth.individual.name] = birth.organism
        return birth

    def recall(self, names: Sequence[str], basis: str) -> Worth | None:
        """Return what was measured of a parent; None unless on this basis."""
        known, worth = self.worths.get(names[0], ("", None))
        return worth if known == basis else None

    def remember(self, names: Sequence[str], basis: str, worth: Worth) -> None:
        """Keep what was measured of a parent, in place of what was measured before."""
        self.worths[names[0]] = basis, worth
