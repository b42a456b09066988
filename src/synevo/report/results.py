"""Results: the tables of the documents, generated from the raw measurements beside the presets.

A document holds a table between two markers, each on a line of its own:

    <!-- results: presets -->
    <!-- end -->

`python -m synevo.report.results FILE...` (`make results`) writes the tables anew. To add one, write a function without
arguments that returns Markdown, and name it in `TABLES`. Accuracies are in %. An efficiency is a quantity of the
ancestor divided by that of a network, every layer counted. Means come with their standard deviation.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, get_args

from synevo.lineage.individuals import within
from synevo.plan.fields import HeredityName
from synevo.plan.presets import preset_records, preset_table
from synevo.report.levels import levels
from synevo.report.numerals import around, number, percent, ratio, times, whole
from synevo.report.spread import spread

Row = dict[str, Any]
Lineage = list[Row]

BUDGETS: Mapping[str, tuple[float, ...]] = {
    "frugal": (0.25, 0.5, 1, 1.72),
    "slim": (0.25, 0.5, 1),
    "brief": (0.25, 0.5, 1),
    "lean": (0.5, 1, 1.72),
    "sharp": (0.5, 1, 1.72),
    "paper": (0.5, 1, 1.72),
}
"""The presets with replicates on MNIST, and the budgets of their results in points of accuracy."""

USUAL = 0.5
"""The budget, in points, of the table with one row a preset."""

SPARSE = (("synapses", 8), ("synapses", 32), ("synapses", 128), ("synapses", 512))
SMALL = (("kernels", 8), ("kernels", 32), ("multiply-adds", 2), ("multiply-adds", 4), ("multiply-adds", 8))
"""The levels for comparing heredities: a quantity, and its efficiency."""

ABLATIONS = {
    "distillation": ("labels alone", "training.distillation=0"),
    "shift": ("no augmentation", "training.shift=0"),
    "growth": ("epochs that grow", "training.epochs=2 training.growth=0.25"),
    "rate": ("one learning rate", "training.rate_growth=0"),
    "rewind": ("back to the ancestor's weights after 2 epochs", "evolution.rewind=2"),
    "mutation": ("synapses that grow anew", "evolution.mutation=0.1"),
    "sizes": ("filters by the sizes of weights", "encoding.heredity=cluster"),
    "scope": ("a factor for each layer", "environment.cluster_scope=layer"),
    "sharpness": ("survival nearer to chance", "encoding.cluster_sharpness=2"),
    "population": ("the best of three offspring", "evolution.population=3"),
    "parents": ("three offspring of two mated parents", "evolution.population=3 evolution.parents=2"),
}
"""The changes of `brief`, one at a time: in words, and as fields of the plan."""

_ABLATED = (8, 16, 32, 64)
_DEMO = (4, 7, 8)
_KERNEL = (9, 11, 12, 13)


def lineages(preset: str, stem: str) -> list[Lineage]:
    """Return the lineages of the runs `stem`-0, `stem`-1, … among the raw measurements of a preset."""
    runs: dict[str, Lineage] = {}
    for record in preset_records(preset):
        if re.fullmatch(rf"{stem}-\d+", record["run"]):
            runs.setdefault(record["run"], []).append(_numbers(record))
    return list(runs.values())


def _numbers(record: Mapping[str, str]) -> Row:
    row: Row = {name: float(text) for name, text in record.items() if name not in {"run", "label", "chosen"}}
    return row | {"chosen": record.get("chosen") != "False"}


def last_within(lineage: Lineage, points: float) -> Row:
    """Return the last generation within this many points of the ancestor's validation accuracy."""
    best = lineage[0]["validation_score"]
    return [row for row in lineage if within(best - row["validation_score"], points / 100)][-1]


def presets_table() -> str:
    """Write a table of the results of each preset within half a point, a row a preset."""
    head = ("preset", "ancestor", *_EFFICIENCIES, "test, %", "difference")
    return _table(head, ([f"`{name}`", _ancestor(name), *_reached(name, USUAL)] for name in BUDGETS))


def budgets_table() -> str:
    """Write a table of the results of each preset within each of its budgets."""
    head = ("preset", "budget", *_EFFICIENCIES, "test, %", "difference")
    return _table(
        head, ([f"`{name}`", f"{points:g}", *_reached(name, points)] for name in BUDGETS for points in BUDGETS[name])
    )


def _ancestor(preset: str) -> str:
    return f"`{preset_table(preset)['ancestor']['name']}`"


_EFFICIENCIES = {
    "synapses": ("synapses", whole),
    "kernels": ("kernels", ratio),
    "stored weights": ("stored_weights", ratio),
    "multiply-adds": ("multiply_adds", ratio),
}
"""The columns of efficiencies: the field of each, and the function that writes it."""


def _reached(preset: str, points: float) -> list[str]:
    ends = [(lineage[0], last_within(lineage, points)) for lineage in lineages(preset, preset)]
    cells = [
        f"{around(spread([first[field] / last[field] for first, last in ends]), write)}×"
        for field, write in _EFFICIENCIES.values()
    ]
    accuracy = around(spread([last["test_score"] for _, last in ends]), percent)
    drops = [last["test_score"] - first["test_score"] for first, last in ends]
    return [*cells, accuracy, f"{100 * sum(drops) / len(drops):+.2f}"]


def heredities_table(compared: Sequence[tuple[str, int]]) -> str:
    """Write a table of the test accuracy of each heredity at the levels `compared`: a quantity and its efficiency."""
    titles, before = [], ""
    for quantity, level in compared:
        titles.append(f"{level}×" if quantity == before else f"{quantity} {level}×")
        before = quantity
    rows = []
    for name in get_args(HeredityName):
        runs = lineages("heredity", f"heredity-{name}")
        found = levels([{"generations": lineage} for lineage in runs])
        rows.append([f"`{name}`", *(_level(found[quantity], at, of=len(runs)) for quantity, at in compared)])
    return _table(("heredity", *titles), rows)


def changes_table() -> str:
    """Write a table of the changes of `brief`, in words and as fields of the plan."""
    rows = [
        [f"`{name}`", words, " ".join(f"`{field}`" for field in fields.split())]
        for name, (words, fields) in ABLATIONS.items()
    ]
    return _table(("change", "what it is", "how"), rows)


def ablations_table() -> str:
    """Write a table of the test accuracy after each change of `brief`, at equal numbers of stored weights."""
    head = ("change", *(f"{level}×" for level in _ABLATED), "epochs", "seeds")
    changed = ([f"`{name}`", *_ablated(f"brief-{name}")] for name in ABLATIONS)
    return _table(head, (["nothing", *_ablated("brief")], *changed))


def _ablated(stem: str) -> list[str]:
    runs = lineages("brief", stem)
    found = levels([{"generations": lineage} for lineage in runs])["stored-weights"]
    epochs = sum(row["epochs"] for row in runs[0][1:])
    return [*(_level(found, level, of=len(runs)) for level in _ABLATED), whole(epochs), str(len(runs))]


def _level(rows: list[Row], level: int, *, of: int) -> str:
    """Write the accuracy at a level, and the number of lineages that reached it if not all `of` them did."""
    row = next((row for row in rows if row["efficiency"] == level), None)
    if row is None:
        return ""
    alone = row["test_score"]["deviation"] is None
    told = percent(row["test_score"]["mean"]) if alone else around(row["test_score"], percent)
    return told if row["runs"] == of else f"{told} ({row['runs']})"


def demo_table() -> str:
    """Write a table of the results of the demo, a row a quantity and a column for some of its generations."""
    (lineage,) = lineages("demo", "demo")
    shown = [row for row in lineage if row["generation"] in {1, *_DEMO}]
    head = ("", "ancestor", *(f"generation {row['generation']:.0f}" for row in shown[1:]))
    rows = [["test accuracy, %", *(percent(row["test_score"]) for row in shown)]]
    for words, field in _DEMO_COUNTS.items():
        counts = [row[field] for row in shown]
        fewer = (f"{number(int(count))} ({times(counts[0], count)} fewer)" for count in counts[1:])
        rows.append([words, number(int(counts[0])), *fewer])
    return _table(head, rows)


_DEMO_COUNTS = {"synapses": "synapses", "weights stored": "stored_weights", "multiply-adds": "multiply_adds"}


def kernel_table() -> str:
    """Write a table of the last generations of `paper` with one synapse factor for all layers, and sharpness 20."""
    (lineage,) = lineages("paper", "kernel")
    first = lineage[0]
    rows = [
        [
            f"{row['generation']:.0f}",
            f"{times(first['synapses'], row['synapses'])}",
            f"{times(first['kernels'], row['kernels'])}",
            percent(row["test_score"]),
            f"{100 * (row['test_score'] - first['test_score']):+.2f}",
        ]
        for row in lineage
        if row["generation"] in _KERNEL
    ]
    return _table(("generation", "synapses", "kernels", "test accuracy, %", "difference"), rows)


def _table(head: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    titles = list(head)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (titles, ["---"] * len(titles), *rows))


TABLES: Mapping[str, Callable[[], str]] = {
    "demo": demo_table,
    "presets": presets_table,
    "budgets": budgets_table,
    "heredities-sparse": partial(heredities_table, SPARSE),
    "heredities-small": partial(heredities_table, SMALL),
    "changes": changes_table,
    "ablations": ablations_table,
    "kernel": kernel_table,
}
"""The tables by the names in their markers."""

_MARKED = re.compile(r"(<!-- results: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str) -> str:
    """Return a document with new tables between all markers."""
    return _MARKED.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[3]}", text)


def main(paths: Sequence[str]) -> None:
    """Write new tables into the documents at these paths."""
    for path in map(Path, paths):
        path.write_text(fill(path.read_text("utf-8")), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
