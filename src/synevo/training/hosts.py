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


def count() -> int:
    """Return the number of hosts that work together."""
    return jax.process_count()


def writes() -> bool:
    """Return whether this host is the one that writes."""
    return jax.process_index() == 0


def wait(what: str) -> None:
    """Wait until all hosts have come to the point named so; raise an error of JAX's if one has stopped."""
    if count() > 1:
        multihost_utils.sync_global_devices(what)


def require_same(what: str, arrays: Mapping[str, Any]) -> None:
    """Raise HostsError unless these arrays are the same on all hosts, to the bit."""
    if count() == 1:
        return
    whole = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        whole.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    own = np.frombuffer(whole.digest(), np.uint8)
    others = np.asarray(multihost_utils.process_allgather(own))
    differ = [host for host, digest in enumerate(others) if not np.array_equal(digest, others[0])]
    if differ:
        raise HostsError(
            f"The hosts have drawn different {what}: {', '.join(f'host {host}' for host in differ)} and host 0.",
            remedy="Give all hosts the same synevo, JAX, model and data, and like processors. Then give the same "
            "commands again: nothing is lost.",
        )
