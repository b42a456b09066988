"""Work on the nodes of a cluster, by Ray: what does not depend on each other is done side by side.

Ray finds the cluster as ever (`RAY_ADDRESS`, or the cluster that this machine belongs to), or begins one on this
machine. It says which node does what, and does again what was lost with a node. All nodes see the files of the runs.
"""

import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from synevo.errors import HostsError, RunError, SynevoError, first_line

Item = TypeVar("Item")
Result = TypeVar("Result")

_PASSED_ON = ("JAX_", "XLA_", "TF_CPP_", "TFDS_", "SYNEVO_", "XDG_", "PYTHONPATH")
"""How variables of the environment begin that are the same on all nodes."""


def require() -> None:
    """Raise HostsError where Ray is not installed."""
    if find_spec("ray") is None:
        raise HostsError("--on ray needs Ray, which is not installed.", remedy="pip install '.[cluster]'")


def on_ray(items: Sequence[Item], work: Callable[[Item], Result]) -> list[Result]:
    """Return what the work on each item comes to, on the nodes of a cluster; a node's GPUs get an item each.

    Raises:
        RunError: with the words of the first item whose work raised a SynevoError.
        HostsError: if Ray finds no cluster, or a node is lost again and again.
    """
    require()
    import ray  # noqa: PLC0415  (an extra)

    if not ray.is_initialized():
        passed = {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
        ray.init(log_to_driver=False, logging_level="ERROR", runtime_env={"env_vars": passed})
    kind = "num_gpus" if ray.cluster_resources().get("GPU") else "num_cpus"
    task = ray.remote(**{kind: 1}, scheduling_strategy="SPREAD")(_done)
    try:
        found = ray.get([task.remote(str(Path.cwd()), work, item) for item in items])
    except ray.exceptions.RayTaskError:
        raise
    except ray.exceptions.RayError as error:
        raise HostsError(
            f"Ray could not finish: {first_line(error)}.",
            remedy="Nothing that was kept is lost: see `ray status`, then give the same command again.",
        ) from error
    for _, problem in found:
        if problem is not None:
            raise RunError(problem[0], remedy=problem[1])
    return [result for result, _ in found]


def _done(folder: str, work: Callable[[Item], Result], item: Item) -> tuple[Result | None, tuple[str, str] | None]:
    """Return what the work on an item comes to, or the words of its SynevoError: those do not travel as they are."""
    os.chdir(folder)
    try:
        return work(item), None
    except SynevoError as error:
        return None, (error.problem, error.remedy)
