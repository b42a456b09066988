"""The report of one run on a terminal: its verdict, and its numbers as tables."""

from typing import Any

from rich.console import Console, Group, RenderableType
from rich.text import Text

from synevo.lineage.individuals import label_of
from synevo.report import scores
from synevo.report.numerals import duration, milliseconds, number, percent, ratio, size, times, whole
from synevo.report.terminal.tables import BRIEF, Fitted, count, pair
from synevo.report.variation import SHARES, SIBLINGS
from synevo.report.verdict import best_of, engine, engines, outcome, reductions, speed_in_words, subject

Summary = dict[str, Any]


def print_report(console: Console, summary: Summary) -> None:
    """Print the report of a run."""
    console.print(render(summary))


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
    if summary["halving"]:
        parts += [Text(), Text(summary["halving"]["text"])]
    if summary["prices"]:
        parts += [Text(), Text(summary["prices"]["text"])]
    if summary["layers"]:
        parts.append(_layer_table(summary["layers"], summary["best"]))
    if summary["compact"] is not None and "problem" not in summary["compact"]:
        parts.append(_compact_table(summary))
    parts += [Text(f"Missing ({gap['part']}): {gap['problem']}", style="yellow") for gap in summary["missing"]]
    spaced = [part for one in parts for part in ((Text(), one) if isinstance(one, Fitted) else (one,))]
    return Group(*spaced)


def _headline(summary: Summary) -> Text:
    text = Text()
    text.append(summary["run"], style="bold")
    text.append(f": {subject(summary)}, {summary['state']}")
    best, fewer = best_of(summary), reductions(summary)
    if best is not None and fewer:
        score = f"test {summary['score']['name']} {outcome(summary)}"
        found = "" if best["generation"] == 1 else f"Best within the budget: generation {best['generation']}, "
        said = f"{found}{', '.join([*fewer, score])}"
        text.append(f"\n{said[:1].upper()}{said[1:]}")
    return text


_LINEAGE_CAPTION = (
    "* best within the budget. syn ×, clu ×: synaptic and cluster efficiency, every layer counted; (family): without "
    "the classifier, as the papers count."
)


def lineage_table(generations: list[Summary], best: int | None, score: str = scores.ACCURACY) -> Fitted:
    """Return a table with a row an individual; the best one is marked."""
    mated = any(len(row["parents"]) > 1 for row in generations)
    counts = ("synapses", "syn ×", "(family)", "kernels", "clu ×", "(family)", "mult-adds", "ms", "time")
    problems = [row["problem"] for row in generations if row["problem"]]
    table = Fitted(
        ("gen", *splits(score), *counts, *(["parents"] if mated else [])),
        gives_up=("(family)", "ms", "time", "kernels", BRIEF, "clu ×"),
        title="Lineage",
        caption="\n".join([_LINEAGE_CAPTION + _measured(generations), *problems[-1:]]),
    )
    for row in generations:
        is_best = bool(row["generation"] == best and row["chosen"])
        table.add(
            f"{row['label']}{'*' if is_best else ''}",
            scores.write(row["validation_score"], score),
            scores.write(row["test_score"], score),
            count(row["synapses"]),
            ratio(row["synaptic_efficiency"]),
            ratio(row["family_synaptic_efficiency"]),
            count(row["kernels"]),
            ratio(row["cluster_efficiency"]),
            ratio(row["family_cluster_efficiency"]),
            count(row["multiply_adds"]),
            milliseconds((row["latency_ms"] or {}).get("1")),
            duration(row["seconds"]),
            *([", ".join(label_of(parent) for parent in row["parents"])] if mated else []),
            style="bold" if is_best else ("" if row["within_budget"] and _lives_on(row) else "dim"),
        )
    return table


def _measured(generations: list[Summary]) -> str:
    """Return what the column of milliseconds is, where there is one."""
    found = engines(generations)
    return f" ms: latency at batch 1 in {found}." if found else ""


def _lives_on(row: Summary) -> bool:
    """Return True if an individual is the best of its generation, or a parent of the next one."""
    return bool(row["chosen"] or row["parent"])


def _layer_table(layers: list[Summary], best: int) -> Fitted:
    table = Fitted(
        ("layer", "filters", "kernels", "synapses", "stored", "mult-adds"),
        names={"layer"},
        gives_up=(BRIEF, "kernels", "filters"),
        title=f"Layers: ancestor → generation {best}",
    )
    fields = ("filters", "kernels", "synapses", "stored_weights", "multiply_adds")
    for layer in layers:
        table.add(layer["name"], *(pair(layer["ancestor"][field], layer["best"][field]) for field in fields))
    return table


def _compact_table(summary: Summary) -> Fitted:
    """Return a table of the compacted network beside its ancestor: sizes, latencies, and the proof below."""
    compact, ancestor = summary["compact"], summary["compact"]["ancestor"]
    table = Fitted(
        ("", "ancestor", "masked", "compact", "fewer"),
        names={""},
        gives_up=("masked", BRIEF),
        title=f"Compacted generation {compact['generation']}",
    )
    stored = {**compact, "synapses": compact["stored_weights"]}
    of_bytes = [(size(one), size(one)) for one in (ancestor["bytes"], ancestor["bytes"], compact["bytes"])]
    table.add("bytes on disk", *of_bytes, times(ancestor["bytes"], compact["bytes"]))
    fields = {"multiply-adds": "multiply_adds", "parameters": "parameters", "synapses stored": "synapses"}
    for name, field in fields.items():
        before, after = ancestor[field], stored[field]
        table.add(name, count(before), count(before), count(after), times(before, after))
    for name, field in {"synapses alive": "synapses", "kernels alive": "kernels"}.items():
        before, after = ancestor[field], compact[field]
        table.add(name, count(before), count(after), count(after), times(before, after))
    said = []
    for batch in compact["latency_ms"]["ancestor"]:
        rows = {name: compact["measures"]["latency_ms"][name][batch] for name in ("ancestor", "masked", "compact")}
        cells = [spread_of(row) for row in rows.values()]
        table.add(f"ms at batch {batch}", *cells, "")
        said.append(f"{speed_in_words(rows['ancestor'], rows['compact'])} at batch {batch}")
    table.caption = f"ms: median (quartiles) of {engine(summary)}: {', '.join(said)}.\n{_proven(compact['proof'])}"
    return table


def spread_of(timing: Summary) -> tuple[str, str]:
    """Return a timing in words: the median with its quartiles, and briefly the median alone."""
    median, lower, upper = (milliseconds(timing[name]) for name in ("median", "lower", "upper"))
    return f"{median} ({lower}–{upper})", median


def _proven(proof: Summary) -> str:
    agreement = proof["top1_agreement"]
    agreed = "" if agreement is None else f"; top-1 agreement {100 * agreement:.2f} %"
    return (
        f"Proven: {proof['steps']} steps of the program as predicted; outputs differ by at most "
        f"{proof['max_difference']:.1e} (largest {proof['largest_output']:.1f}) on {proof['examples']} real and "
        f"{proof['random_examples']} random examples{agreed}."
    )


def _sibling_table(variation: Summary, score: str) -> Fitted:
    """Return a table of the standard deviations among the siblings of one run, a row a generation."""
    table = Fitted(
        ("gen", "siblings", "d.f.", *splits(score), "synapses", "synapses %"),
        gives_up=("d.f.", BRIEF),
        title="Standard deviation among siblings",
        caption=f"{SIBLINGS} {SHARES}",
    )
    rows = [(str(row["generation"]), row["siblings"]) for row in variation["generations"]]
    for name, row in (*rows, ("all", variation["siblings"])):
        if name == "all":
            table.rule()
        if row["groups"]:
            found = [scores.write(row[split], score) for split in ("validation_score", "test_score")]
            sizes = (whole(row["synapses"]), count(row["synapses"])[1])
            freedom = number(row["degrees_of_freedom"])
            table.add(name, number(row["individuals"]), freedom, *found, sizes, percent(row["synapses_share"]))
    return table


def splits(score: str) -> tuple[str, str]:
    """Return the titles of the columns of scores on validation and test."""
    return f"valid{scores.unit(score)}", f"test{scores.unit(score)}"
