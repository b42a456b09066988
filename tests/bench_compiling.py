"""What compiling costs in the commands of a preset: with an empty cache of programs, and again with the one it leaves.

Each command is a process of its own, as a user runs it. JAX's own monitoring says how long XLA compiled (or read from
the cache), how long JAX traced and lowered, and how many programs there were; `--names` says which took longest.

    python tests/bench_compiling.py --set training.epochs=1 --names 10
"""

import argparse
import atexit
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from synevo.cli import app

EVENTS = {
    "/jax/core/compile/backend_compile_duration": "compiled",
    "/jax/core/compile/jaxpr_trace_duration": "traced",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lowered",
}
FOUND = "/jax/compilation_cache/cache_hits"
OUT = "SYNEVO_BENCH_COMPILING"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a change of the preset")
    parser.add_argument("--names", type=int, default=0, metavar="N", help="show the N programs that took longest")
    options = parser.parse_args()
    sets = [word for change in options.set for word in ("--set", change)]
    print(f"preset {options.preset} {' '.join(options.set)}".strip())
    print(f"{'':22s}{'wall s':>8s}{'compiling':>11s}{'tracing, lowering':>19s}{'programs':>10s}{'from cache':>11s}")
    with tempfile.TemporaryDirectory() as folder:
        for cache in ("empty", "full"):
            run = str(Path(folder) / f"run-{cache}")
            train = ["train-ancestor", "--preset", options.preset, "--run", run, *sets]
            for words in (train, ["evolve", run], ["compact", run]):
                show(f"{words[0]}, {cache}", measured(words, Path(folder)), options.names)


def measured(words: list[str], folder: Path) -> dict[str, Any]:
    """What one command says of its compiling, and the seconds that it took."""
    out = folder / "compiling.json"
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder), OUT: str(out)}
    began = time.perf_counter()
    own = [sys.executable, __file__, *words]
    subprocess.run(own, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(out.read_text())
    return {**found, "wall": time.perf_counter() - began}


def show(name: str, found: dict[str, Any], names: int) -> None:
    """Print a row, and the programs that took longest."""
    wall, seconds = found["wall"], found["seconds"]
    compiled, before = seconds.get("compiled", 0), seconds.get("traced", 0) + seconds.get("lowered", 0)
    shares = f"{100 * compiled / wall:9.0f} %{100 * before / wall:17.0f} %"
    print(f"{name:22s}{wall:8.1f}{shares}{found['programs']:10d}{found['hits']:11d}", flush=True)
    for program, (count, total) in found["longest"][:names]:
        print(f"    {total:6.2f} s in {count:3d}  {program}")


def listen() -> None:
    """Add up what JAX says while this process runs, and write it at its end."""
    import jax

    seconds, counts, times, hits = Counter[str](), Counter[str](), Counter[str](), Counter[str]()

    def of_duration(event: str, duration: float, **about: Any) -> None:
        if event in EVENTS:
            seconds[EVENTS[event]] += duration
        if EVENTS.get(event) == "compiled":
            program = str(about.get("fun_name", "?"))
            counts[program] += 1
            times[program] += duration

    def of_event(event: str, **_: Any) -> None:
        hits[event] += 1

    def write() -> None:
        longest = [(program, (counts[program], total)) for program, total in times.most_common(100)]
        found = {"seconds": seconds, "programs": sum(counts.values()), "hits": hits[FOUND], "longest": longest}
        Path(os.environ[OUT]).write_text(json.dumps(found))

    jax.monitoring.register_event_duration_secs_listener(of_duration)
    jax.monitoring.register_event_listener(of_event)
    atexit.register(write)


if __name__ == "__main__":
    if OUT in os.environ:
        app._prepare_jax()  # before JAX is imported
        listen()
        app.main()
    else:
        main()
