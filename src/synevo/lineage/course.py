"""The course of a lineage: which offspring comes next, under which pressure of the environment, and when to stop.

It is decided from the lineage and the plan alone, on the validation split, so a resumed lineage continues as if it had
never stopped. An environment that keeps a share k of the parent keeps k^p of it under *pressure* p. An adaptive lineage
raises the pressure while the score holds. If an offspring falls below the budget, the lineage goes back to the last
parents and halves the pressure; it stops where such a step would hardly change the network any more.

The parents of a generation are the best of the generation before it that are within the budget: as many as the plan
wants, or as there are. The ancestor is the only parent of generation 2.
"""

from dataclasses import dataclass, replace
from math import inf, log
from statistics import fmean

from synevo.lineage.individuals import Individual, Lineage
from synevo.plan.fields import EvolutionPlan, Plan

HARDER, SOFTER = 1.25, 0.5
"""The factors by which an adaptive lineage raises and lowers its pressure."""

HOLDS = 0.25
"""The score holds if at most this share of the budget is spent."""

HARDEST = 2.0
"""The highest pressure."""

AIM = 0.97
"""The share of the wanted synapses that the last step aims at: chance and repair leave a few more than are expected."""

BYTES = 4
"""Bytes of a stored number."""


@dataclass(frozen=True)
class Candidate:
    """One of several candidates for an offspring, of which successive halving selects the best.

    It is the one with this `number` among all of them (`of`), in a `rung` (0, 1, …) in which so many are `left`. The
    candidates had `before` epochs in all when its own training in this rung began.
    """

    number: int
    of: int
    rung: int = 0
    left: int = 0
    before: int = 0


@dataclass(frozen=True)
class Conception:
    """The offspring to conceive next: `number` of its generation, under a `pressure`; or a `candidate` for it."""

    generation: int
    number: int
    pressure: float
    candidate: Candidate | None = None


def halving(candidates: int, epochs: int) -> tuple[tuple[int, int], ...]:
    """Return the rungs of successive halving: how many candidates are trained in each, and for how many epochs.

    `candidates` is a power of two; a multiple of it in `epochs` makes each rung cost as many. The last candidate is
    trained for all of them.
    """
    left = [candidates >> rung for rung in range(candidates.bit_length())]
    return tuple((count, epochs // count) for count in left)


def next_conception(lineage: Lineage, plan: Plan) -> Conception | None:
    """Return the next offspring of a lineage with an ancestor; None where the lineage has ended."""
    limits = plan.evolution
    last = lineage.last
    brood = lineage.brood(last.generation)
    if last.generation > 1 and len(brood) % limits.population:
        return Conception(last.generation, len(brood) + 1, last.pressure)
    head = lineage.head(last.generation)
    if not lineage.within_budget(head, limits.max_drop):
        softer = last.pressure * SOFTER
        if last.generation == 1 or not limits.adaptive:
            return None
        if plan.environment.of(last.generation).keep_synapses ** softer > limits.finest:
            return None
        return Conception(last.generation, len(brood) + 1, softer)
    if last.generation >= limits.generations or _reached(head, limits):
        return None
    parents = choose_parents(lineage, last.generation + 1, plan)
    return Conception(last.generation + 1, 1, _aimed(_pressure(lineage, head, limits), parents, plan))


def siblings(first: Conception, plan: Plan) -> tuple[Conception, ...]:
    """Return the offspring of a brood from the `first` that is left: none of them depends on another."""
    population = plan.evolution.population
    left = population - (first.number - 1) % population
    return tuple(replace(first, number=first.number + place) for place in range(left))


def choose_parents(lineage: Lineage, generation: int, plan: Plan) -> tuple[Individual, ...]:
    """Return the parents of a `generation`, the best on validation first: at least one, whatever the budget."""
    limits = plan.evolution
    ranked = lineage.ranked(generation - 1)
    within = tuple(one for one in ranked if lineage.within_budget(one, limits.max_drop))
    return within[: limits.parents] or ranked[:1]


def status(lineage: Lineage, plan: Plan) -> str:
    """Return the status of a lineage: empty, ancestor, evolving, finished, over budget or failed."""
    if not lineage.individuals:
        return "empty"
    if next_conception(lineage, plan) is not None:
        return "ancestor" if len(lineage.individuals) == 1 else "evolving"
    head = lineage.head(lineage.last.generation)
    if head.problem is not None:
        return "failed"
    return "finished" if lineage.within_budget(head, plan.evolution.max_drop) else "over budget"


def _pressure(lineage: Lineage, head: Individual, limits: EvolutionPlan) -> float:
    """Return the pressure on the offspring of `head`, which is within the budget."""
    if not limits.adaptive:
        return 1.0
    holds = head.number <= limits.population and lineage.within_budget(head, limits.max_drop, share=HOLDS)
    return min(HARDEST, head.pressure * HARDER) if holds and head.generation > 1 else head.pressure


def _aimed(pressure: float, parents: tuple[Individual, ...], plan: Plan) -> float:
    """Return the pressure, lowered where it would leave far fewer synapses than are wanted, given the mean parent's."""
    wanted, keep = plan.evolution.target_synapses, plan.environment.of(parents[0].generation + 1).keep_synapses
    synapses = fmean(one.counts.synapses if one.counts else 0 for one in parents)
    if wanted is None or wanted >= synapses or keep == 1:
        return pressure
    return min(pressure, log(AIM * wanted / synapses) / log(keep))


def _reached(head: Individual, limits: EvolutionPlan) -> bool:
    """Return whether an individual meets every given target; False if none is given."""
    if head.counts is None:
        return False
    wanted = (
        (limits.target_synapses, head.counts.synapses),
        (limits.target_macs, head.counts.multiply_adds),
        (limits.target_kb, head.counts.parameters * BYTES / 1024),
        (limits.target_latency, (head.latency_ms or {}).get("1", inf)),
    )
    given = [(most, value) for most, value in wanted if most is not None]
    return bool(given) and all(value <= most for most, value in given)
