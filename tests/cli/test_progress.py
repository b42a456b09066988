"""What is said while a run works: doubts are warnings, once, and what moves fits the terminal and overlaps nothing."""

import io
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from specimens import individual
from terminals import on_terminal

from synevo.cli.live.progress import BAR, _describe, follow
from synevo.cli.live.standing import seconds_left, standing
from synevo.lineage.course import Candidate
from synevo.lineage.happenings import Doubted, Epoch, Grown, Happening, Within
from synevo.lineage.individuals import Lineage
from synevo.plan.fields import EvolutionPlan


@pytest.mark.parametrize("terminal", [False, True])
def test_a_doubt_is_a_warning_and_no_individual(*, terminal: bool) -> None:
    def happenings() -> Iterator[Happening]:
        yield Doubted("It gives [bold] probabilities.")
        yield Grown(individual(1, 40, 0.5), Lineage((individual(1, 40, 0.5),)))

    screen = Console(file=io.StringIO(), force_terminal=terminal, markup=False, width=120)
    assert follow(happenings(), screen, generations=1) == 1
    assert screen.file.getvalue().count("Warning: It gives [bold] probabilities.") == 1  # type: ignore[attr-defined]


def test_what_is_said_of_an_epoch_fits_beside_the_bar_and_leaves_no_time_at_the_end() -> None:
    first, second, last = (_describe(Epoch(12, 3, epoch, 10, 123.4567, 60_000, 0.02), 13) for epoch in (1, 2, 10))
    clock = len(" 0:00:00 ")
    assert all(BAR + clock + len(line) <= 80 for line in (*first, *second, *last))
    assert first[0] == "generation 12-3 of 13, epoch 1 of 10"
    rival = _describe(Epoch(12, 3, 10, 10, 123.4567, 60_000, 0.02, Candidate(64, 64, 3, 8, 200)), 13)
    assert rival[0] == "generation 12-3 of 13, candidate 64/64, epoch 10 of 10"
    assert BAR + clock + len(rival[0]) <= 80
    assert first[1] == "loss 123.4567, 1 s with compiling", "which tells nothing of the others"
    assert second[1].endswith("about 1 s left")
    assert last[1] == "loss 123.4567, 3,000,000 images/s, scoring next"


def test_within_a_long_epoch_steps_are_counted() -> None:
    where, how = _describe(Within(2, 1, 3, 10, 400, 4_000, 10.0), 13)
    assert where == "generation 2 of 13, epoch 3 of 10"
    assert how == "step 400 of 4,000, about 90 s left of this epoch"
    assert _describe(Within(2, 1, 3, 10, 4_000, 4_000, 10.0), 13)[1].endswith("about 1 s left of this epoch")


def lineage(*seconds: float) -> Lineage:
    grown = [individual(1, 900, 0.98), individual(2, 400, 0.975), individual(3, 150, 0.97), individual(4, 90, 0.8)]
    return Lineage(tuple(replace(one, seconds=time) for one, time in zip(grown, seconds, strict=False)))


def test_the_best_so_far_the_budget_and_the_time_to_the_last_generation_are_told() -> None:
    limits = EvolutionPlan(generations=13, max_drop=0.03)
    first, second = str(standing(lineage(100, 20, 10), limits)).splitlines()
    assert first == "best so far: generation 3, 97.00 % on validation (-1.00 points), 6.0× fewer synapses"
    assert second == "budget: at least 95.00 % on validation; about 150 s to generation 13"
    assert "generation 3," in str(standing(lineage(100, 20, 10, 5), limits)), "generation 4 is over the budget"
    assert str(standing(Lineage(), limits)) == ""
    assert "about" not in str(standing(lineage(100), limits)), "no offspring tells how long one takes"


def test_the_time_that_is_left_counts_siblings_and_what_is_left_of_a_training() -> None:
    limits = EvolutionPlan(generations=5, population=3)
    training = Epoch(2, 2, 4, 10, 0.1, 1000, 2.0)
    assert seconds_left(lineage(100), limits, training) == 6 * 2 + 20 * (1 + 3 * 3)
    assert seconds_left(lineage(100, 30), limits, training) == 6 * 2 + 30 * (1 + 3 * 3)
    assert seconds_left(lineage(100, 30), limits) == 30 * (2 + 3 * 3)
    assert seconds_left(lineage(100), EvolutionPlan(generations=1), None) is None
    compiling = replace(training, epoch=1)
    assert seconds_left(lineage(100), limits, compiling) is None
    assert seconds_left(lineage(100, 30), limits, compiling) == 30 + 30 * (1 + 3 * 3)
    among = replace(training, candidate=Candidate(1, 8, 0, 8))
    assert seconds_left(lineage(100), limits, among) is None, "others follow"
    assert seconds_left(lineage(100, 30), limits, among) == 30 + 30 * (1 + 3 * 3)


GROWING = """
import sys, time
sys.path[:0] = sys.argv[1:]
from rich.console import Console
from test_progress import growing
from synevo.cli.live.progress import follow
from synevo.plan.fields import EvolutionPlan

def slowly():
    for happening in growing():
        time.sleep(0.15)  # what moves is drawn eight times a second
        yield happening

follow(slowly(), Console(), generations=13, limits=EvolutionPlan(generations=13, max_drop=0.03))
"""


def growing() -> Iterator[Happening]:
    """A lineage as it is told while it grows."""
    whole = lineage(100, 20, 10, 5)
    for count, one in enumerate(whole.individuals, 1):
        if count > 1:
            yield Within(count, 1, 1, 2, 100, 1_000, 1.0)
            yield Epoch(count, 1, 1, 2, 0.1234, 50_000, 1.0)
            yield Epoch(count, 1, 2, 2, 0.0123, 50_000, 1.0)
        if count == 3:
            yield Doubted("Something is odd.")
        yield Grown(one, Lineage(whole.individuals[:count]))


class Screen:
    """A terminal that is as wide as it says: what is written wraps, and the cursor goes where it is sent."""

    def __init__(self, width: int) -> None:
        self.width, self.row, self.column, self.rows = width, 0, 0, [""]
        self.wrapped = 0

    def write(self, text: str) -> None:
        for code, letter in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z])|(.)", text, re.DOTALL):
            if code:
                self._obey(code[2:-1], code[-1])
            elif letter == "\r":
                self.column = 0
            elif letter == "\n":
                self.row, self.column = self.row + 1, 0
                self.rows += [""] * (self.row + 1 - len(self.rows))
            else:
                self._put(letter)

    def _put(self, letter: str) -> None:
        if self.column == self.width:
            self.wrapped += 1
            self.write("\r\n")
        line = self.rows[self.row].ljust(self.column)
        self.rows[self.row] = line[: self.column] + letter + line[self.column + 1 :]
        self.column += 1

    def _obey(self, number: str, order: str) -> None:
        if order == "A":
            self.row -= int(number or 1)
            assert self.row >= 0, "the cursor was sent above what was written"
        elif order == "K":
            self.rows[self.row] = ""
        else:
            assert order in "mhl", f"an order that this terminal does not know: {order}"


@pytest.mark.slow
@pytest.mark.parametrize("width", [60, 80, 120])
def test_on_a_terminal_what_moves_overlaps_nothing_and_leaves_the_table(width: int) -> None:
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    shown = on_terminal([sys.executable, "-c", GROWING, *folders], width=width, height=24)
    screen = Screen(width)
    screen.write(shown)
    assert screen.wrapped == 0, "no line is wider than the terminal"
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    for part in ("preparing: data", "generation 4 of 13, epoch 1 of 2", "step 100 of 1,000", "scoring next"):
        assert part in plain
    assert "best so far: generation 3" in " ".join(plain.split())
    assert "to generation 13" in " ".join(plain.split())
    assert "0 s left" not in re.sub(r"[1-9]\d* s left", "", plain)
    left = [line.strip() for line in screen.rows if line.strip()]
    assert left[0] == "Warning: Something is odd."
    assert left[1].startswith("gen ")
    assert [line.split()[0] for line in left[3:7]] == ["1", "2", "3", "4"]
    below = [line for line in left[7:] if not line.startswith("Left out, as this terminal is narrow")]
    assert [line.split()[0] for line in below] == ["validation"], "what moved is gone"
