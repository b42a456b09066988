"""Counts the programs that XLA compiles, by JAX's own monitoring."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

COMPILED = "/jax/core/compile/backend_compile_duration"
"""The event that JAX records once for each program."""


@contextmanager
def compiled() -> Iterator[list[str]]:
    """The names of the programs that are compiled meanwhile."""
    names: list[str] = []

    def listen(event: str, _seconds: float, **about: str | int) -> None:
        if event == COMPILED:
            names.append(str(about["fun_name"]))

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield names
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
