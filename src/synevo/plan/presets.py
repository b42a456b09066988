"""Presets: plans that ship with synevo, each with its measured results."""

import csv
import tomllib
from importlib import resources
from typing import Any

from synevo.errors import PlanError, did_you_mean


def preset_names() -> list[str]:
    """Return the names of the presets that ship with synevo."""
    folder = resources.files("synevo.plan") / "tables"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def preset_table(name: str) -> dict[str, Any]:
    """Return a preset as a nested table, its `about` (command, hardware, time, result) included.

    Raises:
        PlanError: where there is no preset of this name.
    """
    known = preset_names()
    if name not in known:
        raise PlanError(
            f"There is no preset {name!r}.{did_you_mean(name, known)}", remedy=f"Presets: {', '.join(known)}."
        )
    return tomllib.loads((resources.files("synevo.plan") / "tables" / f"{name}.toml").read_text("utf-8"))


def preset_records(name: str) -> list[dict[str, str]]:
    """Return the measured results of a preset, one row for each generation of each run; empty where there are none.

    Raises:
        PlanError: where there is no preset of this name.
    """
    preset_table(name)
    file = resources.files("synevo.plan") / "tables" / f"{name}.csv"
    return list(csv.DictReader(file.read_text("utf-8").splitlines())) if file.is_file() else []
