"""Functions that open the runs that a command line names, or the latest run if it names none."""

from pathlib import Path

from synevo.runs.run_list import open_all
from synevo.runs.rundir import RunDir, latest


def open_run(path: Path | None) -> RunDir:
    """Return the run at a path, or the latest one if it is None; raise RunError if there is no run."""
    run = latest() if path is None else RunDir(path)
    run.load_plan()
    return run


def open_runs(paths: list[Path] | None) -> list[RunDir]:
    """Return the runs at these paths, each once, or the latest one if there are none.

    Raises:
        RunError: if a path is no run; that is checked for all before any work.
    """
    if not paths or len(paths) == 1:
        return [open_run(paths[0] if paths else None)]
    found = {path.resolve(): RunDir(path) for path in reversed(paths)}
    for run in found.values():
        run.require()
    return list(reversed(found.values()))


def open_all_or_latest(paths: list[Path] | None) -> list[RunDir]:
    """Return the runs at these paths and in folders of runs, or the latest one; raise RunError if there is none."""
    return open_all(paths) if paths else [latest()]
