"""Functions that open the runs that a command line names, or the latest run if it names none."""

from pathlib import Path

from synevo.errors import RunError
from synevo.runs.run_list import find_runs, open_all
from synevo.runs.rundir import RunDir, latest

_SHOWN = 5


def open_run(path: Path | None) -> RunDir:
    """Return the run at a path, or the latest one if it is None; raise RunError if there is no run."""
    run = latest() if path is None else RunDir(path)
    _require(run)
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
        _require(run)
    return list(reversed(found.values()))


def _require(run: RunDir) -> None:
    """Raise RunError if there is no run, with the names of the runs in it where it is a folder of runs."""
    within = [] if run.exists() else find_runs(run.path)
    if within:
        shown = ", ".join(str(one.path) for one in within[:_SHOWN]) + (", …" if len(within) > _SHOWN else "")
        raise RunError(
            f"{run.path} is a folder of {len(within)} run{'s' if len(within) > 1 else ''}, and no run itself.",
            remedy=f"Name one of them: {shown}. `synevo runs {run.path}` lists them with their states.",
        )
    run.require()


def open_all_or_latest(paths: list[Path] | None) -> list[RunDir]:
    """Return the runs at these paths and in folders of runs, or the latest one; raise RunError if there is none."""
    return open_all(paths) if paths else [latest()]
