"""Broods whose offspring are trained side by side: on the devices of this machine, or on the nodes of a cluster."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

from synevo.errors import PlanError
from synevo.evolution import Bear
from synevo.files.tensors import Tensors
from synevo.genetics.archive import Birth
from synevo.growing import Event
from synevo.lineage.course import Conception
from synevo.lineage.individuals import Individual
from synevo.plan.fields import Plan
from synevo.runs.organisms import Context, organism_of
from synevo.runs.several.nodes import on_ray
from synevo.training import hosts
from synevo.training.side_by_side import in_turn, on_devices

Side: TypeAlias = Literal["devices", "ray"]
"""Where offspring are trained side by side."""

Born: TypeAlias = tuple[Individual, tuple[Tensors, Tensors] | None]
"""An individual that was trained on another node, with its weights and masks."""


def bearing(side: Side | None, context: Context, born: Callable[[Conception], Born]) -> Bear:
    """Return how broods are borne; `born` trains an offspring on another node.

    Raises:
        PlanError: where several devices share a training, or several hosts work together.
    """
    if side is None:
        return in_turn
    require_one_device(context.plan)
    if side == "devices":
        return partial(on_devices, ends=lambda event: isinstance(event, Birth))
    return partial(_on_nodes, context, born)


def require_one_device(plan: Plan) -> None:
    """Raise PlanError where several devices share a training, or several hosts work together."""
    if plan.training.devices != 1 or hosts.count() > 1:
        raise PlanError(
            "With --on, each offspring is trained on one device; here, several are to share each training.",
            remedy="Add --devices 1 and leave --hosts out, or leave --on out.",
        )


def _on_nodes(
    context: Context,
    born: Callable[[Conception], Born],
    conceptions: Sequence[Conception],
    one: Callable[[Conception], Iterator[Event]],
) -> Iterator[Event]:
    """Yield the births of a brood that is trained on the nodes of a cluster; alone, an offspring is trained here."""
    if len(conceptions) == 1:
        yield from one(conceptions[0])
        return
    for individual, arrays in on_ray(conceptions, born):
        organism: Any = None if arrays is None else organism_of(context.species, *arrays)
        yield Birth(individual, organism)
