"""A run on several hosts, all of which see its directory: host 0 writes, and the others wait until it has.

`joined` makes this process one of several hosts. Whoever finds another host gone ends with a message, and without
waiting for the others, who find it gone in turn. What was kept of the run is whole, so the same commands go on.
"""

import atexit
import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax

from synevo.errors import HostsError, SynevoError, first_line
from synevo.files.tensors import Tensors
from synevo.lineage.doubts import Basis
from synevo.lineage.individuals import Individual
from synevo.plan.fields import Plan
from synevo.runs.rundir import RunDir
from synevo.training import hosts

HEARTBEAT = 20
"""The seconds after which a host that says nothing counts as gone."""

ARRIVAL = 45
"""The seconds in which all hosts must have begun."""

APART = "The hosts do not find each other"
BEGIN = (
    "Name host 0 with --coordinator ADDRESS:PORT, their number with --hosts N, and this one with --host 0, 1, …; start "
    f"all of them within {ARRIVAL} seconds. --hosts auto is for clusters that JAX knows (synevo guide devices)."
)
LOST = "Another host has stopped, or cannot be reached"
AGAIN = (
    "Nothing is lost: see what the other hosts say, then give the same command on every host again. Their number may "
    "be another."
)

_SIGNS = ("gloo", "nccl", "heartbeat", "coordination", "unavailable", "connection", "barrier", "deadline")
"""Words in what JAX says where another host is gone."""


@dataclass(frozen=True)
class Cluster:
    """Hosts that work together: the `address` of host 0, their number, and which one this is; None where JAX knows."""

    address: str | None = None
    count: int | None = None
    number: int | None = None


@contextmanager
def joined(cluster: Cluster | None) -> Iterator[None]:
    """Make this process one of several hosts, until the block ends; None: it works alone.

    Raises:
        HostsError: if the hosts do not find each other, or one of them stops.
    """
    if cluster is None:
        yield
        return
    _say_when_aborted(f"{APART} within {ARRIVAL} seconds", BEGIN)
    try:
        jax.distributed.initialize(
            cluster.address,
            cluster.count,
            cluster.number,
            heartbeat_timeout_seconds=HEARTBEAT,
            shutdown_timeout_seconds=HEARTBEAT,
            initialization_timeout=ARRIVAL,
        )
    except (ValueError, RuntimeError) as error:
        raise HostsError(f"{APART}: {first_line(error)}.", remedy=BEGIN) from error
    _say_when_aborted(LOST, AGAIN)
    try:
        yield
    except BaseException as error:
        atexit.register(_leave, 2 if isinstance(error, Exception) else 1)
        if not isinstance(error, SynevoError) and is_of_another_host(error):
            raise HostsError(f"{LOST}: {first_line(error)}.", remedy=AGAIN) from error  # type: ignore[arg-type]
        raise
    jax.distributed.shutdown()


def is_of_another_host(error: BaseException) -> bool:
    """Return whether an error of JAX's says that another host is gone."""
    said = str(error).lower()
    return isinstance(error, (ValueError, RuntimeError)) and any(word in said for word in _SIGNS)


def _leave(code: int) -> None:
    """End this process at once, without waiting for the other hosts, as JAX would."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _say_when_aborted(problem: str, remedy: str) -> None:
    """Say what is wrong where JAX aborts this process, as it does when host 0 is gone or a host has never come."""

    def say(_: int) -> None:
        os.write(2, f"Error: {problem}.\n{remedy}\n".encode())
        os._exit(2)

    _KEPT.append(ctypes.CFUNCTYPE(None, ctypes.c_int)(say))
    ctypes.CDLL(None).signal(int(signal.SIGABRT), _KEPT[-1])


_KEPT: list[Any] = []
"""What is to be called by the signal, which nothing else refers to."""


def seen_by_all(run: RunDir) -> RunDir:
    """Return a run as this host is to use it, among those that work together."""
    if hosts.count() == 1:
        return run
    return _Written(run.path) if hosts.writes() else _Read(run.path)


class _Written(RunDir):
    """A run that this host writes, while the others wait."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Lock the run as ever; the others wait for that."""
        with super().writing():
            hosts.wait("writing")
            yield

    def save_individual(
        self, individual: Individual, plan: Plan, *, weights: Tensors, masks: Tensors, basis: Basis | None = None
    ) -> None:
        """Write an individual when all hosts have come so far, and let them go on when it is written."""
        hosts.wait(f"{individual.name} is trained")
        super().save_individual(individual, plan, weights=weights, masks=masks, basis=basis)
        hosts.wait(f"{individual.name} is kept")


class _Read(RunDir):
    """A run that another host writes."""

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Wait until the run is locked by the host that writes it."""
        hosts.wait("writing")
        yield

    def save_plan(self, plan: Plan) -> None:
        """Do nothing."""

    def save_machine(self, machine: Any) -> None:
        """Do nothing."""

    def save_individual(
        self, individual: Individual, plan: Plan, *, weights: Tensors, masks: Tensors, basis: Basis | None = None
    ) -> None:
        """Wait until it is written."""
        del plan, weights, masks, basis
        hosts.wait(f"{individual.name} is trained")
        hosts.wait(f"{individual.name} is kept")
