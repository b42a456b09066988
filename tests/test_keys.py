"""Keys: randomness by name."""

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import Array

from synevo.keys import derive, root

names = st.one_of(st.integers(0, 2**40), st.text(max_size=8))
paths = st.lists(names, min_size=1, max_size=4)


def bits(key: Array) -> tuple[int, ...]:
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_a_seed_gives_one_root_and_another_seed_another() -> None:
    assert bits(root(7)) == bits(root(7))
    assert len({bits(root(seed)) for seed in (0, 1, 7, 2**32 - 1)}) == 4


def test_the_root_is_threefry_whatever_jax_is_configured_to() -> None:
    with jax.default_prng_impl("rbg"):
        assert bits(root(3)) == (0, 3)


@given(paths)
def test_a_name_always_gives_the_same_key(path: list[int | str]) -> None:
    assert bits(derive(root(0), *path)) == bits(derive(root(0), *path))


@given(paths, paths)
def test_different_names_give_different_keys(one: list[int | str], other: list[int | str]) -> None:
    assert (bits(derive(root(0), *one)) == bits(derive(root(0), *other))) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("generation", 4, "synthesis"), ("generation", 4, "training")),
        (("generation", 4), ("generation", 5)),
        (("a", "b"), ("b", "a")),
        (("ab",), ("a", "b")),
        ((1, 2), (2, 1)),
        ((5,), (5 + 2**32,)),
        ((5,), ("5",)),
    ],
)
def test_names_that_look_alike_are_told_apart(one: tuple[int | str, ...], other: tuple[int | str, ...]) -> None:
    assert bits(derive(root(0), *one)) != bits(derive(root(0), *other))


def test_a_path_may_be_walked_in_parts() -> None:
    assert bits(derive(derive(root(0), "generation", 4), "proof")) == bits(derive(root(0), "generation", 4, "proof"))


def test_a_derived_key_leaves_its_root_for_further_use() -> None:
    key = root(0)
    first = bits(derive(key, "one"))
    assert bits(derive(key, "two")) != first
    assert bits(derive(key, "one")) == first


def test_names_derive_the_same_key_inside_a_compiled_function() -> None:
    compiled = jax.jit(lambda key: derive(key, "epoch", 3))
    assert bits(compiled(root(0))) == bits(derive(root(0), "epoch", 3))
