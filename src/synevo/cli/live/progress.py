"""Progress of a run, shown on stderr as it happens: live on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from synevo.cli.live.standing import standing, tells
from synevo.cli.live.view import rows_for, view
from synevo.lineage.happenings import Doubted, Epoch, Found, Grown, Happening, Within
from synevo.lineage.individuals import Individual, Lineage, ratio
from synevo.plan.fields import EvolutionPlan
from synevo.report import scores
from synevo.report.numerals import duration

QUIET_SECONDS = 10.0
BAR = 16
NOBODY = Lineage()


def follow(
    happenings: Iterator[Happening],
    console: Console,
    *,
    generations: int,
    lineage: Lineage = NOBODY,
    limits: EvolutionPlan | None = None,
) -> int:
    """Show the happenings of a run until they end, and return the number of new individuals.

    `lineage` is the lineage before the first happening; `limits` are those up to which it grows, if they are to be
    told.
    """
    if console.is_terminal:
        return _follow_live(happenings, console, generations, lineage, limits)
    return _follow_plainly(happenings, console, generations)


def _follow_plainly(happenings: Iterator[Happening], console: Console, generations: int) -> int:
    grown, spoken = 0, time.monotonic()
    for happening in happenings:
        if isinstance(happening, Grown):
            grown += 1
            console.print(describe(happening.individual, happening.lineage), highlight=False, soft_wrap=True)
        elif isinstance(happening, Doubted):
            _warn(console, happening)
        elif isinstance(happening, Found):
            _tell(console, happening)
        elif time.monotonic() - spoken < QUIET_SECONDS:
            continue
        else:
            console.print(", ".join(_describe(happening, generations)), highlight=False, soft_wrap=True)
        spoken = time.monotonic()
    return grown


def _follow_live(
    happenings: Iterator[Happening],
    console: Console,
    generations: int,
    lineage: Lineage,
    limits: EvolutionPlan | None,
) -> int:
    grown = 0
    moving = (BarColumn(bar_width=BAR), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    bar = Progress(*moving, console=console)
    task = bar.add_task("preparing: data, network, compiling", total=None)

    def now(epoch: Epoch | None = None) -> RenderableType:
        stands = [standing(lineage, limits, epoch)] if limits else []
        return view(lineage, *stands, bar, rows=rows_for(console.height))

    with Live(now(), console=console, refresh_per_second=8) as live:
        for happening in happenings:
            if isinstance(happening, Grown):
                grown, lineage = grown + 1, happening.lineage
                bar.reset(task, total=None, description="preparing the next one: compacting, compiling")
                live.update(now())
            elif isinstance(happening, Doubted):
                _warn(live.console, happening)
            elif isinstance(happening, Found):
                _tell(live.console, happening)
            else:
                said = "\n".join(_describe(happening, generations))
                _move(bar, task, happening, said)
                live.update(now(happening if isinstance(happening, Epoch) else None))
        live.update(view(lineage, rows=rows_for(console.height)))
    return grown


def _move(bar: Progress, task: TaskID, now: Epoch | Within, said: str) -> None:
    """Draw how far a training is; behind its last epoch nobody knows how long scoring takes, so the bar only moves."""
    if isinstance(now, Within):
        bar.update(task, total=now.epochs, completed=now.epoch - 1 + now.step / max(now.steps, 1), description=said)
    elif now.epoch < now.epochs:
        bar.update(task, total=now.epochs, completed=now.epoch, description=said)
    else:
        bar.reset(task, total=None, description=said)


def _warn(console: Console, doubted: Doubted) -> None:
    console.print(f"Warning: {doubted.text}", style="yellow", highlight=False, soft_wrap=True)


def _tell(console: Console, found: Found) -> None:
    console.print(found.text, highlight=False, markup=False, soft_wrap=True)


def describe(individual: Individual, lineage: Lineage) -> str:
    """Return a line with the score, the sizes and the time of an individual."""
    name = f"generation {individual.label:>2}"
    if individual.counts is None or individual.scores is None or lineage.ancestor.counts is None:
        return f"{name}: failed. {individual.problem}"
    score = individual.scores.name
    said = f"{scores.write(individual.scores.validation, score):>6}{scores.unit(score)}"
    times = ratio(lineage.ancestor.counts.synapses, individual.counts.synapses) or 0
    return (
        f"{name}: {said} validation, {individual.counts.synapses:>9,} "
        f"synapses ({times:.1f}x fewer), {individual.counts.multiply_adds:>12,} multiply-adds, "
        f"{individual.seconds:.0f} s"
    )


def _describe(now: Epoch | Within, generations: int) -> tuple[str, str]:
    """Return where a training is, and how it goes; after the last epoch it is scored, which takes its own time."""
    name = f"{now.generation}" if now.number == 1 else f"{now.generation}-{now.number}"
    one = now.candidate
    among = f", candidate {one.number}/{one.of}" if one else ""
    where = f"generation {name} of {generations}{among}, epoch {now.epoch} of {now.epochs}"
    if isinstance(now, Within):
        left = now.seconds * (now.steps - now.step) / max(now.step, 1)
        return where, f"step {now.step:,} of {now.steps:,}, about {duration(max(left, 1))} left of this epoch"
    if not tells(now):
        return where, f"loss {now.loss:.4f}, {duration(max(now.seconds, 1))} with compiling"
    left = now.seconds * (now.epochs - now.epoch)
    then = "scoring next" if now.epoch >= now.epochs else f"about {duration(max(left, 1))} left"
    return where, f"loss {now.loss:.4f}, {now.images / max(now.seconds, 1e-9):,.0f} images/s, {then}"
