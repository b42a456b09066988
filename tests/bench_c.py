"""The C files of all built-in ancestors and of networks as users write them: strictly compiled, sanitised, compared.

    python tests/bench_c.py [--float32] [NAME ...]

Each has random weights, half of its synapses dead, and images as small as its factory allows; of alexnet and vgg16, an
eighth of the filters is left, for the memory of compilers. In floats and in whole
numbers, a file is compiled with warnings as errors: as C99 and as C++ with -O2, with sanitizers, and for 32 bits where
that links (or with the command in CC32). What it gives is compared with JAX. The exit code is 1 if one fails.
"""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
from exported import STRICT, USERS, as_program, difference, expected, of_arrays, of_images
from numpy.typing import NDArray

from synevo import ancestors
from synevo.deploy.formats import c_float, c_int8
from synevo.deploy.formats.c.checker import costs, open_file
from synevo.deploy.reload import Reloaded
from synevo.errors import SynevoError

TOLERANCE = {"float32": 2e-5, "int8": 0.1}
"""The largest difference, as a share of the largest element of an output."""

COLUMNS = (("living MACs", 11), ("constants", 10), ("buffers", 9), ("compiled", 9), ("difference", 10), ("seconds", 7))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join([*ancestors.BUILT_IN, *USERS])}")
    parser.add_argument("--float32", action="store_true", help="no whole numbers")
    options = parser.parse_args()
    narrow = narrow_compiler()
    print(
        "Bytes of constants, of static buffers, and of machine code with constants; difference: the largest from JAX,"
    )
    print("as a share of an output's largest element; compiled as C99, as C++ and with sanitizers, ", end="")
    print("and for 32 bits\n" if narrow else "not for 32 bits: its libraries are missing\n")
    print(" ".join([f"{'network':20s} {'numbers':8s}", *(f"{title:>{width}s}" for title, width in COLUMNS)]))
    failed = 0
    for name in options.names or [*ancestors.BUILT_IN, *USERS]:
        reloaded, leaves = of_images(name) if name in ancestors.BUILT_IN else of_arrays(name)
        for numbers in TOLERANCE if not options.float32 else ("float32",):
            try:
                said = line(reloaded, leaves, numbers, narrow)
            except (SynevoError, subprocess.CalledProcessError, AssertionError) as error:
                said, failed = f"FAILED: {getattr(error, 'problem', error)}", failed + 1
            print(f"{name:20s} {numbers:8s} {said}", flush=True)
    sys.exit(1 if failed else 0)


def line(reloaded: Reloaded, leaves: Sequence[NDArray[Any]], numbers: str, narrow: Sequence[str]) -> str:
    """What a network costs and how near it is, as a line of the table; an error if a check fails."""
    began = time.perf_counter()
    content = c_float.write(reloaded) if numbers == "float32" else c_int8.write(reloaded, *leaves)
    wanted = expected(reloaded, leaves)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.c"
        path.write_bytes(content)
        run = open_file(path, ("-std=c99", "-O2", *STRICT))
        assert run is not None, "there is no C compiler"
        found = run(*leaves)
        differences = [difference(found if isinstance(found, list) else [found], wanted)]
        differences.append(difference(as_program(path, leaves), wanted))
        if shutil.which("c++"):
            differences.append(difference(as_program(path, leaves, ("c++", "-x", "c++", "-O2", *STRICT)), wanted))
        if narrow:
            differences.append(difference(as_program(path, leaves, (*narrow, "-std=c99", "-O2", *STRICT)), wanted))
    about, worst = costs(content), max(differences)
    assert worst <= TOLERANCE[numbers], f"it differs by {worst:.1e} of the largest element"
    values = [about["living_multiply_adds"], about["bytes_of_constants"], about["bytes_of_buffers"], run.size]
    words = [f"{value:,}" for value in values] + [f"{worst:.1e}", f"{time.perf_counter() - began:.1f}"]
    return " ".join(f"{word:>{width}s}" for word, (_, width) in zip(words, COLUMNS, strict=True))


def narrow_compiler() -> list[str]:
    """The words of the compiler for 32 bits; none where it makes no program."""
    words = shlex.split(os.environ.get("CC32", "cc -m32"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.c"
        path.write_text("#include <math.h>\nint main(void) { return (int)expf(0.0f) - 1; }\n")
        made = [*words, str(path), "-lm", "-o", str(path.with_suffix(".out"))]
        done = subprocess.run(made, capture_output=True, check=False)
        works = done.returncode == 0 and subprocess.run([str(path.with_suffix(".out"))], check=False).returncode == 0
    return words if works else []


if __name__ == "__main__":
    jax.config.update("jax_numpy_rank_promotion", "allow")
    main()
