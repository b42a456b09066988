"""The recipe: the commands that repeat a run, from its plan alone."""

import json
import shlex
from typing import Any

from synevo.plan.compose import compose, flatten
from synevo.plan.fields import Plan
from synevo.plan.presets import preset_names

_SAID_OTHERWISE = {"format", "preset", "seed", "data.data_dir"}


def commands(plan: Plan, name: str) -> list[str]:
    """Return the three shell commands that repeat a run of this plan as runs/`name`."""
    known = plan.preset in preset_names()
    usual = flatten(compose(preset=plan.preset if known else None))
    words = ["synevo", "train-ancestor", *(["--preset", plan.preset] if known else []), "--seed", str(plan.seed)]
    for field, value in flatten(plan).items():
        if field not in _SAID_OTHERWISE and value not in (None, usual[field]):
            words += ["--set", f"{field}={_text(value)}"]
    target = shlex.quote(f"runs/{name}")
    return [f"{shlex.join(words)} --run {target}", f"synevo evolve {target}", f"synevo compact {target}"]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
