"""Whole assignments to variables are what Flax makes of them, and ask no value under a trace for its sharding."""

from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from specimens import SHAPE, Normed, hatch

from synevo.model import network
from synevo.model.assigning import whole_assignments
from synevo.model.network import Network, take_apart

AS_WRITTEN = nnx.Variable.__setitem__


@pytest.fixture(scope="module")
def normed() -> Network:
    return take_apart(hatch(Normed))


def traced(one: Network) -> str:
    """The program of a step of training: outputs and statistics."""

    def train(arrays: dict[str, Any], key: Any, x: Any) -> Any:
        outputs, updated = one.like(arrays).train(key, x)
        return outputs, updated.statistics

    return str(jax.make_jaxpr(train)(one.arrays, jax.random.key(0), jax.ShapeDtypeStruct((2, *SHAPE), jnp.float32)))


def test_no_value_is_asked_for_its_sharding_while_a_network_is_traced(
    normed: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def sharding(value: Any) -> Any:
        asked.append(value)
        raise AttributeError("a value under a trace has no sharding")

    monkeypatch.setattr(jax.core.Tracer, "sharding", property(sharding))
    traced(normed)
    assert not asked
    monkeypatch.setattr(network, "whole_assignments", nullcontext)
    traced(normed)
    assert asked, "Flax asks no more: this module can go"


def test_the_program_is_the_one_that_flax_makes(normed: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    found = traced(normed)
    monkeypatch.setattr(network, "whole_assignments", nullcontext)
    assert found == traced(normed)


def test_parts_and_other_shapes_are_assigned_as_flax_does() -> None:
    def assign(values: Any, one: Any) -> Any:
        variable = nnx.Variable(values)
        with whole_assignments():
            variable[1] = one
            variable[...] = variable[...] * one
            variable[...] = one
        return variable[...]

    assert jax.jit(assign)(jnp.arange(3.0), 5.0).tolist() == [5, 5, 5]


def test_variables_are_as_they_were_afterwards() -> None:
    with pytest.raises(ZeroDivisionError), whole_assignments():
        raise ZeroDivisionError
    assert nnx.Variable.__setitem__ is AS_WRITTEN
