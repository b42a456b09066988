"""Tables are as wide as the terminal: a column goes before a number is cut, and no line is longer."""

import io
import re

import pytest
from rich.cells import cell_len
from rich.console import Console

from synevo.report.numerals import brief
from synevo.report.terminal.tables import BRIEF, Fitted, count, pair


def printed(table: Fitted, width: int) -> str:
    screen = Console(file=io.StringIO(), width=width)
    screen.print(table)
    shown: str = screen.file.getvalue()  # type: ignore[attr-defined]
    assert all(cell_len(line) <= width for line in shown.splitlines()), shown
    assert "…" not in shown
    return shown


def vgg() -> Fitted:
    """The costs of a large network, which are long numbers."""
    table = Fitted(
        ("layer", "seconds", "synapses", "mult-adds"), names={"layer"}, gives_up=("seconds", BRIEF), title="Costs"
    )
    table.add("features/0/kernel", "1234", count(134_260_544), count(15_470_264_320))
    table.add("classifier/kernel", "5", count(9_999), count(999_500))
    return table


@pytest.mark.parametrize(
    ("width", "there", "gone"),
    [
        (120, ("seconds", "134,260,544", "15,470,264,320"), ("134M", "Left out")),
        (50, ("134,260,544", "15,470,264,320", "Left out, as this terminal is narrow: seconds."), ("1234",)),
        (44, ("134M", "15.5G", "10.0k", "1.00M"), ("134,260,544", "seconds ")),
    ],
)
def test_columns_go_in_order_and_then_counts_become_brief(
    width: int, there: tuple[str, ...], gone: tuple[str, ...]
) -> None:
    shown = printed(vgg(), width)
    assert all(part in shown for part in there), shown
    assert not any(part in shown for part in gone), shown


def test_what_is_too_wide_after_all_is_printed_in_parts_with_the_first_column() -> None:
    shown = printed(vgg(), 28)
    assert len(re.findall("─{5,}", shown)) == 2
    assert shown.count("layer ") == 2
    assert re.search(r"134M", shown)
    assert re.search(r"15\.5G", shown)


@pytest.mark.parametrize("width", [12, 8])
def test_even_a_sliver_loses_no_digit(width: int) -> None:
    table = Fitted(("what", "number"), names={"what"})
    table.add("a rather long name", "12345678901234567890")
    digits = "".join(re.findall(r"\d", printed(table, width)))
    assert digits == "12345678901234567890"


def test_a_long_title_takes_lines_above_narrow_numbers() -> None:
    table = Fitted(("fewer", "encoding.heredity sensitivity, training.distillation 0.5"))
    table.add("2×", "99.10 ± 0.10")
    assert max(map(len, printed(table, 80).splitlines())) < 30


def test_a_rule_ends_a_part_and_titles_stand_above() -> None:
    table = Fitted(("gen", "x"), title="A title", caption="A caption.")
    table.rule()
    table.add("1", "2")
    table.rule()
    table.add("all", "3", style="bold")
    lines = [line.strip() for line in printed(table, 60).splitlines()]
    assert lines[0] == "A title"
    assert [bool(re.match("─", line)) for line in lines] == [False, False, True, False, True, False, False]
    assert lines[-1] == "A caption."


def test_a_name_in_brackets_is_no_markup() -> None:
    table = Fitted(("[b]run",), names={"[b]run"}, title="[i]title", caption="[/]")
    table.add("[red]a[/red]", style="bold")
    assert all(part in printed(table, 60) for part in ("[b]run", "[i]title", "[red]a[/red]", "[/]"))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "–"),
        (0, "0"),
        (999, "999"),
        (999.6, "1.00k"),
        (1_000, "1.00k"),
        (12_345, "12.3k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (143_776, "144k"),
        (15_470_264_320, "15.5G"),
        (4.2e12, "4.20T"),
        (-1500, "-1.50k"),
    ],
)
def test_a_count_in_brief_has_three_digits(value: float | None, said: str) -> None:
    assert brief(value) == said


def test_a_pair_is_brief_on_both_sides() -> None:
    assert pair(25_600, 360) == ("25,600 → 360", "25.6k → 360")
