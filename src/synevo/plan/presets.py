"""Presets: plans that ship with synevo, each with what was measured with it."""

import csv
import tomllib
from importlib import resources
from typing import Any

from synevo.errors import PlanError, did_you_mean


def preset_names() -> list[str]:
    """The presets that ship with synevo."""
    folder = resources.files("synevo.plan") / "tables"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def preset_table(name: str) -> dict[str, Any]:
    """A preset as a nested table, its `about` (command, hardware, time, result) included."""
    known = preset_names()
    if name not in known:
        raise PlanError(
            f"There is no preset {name!r}.{did_you_mean(name, known)}", remedy=f"Presets: {', '.join(known)}."
        )
    return tomllib.loads((resources.files("synevo.plan") / "tables" / f"{name}.toml").read_text("utf-8"))


def preset_records(name: str) -> list[dict[str, str]]:
    """What was measured with a preset, a row a generation of each of its runs; empty where nothing is kept."""
    preset_table(name)
    file = resources.files("synevo.plan") / "tables" / f"{name}.csv"
    return list(csv.DictReader(file.read_text("utf-8").splitlines())) if file.is_file() else []
