"""Random arguments for a proof: plausible for what the network does with them, and as many as it can afford."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from synevo.compaction import probes
from synevo.wiring.tracing import Program, trace

TOKENS = jax.ShapeDtypeStruct((2, 3), jnp.int32)
ARRAYS = {"words": jnp.ones((11, 4)), "places": jnp.ones((7, 4))}

USES = {
    "looked up": (lambda p, x: jnp.take(p["words"], x, axis=0), TOKENS, 11),
    "indexed": (lambda p, x: p["words"][x], TOKENS, 11),
    "indexed twice": (lambda p, x: p["words"][x] + p["places"][x[:, ::-1]], TOKENS, 7),
    "one-hot": (lambda p, x: jax.nn.one_hot(x, 11) @ p["words"], TOKENS, 11),
    "one-hot by hand": (
        lambda p, x: (x[..., None] == jnp.arange(11)[None, None]).astype(jnp.float32) @ p["words"],
        TOKENS,
        11,
    ),
    "a mask": (lambda p, x: jnp.where(x[..., None] == 0, 0.0, p["words"][0]), TOKENS, 2),
    "pixels": (lambda _, x: x / 255, jax.ShapeDtypeStruct((2, 3), jnp.uint8), 256),
    "numbers": (lambda _, x: x * 1.0, TOKENS, 2),
    "flags": (lambda _, x: jnp.where(x, 1.0, 2.0), jax.ShapeDtypeStruct((2, 3), jnp.bool_), 2),
}


@pytest.mark.parametrize("use", USES)
def test_whole_numbers_are_what_the_program_takes_them_for(use: str) -> None:
    function, like, below = USES[use]
    program = trace(function, ARRAYS, like)
    (found,) = probes.probes(program, (like,), 3000)
    assert (found.shape, found.dtype) == ((3000, 3), like.dtype)
    assert set(np.unique(np.asarray(found).astype(int))) == set(range(below))


def working(multiply_adds: int) -> Program:
    """A program that multiplies so often for each example."""
    array = jax.ShapeDtypeStruct((multiply_adds // 1000, 1000), jnp.float32)
    return trace(lambda p, x: x @ p["w"], {"w": array}, jax.ShapeDtypeStruct((2, array.shape[0]), jnp.float32))


def test_a_large_network_is_probed_with_fewer_examples_but_never_with_one() -> None:
    counts = [probes.affordable(working(10**power), 64) for power in (5, 9, 10, 12)]
    assert counts == [64, 20, 2, 2]


def test_what_fills_the_memory_is_run_a_few_examples_at_once() -> None:
    def wide(_: object, x: jax.Array) -> jax.Array:
        return jnp.broadcast_to(x[:, :, None], (*x.shape, 2**22)).sum(2)

    program = trace(wide, {}, jax.ShapeDtypeStruct((2, 2), jnp.float32))
    assert probes.at_once(program, 2**25) == 4
    assert probes.at_once(program, 2**26) == 2**26 // 2**23
