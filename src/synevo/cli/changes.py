"""What a command changes in the plan of a run that has begun: refused where it cannot be, said where it is."""

import json
from typing import Any

from synevo.errors import PlanError
from synevo.lineage.individuals import Lineage
from synevo.plan.compose import flatten
from synevo.plan.fields import Plan
from synevo.runs.rundir import RunDir


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
