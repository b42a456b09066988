"""A run on disk: the name and format of each file; files are written whole or not at all, and checked when read.

    plan.toml                 every knob, before any work
    machine.json              versions, device, threads
    lineage.jsonl             one line an individual, with the hashes of its files
    individuals/g07/          weights, masks (.safetensors), scores.json (alone after a failure), worth once measured
    training/                 the training in progress (.safetensors), removed when it has ended
    compact/g07/              weights.safetensors, architecture.json, proof.json, predictions.safetensors
    exports/, bench/g07.json  files for other software, each with its contract; a network in every engine
    report/                   index.html, report.json
    tensorboard/              an event file, if one was asked for

Loading executes no code from a file. A file is written under a temporary name and renamed, by one process at a time.
"""

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tomli_w

from synevo.errors import NEWER, RunError, damaged, did_you_mean
from synevo.files.tensors import Tensors, pack_masks, pack_tensors, unpack_masks, unpack_tensors
from synevo.files.writing import (
    hash_of,
    parse_json,
    pretty,
    read,
    read_checked,
    read_json,
    standing,
    write,
    write_folder,
    write_json,
)
from synevo.lineage.doubts import Basis
from synevo.lineage.individuals import Individual, Lineage, from_table, to_table
from synevo.plan.compose import validate
from synevo.plan.fields import FORMAT, Plan
from synevo.runs.entries import Entry, append, fingerprint, read_entries, read_whole_entries
from synevo.runs.lock import announce, clear_unfinished, is_alive, locked, names_in, owner_of

RUNS = Path("runs")

ARCHITECTURE_FORMAT = 2
"""The format of architecture.json; format 1 had neither the groups of convolutions nor the fit of images."""

_WEIGHTS, _MASKS, _PREDICTIONS = "weights.safetensors", "masks.safetensors", "predictions.safetensors"
_OWN = {"plan.toml", "machine.json", "lineage.jsonl", "individuals", "training", "compact", "report", "tensorboard"}
_OWN |= {"bench"}
"""What a run writes for itself; exports/ is for others."""

_COMPACTED = re.compile(r"\.?g(\d+)(?:\.before)?")
_CHECKPOINT = re.compile(r"g(\d+)(?:-\d+)?(?:-c\d+of\d+-r\d+)?-a\d+-e(\d+)(?:-s\d+)?")

# The numbers of a proof by the names of older versions, and their names now.
_RENAMED = {"images": "examples", "random_images": "random_examples", "largest_logit": "largest_output"}


@dataclass(frozen=True)
class RunDir:
    """A run directory."""

    path: Path

    @property
    def name(self) -> str:
        """The name of the run for people: that of its folder."""
        return self.path.resolve().name

    def exists(self) -> bool:
        """Return True if there is a plan, the first file of a run."""
        return os.path.isfile(self.path / "plan.toml")  # noqa: PTH113  (never an error, whatever the path)

    def require(self) -> None:
        """Raise RunError if there is no plan."""
        if not self.exists():
            raise RunError(
                f"{self.path} is not a run: it has no plan.toml.{near_run(self.path)}",
                remedy="Start one with `synevo train-ancestor`.",
            )

    # plan and machine

    def save_plan(self, plan: Plan) -> None:
        """Write the plan, and let `runs/latest` point to this run."""
        table = plan.model_dump(exclude_none=True)
        write(self.path / "plan.toml", tomli_w.dumps(table).encode())
        _point_latest(self.path)

    def load_plan(self) -> Plan:
        """Return the plan of the run.

        Raises:
            RunError: if it is missing, damaged, or was written by a newer version of synevo.
            PlanError: if a field is unknown or has a wrong value.
        """
        self.require()
        try:
            table = tomllib.loads(read(self.path / "plan.toml").decode("utf-8"))
        except RecursionError:
            raise damaged(self.path / "plan.toml", "it is nested too deeply") from None
        except ValueError as error:
            raise damaged(self.path / "plan.toml", str(error)) from None
        version = table.get("format")
        if isinstance(version, int) and version > FORMAT:
            raise RunError(
                f"{self.path} was made by a newer synevo (format {version}; this one reads up to {FORMAT}).",
                remedy=NEWER,
            )
        return validate(table)

    def save_machine(self, machine: Mapping[str, Any]) -> None:
        """Write the description of the machine of the run."""
        write_json(self.path / "machine.json", machine)

    def load_machine(self) -> dict[str, Any]:
        """Return the description of the machine of the run, or an empty one if it is unknown."""
        path = self.path / "machine.json"
        return read_json(path) if os.path.lexists(path) else {}

    # lineage and individuals

    def load_lineage(self) -> Lineage:
        """Return the lineage so far; raise RunError if a line was cut short or changed."""
        return Lineage(tuple(from_table(entry["individual"]) for entry in self.entries()))

    def entries(self) -> list[Entry]:
        """Return the lines of the lineage: `individual`, `files` (name → sha256) and `plan` (its fingerprint).

        The ancestor's also has `machine`, the sha256 of machine.json, and `basis` (see `basis_in`).

        Raises:
            RunError: if a line was cut short or changed.
        """
        return read_entries(self.path / "lineage.jsonl")

    def whole_entries(self) -> tuple[list[Entry], list[str]]:
        """Return the undamaged lines of the lineage, and a problem in words for each of the others."""
        return read_whole_entries(self.path / "lineage.jsonl")

    def unlisted(self) -> list[str]:
        """Return the names of the individuals that are there and not in the lineage: it was lost, or lost lines."""
        return sorted(names_in(self._individuals) - {one.name for one in self.load_lineage().individuals})

    def require_all_listed(self) -> None:
        """Raise RunError if there are individuals that the lineage does not name: the next ones would replace them."""
        if found := self.unlisted():
            raise RunError(
                f"{self._individuals} holds {', '.join(found)}, of which {self.path / 'lineage.jsonl'} says nothing: "
                "it is gone, or lost lines.",
                remedy="Nothing was changed. Restore lineage.jsonl from a copy; or move these folders away to make "
                "the generations anew.",
            )

    @property
    def _individuals(self) -> Path:
        return self.path / "individuals"

    def save_individual(
        self, individual: Individual, plan: Plan, *, weights: Tensors, masks: Tensors, basis: Basis | None = None
    ) -> None:
        """Write an individual's files, then its line of the lineage; `masks` are boolean.

        One whose training failed has no weights, and a folder still: so it is noticed if its line is lost.
        """
        contents = {"scores.json": pretty(to_table(individual))}
        if weights:
            contents |= {_WEIGHTS: pack_tensors(weights), _MASKS: pack_masks(masks)}
        files = {name: hash_of(content) for name, content in contents.items()}
        note = announce(self._individuals, individual.name)
        write_folder(self._individuals / individual.name, contents)
        entry: Entry = {
            "individual": to_table(individual),
            "files": files,
            "plan": fingerprint(plan, individual.generation),
        }
        if individual.generation == 1:
            machine = self.path / "machine.json"
            sha = hash_of(read(machine)) if machine.is_file() else None
            entry |= {"machine": sha, "basis": asdict(basis) if basis else None}
        append(self.path / "lineage.jsonl", entry)
        note.unlink()

    def load_individual(self, which: int | str) -> tuple[Tensors, Tensors]:
        """Return weights and boolean masks of an individual, by its name or by the generation of which it is the head.

        Raises:
            RunError: if there is none, or a file is missing, cut short or changed.
        """
        entries = self.entries()
        lineage = Lineage(tuple(from_table(entry["individual"]) for entry in entries))
        name = lineage.head(which).name if isinstance(which, int) and lineage.brood(which) else which
        for individual, entry in zip(lineage.individuals, entries, strict=True):
            if individual.name == name and individual.counts is not None:
                folder = self._individuals / name
                files = _read_files(folder, entry["files"], _WEIGHTS, _MASKS)
                return unpack_tensors(folder / _WEIGHTS, files[_WEIGHTS]), unpack_masks(folder / _MASKS, files[_MASKS])
        raise RunError(
            f"{self.path} has no network of generation {which}.",
            remedy="`synevo report` lists the generations; `synevo evolve` makes more.",
        )

    def require_files(self, entry: Entry) -> None:
        """Raise RunError if a file of the individual in a line of the lineage is missing, cut short or changed."""
        _read_files(self._individuals / from_table(entry["individual"]).name, entry["files"])

    def load_masks(self, entry: Mapping[str, Any]) -> Tensors:
        """Return the boolean masks of the individual in a line of the lineage; errors as in `load_individual`."""
        path = self._individuals / from_table(entry["individual"]).name / _MASKS
        if path.name not in entry["files"]:
            raise damaged(path, "the lineage has no hash of it")
        return unpack_masks(path, read_checked(path, entry["files"][path.name]))

    def check_plan(self, plan: Plan) -> None:
        """Raise RunError if the lineage was evolved under another plan than this."""
        for entry in self.entries():
            generation = entry["individual"]["generation"]
            if entry["plan"] != fingerprint(plan, generation):
                raise RunError(
                    f"Generation {generation} of {self.path} was made with another plan.",
                    remedy="A lineage keeps its plan. Start another run with `synevo train-ancestor --run DIR`.",
                )

    # compacted networks

    def save_compact(
        self, generation: int, *, weights: Tensors, documents: Mapping[str, Any], predictions: Tensors | None = None
    ) -> Path:
        """Write a compacted network, its JSON documents (`proof`, …) and its predictions, and return its folder."""
        folder = self.compact_folder(generation)
        contents = {_WEIGHTS: pack_tensors(weights)}
        if predictions is not None:
            contents[_PREDICTIONS] = pack_tensors(predictions)
        contents |= {f"{name}.json": pretty(document) for name, document in documents.items()}
        contents["hashes.json"] = pretty({name: hash_of(content) for name, content in contents.items()})
        write_folder(folder, contents)
        return folder

    def load_compact(self, generation: int) -> tuple[Tensors, dict[str, Any]]:
        """Return weights and JSON documents of a compacted network; raise RunError if it is missing or damaged."""
        folder = standing(self.compact_folder(generation))
        if not folder.is_dir():
            raise RunError(
                f"Generation {generation} of {self.path} is not compacted.", remedy="Run `synevo compact` first."
            )
        return read_compact(folder)

    def load_predictions(self, generation: int) -> Tensors | None:
        """Return the predictions of ancestor and compacted network for the test images.

        None if an older version compacted it, or the task has no answers to look at.

        Raises:
            RunError: if they are missing or damaged.
        """
        folder = standing(self.compact_folder(generation))
        sha = read_json(folder / "hashes.json").get(_PREDICTIONS)
        return None if sha is None else unpack_tensors(folder / _PREDICTIONS, read_checked(folder / _PREDICTIONS, sha))

    def compacted(self) -> list[int]:
        """Return the compacted generations, the oldest first."""
        folders = [*(self.path / "compact").glob("g*"), *(self.path / "compact").glob(".g*.before")]
        return sorted({int(match[1]) for folder in folders if (match := _COMPACTED.fullmatch(folder.name))})

    def compact_folder(self, generation: int) -> Path:
        """Return the folder for a generation's compacted network."""
        return self.path / "compact" / f"g{generation:02d}"

    def weights_size(self, folder: Path) -> int | None:
        """Return the size in bytes of the weights in a folder of this run, or None if there are none."""
        path = standing(folder) / _WEIGHTS
        return path.stat().st_size if path.is_file() else None

    @property
    def report_folder(self) -> Path:
        """The folder for the page of the run."""
        return self.path / "report"

    @property
    def tensorboard_folder(self) -> Path:
        """The folder for the event file of the run."""
        return self.path / "tensorboard"

    @property
    def training_folder(self) -> Path:
        """The folder for the training in progress."""
        return self.path / "training"

    def training_now(self) -> tuple[int, int] | None:
        """Return generation and epochs of the youngest checkpoint, or None if no training is in progress."""
        found = [match for path in self.training_folder.glob("g*") if (match := _CHECKPOINT.fullmatch(path.name))]
        return max(((int(match[1]), int(match[2])) for match in found), default=None)

    def touched(self) -> float:
        """Return the time of the last change of the run, in seconds since 1970."""
        places = (self.path / "plan.toml", self.path / "lineage.jsonl", self.training_folder, self.path / "compact")
        return max((place.stat().st_mtime for place in places if place.exists()), default=0.0)

    def writer(self) -> str | None:
        """Return the line about the process that writes the run, or None if there is none."""
        return owner_of(self.path)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the run for writing, and clear what killed writers left; raise RunError if another process writes it."""
        with locked(self.path):
            self._recover()
            if self.exists():
                _point_latest(self.path)
            yield

    def _recover(self) -> None:
        """Clear what killed writers left unfinished."""
        entries, problems = self.whole_entries()
        listed = {from_table(entry["individual"]).name for entry in entries}
        clear_unfinished(self.path, None if problems else listed)


def read_compact(folder: Path) -> tuple[Tensors, dict[str, Any]]:
    """Return weights and JSON documents of a folder from `save_compact`, or of a copy; raise RunError if damaged."""
    hashes = {name: sha for name, sha in read_json(folder / "hashes.json").items() if name != _PREDICTIONS}
    files = _read_files(folder, hashes, _WEIGHTS)
    weights = unpack_tensors(folder / _WEIGHTS, files[_WEIGHTS])
    documents: dict[str, Any] = {
        name.removesuffix(".json"): parse_json(folder / name, content)
        for name, content in files.items()
        if name.endswith(".json")
    }
    if "proof" in documents:
        documents["proof"] = {_RENAMED.get(name, name): value for name, value in documents["proof"].items()}
    return weights, documents


def save_report(folder: Path, page: str, summary: Mapping[str, Any], card: bytes | None = None) -> Path:
    """Write the page of a report, its numbers and its card, if there is one; return the path of the page."""
    write_json(folder / "report.json", summary)
    if card is not None:
        write(folder / "card.png", card)
    write(folder / "index.html", page.encode("utf-8", "replace"))
    return folder / "index.html"


def owner_of_file(path: Path) -> Path | None:
    """Return the run, or the compacted network, among whose own files a path is; None if there is none."""
    place = path.resolve()
    for folder in place.parents:
        if RunDir(folder).exists() and place.relative_to(folder).parts[0] in _OWN:
            return folder
        if (folder / "hashes.json").is_file():
            return folder  # a compacted network, perhaps a copy of it
    return None


def latest() -> RunDir:
    """Return the run that was written last; raise RunError if there is none."""
    link = RUNS / "latest"
    if not RunDir(link).exists():
        raise RunError(
            f"There is no run in {RUNS}/ to go on with.",
            remedy="Name one, or start one with `synevo train-ancestor`.",
        )
    return RunDir(Path(os.path.relpath(link.resolve())))


def near_run(path: Path) -> str:
    """Return " Did you mean 'runs/x'?" for the run in runs/ or beside `path` with the most similar name, if any."""
    plans = [plan for folder in (RUNS, path.parent) for plan in folder.glob("*/plan.toml")]
    found = {plan.parent.name: str(plan.parent) for plan in plans}
    return did_you_mean(path.name, found, in_full=found)


def _read_files(folder: Path, hashes: Mapping[str, str], *needed: str) -> dict[str, bytes]:
    """Return the contents of the files in a folder by their hashes; raise RunError if one is damaged or not named."""
    for name in needed:
        if name not in hashes:
            raise damaged(folder, f"it has no hash of {name}")
    if any(Path(name).name != name for name in hashes):
        raise damaged(folder, "its hashes are of files elsewhere")
    return {name: read_checked(folder / name, sha) for name, sha in hashes.items()}


def _point_latest(path: Path) -> None:
    """Let `runs/latest` point to a run; a failure is ignored."""
    link = RUNS / "latest"
    with suppress(OSError, ValueError):
        if link.is_symlink() or not link.exists():
            RUNS.mkdir(exist_ok=True)
            for other in RUNS.glob(".latest-*"):
                if not is_alive(int(other.name.removeprefix(".latest-"))):
                    other.unlink()
            temporary = RUNS / f".latest-{os.getpid()}"
            temporary.symlink_to(os.path.relpath(path.resolve(), RUNS.resolve()))
            temporary.replace(link)
