"""A lineage: the ancestry of its individuals, their counts and their scores.

It holds plain numbers that go to JSON and back, and neither arrays nor files.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any, Literal

from synevo.lineage.allowance import allowance


@dataclass(frozen=True)
class LayerCount:
    """The counts of one layer: living `synapses` among dense `stored_weights`, and `multiply_adds` of one image."""

    name: str
    inputs: int
    filters: int
    kernels: int
    synapses: int
    stored_weights: int
    multiply_adds: int


@dataclass(frozen=True)
class Counts:
    """The counts of a network; `parameters` are all numbers that are stored, biases and statistics included.

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
        """Weights as stored densely, dead synapses included."""
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
    """The scores of a network, in the units of its task; decisions use the validation split only.

    `name` is the task's name for its score, `better` the direction in which it improves.
    """

    validation: float
    test: float
    name: str = "accuracy"
    better: Literal["higher", "lower"] = "higher"

    def drop(self, ancestor: "Scores") -> float:
        """Return by how much the validation score is worse than the ancestor's; negative where it is better."""
        return worse_by(self.validation, ancestor.validation, self.better)


@dataclass(frozen=True)
class Adoption:
    """Where the trained weights of an adopted ancestor came from, and how its outputs were compared.

    `weights` is the file, of a `kind` and with a hash (`sha256`) and its own `metadata`; all are None or empty for a
    network that came with its weights. `difference` is the largest difference from the outputs that were expected of
    `examples` inputs, relative to the largest output of each; None where nothing was compared.
    """

    weights: str | None = None
    kind: str | None = None
    sha256: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    difference: float | None = None
    examples: int = 0


@dataclass(frozen=True)
class Rung:
    """A rung of successive halving: candidates by number, their `epochs` in it, and their validation scores after it.

    The score of a candidate whose training diverged is None.
    """

    epochs: int
    candidates: tuple[int, ...]
    scores: tuple[float | None, ...]


@dataclass(frozen=True)
class Individual:
    """One network of a lineage. If its training failed, `counts` and `scores` are None, and `problem` is the reason.

    `number` tells it from the others of its generation; `parents` are names, the best first (older versions kept
    generations: see `Lineage.parents_of`). The environment kept k^`pressure` where the plan keeps k.
    `expected_synapses` is the expected number of surviving synapses, `sampled_synapses` the number sampled, both before
    unviable parts were trimmed. `learning_rate` is that of the last attempt, None after a training of the
    user's own. Latencies are in milliseconds, measured in `engine`, which older versions did not write: they measured
    in JAX. `adoption` is that of an ancestor that was trained elsewhere. `rungs` are those in which it was selected
    among candidates, if it was; `epochs` counts the epochs of all of them.
    """

    generation: int
    parents: tuple[str | int, ...]
    counts: Counts | None
    scores: Scores | None
    expected_synapses: float | None
    sampled_synapses: int | None
    learning_rate: float | None
    epochs: int
    seconds: float
    latency_ms: Mapping[str, float] | None = None
    problem: str | None = None
    number: int = 1
    pressure: float = 1.0
    adoption: Adoption | None = None
    engine: str | None = None
    rungs: tuple[Rung, ...] = ()

    @property
    def name(self) -> str:
        """The name under which the individual is kept."""
        return name_of(self.generation, self.number)

    @property
    def label(self) -> str:
        """The short name to show: 7, or 7-2 for the second of generation 7."""
        return label_of(self.name)


@dataclass(frozen=True)
class Lineage:
    """The individuals of a run in the order in which they were made; the first is the ancestor."""

    individuals: tuple[Individual, ...] = ()

    @property
    def ancestor(self) -> Individual:
        """Generation 1."""
        return self.individuals[0]

    @property
    def last(self) -> Individual:
        """The individual that was made last."""
        return self.individuals[-1]

    def add(self, individual: Individual) -> "Lineage":
        """Return the lineage with one more individual."""
        return Lineage((*self.individuals, individual))

    def within_budget(self, individual: Individual, max_drop: float | str, *, share: float = 1.0) -> bool:
        """Return whether an individual's validation score is worse than the ancestor's by at most a budget.

        The budget is a `share` of `max_drop`, in units of the score or as a text (see `synevo.lineage.allowance`).
        """
        ancestor = self.ancestor.scores
        if individual.scores is None or ancestor is None:
            return False
        most = share * allowance(max_drop, ancestor.validation, ancestor.name)
        return within(individual.scores.drop(ancestor), most)

    def brood(self, generation: int) -> tuple[Individual, ...]:
        """Return all individuals of a generation, in the order in which they were made."""
        return tuple(one for one in self.individuals if one.generation == generation)

    def head(self, generation: int) -> Individual:
        """Return the best individual of a generation on validation: the (first) parent of the next generation."""
        return self.ranked(generation)[0]

    def ranked(self, generation: int) -> tuple[Individual, ...]:
        """Return the individuals of a generation, the best on validation first; of equals, the earlier one."""
        return tuple(sorted(self.brood(generation), key=_rank))

    def parents_of(self, individual: Individual) -> tuple[str, ...]:
        """Return the names of an individual's parents; a generation, as older versions kept it, means its head."""
        return tuple(self._name_of(parent) for parent in individual.parents)

    def _name_of(self, parent: str | int) -> str:
        if isinstance(parent, str):
            return parent
        return self.head(parent).name if self.brood(parent) else name_of(parent)

    @property
    def line(self) -> tuple[Individual, ...]:
        """The heads of all generations, from the ancestor on."""
        return tuple(self.head(generation) for generation in sorted({one.generation for one in self.individuals}))

    def best(self, max_drop: float | str) -> Individual | None:
        """Return the last of the line that is within the budget; None where there is none."""
        within = [individual for individual in self.line if self.within_budget(individual, max_drop)]
        return within[-1] if within else None


def name_of(generation: int, number: int = 1) -> str:
    """Return the name of an individual: g07, or g07-2 for the second of generation 7."""
    return f"g{generation:02d}" if number == 1 else f"g{generation:02d}-{number}"


def label_of(name: str) -> str:
    """Return the short name to show for a name: 7 for g07, 7-2 for g07-2."""
    return name.removeprefix("g").lstrip("0")


_SCORES = {"validation_accuracy": "validation", "test_accuracy": "test"}
"""The names of the scores in older versions, which had accuracies only."""


def to_table(individual: Individual) -> dict[str, Any]:
    """Return an individual as plain JSON values."""
    return asdict(individual)


def from_table(table: Mapping[str, Any]) -> Individual:
    """Return the individual of `to_table`.

    Raises:
        KeyError, TypeError: where the table is not an individual.
    """
    counts, scores, adoption = table["counts"], table["scores"], table.get("adoption")
    known = {name: value for name, value in table.items() if name != "chosen"}  # older versions kept it
    return Individual(
        **{
            **known,
            "parents": tuple(table["parents"]),
            "counts": counts and Counts(tuple(LayerCount(**layer) for layer in counts["layers"]), counts["parameters"]),
            "adoption": adoption and Adoption(**adoption),
            "rungs": tuple(
                Rung(one["epochs"], tuple(one["candidates"]), tuple(one["scores"])) for one in table.get("rungs", ())
            ),
            "scores": scores and Scores(**{_SCORES.get(name, name): value for name, value in scores.items()}),
        }
    )


def worse_by(score: float, than: float, better: Literal["higher", "lower"]) -> float:
    """Return by how much a score is worse than another (`than`); negative where it is better."""
    return than - score if better == "higher" else score - than


def within(drop: float, max_drop: float) -> bool:
    """Return whether a score that is worse by `drop` is within the budget `max_drop`, up to rounding."""
    return drop <= max_drop + 1e-12


def _rank(individual: Individual) -> float:
    """Return the number by which individuals are sorted, the best first; those without scores come last."""
    scores = individual.scores
    if scores is None:
        return inf
    return -scores.validation if scores.better == "higher" else scores.validation


def ratio(whole: float, part: float) -> float | None:
    """Return how many times `part` goes into `whole`; None where `part` is 0."""
    return whole / part if part else None
