"""The recipe: where the ancestor of a run came from, and the commands that repeat the run, from its plan alone."""

import json
import shlex
from typing import Any

from synevo.lineage.individuals import Adoption
from synevo.plan.compose import compose, flatten
from synevo.plan.fields import Plan
from synevo.plan.presets import preset_names

_SAID_OTHERWISE = {"format", "preset", "seed", "data.data_dir"}


def commands(plan: Plan, name: str) -> list[str]:
    """Return the three shell commands that repeat a run of this plan as runs/`name`."""
    known = plan.preset in preset_names()
    usual = flatten(compose(preset=plan.preset if known else None))
    adopted = plan.ancestor.weights is not None or plan.ancestor_training.epochs == 0
    words = [
        "synevo",
        "adopt" if adopted else "train-ancestor",
        *(["--preset", plan.preset] if known else []),
        "--seed",
        str(plan.seed),
    ]
    for field, value in flatten(plan).items():
        if field not in _SAID_OTHERWISE and value not in (None, usual[field]):
            words += ["--set", f"{field}={_text(value)}"]
    target = shlex.quote(f"runs/{name}")
    return [f"{shlex.join(words)} --run {target}", f"synevo evolve {target}", f"synevo compact {target}"]


def origin(adoption: Adoption) -> str:
    """Return in words where an adopted ancestor came from, and how it was compared."""
    if adoption.weights is None:
        came = "The ancestor came with its weights"
    else:
        came = f"The ancestor has the weights of {adoption.weights} ({adoption.kind}, SHA-256 {adoption.sha256})"
    if adoption.difference is None:
        return f"{came}; its outputs were not compared with those of its origin (--expect)."
    return (
        f"{came}; its outputs for {adoption.examples} inputs are those of its origin, to {adoption.difference:.1e} of "
        "the largest."
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
