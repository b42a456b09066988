"""Compile the training step for a CPU: which of its work XLA hands to YNNPACK, and the memory that it takes.

By default that is convolutions without padding and, with them, most gradients of kernels. XLA's own convolutions are
faster there: with the default, a training step of `lenet5-caffe` took 1.8 times as long. Where depthwise convolutions
are sums of shifted products (`synevo.model.products`), elementwise work stays with XLA, too, which computes such a sum
in one loop. `tests/bench_training.py` measures both. Which options a step is compiled with follows from its
convolutions, never from a time that was measured, so that its bits are the same in every run.
"""

import ctypes
import sys
from functools import cache
from typing import TypeAlias

import jax

Table: TypeAlias = tuple[tuple[str, str], ...]
"""Options of XLA: their names and values."""


def _handing_over(*kinds: str) -> Table:
    """Return the options with which YNNPACK is given these kinds of work alone."""
    return (("xla_cpu_experimental_ynn_fusion_type", ",".join(f"LIBRARY_FUSION_TYPE_{kind}" for kind in kinds)),)


OWN_CONVOLUTIONS = _handing_over("DOT", "REDUCE", "ELTWISE")
"""The options for most networks."""

OWN_SUMS = _handing_over("DOT", "REDUCE")
"""The options for networks whose depthwise convolutions are sums of products."""


COMPILED = "/jax/core/compile/backend_compile_duration"
"""The event that JAX records when a program is compiled, before it runs."""

LONG = 0.2
"""The seconds after which a compilation has used much memory."""


LARGE = 2**20
"""The numbers from which a network's programs take so much memory that they are not kept."""


@cache
def give_back_memory() -> None:
    """Give the memory that a compilation used back to the system before its program runs, from now on.

    The C library keeps freed memory otherwise, and a process is as large as its compiler and its training together:
    `mobilenet` at 96×96, in batches of 4, took 1.4 GiB for 1.1. Elsewhere than with glibc, nothing changes.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is None:
        return

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == COMPILED and duration_secs > LONG:
            trim(0)

    jax.monitoring.register_event_duration_secs_listener(listen)


def forget_programs(numbers: int) -> None:
    """Forget what was compiled, and the memory of it, where a network has many `numbers`.

    The widths of another generation and what measured its parent run no more: `mobilenet` leaves 200 MiB each time.
    What runs again is traced again, and read from JAX's cache on disk; for small networks, that would take longer.
    """
    if numbers >= LARGE:
        jax.clear_caches()


@cache
def options(table: Table = OWN_CONVOLUTIONS) -> dict[str, str]:
    """Return the `compiler_options` of `jax.jit` for a CPU; empty where this XLA does not know those of the table."""
    wanted = dict(table)
    try:
        jax.jit(lambda x: x, compiler_options=wanted)(0.0)
    except jax.errors.JaxRuntimeError:
        return {}
    return wanted
