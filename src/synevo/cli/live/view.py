"""The live view of a growing lineage on a terminal, for commands that work on a run or watch it."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from synevo.lineage.individuals import Individual, Lineage, ratio
from synevo.report import scores
from synevo.report.numerals import duration
from synevo.report.numerals import ratio as efficiency
from synevo.report.terminal.tables import BRIEF, Cell, Fitted, count

_BARS = "▁▂▃▄▅▆▇█"
ROWS = 16
"""The most individuals that are shown; of an older one the report tells."""

_BESIDE = 12
"""Lines of a terminal beside the rows of the table: its head, what it leaves out, the curve, the standing, the bar."""


def view(lineage: Lineage, *below: RenderableType, rows: int = ROWS) -> RenderableType:
    """Return the table of the youngest individuals, `rows` of them, the curve of all scores, and the parts `below`."""
    if not lineage.individuals:
        return Group(*below)
    return Group(_table(lineage, rows), curve(lineage), *below)


def rows_for(height: int) -> int:
    """Return how many individuals fit a terminal of so many lines, beside what is above and below them."""
    return max(1, min(ROWS, height - _BESIDE))


def curve(lineage: Lineage) -> Text:
    """Return a line of bars, one a generation: its validation score, between the lowest and the highest."""
    values = [one.scores.validation for one in lineage.line if one.scores]
    if not values:
        return Text()
    text = Text("validation ", style="dim")
    text.append(_bars(values), style="blue")
    name, better = _score(lineage)
    best = max(values) if better == "higher" else min(values)
    first, last, most = (scores.write(value, name) for value in (values[0], values[-1], best))
    extreme = "highest" if better == "higher" else "lowest"
    return text.append(f" {first} → {last}{scores.unit(name)} ({extreme} {most})", style="dim")


def _score(lineage: Lineage) -> tuple[str, str]:
    """Return the name of a lineage's scores and their better direction, `higher` or `lower`."""
    own = lineage.ancestor.scores
    return (own.name, own.better) if own else (scores.ACCURACY, "higher")


def _bars(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    steps = len(_BARS) - 1
    return "".join(_BARS[round(steps * (value - low) / (high - low)) if high > low else steps] for value in values)


def _table(lineage: Lineage, rows: int) -> Fitted:
    unit = scores.unit(_score(lineage)[0])
    table = Fitted(
        ("gen", f"valid{unit}", f"test{unit}", "synapses", "syn ×", "kernels", "mult-adds", "epochs", "time"),
        gives_up=("kernels", "epochs", "time", BRIEF),
    )
    for individual in lineage.individuals[-rows:]:
        table.add(*_cells(individual, lineage), style="" if individual.problem is None else "red")
    return table


def _cells(individual: Individual, lineage: Lineage) -> list[Cell]:
    counts, own, ancestor = individual.counts, individual.scores, lineage.ancestor.counts
    end: list[Cell] = [str(individual.epochs), duration(individual.seconds)]
    if counts is None or own is None or ancestor is None:
        return [individual.label, *["–"] * 6, *end]
    return [
        individual.label,
        scores.write(own.validation, own.name),
        scores.write(own.test, own.name),
        count(counts.synapses),
        efficiency(ratio(ancestor.synapses, counts.synapses)),
        count(counts.kernels),
        count(counts.multiply_adds),
        *end,
    ]
