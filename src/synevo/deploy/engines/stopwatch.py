"""The stopwatch: latencies of a run's networks, measured in the engine where they will run.

By default it is the first engine, in the order of `ENGINES`, that is installed and takes the network; where JAX has an
accelerator, it is JAX. It is chosen once, so that the figures of a lineage compare; each figure names its engine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from synevo.deploy.engines.cores import confined
from synevo.deploy.engines.forms import ENGINES, Runner, about, open_form
from synevo.deploy.interface import leaves_of
from synevo.deploy.reload import Reloaded
from synevo.errors import ExportError
from synevo.model.network import Network
from synevo.runs import compacting, measuring
from synevo.runs.organisms import IN_JAX, Context, Times
from synevo.tasks.task import first

AUTO = "auto"

THREADS = 1
"""The threads of latencies that a run keeps: a core is the same everywhere, and C files have one."""

MOST_IN_C = 500_000
"""The most numbers of a network that is compiled to be timed, unless C is named: a compiler takes long for more."""


@dataclass
class EngineStopwatch:
    """Measures latency in the engine of this `name`, or in the fastest that takes the network."""

    name: str = AUTO
    threads: int = THREADS
    _opened: list[tuple[str, Network, Runner]] = field(default_factory=list, repr=False)
    """What the engines have opened for the networks that were timed last."""
    _described: tuple[Context, Mapping[str, Any]] | None = field(default=None, repr=False)

    def require(self, context: Context) -> None:
        """Raise ExportError if an engine was named, and it cannot run networks of this kind."""
        if self.name not in (AUTO, "jax"):
            empty = context.species.template.map(lambda _, array: jnp.zeros(array.shape, array.dtype))
            self._prepare(self.name, context, empty)  # of the ancestor, shapes may be all that is there

    def time(self, context: Context, networks: Mapping[str, Network], batch: int, *, rounds: int) -> Times:
        """Return the times of networks on one batch of validation examples, in turns; ExportError where one fails."""
        for name in self._candidates(networks):
            try:
                found = self._time(name, context, networks, batch, rounds=rounds)
            except ExportError:
                if name == self.name:
                    raise
                continue
            self.name = name
            return found
        raise AssertionError("JAX runs every network")

    def _candidates(self, networks: Mapping[str, Network]) -> list[str]:
        """Return the engines to try, the fastest first; JAX comes last, on a CPU, and runs every network."""
        if self.name != AUTO:
            return [self.name]
        if jax.default_backend() != "cpu":
            return ["jax"]
        numbers = max(sum(array.size for array in network.arrays.values()) for network in networks.values())
        there = [name for name, engine in ENGINES.items() if engine.missing is None]
        return [name for name in there if name != "c" or numbers <= MOST_IN_C]

    def _time(self, name: str, context: Context, networks: Mapping[str, Network], batch: int, *, rounds: int) -> Times:
        if name == "jax":
            IN_JAX.time(context, networks, batch, rounds=2)  # compiled with all cores
            with confined(self.threads):
                return IN_JAX.time(context, networks, batch, rounds=rounds)._replace(engine=about("jax", self.threads))
        task, examples = context.problem.task, context.problem.validation
        self._opened = [one for one in self._opened if any(one[1] is network for network in networks.values())]
        prepared = {who: self._prepare(name, context, network) for who, network in networks.items()}
        self._opened = [(name, networks[who], run) for who, (_, run) in prepared.items()]
        calls = {}
        for who, (reloaded, run) in prepared.items():
            leaves = [
                np.resize(leaf, (batch, *leaf.shape[1:])) for leaf in leaves_of(reloaded, task, first(examples, batch))
            ]
            calls[who] = partial(run, *leaves)
        try:
            for call in calls.values():
                call()
        except Exception as error:  # whatever the software of the engine raises
            raise ExportError(
                f"{ENGINES[name].title} does not run the network: {error}", remedy="Choose another: --engine jax."
            ) from error
        with confined(self.threads):
            return Times(measuring.race(calls, rounds=rounds), about(name, self.threads))

    def _prepare(self, name: str, context: Context, network: Network) -> tuple[Reloaded, Runner]:
        """Return a network of a run as it is exported, and as the engine runs it."""
        if self._described is None or self._described[0] is not context:
            self._described = (context, {"generation": 1, **compacting.interface(context)})
        reloaded = Reloaded(network, self._described[1])
        known = [run for engine, one, run in self._opened if engine == name and one is network]
        run = known[0] if known else open_form(ENGINES[name].form, reloaded, threads=self.threads).run
        return reloaded, run
