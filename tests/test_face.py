"""The face of the library: what `import synevo` gives, and what it costs."""

import subprocess
import sys
from importlib import import_module

import pytest

import synevo

OWNERS = {
    "InMemory": "synevo.tasks.task",
    "Indexed": "synevo.data.indexed",
    "Organism": "synevo.genetics.organism",
    "Plan": "synevo.plan.fields",
    "Problem": "synevo.tasks.task",
    "Task": "synevo.tasks.task",
    "adopt": "synevo.runs.own_loop",
    "compact": "synevo.compaction.in_memory",
    "conceive": "synevo.evolution",
    "evolve": "synevo.evolution",
    "keep_dead": "synevo.training.keep_dead",
    "load": "synevo.deploy.reload",
}


def run(code: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_synevo_loads_no_jax_and_no_part_of_synevo() -> None:
    heavy = "{'jax', 'jaxlib', 'flax', 'optax', 'numpy'}"
    own = "[name for name in sys.modules if name.startswith('synevo.')]"
    assert run(f"import sys, synevo; print(sorted({heavy} & set(sys.modules)), {own})") == "[] []"


def test_a_name_loads_what_it_needs_when_it_is_first_used() -> None:
    code = "import sys; from synevo import Task; print(Task.__module__, 'synevo.evolution' in sys.modules)"
    assert run(code) == "synevo.tasks.task False"


def test_the_face_is_what_it_was_agreed_to_be() -> None:
    assert set(synevo.__all__) == set(OWNERS)
    assert set(OWNERS) <= set(dir(synevo))
    assert "__version__" in dir(synevo)


@pytest.mark.parametrize("name", OWNERS)
def test_every_name_is_the_very_thing_of_the_module_that_owns_it(name: str) -> None:
    found = getattr(synevo, name)
    assert found is getattr(import_module(OWNERS[name]), name)
    assert (found.__module__, found.__name__) == (OWNERS[name], name)


def test_compact_is_that_of_models_in_memory() -> None:
    from synevo.compaction import in_memory

    assert synevo.compact is in_memory.compact


def test_all_names_can_be_imported_at_once() -> None:
    names: dict[str, object] = {}
    exec("from synevo import *", names)  # noqa: S102  (no other way to run it within a function)
    assert set(OWNERS) <= set(names)


@pytest.mark.parametrize("name", ["shrink", "Compact", "dismantle"])
def test_an_unknown_name_is_an_error_that_says_what_there_is(name: str) -> None:
    with pytest.raises(AttributeError, match=f"no attribute '{name}'") as error:
        getattr(synevo, name)
    assert all(known in str(error.value) for known in OWNERS)
    with pytest.raises(ImportError, match=name):
        exec(f"from synevo import {name}", {})  # noqa: S102  (so users ask for it)
