"""The sheet: all numbers as CSV, a row an individual; for replicates, a row a budget or a level."""

import csv
import io
from typing import Any


def write_sheet(summaries: list[dict[str, Any]]) -> str:
    """Write the individuals of one or more runs as CSV; unknown values are empty."""
    return write_rows([_row(summary, row) for summary in summaries for row in summary["generations"]])


def write_budgets(groups: list[dict[str, Any]]) -> str:
    """Write the budgets of each group of replicates as CSV, a row each; an unknown deviation is empty."""
    return write_rows([{"group": group["name"], **_flat(row)} for group in groups for row in group["budgets"]])


def write_levels(groups: list[dict[str, Any]], quantities: list[str]) -> str:
    """Write the accuracy of each group of replicates at each level of these quantities as CSV."""
    return write_rows(
        [
            {"group": group["name"], "quantity": quantity, **_flat(row)}
            for quantity in quantities
            for group in groups
            for row in group["levels"][quantity]
        ]
    )


def write_bench(found: list[dict[str, Any]]) -> str:
    """Write the benches of runs as CSV, a row for each network in each form."""
    rows = []
    for one in found:
        shares = {form["form"]: form for form in one["forms"]}
        for row in one["rows"]:
            flat = {"run": one["run"], "generation": one["generation"], "round_to": one["round_to"], **row}
            for batch, timing in flat.pop("latency_ms").items():
                flat |= {f"ms_at_batch_{batch}_{name}": timing[name] for name in ("median", "lower", "upper")}
            if row["network"] == "compact":
                form = shares[row["form"]]
                flat |= {f"faster_at_batch_{batch}": times for batch, times in form["faster"].items()}
                flat |= {
                    f"{kind}_share_at_batch_{batch}": value
                    for batch, kinds in form["share"].items()
                    for kind, value in kinds.items()
                }
            rows.append(flat)
    return write_rows(rows)


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """Return budgets or a level with a column for each mean, deviation, lowest and highest value."""
    flat: dict[str, Any] = {}
    for field, value in row.items():
        if isinstance(value, dict):
            flat |= {f"{field}_{name}": number for name, number in value.items()}
        elif field == "budgets":
            flat[field] = " ".join(map(str, value))
        elif field != "of_runs":
            flat[field] = value
    return flat


def write_rows(rows: list[dict[str, Any]]) -> str:
    """Write rows as CSV, with a column for every name in any of them; a missing value is empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _row(summary: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    seed = summary["plan"] and summary["plan"]["seed"]
    flat = {"run": summary["run"], "seed": seed, **row, "parents": " ".join(str(parent) for parent in row["parents"])}
    flat |= {f"latency_ms_at_batch_{batch}": value for batch, value in (flat.pop("latency_ms") or {}).items()}
    survival = summary["survival"]
    if survival and row["generation"] in survival["generations"]:
        place = survival["generations"].index(row["generation"])
        flat |= {f"filters_alive {layer['name']}": layer["filters_alive"][place] for layer in survival["layers"]}
    return flat
