"""The run list: one line for each run of a folder, from its plan and its lineage alone."""

import time
from dataclasses import dataclass
from pathlib import Path

from synevo.errors import RunError, SynevoError
from synevo.lineage import course
from synevo.lineage.individuals import Lineage, from_table, ratio
from synevo.runs.entries import Entry
from synevo.runs.rundir import RunDir, near_run


@dataclass(frozen=True)
class Overview:
    """A run in one line; `writer` names the process that works on it, `age` is in seconds since its last change."""

    name: str
    path: str
    state: str
    generations: int
    best: int | None
    synaptic_efficiency: float | None
    test_score: float | None
    score: str | None
    age: float
    writer: str | None


def find_runs(folder: Path) -> list[RunDir]:
    """Return the runs directly in a folder, sorted by name, without links such as `latest`."""
    return [RunDir(path) for path in sorted(_inside(folder)) if not path.is_symlink() and RunDir(path).exists()]


def open_all(paths: list[Path]) -> list[RunDir]:
    """Return the runs at these paths, each once; a folder of runs stands for its runs.

    Raises:
        RunError: if a path is neither a run nor a folder of runs.
    """
    runs: dict[Path, RunDir] = {}
    for path in paths:
        run = RunDir(path)
        found = [run] if run.exists() else find_runs(path)
        if not found:
            raise RunError(
                f"{path} is neither a run nor a folder of runs: it has no plan.toml.{near_run(path)}",
                remedy="`synevo runs FOLDER` lists the runs of a folder; `synevo train-ancestor` starts one.",
            )
        for one in found:
            runs.setdefault(one.path.resolve(), one)
    return list(runs.values())


def overview(run: RunDir) -> Overview:
    """Return the overview of a run, also of a damaged one."""
    entries, problems = _entries(run)
    lineage = Lineage(tuple(from_table(entry["individual"]) for entry in entries))
    best, state = None, "damaged"
    try:
        plan = run.load_plan()
        if not (problems or run.unlisted()) and (not entries or lineage.ancestor.generation == 1):
            best = lineage.best(plan.evolution.max_drop)
            state = course.status(lineage, plan)
    except (SynevoError, OSError):
        pass
    counts, ancestor = best and best.counts, lineage.individuals[0].counts if entries else None
    return Overview(
        name=run.name,
        path=str(run.path),
        state=state,
        generations=len(lineage.line),
        best=best.generation if best else None,
        synaptic_efficiency=ratio(ancestor.synapses, counts.synapses) if ancestor and counts else None,
        test_score=best.scores.test if best and best.scores else None,
        score=best.scores.name if best and best.scores else None,
        age=max(0.0, time.time() - run.touched()),
        writer=run.writer(),
    )


def _entries(run: RunDir) -> tuple[list[Entry], list[str]]:
    """Return the undamaged lines of a lineage, and the problems of the others, or of the whole."""
    try:
        return run.whole_entries()
    except (SynevoError, OSError) as error:
        return [], [str(error)]


def _inside(folder: Path) -> list[Path]:
    """Return what is in a folder; nothing if there is none. Raise RunError if there is no access to it."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"{folder} cannot be read: {error.strerror}.", remedy="Name another folder.") from None
