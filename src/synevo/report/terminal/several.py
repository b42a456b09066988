"""The report of several runs on a terminal: side by side, and groups of replicates."""

from functools import partial
from itertools import zip_longest
from typing import Any

from rich.console import Console
from rich.text import Text

from synevo.report import scores
from synevo.report.budgets import BUDGETS, REPEATED
from synevo.report.levels import LEVELS, QUANTITIES
from synevo.report.numerals import around, brief, duration, hundredths, moved, number, percent, ratio, whole
from synevo.report.terminal.run import splits
from synevo.report.terminal.tables import BRIEF, Cell, Fitted, count
from synevo.report.variation import SEEDS, SHARES, SIBLINGS

Summary = dict[str, Any]


def print_comparison(console: Console, comparison: Summary) -> None:
    """Print several runs side by side."""
    score = comparison["score"]["name"]
    console.print(_best_table(comparison["bests"], score))
    for group in comparison["groups"]:
        _print_title(console, group)
        console.print(_budget_table(group["budgets"], score), _group_table(group, score), sep="\n")
        _print_variation(console, group["variation"], score)
    names = [group["name"] for group in comparison["groups"]]
    differences = Fitted(("field", *names), names={"field", *names}, title="Where the plans differ")
    for row in comparison["differences"]:
        differences.add(row["field"], *(", ".join(values) or "–" for values in row["of_groups"]))
    console.print()
    console.print(differences if comparison["differences"] else "The plans do not differ.")
    _print_notes(console, comparison)


def print_summary(console: Console, comparison: Summary) -> None:
    """Print only the results of groups of replicates."""
    score = comparison["score"]["name"]
    for group in comparison["groups"]:
        _print_title(console, group)
        console.print(_budget_table(group["budgets"], score))
        _print_variation(console, group["variation"], score)
    _print_notes(console, comparison)


def print_levels(console: Console, comparison: Summary, quantities: list[str]) -> None:
    """Print the accuracy of each group of replicates at equal efficiency, a table a quantity."""
    for quantity in quantities:
        table = Fitted(
            ("fewer", *(group["name"] for group in comparison["groups"])),
            title=f"{comparison['score']['name']} against {quantity}",
            caption=LEVELS.format(QUANTITIES[quantity]),
        )
        of_groups = [
            [_level(row, len(group["runs"]), comparison["score"]["name"]) for row in group["levels"][quantity]]
            for group in comparison["groups"]
        ]
        for power, cells in enumerate(zip_longest(*of_groups, fillvalue="")):
            table.add(f"{2**power}×", *cells)
        console.print(table)
    _print_notes(console, comparison)


def _level(row: Summary, runs: int, score: str) -> str:
    return around(row["test_score"], partial(scores.write, name=score)) + (
        "" if row["runs"] == runs else f" ({row['runs']})"
    )


def _best_table(bests: list[Summary], score: str) -> Fitted:
    table = Fitted(
        ("run", "state", "best", *splits(score), "syn ×", "clu ×", "mult-adds", "epochs", "training"),
        names={"run", "state"},
        gives_up=("epochs", "training", "clu ×", "state", BRIEF),
        title="The best of each run",
    )
    for row in bests:
        table.add(
            row["run"],
            row["state"],
            number(row["generation"]),
            scores.write(row["validation_score"], score),
            scores.write(row["test_score"], score),
            ratio(row["synaptic_efficiency"]),
            ratio(row["cluster_efficiency"]),
            count(row["multiply_adds"]),
            number(row["epochs"]),
            duration(row["seconds"]),
        )
    return table


def _print_title(console: Console, group: Summary) -> None:
    console.print(Text(f"\n{group['name']}: mean ± s.d. of {', '.join(group['runs'])}", style="italic"))
    if group["repeated_seeds"]:
        console.print(Text(REPEATED.format(", ".join(map(str, group["repeated_seeds"]))), style="yellow"))


def _print_notes(console: Console, comparison: Summary) -> None:
    """Print the warnings about runs, and what is missing of them."""
    for one in comparison["warnings"]:
        console.print(Text(f"Warning ({one['run']}): {one['text']}", style="yellow"))
    for gap in comparison["missing"]:
        console.print(Text(f"Missing ({gap['run']}, {gap['part']}): {gap['problem']}", style="yellow"))


def _budget_table(budgets: list[Summary], score: str) -> Fitted:
    """Return a table of the results of replicates, a row a budget."""
    table = Fitted(
        ("budget", "runs", "gen", splits(score)[1], "change", "syn ×", "clu ×", "mult-adds", "epochs", "training"),
        gives_up=("epochs", "training", "gen", BRIEF, "clu ×"),
        caption=BUDGETS,
    )
    for row in budgets:
        table.add(
            scores.budgets(row["budgets"], score),
            f"{row['runs']} ({row['unspent']} unspent)" if row["unspent"] else str(row["runs"]),
            around(row["generation"], ratio),
            around(row["test_score"], partial(scores.write, name=score)),
            moved(row["test_change"], partial(scores.write, name=score)),
            around(row["synaptic_efficiency"], ratio),
            around(row["cluster_efficiency"], ratio),
            _counted(row["multiply_adds"]),
            around(row["epochs"], whole),
            around(row["seconds"], duration),
        )
    return table


def _group_table(group: Summary, score: str) -> Fitted:
    """Return a table of mean and deviation of a group of replicates, a row a generation."""
    table = Fitted(("gen", "runs", splits(score)[1], "syn ×", "clu ×", "mult-adds"), gives_up=(BRIEF, "clu ×", "runs"))
    for row in group["generations"]:
        table.add(
            str(row["generation"]),
            str(row["runs"]),
            around(row["test_score"], partial(scores.write, name=score)),
            around(row["synaptic_efficiency"], hundredths),
            around(row["cluster_efficiency"], hundredths),
            _counted(row["multiply_adds"]),
        )
    return table


def _counted(found: Summary) -> Cell:
    return around(found, whole), around(found, brief)


def _print_variation(console: Console, variation: Summary, score: str) -> None:
    """Print the standard deviations of siblings beside those of replicates, if there are siblings."""
    if not variation["siblings"]["groups"]:
        return
    names = ("d.f.", *splits(score), "synapses %")
    table = Fitted(
        ("gen", *(f"siblings: {name}" for name in names), *(f"seeds: {name}" for name in names)),
        title="Standard deviations",
        caption=f"{SIBLINGS} {SEEDS} {SHARES}",
    )
    for row in variation["generations"]:
        table.add(str(row["generation"]), *_apart(row["siblings"], score), *_apart(row["seeds"], score))
    table.rule()
    table.add("all", *_apart(variation["siblings"], score), *(["–"] * len(names)))
    console.print(table)


def _apart(row: Summary, score: str) -> list[str]:
    found = [scores.write(row[split], score) for split in ("validation_score", "test_score")]
    return [number(row["degrees_of_freedom"]), *found, percent(row["synapses_share"])]
