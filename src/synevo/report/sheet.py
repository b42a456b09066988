"""The sheet: every number of every generation as CSV, a row an individual."""

import csv
import io
from typing import Any


def write_sheet(summaries: list[dict[str, Any]]) -> str:
    """The individuals of one or more runs as CSV; what is unknown is empty."""
    rows = [_row(summary, row) for summary in summaries for row in summary["generations"]]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(summary: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    flat = {"run": summary["run"], **row, "parents": " ".join(str(parent) for parent in row["parents"])}
    flat |= {f"latency_ms_at_batch_{batch}": value for batch, value in (flat.pop("latency_ms") or {}).items()}
    survival = summary["survival"]
    if survival and row["generation"] in survival["generations"]:
        place = survival["generations"].index(row["generation"])
        flat |= {f"filters_alive {layer['name']}": layer["filters_alive"][place] for layer in survival["layers"]}
    return flat
