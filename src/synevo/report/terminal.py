"""The report on a terminal: a summary as tables."""

from functools import partial
from itertools import zip_longest
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from synevo.lineage.individuals import label_of
from synevo.report import scores
from synevo.report.budgets import BUDGETS, REPEATED
from synevo.report.levels import LEVELS, QUANTITIES
from synevo.report.numerals import around, duration, hundredths, number, percent, ratio, times, whole
from synevo.report.variation import SEEDS, SHARES, SIBLINGS
from synevo.runs.run_list import Overview

Summary = dict[str, Any]


def render(summary: Summary) -> RenderableType:
    """Return the whole report of a run, from its summary."""
    parts: list[RenderableType] = [
        _headline(summary),
        *([Text(summary["adoption"]["text"])] if summary["adoption"] else []),
        *(Text(f"Warning: {one['text']}", style="yellow") for one in summary["warnings"]),
        lineage_table(summary["generations"], summary["best"], summary["score"]["name"]),
    ]
    if summary["variation"]["siblings"]["groups"]:
        parts.append(_sibling_table(summary["variation"], summary["score"]["name"]))
    if summary["layers"]:
        parts.append(_layer_table(summary["layers"], summary["best"]))
    if summary["compact"] is not None and "problem" not in summary["compact"]:
        parts.append(_compact_part(summary["compact"]))
    parts += [Text(f"Missing ({gap['part']}): {gap['problem']}", style="yellow") for gap in summary["missing"]]
    return Group(*parts)


def _headline(summary: Summary) -> Text:
    text = Text()
    text.append(summary["run"], style="bold")
    what = f"{summary['ancestor_name'] or 'unknown ancestor'} on {summary['dataset'] or 'unknown data'}"
    text.append(f": {what}, {summary['state']}")
    best = next((row for row in summary["generations"] if _is_best(row, summary["best"])), None)
    if best is not None and best["test_score"] is not None:
        name = summary["score"]["name"]
        moved = scores.change(best["test_score"], summary["generations"][0]["test_score"], name)
        text.append(
            f"\nBest within the budget: generation {best['generation']}, {best['synaptic_efficiency']:.1f}x fewer "
            f"synapses, {best['cluster_efficiency']:.1f}x fewer kernels, test {name} "
            f"{scores.write(best['test_score'], name)}{scores.unit(name)} ({moved})"
        )
    return text


def lineage_table(generations: list[Summary], best: int | None, score: str = scores.ACCURACY) -> Table:
    """Return a table with a row an individual; the best one is marked."""
    table = Table(title="Lineage", title_justify="left", caption=_LINEAGE_CAPTION, caption_justify="left")
    for name in ("gen", *_splits(score), "synapses", "syn ×", "(family)", "kernels", "clu ×", "(family)"):
        table.add_column(name, justify="right", no_wrap=True)
    mated = any(len(row["parents"]) > 1 for row in generations)
    for name in ("mult-adds", "ms", "time", *(["parents"] if mated else [])):
        table.add_column(name, justify="right", no_wrap=True)
    for row in generations:
        latency = (row["latency_ms"] or {}).get("1")
        table.add_row(
            f"{row['label']}{'*' if _is_best(row, best) else ''}",
            scores.write(row["validation_score"], score),
            scores.write(row["test_score"], score),
            number(row["synapses"]),
            ratio(row["synaptic_efficiency"]),
            ratio(row["family_synaptic_efficiency"]),
            number(row["kernels"]),
            ratio(row["cluster_efficiency"]),
            ratio(row["family_cluster_efficiency"]),
            number(row["multiply_adds"]),
            hundredths(latency),
            duration(row["seconds"]),
            *([", ".join(label_of(parent) for parent in row["parents"])] if mated else []),
            style="bold" if _is_best(row, best) else ("" if row["within_budget"] and _lives_on(row) else "dim"),
        )
    problems = [row["problem"] for row in generations if row["problem"]]
    if problems:
        table.caption = f"{table.caption}\n{problems[-1]}"
    return table


def _is_best(row: Summary, best: int | None) -> bool:
    return bool(row["generation"] == best and row["chosen"])


def _lives_on(row: Summary) -> bool:
    """Return True if an individual is the best of its generation, or a parent of the next one."""
    return bool(row["chosen"] or row["parent"])


_LINEAGE_CAPTION = (
    "* best within the budget. syn ×, clu ×: synaptic and cluster efficiency, every layer counted; (family): without "
    "the classifier, as the papers count. ms: latency at batch 1."
)


def _layer_table(layers: list[Summary], best: int) -> Table:
    table = Table(title=f"Layers: ancestor → generation {best}", title_justify="left")
    for name in ("layer", "filters", "kernels", "synapses", "stored", "mult-adds"):
        table.add_column(name, justify="left" if name == "layer" else "right", no_wrap=True)
    for layer in layers:
        pairs = [
            f"{number(layer['ancestor'][field])} → {number(layer['best'][field])}"
            for field in ("filters", "kernels", "synapses", "stored_weights", "multiply_adds")
        ]
        table.add_row(layer["name"], *pairs)
    return table


def _compact_part(compact: Summary) -> RenderableType:
    """Return a table of the compacted network beside its ancestor: sizes, latencies, and the proof below."""
    table = Table(title=f"Compacted generation {compact['generation']}", title_justify="left")
    for name in ("", "ancestor", "masked", "compact", "ancestor / compact"):
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    ancestor = compact["ancestor"]
    stored = {**compact, "synapses": compact["stored_weights"]}
    fields = {"parameters": "parameters", "synapses stored": "synapses", "multiply-adds": "multiply_adds"}
    for name, field in (fields | {"bytes on disk": "bytes"}).items():
        whole, part = ancestor[field], stored[field]
        table.add_row(name, number(whole), number(whole), number(part), times(whole, part))
    for name, field in {"synapses alive": "synapses", "kernels alive": "kernels"}.items():
        whole, part = ancestor[field], compact[field]
        table.add_row(name, number(whole), number(part), number(part), times(whole, part))
    for batch in compact["latency_ms"]["ancestor"]:
        rows = {name: compact["measures"]["latency_ms"][name][batch] for name in ("ancestor", "masked", "compact")}
        cells = [f"{row['median']:.2f} ({row['lower']:.2f}–{row['upper']:.2f})" for row in rows.values()]
        table.add_row(f"ms at batch {batch}", *cells, times(rows["ancestor"]["median"], rows["compact"]["median"]))
    proof = compact["proof"]
    table.caption = (
        f"Proven: {proof['steps']} steps of the program as predicted; outputs differ by at most "
        f"{proof['max_difference']:.1e} (largest {proof['largest_output']:.1f}) on {proof['examples']} real and "
        f"{proof['random_examples']} random examples{_agreement(proof)}. ms: median (quartiles)."
    )
    table.caption_justify = "left"
    return table


def _agreement(proof: Summary) -> str:
    agreement = proof["top1_agreement"]
    return "" if agreement is None else f"; top-1 agreement {100 * agreement:.2f} %"


def _sibling_table(variation: Summary, score: str) -> Table:
    """Return a table of the standard deviations among the siblings of one run, a row a generation."""
    table = Table(title="Standard deviation among siblings", title_justify="left", caption_justify="left")
    for name in ("gen", "siblings", "d.f.", *_splits(score), "synapses", "synapses %"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = [(str(row["generation"]), row["siblings"]) for row in variation["generations"]]
    for name, row in (*rows, ("all", variation["siblings"])):
        if name == "all":
            table.add_section()
        if row["groups"]:
            freedom = number(row["degrees_of_freedom"])
            table.add_row(
                name, number(row["individuals"]), freedom, *_deviations(row, score), percent(row["synapses_share"])
            )
    table.caption = f"{SIBLINGS} {SHARES}"
    return table


def _deviations(row: Summary, score: str) -> list[str]:
    found = [scores.write(row[split], score) for split in ("validation_score", "test_score")]
    return [*found, whole(row["synapses"])]


def _splits(score: str) -> tuple[str, str]:
    """Return the titles of the columns of scores."""
    return f"valid{scores.unit(score)}", f"test{scores.unit(score)}"


def print_comparison(console: Console, comparison: Summary) -> None:
    """Print several runs side by side."""
    table = Table(title="The best of each run", title_justify="left")
    score = comparison["score"]["name"]
    for name in ("run", "state", "best", *_splits(score), "syn ×", "clu ×", "mult-adds", "epochs", "training"):
        table.add_column(name, justify="left" if name in ("run", "state") else "right", no_wrap=True)
    for row in comparison["bests"]:
        table.add_row(
            Text(row["run"]),
            row["state"],
            number(row["generation"]),
            scores.write(row["validation_score"], score),
            scores.write(row["test_score"], score),
            ratio(row["synaptic_efficiency"]),
            ratio(row["cluster_efficiency"]),
            number(row["multiply_adds"]),
            number(row["epochs"]),
            duration(row["seconds"]),
        )
    console.print(table)
    for group in comparison["groups"]:
        _print_title(console, group)
        console.print(_budget_table(group["budgets"], score), _group_table(group, score), sep="\n")
        _print_variation(console, group["variation"], score)
    differences = Table()
    for name in ("field", *(group["name"] for group in comparison["groups"])):
        differences.add_column(Text(name))
    for row in comparison["differences"]:
        differences.add_row(row["field"], *(Text(", ".join(values) or "–") for values in row["of_groups"]))
    if comparison["differences"]:
        console.print(Text("Where the plans differ", style="italic"), differences, sep="\n")
    else:
        console.print("The plans do not differ.")
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
        table = Table(title=f"Accuracy against {quantity}", title_justify="left", caption_justify="left")
        table.caption = LEVELS.format(QUANTITIES[quantity])
        table.add_column("fewer", justify="right", no_wrap=True)
        for group in comparison["groups"]:
            table.add_column(Text(group["name"]), justify="right")
        of_groups = [
            [_level(row, len(group["runs"]), comparison["score"]["name"]) for row in group["levels"][quantity]]
            for group in comparison["groups"]
        ]
        for power, cells in enumerate(zip_longest(*of_groups, fillvalue="")):
            table.add_row(f"{2**power}×", *cells)
        console.print(table)
    _print_notes(console, comparison)


def _level(row: Summary, runs: int, score: str) -> str:
    return around(row["test_score"], partial(scores.write, name=score)) + (
        "" if row["runs"] == runs else f" ({row['runs']})"
    )


def _print_title(console: Console, group: Summary) -> None:
    console.print(Text(f"{group['name']}: mean ± s.d. of {', '.join(group['runs'])}", style="italic"))
    if group["repeated_seeds"]:
        console.print(Text(REPEATED.format(", ".join(map(str, group["repeated_seeds"]))), style="yellow"))


def _print_notes(console: Console, comparison: Summary) -> None:
    """Print the warnings about runs, and what is missing of them."""
    for one in comparison["warnings"]:
        console.print(Text(f"Warning ({one['run']}): {one['text']}", style="yellow"))
    for gap in comparison["missing"]:
        console.print(Text(f"Missing ({gap['run']}, {gap['part']}): {gap['problem']}", style="yellow"))


def _budget_table(budgets: list[Summary], score: str) -> Table:
    """Return a table of the results of replicates, a row a budget."""
    table = Table(caption=BUDGETS, caption_justify="left")
    for name in (
        "budget",
        "runs",
        "gen",
        _splits(score)[1],
        "drop",
        "syn ×",
        "clu ×",
        "mult-adds",
        "epochs",
        "training",
    ):
        table.add_column(name, justify="right")
    for row in budgets:
        table.add_row(
            scores.budget(row["max_drop"], score),
            f"{row['runs']} ({row['unspent']} unspent)" if row["unspent"] else str(row["runs"]),
            around(row["generation"], ratio),
            around(row["test_score"], partial(scores.write, name=score)),
            around(row["test_drop"], partial(scores.write, name=score)),
            around(row["synaptic_efficiency"], ratio),
            around(row["cluster_efficiency"], ratio),
            around(row["multiply_adds"], whole),
            around(row["epochs"], whole),
            around(row["seconds"], duration),
        )
    return table


def _group_table(group: Summary, score: str) -> Table:
    """Return a table of mean and deviation of a group of replicates, a row a generation."""
    table = Table()
    for name in ("gen", "runs", _splits(score)[1], "syn ×", "clu ×", "mult-adds"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in group["generations"]:
        table.add_row(
            str(row["generation"]),
            str(row["runs"]),
            around(row["test_score"], partial(scores.write, name=score)),
            around(row["synaptic_efficiency"], hundredths),
            around(row["cluster_efficiency"], hundredths),
            around(row["multiply_adds"], whole),
        )
    return table


def _print_variation(console: Console, variation: Summary, score: str) -> None:
    """Print the standard deviations of siblings beside those of replicates, if there are siblings."""
    if not variation["siblings"]["groups"]:
        return
    table = Table(title="Standard deviations", title_justify="left", caption_justify="left")
    names = ("d.f.", *_splits(score), "synapses %")
    for name in ("gen", *(f"siblings: {name}" for name in names), *(f"seeds: {name}" for name in names)):
        table.add_column(name, justify="right")
    for row in variation["generations"]:
        table.add_row(str(row["generation"]), *_apart(row["siblings"], score), *_apart(row["seeds"], score))
    table.add_section()
    table.add_row("all", *_apart(variation["siblings"], score), *(["–"] * len(names)))
    table.caption = f"{SIBLINGS} {SEEDS} {SHARES}"
    console.print(table)


def _apart(row: Summary, score: str) -> list[str]:
    found = [scores.write(row[split], score) for split in ("validation_score", "test_score")]
    return [number(row["degrees_of_freedom"]), *found, percent(row["synapses_share"])]


def runs_table(overviews: list[Overview]) -> Table:
    """Return a table with a row a run: its state, its best generation, its age, and its writer."""
    table = Table()
    for name in ("run", "state", "gens", "best", "syn ×", "test", "changed", "written by"):
        table.add_column(name, justify="right" if name in ("gens", "best", "syn ×", "test", "changed") else "left")
    for one in overviews:
        table.add_row(
            Text(one.path),
            one.state,
            str(one.generations),
            number(one.best),
            ratio(one.synaptic_efficiency),
            scores.write(one.test_score, one.score) + (scores.unit(one.score) if one.test_score else ""),
            f"{duration(one.age)} ago",
            Text(one.writer or ""),
        )
    return table


def print_report(console: Console, summary: Summary) -> None:
    """Print the report of a run."""
    console.print(render(summary))
