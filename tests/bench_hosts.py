"""The same lineage on several devices and on several hosts, and hosts that are killed: the tables of `make hosts`.

    python tests/bench_hosts.py                 both tables
    python tests/bench_hosts.py lineages        masks and accuracies on 1, 2 and 8 devices and on 1, 2 and 4 hosts
    python tests/bench_hosts.py kills           kill -9 of one host at ten moments

Hosts are processes on the loopback, devices are parts of a CPU: this says what comes out, and not how fast.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np

from synevo.runs.rundir import RunDir

TESTS = Path(__file__).parent
GENERATIONS = 5
SETS = (
    *("data.image_size=8", "data.fit=none", "ancestor_training.epochs=6", "ancestor_training.batch_size=64"),
    *("ancestor_training.learning_rate=0.01", "training.epochs=2", "training.batch_size=64", "encoding.cluster=filter"),
)
ANCESTOR = ("--ancestor", "specimens:Tiny", *(word for field in SETS for word in ("--set", field)))
EVOLVE = ("--max-drop", "100pt", "--keep-synapses", "0.9")
PATIENCE = 900.0
"""The seconds after which a process counts as hanging."""


def started(words: Sequence[str], *, hosts: int = 1, devices: int = 1) -> list[subprocess.Popen[str]]:
    """The processes of a command on so many hosts."""
    port = free_port()
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]), "XLA_FLAGS": flags}
    together = ["--hosts", str(hosts), "--coordinator", f"127.0.0.1:{port}"] if hosts > 1 else []
    return [
        subprocess.Popen(
            [sys.executable, "-m", "synevo", *words, *together, *(["--host", str(host)] if together else [])],
            text=True,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for host in range(hosts)
    ]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def ended(processes: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """The exit code and the errors of each process."""
    try:
        errors = [process.communicate(timeout=PATIENCE)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, error) for process, error in zip(processes, errors, strict=True)]


def done(words: Sequence[str], *, hosts: int = 1, devices: int = 1) -> None:
    """Give a command on so many hosts, and wait for its end."""
    for code, error in ended(started(words, hosts=hosts, devices=devices)):
        if code:
            raise SystemExit(error)


def masks_of(run: RunDir) -> list[dict[str, np.ndarray]]:
    """The masks of each individual, in their order."""
    return [run.load_masks(entry) for entry in run.entries()]


def apart(run: RunDir, other: RunDir) -> tuple[int, float]:
    """How many bits of all masks differ between two lineages, and how far apart their scores are at most."""
    pairs = list(zip(masks_of(run), masks_of(other), strict=True))
    bits = sum(int((one[name] != two[name]).sum()) for one, two in pairs for name in one)
    scores = [
        [(one.scores.validation, one.scores.test) for one in each.load_lineage().individuals if one.scores]
        for each in (run, other)
    ]
    return bits, float(np.abs(np.subtract(*scores)).max())


def lineages(folder: Path) -> None:
    """Print how lineages on several devices and hosts differ from that on one device of one host."""
    first: RunDir | None = None
    print(
        f"{'devices':>8} {'hosts':>6} {'masks identical':>16} {'bits that differ':>17} {'accuracy apart, points':>23}"
    )
    for devices, hosts in ((1, 1), (2, 1), (8, 1), (1, 2), (1, 4)):
        run = RunDir(folder / f"{devices}-{hosts}")
        where = ("--devices", str(devices))
        done(["train-ancestor", *ANCESTOR, "--run", str(run.path), *where], hosts=hosts, devices=devices)
        evolve = ["evolve", str(run.path), *EVOLVE, "--generations", str(GENERATIONS), *where]
        done(evolve, hosts=hosts, devices=devices)
        first = first or run
        bits, far = apart(first, run)
        same = "yes" if bits == 0 else "no"
        print(f"{devices:>8} {hosts:>6} {same:>16} {bits:>11} {100 * far:>13.3f}", flush=True)


def as_it_begins(_: RunDir) -> bool:
    return True


def when_it_is_locked(run: RunDir) -> bool:
    return (run.path / ".holder.json").exists()


def within_a_training(run: RunDir) -> bool:
    return any(run.training_folder.glob("g*"))


def while_it_is_written(run: RunDir) -> bool:
    return any((run.path / "individuals").glob(".*"))


def when_it_is_kept(run: RunDir) -> bool:
    grown = len(run.entries())
    return grown > STOOD.get(run.path, grown)


STOOD: dict[Path, int] = {}
"""The number of individuals of a run when a command began."""

MOMENTS: tuple[Callable[[RunDir], bool], ...] = (
    *(as_it_begins, when_it_is_locked, within_a_training, while_it_is_written, when_it_is_kept),
)


def killed(
    run: RunDir, words: Sequence[str], moment: Callable[[RunDir], bool], victim: int, *, hosts: int = 2
) -> list[tuple[int, str, float]]:
    """Kill a host of a command at a moment; the exit codes and errors of the others, and the seconds until they end."""
    STOOD[run.path] = len(run.entries())
    processes = started(words, hosts=hosts)
    began = time.monotonic()
    while not moment(run) and time.monotonic() - began < PATIENCE and processes[victim].poll() is None:
        time.sleep(0.002)
    processes[victim].send_signal(signal.SIGKILL)
    at = time.monotonic()
    others = [process for host, process in enumerate(processes) if host != victim]
    found = []
    for process in others:
        ((code, error),) = ended([process])
        found.append((code, error, time.monotonic() - at))
    processes[victim].communicate()
    return found


def kills(folder: Path) -> None:
    """Kill a host at each moment, first one and then the other, and go on with another number of hosts each time."""
    whole, run = RunDir(folder / "whole"), RunDir(folder / "killed")
    for each in (whole, run):
        done(["train-ancestor", *ANCESTOR, "--run", str(each.path)])
    last = 2 * len(MOMENTS) + 1
    undisturbed = started(["evolve", str(whole.path), *EVOLVE, "--generations", str(last)])
    heads = ("killed", "host", "others end with", "after, s", "goes on with", "kept", "lost")
    print("{:<22} {:>5} {:>16} {:>9} {:>13} {:>5} {:>5}".format(*heads))
    numbers: Iterator[int] = cycle((2, 1))
    generation = 1
    for moment in MOMENTS:
        for victim in (0, 1):
            before, generation = [one["check"] for one in lines(run)], generation + 1
            words = ["evolve", str(run.path), *EVOLVE, "--generations", str(generation)]
            ((code, error, seconds),) = killed(run, words, moment, victim)
            said = "a message" if "Another host has stopped" in error or "do not find" in error else "nothing"
            hosts = next(numbers)
            done(words, hosts=hosts)
            after = [one["check"] for one in lines(run)]
            lost = sum(one not in after for one in before)
            name = moment.__name__.replace("_", " ")
            print(
                f"{name:<22} {victim:>5} {f'{code}, {said}':>16} {seconds:>9.1f} {hosts:>13} {len(after):>5} {lost:>5}",
                flush=True,
            )
    ended(undisturbed)
    bits, far = apart(whole, run)
    print(f"The whole lineage and the one of killed hosts: {bits} bits of masks differ; {100 * far:.3f} points apart.")


def lines(run: RunDir) -> list[dict[str, str]]:
    """The lines of the lineage as they are written."""
    import json

    return [json.loads(line) for line in (run.path / "lineage.jsonl").read_text().splitlines()]


def main() -> None:
    wanted = sys.argv[1:] or ["lineages", "kills"]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        if "lineages" in wanted:
            lineages(Path(folder))
        if "kills" in wanted:
            kills(Path(folder))


if __name__ == "__main__":
    main()
