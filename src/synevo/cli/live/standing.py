"""Where a growing lineage stands: the best so far, the budget, and how long the rest may take.

The rest is an estimate from the last generations, and the most it is: a lineage may end sooner, by its budget or a
target.
"""

from statistics import fmean

from rich.text import Text

from synevo.lineage.allowance import allowance
from synevo.lineage.happenings import Epoch
from synevo.lineage.individuals import Individual, Lineage, Scores, ratio
from synevo.plan.fields import EvolutionPlan
from synevo.report import scores
from synevo.report.numerals import duration
from synevo.report.numerals import ratio as efficiency

_LONG = 60
"""The seconds of an epoch beside which compiling does not count."""

_RECENT = 3
"""The individuals whose times tell that of the next one: later ones are smaller, and often quicker."""


def standing(lineage: Lineage, limits: EvolutionPlan, epoch: Epoch | None = None) -> Text:
    """Return two lines about a lineage; `epoch` is the last one of the offspring that is being trained."""
    if not lineage.individuals or lineage.ancestor.scores is None:
        return Text()
    best, ancestor = lineage.best(limits.max_drop), lineage.ancestor.scores
    lines = [] if best is None else [f"best so far: {_of(best, lineage.ancestor)}"]
    lines.append("; ".join(filter(None, [_budget(ancestor, limits), _rest(lineage, limits, epoch)])))
    return Text("\n".join(lines), style="dim")


def tells(epoch: Epoch) -> bool:
    """Return whether the time of an epoch tells how long others take: that of a first, short one is of compiling."""
    return epoch.epoch > 1 or epoch.epochs == 1 or epoch.seconds > _LONG


def seconds_left(lineage: Lineage, limits: EvolutionPlan, epoch: Epoch | None = None) -> float | None:
    """Return the seconds until the last generation has grown, if none ends the lineage; None before any can tell."""
    grown = [one.seconds for one in lineage.individuals if one.generation > 1]
    if not grown and (epoch is None or epoch.candidate or not tells(epoch)):
        return None
    one = fmean(grown[-_RECENT:]) if grown else epoch.seconds * epoch.epochs if epoch else 0.0
    own = 0.0
    if epoch is not None:
        own = epoch.seconds * (epoch.epochs - epoch.epoch) if tells(epoch) and not epoch.candidate else one
    generation, number = (epoch.generation, epoch.number) if epoch else (lineage.last.generation, lineage.last.number)
    siblings = max(0, limits.population - number) if generation > 1 else 0
    return own + one * (siblings + limits.population * max(0, limits.generations - generation))


def _of(best: Individual, ancestor: Individual) -> str:
    said = [f"generation {best.label}"]
    if best.scores and ancestor.scores:
        name = best.scores.name
        moved = scores.change(best.scores.validation, ancestor.scores.validation, name)
        said.append(f"{scores.write(best.scores.validation, name)}{scores.unit(name)} on validation ({moved})")
    if best.counts and ancestor.counts:
        said.append(f"{efficiency(ratio(ancestor.counts.synapses, best.counts.synapses))}× fewer synapses")
    return ", ".join(said)


def _budget(ancestor: Scores, limits: EvolutionPlan) -> str:
    most, higher = allowance(limits.max_drop, ancestor.validation, ancestor.name), ancestor.better == "higher"
    floor = ancestor.validation + (-most if higher else most)
    written = f"{scores.write(floor, ancestor.name)}{scores.unit(ancestor.name)}"
    return f"budget: at {'least' if higher else 'most'} {written} on validation"


def _rest(lineage: Lineage, limits: EvolutionPlan, epoch: Epoch | None) -> str:
    left = seconds_left(lineage, limits, epoch)
    reached = epoch.generation if epoch else lineage.last.generation
    if left is None or reached > limits.generations or not left:
        return ""
    return f"about {duration(max(left, 1))} to generation {limits.generations}"
