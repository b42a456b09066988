"""What is said while a run works: doubts are warnings, once, on a terminal and elsewhere."""

import io
from collections.abc import Iterator

import pytest
from rich.console import Console
from specimens import individual

from synevo.cli.live.progress import follow
from synevo.lineage.happenings import Doubted, Grown, Happening
from synevo.lineage.individuals import Lineage


@pytest.mark.parametrize("terminal", [False, True])
def test_a_doubt_is_a_warning_and_no_individual(*, terminal: bool) -> None:
    def happenings() -> Iterator[Happening]:
        yield Doubted("It gives [bold] probabilities.")
        yield Grown(individual(1, 40, 0.5), Lineage((individual(1, 40, 0.5),)))

    screen = Console(file=io.StringIO(), force_terminal=terminal, markup=False, width=120)
    assert follow(happenings(), screen, generations=1) == 1
    assert screen.file.getvalue().count("Warning: It gives [bold] probabilities.") == 1  # type: ignore[attr-defined]
