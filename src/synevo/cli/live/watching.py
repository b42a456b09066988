"""Watching: the growing lineage of a run on which another process works; it reads files and takes no lock."""

import time
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

from synevo.cli.live.progress import describe
from synevo.cli.live.standing import standing
from synevo.cli.live.view import rows_for, view
from synevo.errors import printable
from synevo.lineage.individuals import Lineage, from_table
from synevo.runs.rundir import RunDir


def watch(run: RunDir, console: Console, *, every: float) -> None:
    """Show a run until no process works on it; its files are read every `every` seconds."""
    limits = run.load_plan().evolution
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for lineage, status in _look(run, every):
                below = Text(printable(status), style="bold")
                live.update(
                    view(lineage, standing(lineage, limits), below, rows=rows_for(console.height)), refresh=True
                )
        return
    shown, last = 0, ""
    for lineage, status in _look(run, every):
        for individual in lineage.individuals[shown:]:
            console.print(describe(individual, lineage), highlight=False, soft_wrap=True)
        if status != last:
            console.print(status, highlight=False, soft_wrap=True)
        shown, last = len(lineage.individuals), status


def _look(run: RunDir, every: float) -> Iterator[tuple[Lineage, str]]:
    while True:
        writer = run.writer()
        entries, _ = run.whole_entries()
        yield Lineage(tuple(from_table(entry["individual"]) for entry in entries)), _status(run, writer)
        if writer is None:
            return
        time.sleep(every)


def _status(run: RunDir, writer: str | None) -> str:
    """Return a line about the run: its last checkpoint, and the process that works on it."""
    now = run.training_now()
    training = f"generation {now[0]}, {now[1]} epochs trained; " if now else ""
    return f"{training}written by {writer}" if writer else f"{training}nobody is working on {run.path}"
