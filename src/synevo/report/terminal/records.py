"""Records: the measurements of a preset as a table, from the file beside the preset."""

from synevo.report.numerals import duration, number, percent, ratio
from synevo.report.terminal.tables import Fitted

_COLUMNS = ("run", "gen", "valid %", "test %", "change", "syn ×", "clu ×", "stored ×", "m-adds ×", "epochs", "time")
_CAPTION = (
    "change: points of test accuracy from the ancestor's. How many times fewer synapses, kernels, stored weights and "
    "multiply-adds: every layer counted. epochs, time: of the lineage up to here, with its ancestor."
)


def record_table(records: list[dict[str, str]]) -> Fitted:
    """Return a table of the measurements of a preset, a row a generation of each run."""
    gives_up = ("valid %", "clu ×", "epochs", "time", "change")
    table = Fitted(_COLUMNS, names={"run"}, gives_up=gives_up, title="Measured", caption=_CAPTION)
    runs: dict[str, list[dict[str, str]]] = {}
    for row in records:
        runs.setdefault(row["run"], []).append(row)
    for run, rows in runs.items():
        table.rule()
        for place, row in enumerate(rows):
            table.add("" if place else run, *_cells(rows[: place + 1], row))
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
