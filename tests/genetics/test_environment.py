"""The environment: the factor that lets the expected share survive, against bisection and against common sense."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from synevo.genetics.environment import press, solve_factor

solve = jax.jit(solve_factor)


@pytest.fixture(autouse=True)
def _double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def survivors(factor: float, chances: list[np.ndarray], sizes: list[np.ndarray]) -> float:
    """How much survives, by NumPy."""
    return sum(float((m * np.minimum(1, factor * p)).sum()) for p, m in zip(chances, sizes, strict=True))


def chances_of(size: int) -> st.SearchStrategy[np.ndarray]:
    """Probabilities from the unlikely to the certain, some of them of the dead."""
    likely = st.floats(1e-6, 1) | st.just(1.0) | st.just(0.0) | st.sampled_from([0.25, 0.5])
    return arrays(np.float64, size, elements=likely)


def sizes_of(size: int) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.float64, size, elements=st.floats(1e-3, 100))


@given(chances_of(7), chances_of(5), sizes_of(7), sizes_of(5), st.floats(0.001, 0.999))
def test_what_is_expected_to_survive_is_what_the_environment_allows(
    p: np.ndarray, q: np.ndarray, m: np.ndarray, n: np.ndarray, share: float
) -> None:
    chances, sizes = [p, q], [m, n]
    possible = float(m[p > 0].sum() + n[q > 0].sum())
    factor = float(solve(chances, sizes, jnp.asarray(share * possible)))
    assert survivors(factor, chances, sizes) == pytest.approx(share * possible, rel=1e-9)


@given(chances_of(7), chances_of(5), sizes_of(7), sizes_of(5), st.floats(0.001, 0.999))
def test_the_factor_is_the_one_that_bisection_finds(
    p: np.ndarray, q: np.ndarray, m: np.ndarray, n: np.ndarray, share: float
) -> None:
    terms = [*zip(p.tolist(), m.tolist(), strict=True), *zip(q.tolist(), n.tolist(), strict=True)]
    expected = share * sum(size for chance, size in terms if chance > 0)
    found = float(solve([p, q], [m, n], jnp.asarray(expected)))
    assert found == pytest.approx(oracle.bisect_factor(terms, expected) if expected else 0, rel=1e-6)


@given(chances_of(7), chances_of(5), st.floats(0, 1), st.floats(0, 1))
def test_a_kinder_environment_never_makes_a_chance_smaller(
    p: np.ndarray, q: np.ndarray, one: float, other: float
) -> None:
    sizes = [np.ones(7), np.ones(5)]
    possible = (p > 0).sum() + (q > 0).sum()
    harsh, kind = (
        np.asarray(press(jnp.asarray(p), solve([p, q], sizes, jnp.asarray(share * possible))))
        for share in sorted((one, other))
    )
    assert (harsh <= kind * (1 + 1e-12)).all()


@pytest.mark.parametrize("expected", [6.0, 6.5, 1e9])
def test_all_survive_for_certain_where_as_much_as_possible_or_more_is_asked(expected: float) -> None:
    chances, sizes = (
        [np.array([1e-6, 0.3, 0.0, 1.0]), np.array([0.7])],
        [np.array([1.0, 2.0, 5.0, 1.0]), np.array([2.0])],
    )
    factor = solve(chances, sizes, jnp.asarray(expected))
    np.testing.assert_allclose(press(jnp.asarray(chances[0]), factor), [1, 1, 0, 1], rtol=1e-12)
    np.testing.assert_allclose(press(jnp.asarray(chances[1]), factor), [1], rtol=1e-12)


@pytest.mark.parametrize("chance", [1.0, 0.37, 1e-5])
def test_equal_chances_all_become_the_share_itself(chance: float) -> None:
    chances = [np.full(10, chance)]
    factor = solve(chances, [np.ones(10)], jnp.asarray(6.7))
    np.testing.assert_allclose(press(jnp.asarray(chances[0]), factor), 0.67, rtol=1e-12)


def test_a_factor_by_hand() -> None:
    """Chances 1, 0.5, 0.1 and 1.8 survivors: the first is sure, so F * 0.6 = 0.8 makes F = 4/3."""
    chances = [np.array([1.0, 0.5, 0.1])]
    factor = solve(chances, [np.ones(3)], jnp.asarray(1.8))
    assert float(factor) == pytest.approx(4 / 3, rel=1e-12)
    np.testing.assert_allclose(press(jnp.asarray(chances[0]), factor), [1, 2 / 3, 2 / 15], rtol=1e-12)


def test_exactly_the_likely_may_survive_however_unlikely_the_rest_is() -> None:
    chances, sizes = [np.array([1.0, 1.0, 1e-217, 1e-217])], [np.ones(4)]
    assert float(solve(chances, sizes, jnp.asarray(2.0))) == pytest.approx(1)


def test_large_clusters_count_for_as_much_as_they_hold() -> None:
    """9 synapses in a cluster of chance 0.5 and 1 in one of chance 1: 5 of 10 need F = 5 / (9 * 0.5 + 1)."""
    factor = solve([np.array([0.5, 1.0])], [np.array([9.0, 1.0])], jnp.asarray(5.0))
    assert float(factor) == pytest.approx(5 / 5.5, rel=1e-12)


def test_nothing_survives_where_nothing_is_asked_or_nothing_lives() -> None:
    alive, dead = [np.array([0.5, 1.0])], [np.zeros(2)]
    for chances, expected in ((alive, 0.0), (dead, 0.0), (dead, 1.0)):
        factor = solve(chances, [np.ones(2)], jnp.asarray(expected))
        np.testing.assert_array_equal(press(jnp.asarray(chances[0]), factor), 0)


def test_zeros_take_nothing_from_the_living() -> None:
    with_dead = solve([np.array([0.2, 0.0, 0.9, 0.0])], [np.ones(4)], jnp.asarray(1.0))
    without = solve([np.array([0.2, 0.9])], [np.ones(2)], jnp.asarray(1.0))
    assert float(with_dead) == float(without)
