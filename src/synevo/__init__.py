"""synevo evolves a trained network into a far smaller one, and proves that both compute the same.

Evolutionary synthesis after Shafiee & Wong, *Evolutionary Synthesis of Deep Neural Networks via Synaptic
Cluster-driven Genetic Encoding* (arXiv 1609.01360): an offspring's architecture is sampled from a genetic encoding of
its parent's weights, trained, and becomes the next parent. Start reading at `synevo.evolution`.

This is the library's public interface; everything that it does not name is private and may move. Each name loads its
module when it is first used, so `import synevo` takes almost no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from synevo.compaction.in_memory import compact
    from synevo.data.indexed import Indexed
    from synevo.deploy.reload import load
    from synevo.evolution import conceive, evolve
    from synevo.genetics.organism import Organism
    from synevo.plan.fields import Plan
    from synevo.runs.own_loop import adopt
    from synevo.tasks.task import InMemory, Problem, Task
    from synevo.training.keep_dead import keep_dead

__version__ = "0.1.0"

__all__ = [
    "InMemory",
    "Indexed",
    "Organism",
    "Plan",
    "Problem",
    "Task",
    "adopt",
    "compact",
    "conceive",
    "evolve",
    "keep_dead",
    "load",
]

_OWNERS = {
    "InMemory": "tasks.task",
    "Indexed": "data.indexed",
    "Organism": "genetics.organism",
    "Plan": "plan.fields",
    "Problem": "tasks.task",
    "Task": "tasks.task",
    "adopt": "runs.own_loop",
    "compact": "compaction.in_memory",
    "conceive": "evolution",
    "evolve": "evolution",
    "keep_dead": "training.keep_dead",
    "load": "deploy.reload",
}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that owns it (PEP 562)."""
    if name not in _OWNERS:
        raise AttributeError(f"module 'synevo' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"synevo.{_OWNERS[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, also those that are not loaded yet."""
    return sorted([*globals(), *__all__])
