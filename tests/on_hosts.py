"""One of two hosts that compare masks, which differ in the end; then host 0 is killed while host 1 waits for it.

python tests/on_hosts.py HOST PORT
"""

import os
import signal
import sys
import time

import numpy as np

from synevo.cli.screens import say
from synevo.errors import HostsError
from synevo.runs.several.hosts import Cluster, joined
from synevo.training import hosts

if __name__ == "__main__":
    host, port = map(int, sys.argv[1:])
    with joined(Cluster(f"127.0.0.1:{port}", 2, host)):
        say(f"{hosts.count()} hosts, {'this' if hosts.writes() else 'another'} writes", err=True)
        hosts.require_same("masks", {"a": np.arange(3)})
        try:
            hosts.require_same("masks", {"a": np.arange(3), "b": np.full(2, host)})
        except HostsError as error:
            say(error.problem, err=True)
        if host == 0:
            time.sleep(0.5)
            os.kill(os.getpid(), signal.SIGKILL)
        hosts.wait("for ever")
