"""A lineage: who descended from whom, what each is made of and how well it does.

Light and printable: plain numbers that go to JSON and back, no arrays and no files.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import inf
from typing import Any, Literal


@dataclass(frozen=True)
class LayerCount:
    """What is left of one layer: living `synapses` among its dense `stored_weights`, and what one image costs."""

    name: str
    inputs: int
    filters: int
    kernels: int
    synapses: int
    stored_weights: int
    multiply_adds: int


@dataclass(frozen=True)
class Counts:
    """What a network is made of; `parameters` are all numbers that are stored, biases and statistics included.

    The family of papers leaves the classifier (the last layer) out of its counts; synevo counts it and prints both.
    """

    layers: tuple[LayerCount, ...]
    parameters: int

    @property
    def synapses(self) -> int:
        """Living synapses of all layers."""
        return sum(layer.synapses for layer in self.layers)

    @property
    def kernels(self) -> int:
        """Kernels that hold at least one living synapse."""
        return sum(layer.kernels for layer in self.layers)

    @property
    def stored_weights(self) -> int:
        """Synapses as stored densely, dead ones included."""
        return sum(layer.stored_weights for layer in self.layers)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one image in the dense network."""
        return sum(layer.multiply_adds for layer in self.layers)

    @property
    def family_synapses(self) -> int:
        """Living synapses without the classifier."""
        return self.synapses - self.layers[-1].synapses

    @property
    def family_kernels(self) -> int:
        """Kernels without the classifier."""
        return self.kernels - self.layers[-1].kernels


@dataclass(frozen=True)
class Scores:
    """How well a network does, in the units of its task; decisions use the validation split only.

    `name` is what the task calls its score, `better` says which way it improves.
    """

    validation: float
    test: float
    name: str = "accuracy"
    better: Literal["higher", "lower"] = "higher"

    def drop(self, ancestor: "Scores") -> float:
        """Return by how much validation is worse than the ancestor's; negative where it is better."""
        return worse_by(self.validation, ancestor.validation, self.better)


@dataclass(frozen=True)
class Individual:
    """One network of a lineage. `counts` and `scores` are None where it failed to grow; `problem` then says why.

    `number` tells it from the others of its generation; `parents` are names, the best first (older versions kept
    generations: see `Lineage.parents_of`). The environment kept k^`pressure` where the plan keeps k.
    `expected_synapses` is what the environment let the encoding expect to survive, before unviable parts were trimmed;
    `sampled_synapses` is what was sampled. `learning_rate` is the one that worked. Latencies are in milliseconds.
    """

    generation: int
    parents: tuple[str | int, ...]
    counts: Counts | None
    scores: Scores | None
    expected_synapses: float | None
    sampled_synapses: int | None
    learning_rate: float
    epochs: int
    seconds: float
    latency_ms: Mapping[str, float] | None = None
    problem: str | None = None
    number: int = 1
    pressure: float = 1.0

    @property
    def name(self) -> str:
        """The name under which the individual is kept."""
        return name_of(self.generation, self.number)

    @property
    def label(self) -> str:
        """What people call it: 7, or 7-2 for the second of generation 7."""
        return label_of(self.name)


@dataclass(frozen=True)
class Lineage:
    """The individuals of a run in the order of their births; the first is the ancestor."""

    individuals: tuple[Individual, ...] = ()

    @property
    def ancestor(self) -> Individual:
        """Generation 1."""
        return self.individuals[0]

    @property
    def last(self) -> Individual:
        """The youngest individual."""
        return self.individuals[-1]

    def add(self, individual: Individual) -> "Lineage":
        """The lineage with one more individual."""
        return Lineage((*self.individuals, individual))

    def within_budget(self, individual: Individual, max_drop: float) -> bool:
        """Return whether an individual's validation score is at most `max_drop` worse than the ancestor's."""
        if individual.scores is None or self.ancestor.scores is None:
            return False
        return within(individual.scores.drop(self.ancestor.scores), max_drop)

    def brood(self, generation: int) -> tuple[Individual, ...]:
        """All individuals of a generation, in the order of their births."""
        return tuple(one for one in self.individuals if one.generation == generation)

    def head(self, generation: int) -> Individual:
        """The individual of a generation that does best on the validation split: the (first) parent of the next one."""
        return self.ranked(generation)[0]

    def ranked(self, generation: int) -> tuple[Individual, ...]:
        """The individuals of a generation, the best on the validation split first; of equals, the first-born."""
        return tuple(sorted(self.brood(generation), key=_rank))

    def parents_of(self, individual: Individual) -> tuple[str, ...]:
        """The names of the parents of an individual; a generation, as older versions kept it, means its head."""
        return tuple(self._name_of(parent) for parent in individual.parents)

    def _name_of(self, parent: str | int) -> str:
        if isinstance(parent, str):
            return parent
        return self.head(parent).name if self.brood(parent) else name_of(parent)

    @property
    def line(self) -> tuple[Individual, ...]:
        """The heads of all generations, from the ancestor on."""
        return tuple(self.head(generation) for generation in sorted({one.generation for one in self.individuals}))

    def best(self, max_drop: float) -> Individual | None:
        """The last of the line that is within the budget, or None where there is no ancestor yet."""
        within = [individual for individual in self.line if self.within_budget(individual, max_drop)]
        return within[-1] if within else None


def name_of(generation: int, number: int = 1) -> str:
    """The name of an individual: g07, or g07-2 for the second of generation 7."""
    return f"g{generation:02d}" if number == 1 else f"g{generation:02d}-{number}"


def label_of(name: str) -> str:
    """What people call the individual of a name: 7 for g07, 7-2 for g07-2."""
    return name.removeprefix("g").lstrip("0")


_SCORES = {"validation_accuracy": "validation", "test_accuracy": "test"}
"""What older versions, which knew accuracies alone, called the scores."""


def to_table(individual: Individual) -> dict[str, Any]:
    """An individual as plain JSON values."""
    return asdict(individual)


def from_table(table: Mapping[str, Any]) -> Individual:
    """Return the individual of `to_table`; KeyError or TypeError where the table is not one."""
    counts, scores = table["counts"], table["scores"]
    known = {name: value for name, value in table.items() if name != "chosen"}  # which older versions kept
    return Individual(
        **{
            **known,
            "parents": tuple(table["parents"]),
            "counts": counts and Counts(tuple(LayerCount(**layer) for layer in counts["layers"]), counts["parameters"]),
            "scores": scores and Scores(**{_SCORES.get(name, name): value for name, value in scores.items()}),
        }
    )


def worse_by(score: float, than: float, better: Literal["higher", "lower"]) -> float:
    """Return by how much a score is worse than another; negative where it is better."""
    return than - score if better == "higher" else score - than


def within(drop: float, max_drop: float) -> bool:
    """Return whether a score that is worse by `drop` is within a budget."""
    return drop <= max_drop + 1e-12


def _rank(individual: Individual) -> float:
    """What individuals are sorted by, the best first; those without scores last."""
    scores = individual.scores
    if scores is None:
        return inf
    return -scores.validation if scores.better == "higher" else scores.validation


def ratio(whole: float, part: float) -> float | None:
    """How many times `part` goes into `whole`; None where that is unknown."""
    return whole / part if part else None
