"""Tables for terminals of any width: a column goes before a number is cut.

A table that is too wide gives up what it names, in that order, until it fits: columns, by their titles, and with
`BRIEF` the last digits of its counts (143,776 becomes 144k). One that is too wide after all of that is printed in
parts, each with the first column. Names break across lines; numbers never do, unless one alone is wider than the
terminal.
"""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.box import Box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from synevo.report.numerals import brief, number

BRIEF = "the last digits of counts"

Cell = str | tuple[str, str]
"""A text, or a number as it is and as it is in k, M and G."""

GAP = 2
"""The columns between two columns."""

_RULE = Box("    \n    \n ── \n    \n ── \n    \n    \n    \n")
_LEAST = 20
"""The width to which names are broken, before a column is given up."""
_TITLE = 14


def count(value: float | None) -> Cell:
    """Write a count, as it is and in k, M and G."""
    return number(value), brief(value)


def pair(before: float | None, after: float | None) -> Cell:
    """Write a count, and what became of it."""
    return f"{number(before)} → {number(after)}", f"{brief(before)} → {brief(after)}"


@dataclass
class Fitted:
    """A table that fits the terminal it is printed on; columns are numbers, but those in `names`."""

    columns: Sequence[str]
    names: frozenset[str] | set[str] = frozenset()
    gives_up: Sequence[str] = ()
    title: str = ""
    caption: str = ""
    rows: list[tuple[tuple[Cell, ...], str, bool]] = field(default_factory=list)

    def add(self, *cells: Cell, style: str = "") -> None:
        """Add a row, a cell a column."""
        self.rows.append((cells, style, False))

    def rule(self) -> None:
        """Draw a line below the last row."""
        if self.rows:
            cells, style, _ = self.rows[-1]
            self.rows[-1] = (cells, style, True)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Yield the title, the table or its parts, and the caption."""
        shown, short, gone = self._fit(options.max_width)
        if self.title:
            yield Text(self.title, style="italic")
        for part in self._parts(shown, options.max_width, short=short):
            yield self._table(part, options.max_width, short=short)
        left_out = f"Left out, as this terminal is narrow: {', '.join(gone)}." if gone else ""
        if said := " ".join(filter(None, (self.caption, left_out))):
            yield Text(said, style="dim italic")

    def _fit(self, width: int) -> tuple[list[int], bool, list[str]]:
        """Return the places of the columns to show, whether counts are brief, and the titles that were given up."""
        shown, short, gone = list(range(len(self.columns))), False, list[str]()
        for given_up in self.gives_up:
            if self._needed(shown, short=short) <= width:
                break
            short = short or given_up == BRIEF
            if given_up in self.columns:
                gone.append(given_up)
                shown = [place for place in shown if self.columns[place] != given_up]
        return shown, short, gone

    def _parts(self, shown: list[int], width: int, *, short: bool) -> Iterator[list[int]]:
        first, *others = shown
        part = [first]
        for place in others:
            if len(part) > 1 and self._needed([*part, place], short=short) > width:
                yield part
                part = [first]
            part.append(place)
        yield part

    def _needed(self, shown: Sequence[int], *, short: bool) -> int:
        return sum(self._width(place, short=short) for place in shown) + GAP * (len(shown) - 1)

    def _width(self, place: int, *, short: bool) -> int:
        """Return the least width of a column."""
        titles = map(cell_len, self._title(place, short=short).split("\n"))
        widest = max([*titles, self._widest(place, short=short)])
        return min(widest, _LEAST) if self.columns[place] in self.names else widest

    def _widest(self, place: int, *, short: bool) -> int:
        return max(
            (cell_len(line) for row in self.rows for line in _write(row[0][place], short=short).split("\n")), default=0
        )

    def _title(self, place: int, *, short: bool) -> str:
        """Return the title of a column; a long one takes several lines above narrow numbers."""
        title = self.columns[place]
        if title in self.names or cell_len(title) <= _TITLE:
            return title
        return "\n".join(textwrap.wrap(title, max(_TITLE, self._widest(place, short=short)), break_on_hyphens=False))

    def _table(self, part: list[int], width: int, *, short: bool) -> Table:
        table = Table(box=_RULE, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0))
        fits = self._needed(part, short=short) <= width
        for place in part:
            is_name = self.columns[place] in self.names
            table.add_column(
                Text(self._title(place, short=short)),
                justify="left" if is_name else "right",
                no_wrap=fits and not is_name,
                overflow="fold",
            )
        for cells, style, ends in self.rows:
            table.add_row(*(_text(cells[place], short=short) for place in part), style=style, end_section=ends)
        return table


def _write(cell: Cell, *, short: bool) -> str:
    return cell if isinstance(cell, str) else cell[short]


def _text(cell: Cell, *, short: bool) -> Any:
    return Text(_write(cell, short=short))
