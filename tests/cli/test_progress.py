"""What is said while a run works: doubts are warnings, once, on a terminal and elsewhere."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console
from specimens import individual

from synevo.cli.live.progress import BAR, _describe_epoch, follow
from synevo.lineage.happenings import Doubted, Epoch, Grown, Happening
from synevo.lineage.individuals import Lineage


@pytest.mark.parametrize("terminal", [False, True])
def test_a_doubt_is_a_warning_and_no_individual(*, terminal: bool) -> None:
    def happenings() -> Iterator[Happening]:
        yield Doubted("It gives [bold] probabilities.")
        yield Grown(individual(1, 40, 0.5), Lineage((individual(1, 40, 0.5),)))

    screen = Console(file=io.StringIO(), force_terminal=terminal, markup=False, width=120)
    assert follow(happenings(), screen, generations=1) == 1
    assert screen.file.getvalue().count("Warning: It gives [bold] probabilities.") == 1  # type: ignore[attr-defined]


def test_what_is_said_of_an_epoch_fits_beside_the_bar_and_leaves_no_time_at_the_end() -> None:
    first, last = (_describe_epoch(Epoch(12, 3, epoch, 10, 123.4567, 60_000, 0.02), 13) for epoch in (1, 10))
    clock = len(" 0:00:00 ")
    assert all(BAR + clock + len(line) <= 80 for line in (*first, *last))
    assert first[0] == "generation 12-3 of 13, epoch 1 of 10"
    assert first[1].endswith("about 1 s left")
    assert last[1] == "loss 123.4567, 3,000,000 images/s, scoring next"
