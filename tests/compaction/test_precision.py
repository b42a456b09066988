"""Networks that compute in coarse numbers are proven by the roundings of these, and in float32 beside them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from specimens import CLASSES, SHAPE, images

from synevo.compaction.in_memory import compact
from synevo.compaction.proof import _compare_in_float32, prove
from synevo.errors import ProofError
from synevo.model.network import take_apart
from synevo.wiring.cutting import cut
from synevo.wiring.dissection import dissect
from synevo.wiring.programs import program_of
from synevo.wiring.tracing import evaluate_in_float32

pytestmark = pytest.mark.slow


class Coarse(nnx.Module):
    """A network that computes, or keeps its numbers, in a coarse dtype."""

    def __init__(self, dtype: Any, param_dtype: Any) -> None:
        kinds: dict[str, Any] = {"dtype": dtype, "param_dtype": param_dtype, "rngs": nnx.Rngs(0)}
        self.a, self.norm = nnx.Conv(1, 8, (3, 3), **kinds), nnx.BatchNorm(8, **kinds)
        self.b, self.head = nnx.Conv(8, 12, (3, 3), **kinds), nnx.Linear(12, CLASSES, **kinds)

    def __call__(self, x: Any) -> Any:
        x = nnx.gelu(self.b(nnx.relu(self.norm(self.a(x)))))
        return self.head(x.mean((1, 2)))


ALIVE = np.arange(8) < 5
MASKS = {"a/kernel": np.broadcast_to(ALIVE, (3, 3, 1, 8)), "a/bias": ALIVE, "norm/scale": ALIVE, "norm/bias": ALIVE}


@pytest.mark.parametrize(
    ("dtype", "param_dtype"),
    [
        ("float32", "bfloat16"),
        ("float32", "float16"),
        ("bfloat16", "float32"),
        ("float16", "float32"),
        ("bfloat16", "bfloat16"),
    ],
)
def test_coarse_numbers_are_compacted_and_proven(dtype: str, param_dtype: str) -> None:
    small = compact(Coarse(jnp.dtype(dtype), jnp.dtype(param_dtype)), SHAPE, masks=MASKS)
    assert small.model.a.kernel.shape == (3, 3, 1, 5)
    assert small.model.a.kernel.dtype == param_dtype
    assert small.model(jnp.asarray(images(2))).dtype == dtype


@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", 2.0**-7), ("float16", 2.0**-10), ("float32", 2.0**-23)])
def test_the_precision_of_a_program_is_that_of_its_coarsest_step(dtype: str, precision: float) -> None:
    network = take_apart(Coarse(jnp.dtype(dtype), jnp.float32))
    assert dissect(network, SHAPE).program.precision == precision


def test_a_program_in_float32_is_the_same_network_without_its_roundings() -> None:
    coarse, fine = (take_apart(Coarse(dtype, jnp.float32)) for dtype in (jnp.bfloat16, jnp.float32))
    x = jnp.asarray(images(2))
    program = program_of(coarse, dissect(coarse, SHAPE).inputs)
    (found,) = evaluate_in_float32(program, coarse.arrays, x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, fine(x), rtol=1e-3, atol=1e-4)  # literals stay rounded
    assert np.abs(np.asarray(found) - np.asarray(coarse(x), np.float32)).max() > 2e-4


def test_a_difference_below_the_roundings_is_found_in_float32() -> None:
    network = take_apart(Coarse(jnp.bfloat16, jnp.float32))
    anatomy, x = dissect(network, SHAPE), (jnp.asarray(images(4)),)
    everything = np.ones(anatomy.wiring.units, bool)
    wrong = cut(network, anatomy.wiring, everything)
    wrong.parameters["head/bias"] = wrong.parameters["head/bias"] + 0.001
    with pytest.raises(ProofError, match="differ"):
        prove(jax.random.key(0), anatomy, everything, masked=network, compact=wrong, inputs=x)
    _compare_in_float32(anatomy, network, network, x)
