"""Records: the measurements of a preset as a table, from the file beside the preset."""

from rich.table import Table

from synevo.report.numerals import duration, number, percent, ratio

_COLUMNS = ("gen", "valid %", "test %", "points", "syn ×", "clu ×", "stored ×", "m-adds ×", "epochs", "time")
_CAPTION = (
    "points: test accuracy above the ancestor's. How many times fewer synapses, kernels, stored weights and "
    "multiply-adds: every layer counted. epochs, time: of the lineage up to here, with its ancestor."
)


def record_table(records: list[dict[str, str]]) -> Table:
    """Return a table of the measurements of a preset, a row a generation of each run."""
    table = Table("run", title="Measured", title_justify="left", caption=_CAPTION, caption_justify="left")
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    runs: dict[str, list[dict[str, str]]] = {}
    for row in records:
        runs.setdefault(row["run"], []).append(row)
    for run, rows in runs.items():
        table.add_section()
        for place, row in enumerate(rows):
            table.add_row("" if place else run, *_cells(rows[: place + 1], row))
    return table


def _cells(lived: list[dict[str, str]], row: dict[str, str]) -> list[str]:
    """Return the cells of a generation; `lived` are the rows of its lineage up to it."""
    first = lived[0]
    return [
        row.get("label") or row["generation"],
        percent(float(row["validation_score"])),
        percent(float(row["test_score"])),
        f"{100 * (float(row['test_score']) - float(first['test_score'])):+.2f}",
        ratio(float(row["synaptic_efficiency"])),
        ratio(float(row["cluster_efficiency"])),
        ratio(int(first["stored_weights"]) / int(row["stored_weights"])),
        ratio(int(first["multiply_adds"]) / int(row["multiply_adds"])),
        number(sum(int(one["epochs"]) for one in lived)),
        duration(sum(float(one["seconds"]) for one in lived)),
    ]
