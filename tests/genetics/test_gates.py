"""Gates: shut, they are the removal of what they belong to; open, they change nothing."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import GatedUnits, ResNeXt, ViT
from flax import nnx
from jax import Array
from specimens import Residual, Shape, Specimen, images, specimen

from synevo.genetics import removal
from synevo.genetics.gates import gated
from synevo.genetics.organism import Organism
from synevo.model.network import call
from synevo.tasks.task import InMemory, Task
from synevo.wiring.masks import full
from synevo.wiring.units import keep_one

pytestmark = pytest.mark.slow

EXAMPLES, TRIED = 3, 8


class Chained(nnx.Module):
    """A product of three arrays, in the cheaper of two orders, and no more: all is linear in each of its units."""

    def __init__(self, shape: Shape, classes: int, rngs: nnx.Rngs) -> None:
        del shape
        self.a = nnx.Param(jax.random.normal(rngs.params(), (3, 12)))
        self.b = nnx.Param(jax.random.normal(rngs.params(), (12, 3)))
        self.c = nnx.Linear(3, classes, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.c(jnp.einsum("bi,ij,jk->bk", x[:, 0, 0], self.a[...], self.b[...]))


def halved(of: Specimen) -> Organism:
    """The organism without every third of its units."""
    alive = keep_one(of.wiring, np.arange(of.wiring.units) % 3 != 1)
    return Organism.left(of.species, of.network, full(of.wiring, of.network), alive)


@pytest.mark.parametrize(("factory", "whole"), [(ViT, False), (ResNeXt, False), (GatedUnits, False), (Residual, True)])
def test_a_gate_that_is_shut_is_a_unit_that_is_removed(factory: Callable[..., nnx.Module], whole: bool) -> None:  # noqa: FBT001
    """Heads, places within them, groups, channels of a residual sum: each gone alone, against arrays of zeros."""
    of = specimen(factory, (8, 8, 3))
    organism = of.organism if whole else halved(of)
    x = jnp.asarray(images(EXAMPLES, of.shape))
    run = gated(organism.network, of.anatomy, organism.units, (x,))
    assert run is not None
    many = jax.jit(lambda gates: jax.vmap(lambda x: run(gates, organism.network.arrays, (x,)))(x))
    wiring = of.wiring.restrict(organism.units)
    units = removal.made(wiring)
    opened = jnp.ones(of.wiring.units + len(of.wiring.derived))
    complete = np.asarray(call(organism.network, x))
    np.testing.assert_allclose(many(opened), complete, atol=1e-5)
    random, moved = np.random.default_rng(0), 0.0
    for unit in random.permutation(units)[:TRIED].tolist():
        removed = np.asarray(call(organism.network.map(removal.without(wiring, unit)), x))
        np.testing.assert_allclose(many(opened.at[unit].set(0)), removed, atol=1e-5)
        moved = max(moved, np.abs(removed - complete).max())
    assert moved > 1e-2


@pytest.mark.parametrize("left", [12, 4], ids=["whole", "smaller"])
def test_a_network_that_multiplies_in_another_order_than_its_ancestor_is_measured_all_the_same(left: int) -> None:
    """The ancestor multiplies its two matrices first; of one example, or with four units, it does not."""
    of = specimen(Chained, (1, 1, 3))
    alive = np.ones(of.wiring.units, bool)
    alive[of.wiring.slots["a"][1][left:]] = False
    organism = Organism.left(of.species, of.network, full(of.wiring, of.network), alive)
    x = images(32, of.shape)
    found = gated(organism.network, of.anatomy, organism.units, (x[:1],))
    assert (found is None) == (left == 4)
    task = Task(
        inputs=lambda batch: (batch["x"],),
        loss=lambda outputs, batch: jnp.square(outputs - batch["y"]).sum(axis=1),
        score=lambda outputs, batch: jnp.square(outputs - batch["y"]).sum(axis=1),
    )
    examples = InMemory({"x": x, "y": np.random.default_rng(1).normal(size=(32, 4)).astype(np.float32)})
    exact = removal.gains(organism, task, examples, audit=1)
    assert np.count_nonzero(exact) == left + 3
    np.testing.assert_allclose(removal.gains(organism, task, examples, audit=0), exact, rtol=1e-3, atol=1e-6)
