"""Doubts: what makes the scores of a lineage mean less than they seem to, told from its numbers alone.

Each is a mistake that costs a whole run and shows in no error: a network whose outputs are probabilities, where logits
are meant; one that has learnt nothing; one that has seen the validation examples in its training; a
budget of hardly any validation examples. A score is judged as
the share of right answers among so many, by the exact chance of such a share. A score of another kind is not judged.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import exp, lcm, lgamma, log

from synevo.lineage.allowance import allowance
from synevo.lineage.individuals import Individual, Lineage, Scores
from synevo.plan.examples import CLASSIFICATION
from synevo.plan.fields import Plan

_LUCK = 0.01
"""A score is no better than chance if chance alone reaches it at least this often."""

_HARDLY = 0.1
"""An adopted network that has come no further than this share of the way from chance to all right is suspicious."""

_COINCIDENCE = 1e-4
"""Two splits are not alike to a network if chance alone sets its scores so far apart less often than this."""

_FAR = 1.5
"""A test score is far below validation if it has at least this many times the errors; splits are never quite alike."""

_FEW = 3
"""A budget of fewer validation examples than these is decided by luck."""

_NOTHING = 1e-12
"""A term of a sum whose terms decrease: those behind it add nothing."""

_MOST = 1_000_000
"""The largest split whose size the scores alone can tell."""


@dataclass(frozen=True)
class Basis:
    """What the scores of a lineage rest on: the numbers of `validation` and of `test` examples.

    For a classification of images also the share of right answers that `chance` gives on validation, by always naming
    the most frequent class, and whether the ancestor's outputs are `probabilities`. `chance` is None for other tasks.
    """

    validation: int
    test: int
    chance: float | None = None
    probabilities: bool = False


@dataclass(frozen=True)
class Doubt:
    """A reason to doubt a lineage, in words; a lineage has at most one of each `kind`."""

    kind: str
    text: str


def doubts(lineage: Lineage, plan: Plan, basis: Basis | None) -> list[Doubt]:
    """Return the reasons to doubt a lineage so far, which may be empty; `basis` is None where an older version made it.

    Then the sizes of the splits are the smallest that give its scores, and chance is one of as many as there are
    classes.

    Raises:
        PlanError: where the budget is none of the lineage's score.
    """
    found = [*_of_few(lineage, plan, basis)] if basis else []  # a size that is known, not told by scores
    basis = basis or _basis_of(lineage, plan)
    if basis and basis.probabilities:
        found.insert(0, Doubt("probabilities", _PROBABILITIES))
    if basis is None or not lineage.individuals:
        return found
    return [*found, *_of_chance(lineage, plan, basis), *_of_seen(lineage.ancestor, basis)]


_PROBABILITIES = (
    "The ancestor gives probabilities: its outputs for an image are at least 0 and sum to 1, as behind a softmax. The "
    "loss expects logits: on probabilities training is slow and ends early, and predictions look unsure. Leave out the "
    "softmax at the end of the network."
)


_TRAIN_AGAIN = (
    "It has learnt nothing, so its descendants mean nothing. Train an ancestor in a new run, with other "
    "--set ancestor_training.learning_rate=… or ancestor_training.epochs=…, and check images and labels."
)

_SEES_OTHERS = (
    "Where it was trained, it was better: it probably sees other pixels here, or classes in another order. Give the "
    "normalisation of its training (--set data.mean=… data.deviation=…, or data.normalise=none), and compare outputs "
    "with --expect."
)


def _of_few(lineage: Lineage, plan: Plan, basis: Basis) -> Iterator[Doubt]:
    """Yield the doubt about a budget of hardly any validation examples."""
    scores = lineage.ancestor.scores if lineage.individuals else _best(plan, basis)
    if scores is None or scores.name != "accuracy":
        return
    budget = allowance(plan.evolution.max_drop, scores.validation, scores.name)
    if not 0 < budget * basis.validation < _FEW:
        return
    yield Doubt(
        "few",
        f"The budget is {100 * budget:.4g} points of validation accuracy, which is {budget * basis.validation:.1f} of "
        f"{basis.validation:,} validation examples: the luck of one or two decides when the lineage ends. Hold out "
        "more of them (--set data.validation=0.3), give more examples, or allow more (--max-drop).",
    )


def _best(plan: Plan, basis: Basis) -> Scores | None:
    """Return the best scores that an ancestor can have, before there is one; None where they are no accuracy."""
    known = basis.chance is not None and plan.task.name == CLASSIFICATION and plan.task.score in (None, "accuracy")
    return Scores(1.0, 1.0) if known else None


def _of_chance(lineage: Lineage, plan: Plan, basis: Basis) -> Iterator[Doubt]:
    """Yield the doubt about the first individual within the budget that is no better than chance."""
    for one in lineage.individuals:
        poor = _is_chance(one.scores, basis) or (one.adoption is not None and _is_near_chance(one.scores, basis))
        if not (lineage.within_budget(one, plan.evolution.max_drop) and poor):
            continue
        who = "The ancestor" if one.generation == 1 else f"Generation {one.label}"
        better = "no better" if _is_chance(one.scores, basis) else "hardly better"
        said = (
            f"{who} is {better} than chance: {_percent(_validation(one))} of {basis.validation:,} validation images "
            f"are right, and always naming the most frequent class gives {_percent(basis.chance or 0)}."
        )
        advice = (
            "What the ancestor knew is lost, and the budget allows it: lower evolution.max_drop."
            if one.generation > 1
            else _TRAIN_AGAIN
            if one.adoption is None
            else _SEES_OTHERS
        )
        yield Doubt("chance", f"{said} {advice}")
        return


def _is_chance(scores: Scores | None, basis: Basis) -> bool:
    """Return whether validation is no better than chance; False where not even a perfect score could tell."""
    if scores is None or basis.chance is None or not 0 < basis.chance < 1 or basis.chance**basis.validation > _LUCK:
        return False
    return _at_least(round(scores.validation * basis.validation), basis.validation, basis.chance) >= _LUCK


def _is_near_chance(scores: Scores | None, basis: Basis) -> bool:
    """Return whether validation is so low that a network that was trained elsewhere probably sees other inputs here."""
    if scores is None or basis.chance is None:
        return False
    return scores.validation < basis.chance + _HARDLY * (1 - basis.chance)


def _of_seen(ancestor: Individual, basis: Basis) -> Iterator[Doubt]:
    """Yield the doubt about an ancestor whose validation score is far above its test score."""
    scores = ancestor.scores
    if scores is None or scores.name != "accuracy":
        return
    missed = [round((1 - share) * size) for share, size in _splits(scores, basis)]
    far = (1 - scores.test) >= _FAR * (1 - scores.validation)
    if far and _so_few_of(missed[0], sum(missed), basis.validation, basis.test) < _COINCIDENCE:
        yield Doubt(
            "seen",
            f"The ancestor is right on {_percent(scores.validation)} of {basis.validation:,} validation examples, and "
            f"on {_percent(scores.test)} of {basis.test:,} test examples: further apart than chance explains. It has "
            "probably seen the validation examples in its training, and then decisions by them mean nothing: give the "
            "data a validation split of its own (`synevo guide own-data`), or hold images out of the test split (--set "
            "data.held_out=test --set data.validation=0.5). Or the test examples are harder.",
        )


def _splits(scores: Scores, basis: Basis) -> tuple[tuple[float, int], tuple[float, int]]:
    return (scores.validation, basis.validation), (scores.test, basis.test)


def _validation(one: Individual) -> float:
    return one.scores.validation if one.scores else 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _basis_of(lineage: Lineage, plan: Plan) -> Basis | None:
    """Return what a lineage alone tells of its basis: splits as small as its scores allow, and the number of classes.

    None where its scores are no shares of right answers.
    """
    scores = [one.scores for one in lineage.individuals if one.scores]
    if not scores or plan.task.name != CLASSIFICATION:
        return None
    counts = lineage.ancestor.counts
    sizes = [_size([getattr(one, split) for one in scores]) for split in ("validation", "test")]
    if max(sizes) > _MOST:
        return None
    return Basis(sizes[0], sizes[1], 1 / counts.layers[-1].filters if counts and counts.layers else None)


def _size(shares: list[float]) -> int:
    """Return the least number of examples of which all `shares` can be right; the true number is a multiple of it."""
    return lcm(*(Fraction(share).limit_denominator(_MOST).denominator for share in shares))


def _at_least(right: int, size: int, chance: float) -> float:
    """Return how often chance alone is right at least so many times: the upper tail of the binomial distribution."""
    total = 0.0
    for k in range(right, size + 1):
        term = exp(_choices(size, k) + k * log(chance) + (size - k) * log(1 - chance))
        total += term
        if k > chance * size and term < _NOTHING:
            break
    return total


def _so_few_of(few: int, errors: int, one: int, other: int) -> float:
    """Return how often chance alone puts at most so `few` of all `errors` among `one` of two splits (Fisher's test)."""
    fewest = max(0, errors - other)
    ways = (_choices(one, k) + _choices(other, errors - k) for k in range(fewest, min(few, one) + 1))
    return sum(exp(way - _choices(one + other, errors)) for way in ways)


def _choices(size: int, count: int) -> float:
    """Return the logarithm of the number of ways to choose so many of `size`."""
    return lgamma(size + 1) - lgamma(count + 1) - lgamma(size - count + 1)
