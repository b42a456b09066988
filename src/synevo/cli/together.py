"""Options of several hosts: read, checked, and a command run on this one of them."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from synevo.cli.screens import hush
from synevo.errors import PlanError

AUTO = "auto"

_REMEDY = (
    "On each host, give the same command with --hosts N --coordinator ADDRESS:PORT --host I, I from 0 to N-1; or "
    "--hosts auto on a cluster that JAX knows (synevo guide devices)."
)


@contextmanager
def together(hosts: str | None, coordinator: str | None, host: int | None, *, runs: int) -> Iterator[None]:
    """Work on so many runs as one of several hosts, if that was asked for; host 0 prints, the others print errors.

    Raises:
        PlanError: if the options do not say which hosts, or there are several runs.
        HostsError: if the hosts do not find each other, or one of them stops.
    """
    if hosts is None and coordinator is None and host is None:
        yield
        return
    count = _count(hosts, coordinator, host)
    if runs > 1:
        raise PlanError(
            f"Several hosts work on one run at a time, not on {runs}.", remedy="Give a command for each run."
        )
    from synevo.runs.several.hosts import Cluster, joined
    from synevo.training.hosts import writes

    with joined(Cluster(coordinator, count, host)):
        hush(silent=not writes())
        yield


def _count(hosts: str | None, coordinator: str | None, host: int | None) -> int | None:
    """Return the number of hosts, None if the cluster knows it; raise PlanError where the options do not fit."""
    if hosts == AUTO:
        if coordinator is not None or host is not None:
            raise PlanError("--hosts auto finds --coordinator and --host by itself.", remedy=_REMEDY)
        return None
    if hosts is None or not hosts.isdecimal() or int(hosts) < 1:
        raise PlanError(
            f"--hosts {hosts}: this is no number of hosts." if hosts else "--hosts is missing.", remedy=_REMEDY
        )
    if coordinator is None or host is None:
        raise PlanError(f"--hosts {hosts} needs --coordinator and --host.", remedy=_REMEDY)
    if re.fullmatch(r".+:\d{1,5}", coordinator) is None:
        raise PlanError(f"--coordinator {coordinator}: this is no ADDRESS:PORT.", remedy=_REMEDY)
    if host >= int(hosts):
        raise PlanError(f"--host {host} is none of {hosts}: they are counted from 0.", remedy=_REMEDY)
    return int(hosts)
