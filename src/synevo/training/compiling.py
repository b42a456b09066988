"""Compile the training step for a CPU with XLA's own convolutions.

On a CPU, XLA gives convolutions without padding to YNNPACK, and with them most gradients of kernels. XLA's own are
faster there: with the default, a training step of `lenet5-caffe` took 1.8 times as long (`make bench` measures it for
any run). All other work that YNNPACK does by default stays with it.
"""

from functools import cache

import jax

_FUSIONS = ("DOT", "REDUCE", "ELTWISE")
_OWN_CONVOLUTIONS = (
    ("xla_cpu_experimental_ynn_fusion_type", ",".join(f"LIBRARY_FUSION_TYPE_{name}" for name in _FUSIONS)),
)


@cache
def options(table: tuple[tuple[str, str], ...] = _OWN_CONVOLUTIONS) -> dict[str, str]:
    """Return the `compiler_options` of `jax.jit` for a CPU; empty where this XLA does not know those of the table."""
    wanted = dict(table)
    try:
        jax.jit(lambda x: x, compiler_options=wanted)(0.0)
    except jax.errors.JaxRuntimeError:
        return {}
    return wanted
