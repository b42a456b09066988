"""Progress of a run, shown on stderr as it happens: live on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from synevo.cli.live.view import view
from synevo.lineage.happenings import Doubted, Epoch, Found, Grown, Happening
from synevo.lineage.individuals import Individual, Lineage, ratio
from synevo.report import scores

QUIET_SECONDS = 10.0
BAR = 16
NOBODY = Lineage()


def follow(happenings: Iterator[Happening], console: Console, *, generations: int, lineage: Lineage = NOBODY) -> int:
    """Show the happenings of a run until they end, and return the number of new individuals.

    `lineage` is the lineage before the first happening.
    """
    if console.is_terminal:
        return _follow_live(happenings, console, generations, lineage)
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
            console.print(", ".join(_describe_epoch(happening, generations)), highlight=False, soft_wrap=True)
        spoken = time.monotonic()
    return grown


def _follow_live(happenings: Iterator[Happening], console: Console, generations: int, lineage: Lineage) -> int:
    grown = 0
    moving = (BarColumn(bar_width=BAR), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    bar = Progress(*moving, console=console)
    task = bar.add_task("preparing: data, network, compiling", total=None)
    with Live(view(lineage, bar), console=console, refresh_per_second=8) as live:
        for happening in happenings:
            if isinstance(happening, Grown):
                grown, lineage = grown + 1, happening.lineage
                bar.reset(task, total=None, description="preparing the next one: compacting, compiling")
                live.update(view(lineage, bar))
            elif isinstance(happening, Doubted):
                _warn(live.console, happening)
            elif isinstance(happening, Found):
                _tell(live.console, happening)
            else:
                bar.update(
                    task,
                    total=happening.epochs,
                    completed=happening.epoch,
                    description="\n".join(_describe_epoch(happening, generations)),
                )
        live.update(view(lineage))
    return grown


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


def _describe_epoch(epoch: Epoch, generations: int) -> tuple[str, str]:
    """Return where a training is, and how it goes; after the last epoch it is scored, which takes its own time."""
    left = epoch.seconds * (epoch.epochs - epoch.epoch)
    name = f"{epoch.generation}" if epoch.number == 1 else f"{epoch.generation}-{epoch.number}"
    then = "scoring next" if epoch.epoch >= epoch.epochs else f"about {max(left, 1):.0f} s left"
    return (
        f"generation {name} of {generations}, epoch {epoch.epoch} of {epoch.epochs}",
        f"loss {epoch.loss:.4f}, {epoch.images / max(epoch.seconds, 1e-9):,.0f} images/s, {then}",
    )
