"""Functions that open the runs that a command line names, or the latest run if it names none.

What a command changes in the plan of a run that has begun is refused where it cannot be, and said where it is.
"""

import json
from pathlib import Path
from typing import Any

from synevo.errors import PlanError, RunError
from synevo.lineage.individuals import Lineage
from synevo.plan.compose import flatten
from synevo.plan.fields import Plan
from synevo.runs.rundir import RunDir, latest
from synevo.runs.several.run_list import find_runs, open_all

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


def require_no_fewer(run: RunDir, lineage: Lineage, before: Plan, after: Plan) -> None:
    """Raise PlanError if a plan is to end before the youngest generation of the lineage: it would tell of another run.

    A plan that asks for as many generations as the one `before` is left alone, however long the lineage.
    """
    wanted, asked = after.evolution.generations, after.evolution.generations != before.evolution.generations
    if not lineage.individuals or not asked:
        return
    if wanted == 1:
        raise PlanError(
            f"Generation 1 is the ancestor, which {run.path} has: --generations 1 leaves nothing to evolve.",
            remedy="Name the generation to reach, 2 or more, or none.",
        )
    if wanted >= lineage.last.generation:
        return
    raise PlanError(
        f"{run.path} has {lineage.last.generation} generations already: --generations {wanted} is fewer.",
        remedy=f"To use an earlier one: synevo compact {run.path} --generation {wanted}. "
        "To go on, name more generations, or none.",
    )


def what_changed(run: RunDir, before: Plan) -> list[str]:
    """Return a line for the fields of the run's plan that are no longer as in the plan `before`, and what follows."""
    now = run.load_plan()
    old, new = flatten(before), flatten(now)
    fields = [f"{name} {_text(old[name])} → {_text(new[name])}" for name in new if new[name] != old[name]]
    if not fields:
        return []
    lines = [f"The plan of {run.path} has changed: {', '.join(fields)}."]
    lineage = run.load_lineage()
    if lineage.individuals:
        was, is_now = lineage.best(before.evolution.max_drop), lineage.best(now.evolution.max_drop)
        if was and is_now and was.generation != is_now.generation:
            lines.append(
                f"Within the new budget the best is generation {is_now.generation}; within the old one it is "
                f"generation {was.generation}."
            )
    return lines


def _text(value: Any) -> str:
    return "unset" if value is None else value if isinstance(value, str) else json.dumps(value)
