"""The C files of all built-in ancestors: compiled with warnings as errors and with sanitizers, and compared with JAX.

    python tests/bench_c.py [NAME ...]

Every ancestor has random weights, half of its synapses dead, and images as small as its factory allows.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from specimens import hatch

from synevo import ancestors
from synevo.deploy.formats import c_float
from synevo.deploy.formats.c.checker import costs, open_file
from synevo.deploy.reload import Reloaded
from synevo.model.network import take_apart

SIDES = {"lenet-300-100": 16, "alexnet": 64, "vgg16": 32, "mobilenet": 32}
"""The side of an image, where it is not 16."""

STRICT = ("-O1", "-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror")
MOST_SYNAPSES = 4_000_000
"""Larger networks take a compiler more memory than a shared machine has: about 300 bytes a number."""


def half_dead(name: str, seed: int = 0) -> Reloaded:
    """A built-in ancestor with random weights, half of which are zero."""
    side = SIDES.get(name, 16)
    shape = (side, side, 3)
    random = np.random.default_rng(seed)
    network = take_apart(hatch(ancestors.find(name), shape, 10)).map(
        lambda part, array: array * (random.random(array.shape) < 0.5) if part.endswith("kernel") else array
    )
    about = {"shape": shape, "mean": (0.4, 0.5, 0.3), "deviation": (0.2, 0.3, 0.25)}
    classes = [str(number) for number in range(10)]
    return Reloaded(network, {"input": about, "classes": classes, "generation": 1, "ancestor": name})


def sanitised(path: Path, content: bytes, pixels: np.ndarray) -> np.ndarray:
    """The logits of a C file that was compiled as a program with sanitizers, which end it at the first fault."""
    text = content.decode()
    name = text.split("void ", 1)[1].split("(", 1)[0]
    program = path.with_suffix(".out")
    checks = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", f"-D{name.upper()}_MAIN")
    subprocess.run(["cc", "-std=c99", *STRICT, *checks, str(path), "-lm", "-o", str(program)], check=True)
    done = subprocess.run([str(program)], input=pixels.tobytes(), capture_output=True, check=True)
    return np.array([line.split() for line in done.stdout.decode().splitlines()], np.float32)


def main() -> None:
    names = sys.argv[1:] or list(ancestors.BUILT_IN)
    for name in names:
        reloaded = half_dead(name)
        size = sum(array.size for array in reloaded.network.arrays.values())
        if size > MOST_SYNAPSES:
            print(f"{name:16s} left out: {size:,} numbers", flush=True)
            continue
        start = time.perf_counter()
        content = c_float.write(reloaded)
        written = time.perf_counter()
        pixels = np.random.default_rng(1).integers(0, 256, (2, *reloaded.shape), np.uint8)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "network.c"
            path.write_bytes(content)
            run = open_file(path, ("-std=c99", *STRICT))
            assert run is not None, "there is no C compiler"
            compiled = time.perf_counter()
            expected = np.asarray(reloaded.logits(reloaded.network, jnp.asarray(pixels)))
            largest = np.abs(expected).max()
            found = {"difference": run(pixels), "with sanitizers": sanitised(path, content, pixels)}
        differences = ", ".join(f"{what} {np.abs(one - expected).max():.1e}" for what, one in found.items())
        print(
            f"{name:16s} {differences} of {largest:.3g}; written in {written - start:.1f} s, "
            f"compiled in {compiled - written:.1f} s; {len(content):,} bytes, {costs(content)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
