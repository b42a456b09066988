"""The fingerprint of a plan: a lineage keeps the fields that decide its individuals."""

from synevo.files.writing import canonical, hash_of
from synevo.plan.compose import flatten
from synevo.plan.fields import Plan

# Fields that may change while a lineage goes on: they decide its length, not its individuals.
_OPEN_ENDED = {
    *("format", "preset", "data.data_dir", "evolution.generations", "evolution.max_drop", "evolution.finest"),
    *("evolution.target_synapses", "evolution.target_macs", "evolution.target_kb", "evolution.target_latency"),
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
