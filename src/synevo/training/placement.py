"""Placement: on which devices the arrays of a training are. No other module knows of meshes.

    batches                   spread over all devices of all hosts, along their first axis
    all other arrays          whole on every device; with `shard`, large ones are spread over the devices of a host

The mesh is [hosts, devices of a host], and its axes are automatic: a step is written for one device, and XLA divides it
and adds what must be added between devices. So means over a batch, such as those of BatchNorm, are those of the whole
batch. Each host reads its own rows of every batch, and has every array whole on its devices together.

On one device of one host nothing is placed: a step is the program that it is without this module, and a model that says
itself how its arrays are spread (`jax.lax.with_sharding_constraint`) decides that alone. JAX takes one mesh a program.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.extend.core import jaxprs_in_params
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from numpy.typing import NDArray

from synevo.errors import PlanError
from synevo.plan.kinds import ALL, Devices
from synevo.tasks.task import Batch, Examples
from synevo.training import hosts

HOSTS, DEVICES = "hosts", "devices"
"""The axes of the mesh."""

LARGE = 2**16
"""The number of numbers from which an array is spread, where that is asked for."""


@dataclass(frozen=True)
class Placement:
    """The devices of a training: a `mesh`, or None for one device. It is hashable, so it selects compiled programs."""

    mesh: Mesh | None = None
    shard: bool = False

    @property
    def parts(self) -> int:
        """The number of parts that a batch is spread over."""
        return 1 if self.mesh is None else self.mesh.size

    def require_shares(self, size: int) -> None:
        """Raise PlanError where a batch of so many examples gives no equal shares to all devices."""
        if size % self.parts == 0 or self.mesh is None:
            return
        several, devices = self.mesh.devices.shape
        fewer = size // self.parts * self.parts
        choices = [f"--set training.batch_size={fewer} (of the ancestor, ancestor_training.batch_size)"] * (fewer > 0)
        fitting = [count for count in range(devices, 0, -1) if size % (several * count) == 0]
        choices += [f"--devices {count}" for count in fitting[:1]]
        among = f"{self.parts} devices" if several == 1 else f"{several} hosts with {devices} devices each"
        raise PlanError(
            f"Batches of {size} examples cannot be shared equally among {among}.",
            remedy=f"Choose {' or '.join(choices)}." if choices else "Use fewer hosts.",
        )

    def require_free(self, network: Callable[..., Any], *inputs: Any) -> None:
        """Raise PlanError where a network says itself how its arrays are spread, and this placement does as well."""
        if self.mesh is None:
            return
        steps = _steps(jax.make_jaxpr(network)(*inputs).jaxpr)
        spread = [step for step in steps if step.primitive.name == "sharding_constraint"]
        if any(getattr(step.params["sharding"], "mesh", self.mesh).shape != self.mesh.shape for step in spread):
            raise PlanError(
                "The model says itself how its arrays are spread over devices (jax.lax.with_sharding_constraint), and "
                f"the batches are to be shared among {self.parts}: JAX takes one mesh.",
                remedy="Leave it to the model with --devices 1, and let it spread the batch as well; or take that out "
                "of the model.",
            )

    def meet(self) -> None:
        """Let the devices of all hosts find each other, as soon as all hosts have come so far."""
        if self.mesh is not None and hosts.count() > 1:
            hosts.wait("devices")
            jax.block_until_ready(jax.jit(self.gather)(self.assemble(self.own(np.zeros(self.parts, np.float32)))))

    def put(self, tree: Any) -> Any:
        """Return arrays on all devices: whole, or spread where they are large and this placement spreads."""
        return tree if self.mesh is None else jax.tree.map(lambda leaf: _placed(leaf, self._rule(leaf)), tree)

    def whole(self, tree: Any) -> Any:
        """Return arrays whole on every device."""
        if self.mesh is None:
            return jax.device_put(tree)
        return jax.tree.map(partial(_placed, to=self._on()), tree)

    def own(self, places: NDArray[Any]) -> NDArray[Any]:
        """Return the part of the places in a batch [n] whose examples this host reads."""
        if self.mesh is None:
            return places
        several = self.mesh.devices.shape[0]
        share = len(places) // several
        first = share * (jax.process_index() if several > 1 else 0)
        return places[first : first + share]

    def assemble(self, batch: Batch) -> Batch:
        """Return the batch, on all devices, of which each host gives the examples that it reads."""
        if self.mesh is None:
            return batch
        to = self._on((HOSTS, DEVICES))
        return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(to, np.asarray(leaf)), batch)

    def over(self, examples: Examples) -> Examples:
        """Return examples whose batches are on all devices: whole where they give no equal shares."""
        return examples if self.mesh is None else _Placed(examples, self)

    def spread(self, batch: Batch) -> Batch:
        """Within a compiled function: spread a batch over all devices."""
        return self._constrain(batch, lambda _: self._on((HOSTS, DEVICES)))

    def keep(self, tree: Any) -> Any:
        """Within a compiled function: keep arrays where `put` puts them."""
        return self._constrain(tree, self._rule)

    def gather(self, tree: Any) -> Any:
        """Within a compiled function: make arrays whole on every device."""
        return self._constrain(tree, lambda _: self._on())

    def _constrain(self, tree: Any, rule: Any) -> Any:
        if self.mesh is None:
            return tree
        return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, rule(leaf)), tree)

    def _on(self, *axes: Any) -> NamedSharding:
        assert self.mesh is not None
        return NamedSharding(self.mesh, PartitionSpec(*axes))

    def _rule(self, leaf: Any) -> NamedSharding:
        """Return how an array is placed: a large one is spread along its first axis that can be shared equally."""
        shape = np.shape(leaf)
        if self.mesh is None or not self.shard or np.prod(shape) < LARGE:
            return self._on()
        count = self.mesh.devices.shape[1]
        axis = next((place for place, size in enumerate(shape) if size % count == 0), None)
        return self._on() if axis is None else self._on(*[None] * axis, DEVICES)


ALONE = Placement()
"""One device."""


def placement(devices: Devices, *, shard: bool = False, together: bool = True) -> Placement:
    """Return the placement on so many devices of every host, or of this host alone unless hosts work `together`.

    Raises:
        PlanError: where this host has fewer devices.
    """
    own = jax.local_devices()
    count = len(own) if devices == ALL else int(devices)
    if count > len(own):
        cores = " A CPU is one device, and all of its cores work already." if own[0].platform == "cpu" else ""
        raise PlanError(
            f"This machine has {len(own)} device{'s' if len(own) > 1 else ''} for JAX, not {count}.{cores}",
            remedy=f"Ask for as many with --devices {len(own)}, or for all that there are with --devices {ALL}.",
        )
    among = range(jax.process_count()) if together else [jax.process_index()]
    if count == 1 and len(among) == 1:
        return ALONE
    grid = np.array([jax.local_devices(host)[:count] for host in among])
    return Placement(Mesh(grid, (HOSTS, DEVICES), axis_types=(AxisType.Auto, AxisType.Auto)), shard)


def _steps(jaxpr: Any) -> Iterator[Any]:
    """Yield the steps of a program, also those within steps."""
    for step in jaxpr.eqns:
        yield step
        for inner in jaxprs_in_params(step.params):
            yield from _steps(inner)


def here(tree: Any) -> Any:
    """Return arrays of several devices as this host's alone, each whole; others as they are."""
    return jax.tree.map(_here, tree)


def _here(leaf: Any) -> Any:
    if not isinstance(leaf, Array) or len(leaf.sharding.device_set) == 1:
        return leaf
    whole = np.empty(leaf.shape, leaf.dtype)
    for part in leaf.addressable_shards:
        whole[part.index] = part.data
    return jax.device_put(whole)


def _placed(leaf: Any, to: NamedSharding) -> Array:
    """Return an array that every host has as it is to be placed; each host gives its devices their parts."""
    if isinstance(leaf, Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(_placed(jax.random.key_data(leaf), to), impl=jax.random.key_impl(leaf))
    if isinstance(leaf, Array) and leaf.sharding == to:
        return leaf
    whole = np.asarray(_here(leaf))
    return jax.make_array_from_callback(whole.shape, to, lambda index: whole[index])


@dataclass(frozen=True)
class _Placed:
    """Examples whose batches are on all devices."""

    examples: Examples
    placement: Placement = field(repr=False)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, places: NDArray[np.intp], /) -> Batch:
        place = self.placement
        if len(places) % place.parts:
            return place.whole(self.examples[places])
        return place.assemble(self.examples[place.own(places)])
