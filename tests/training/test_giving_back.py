"""What a compilation used is given back to the system before its program runs."""

import ctypes
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest
from compilations import COMPILED

from synevo.training import compiling


def listening(library: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    compiling.give_back_memory.__wrapped__()


def test_a_long_compilation_is_followed_by_giving_memory_back_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[int] = []
    listening(SimpleNamespace(malloc_trim=given.append), monkeypatch)
    jax.monitoring.record_event_duration_secs(COMPILED, 0.001)
    jax.monitoring.record_event_duration_secs("/jax/another", 60.0)
    assert given == []
    jax.monitoring.record_event_duration_secs(COMPILED, 60.0)
    assert given == [0]
    monkeypatch.setattr(compiling, "LONG", 0.0)
    jax.jit(lambda x: x * 3 + 1)(jnp.ones(7))
    assert len(given) >= 2, "JAX says by this event that a program is compiled"


def test_where_the_c_library_keeps_its_memory_nothing_is_asked_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    listening(SimpleNamespace(), monkeypatch)
    jax.monitoring.record_event_duration_secs(COMPILED, 60.0)


def test_the_programs_of_large_networks_are_forgotten_and_those_of_small_ones_are_kept() -> None:
    twice = jax.jit(lambda x: 2 * x)
    twice(jnp.ones(3))
    assert twice._cache_size() == 1
    compiling.forget_programs(compiling.LARGE - 1)
    assert twice._cache_size() == 1
    compiling.forget_programs(compiling.LARGE)
    assert twice._cache_size() == 0
    assert twice(jnp.ones(3)).tolist() == [2, 2, 2]
