"""Several hosts: who writes, waiting for each other, and the proof that all have drawn the same.

Each host runs the same program on its part of every batch (`synevo.training.placement`). All draw the same masks from
the same keys, and compare their hashes. On one host nothing is waited for, and nothing compared.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from synevo.errors import HostsError

PATIENCE = 7 * 24 * 60 * 60 * 1000
"""The milliseconds that a host waits for the others: as long as they live, which JAX watches."""


def count() -> int:
    """Return the number of hosts that work together."""
    return jax.process_count()


def writes() -> bool:
    """Return whether this host is the one that writes."""
    return jax.process_index() == 0


def wait(what: str) -> None:
    """Wait until all hosts have come to the point named so; raise an error of JAX's if one has stopped.

    What devices compute together must begin within seconds on all hosts: wait before the first time.
    """
    if count() > 1:
        from orbax.checkpoint import multihost  # noqa: PLC0415  (slow to import, and for several hosts alone)

        multihost.get_barrier_sync_fn()(key=what, timeout_ms=PATIENCE)


def require_same(what: str, arrays: Mapping[str, Any]) -> None:
    """Raise HostsError unless these arrays are the same on all hosts, to the bit."""
    if count() == 1:
        return
    whole = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        whole.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    own = np.frombuffer(whole.digest(), np.uint8)
    wait(f"compare {what}")
    others = np.asarray(multihost_utils.process_allgather(own))
    differ = [host for host, digest in enumerate(others) if not np.array_equal(digest, others[0])]
    if differ:
        raise HostsError(
            f"The hosts have drawn different {what}: {', '.join(f'host {host}' for host in differ)} and host 0.",
            remedy="Give all hosts the same synevo, JAX, model and data, and like processors. Then give the same "
            "commands again: nothing is lost.",
        )
