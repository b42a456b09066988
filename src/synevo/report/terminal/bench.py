"""The bench of a run as a table: a row for each network in each form."""

from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from synevo.report import scores
from synevo.report.numerals import size, whole_percent
from synevo.report.terminal.run import spread_of
from synevo.report.terminal.tables import BRIEF, Fitted, count

Bench = dict[str, Any]

CAPTION = (
    "ms: median (quartiles), all networks in turns. ×: times faster than the ancestor in this form. Became time: share "
    "of the saved multiply-adds, of stored arrays and of living synapses, by which the time fell. Difference: the "
    "largest of an output from the same network in JAX. Bytes: of the file; of C, compiled code and constants."
)


def bench_table(found: Bench) -> RenderableType:
    """Return the table of a bench, and what it left out, with the reasons."""
    score, batches = found["score"]["name"], [str(batch) for batch in found["batches"]]
    by = f" at batch {' / '.join(batches)}"
    table = Fitted(
        (
            *("form: network", "bytes", f"test{scores.unit(score)}", "difference"),
            *(f"ms at batch {batch}" for batch in batches),
            *("threads", "living", "stored", "×", "stored became time", "living became time"),
        ),
        names={"form: network"},
        gives_up=(BRIEF, "threads", "difference", "bytes", "living", "stored", "living became time"),
        title=f"{found['run']}, generation {found['generation']}: multiply-adds and time{by}",
        caption=CAPTION,
    )
    last = {row["form"]: place for place, row in enumerate(found["rows"])}
    for place, row in enumerate(found["rows"]):
        table.add(
            f"{row['title']}: {row['network']}",
            size(row["bytes"]),
            scores.write(row["score"], score),
            f"{row['max_difference']:.1e}",
            *(spread_of(row["latency_ms"][batch]) for batch in batches),
            str(row["threads"] or ""),
            count(row["living_multiply_adds"]),
            count(row["stored_multiply_adds"]),
            *(_became(found, row, batches) if row["network"] == "compact" else ("", "", "")),
            style="bold" if row["network"] == "compact" else "",
        )
        if place == last[row["form"]]:
            table.rule()
    engines = "; ".join(dict.fromkeys(row["engine"] for row in found["rows"]))
    left_out = [Text(f"Left out: {one}") for one in left_out_in_words(found)]
    return Group(table, Text(f"Engines: {engines}."), *left_out)


def left_out_in_words(found: Bench) -> list[str]:
    """Return what a bench left out, each with its networks and the reason."""
    which = ["" if one["network"] == "all" else f" ({one['network']})" for one in found["left_out"]]
    return [f"{one['title']}{who}: {one['reason']}" for one, who in zip(found["left_out"], which, strict=True)]


def _became(found: Bench, row: dict[str, Any], batches: list[str]) -> tuple[str, str, str]:
    """Return how many times faster a form of the compact network is, and the shares that became time, by batch."""
    (form,) = (one for one in found["forms"] if one["form"] == row["form"])
    if not form["faster"]:
        return "", "", ""
    shares = [
        " / ".join(whole_percent(form["share"][batch][kind]) for batch in batches) for kind in ("stored", "living")
    ]
    return " / ".join(f"{form['faster'][batch]:.1f}" for batch in batches), shares[0], shares[1]
