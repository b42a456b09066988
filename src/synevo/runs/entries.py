"""The lines of a lineage: one an individual, with the hashes of its files, each checked when it is read."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from synevo.errors import RunError, damaged
from synevo.files.writing import canonical, hash_of, parse_json, read, write
from synevo.lineage.doubts import Basis
from synevo.lineage.individuals import Individual, from_table, to_table
from synevo.plan.compose import flatten
from synevo.plan.fields import Plan

Entry = dict[str, Any]


def read_entries(path: Path) -> list[Entry]:
    """Return the lines of a lineage; raise RunError if a line was cut short or changed."""
    return [_parse(path, number, line) for number, line in _lines(path)]


def read_whole_entries(path: Path) -> tuple[list[Entry], list[str]]:
    """Return the undamaged lines of a lineage, and a problem in words for each of the others."""
    whole, problems = [], []
    for number, line in _lines(path):
        try:
            whole.append(_parse(path, number, line))
        except RunError as error:
            problems.append(error.problem)
    return whole, problems


def basis_in(entries: Sequence[Entry]) -> Basis | None:
    """Return what the scores of a lineage rest on, as its ancestor's line says; None if an older version wrote it."""
    table = entries[0].get("basis") if entries else None
    return None if table is None else Basis(**table)


def append(path: Path, entry: Entry) -> None:
    """Add a line to a lineage; a last line that lost its line end gets it back."""
    before = read(path) if os.path.lexists(path) else b""
    if before and not before.endswith(b"\n"):
        before += b"\n"
    line = {**entry, "check": hash_of(canonical(entry))}
    write(path, before + json.dumps(line).encode() + b"\n")


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a lineage with their numbers; none if there is no file."""
    if os.path.lexists(path):
        yield from enumerate(read(path).decode("utf-8", errors="replace").splitlines(), start=1)


def _parse(path: Path, number: int, line: str) -> Entry:
    try:
        entry = parse_json(path, line.encode())
        check = entry.pop("check")
        _require_form(entry)
    except (RunError, ValidationError, KeyError, TypeError, AttributeError):
        raise damaged(path, f"line {number} cannot be read") from None
    if check != hash_of(canonical(entry)):
        raise damaged(path, f"line {number} was changed")
    return entry


def _require_form(entry: Mapping[str, Any]) -> None:
    """Raise an error if a line has another form than this version or an older one gave it."""
    _INDIVIDUAL.validate_json(json.dumps(to_table(from_table(entry["individual"]))), strict=True)
    _FILES.validate_python(entry["files"], strict=True)
    if any(Path(name).name != name for name in entry["files"]):
        raise KeyError("files")  # a path that leads out of the individual's folder
    _ABOUT.validate_json(json.dumps([entry.get("basis"), entry.get("machine")]), strict=True)


_INDIVIDUAL = TypeAdapter(Individual)
_FILES = TypeAdapter(dict[str, str])
_ABOUT = TypeAdapter(tuple[Basis | None, str | None])
"""What the ancestor's line says beside what all lines say; older versions did not write it."""


# Fields that may change while a lineage goes on: they decide its length or its speed, not its individuals.
_OPEN_ENDED = {
    *("format", "preset", "data.data_dir", "data.memory", "data.disk_cache"),
    *("evolution.generations", "evolution.max_drop", "evolution.finest"),
    *("evolution.target_synapses", "evolution.target_macs", "evolution.target_kb", "evolution.target_latency"),
    "evolution.engine",
    *(f"{stage}.{name}" for stage in ("ancestor_training", "training") for name in ("devices", "shard")),
}

# The parts of the plan that the ancestor depends on; the others may change until there is an offspring.
_ANCESTRAL = {"seed", "task", "data", "ancestor", "ancestor_training"}


def fingerprint(plan: Plan, generation: int) -> str:
    """Return a hash of the plan's non-default fields that can affect an individual of this generation.

    Fields at their defaults are left out, so that a field of a later version does not change the hash of older plans.
    """
    usual = flatten(Plan())
    decisive = {
        name: value
        for name, value in flatten(plan).items()
        if name not in _OPEN_ENDED and value != usual[name] and (generation > 1 or name.split(".")[0] in _ANCESTRAL)
    }
    return hash_of(canonical(decisive))
