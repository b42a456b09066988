"""Training in bfloat16: products and activations are, and nothing that is kept."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from architectures import ViT
from flax import nnx
from jax import Array
from jax.extend.core import jaxprs_in_params
from specimens import Normed, Specimen, images, random_masks, specimen

from synevo import keys
from synevo.model.network import Network
from synevo.plan.fields import TrainingPlan
from synevo.tasks.task import Problem
from synevo.training.evaluation import evaluate
from synevo.training.fit import fit, start
from synevo.training.precision import in_bfloat16
from synevo.wiring import masks

pytestmark = pytest.mark.slow

PRODUCTS = {"dot_general", "conv_general_dilated"}


def train(network: Network, x: Any) -> tuple[Any, Network]:
    """The outputs in training mode, and the network with its statistics updated."""
    return network.train(keys.root(0), x)


def steps(jaxpr: Any) -> Iterator[Any]:
    """All steps of a jaxpr, those of what it calls included."""
    for equation in jaxpr.eqns:
        yield equation
        for body in jaxprs_in_params(equation.params):
            yield from steps(getattr(body, "jaxpr", body))


def dtypes(tree: Any) -> set[str]:
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}


@pytest.mark.parametrize("factory", [Normed, ViT])
def test_every_product_is_of_bfloat16_forward_and_backward(factory: Callable[..., nnx.Module]) -> None:
    network, x = specimen(factory).network, jnp.asarray(images(4))

    def loss(parameters: Any) -> Array:
        outputs, _ = in_bfloat16(train)(replace(network, parameters=parameters), x)
        return jnp.square(outputs).mean()

    traced = list(steps(jax.make_jaxpr(jax.grad(loss))(network.parameters).jaxpr))
    products = [step for step in traced if step.primitive.name in PRODUCTS]
    assert len(products) > 6
    for step in products:
        assert {str(atom.aval.dtype) for atom in (*step.invars, *step.outvars)} == {"bfloat16"}
    forward = steps(jax.make_jaxpr(in_bfloat16(train))(network, x).jaxpr)
    sums = [step for step in forward if step.primitive.name == "reduce_sum"]
    assert len(sums) > 2
    assert {str(step.invars[0].aval.dtype) for step in sums} == {"float32"}


def test_outputs_gradients_and_statistics_are_float32_and_near_those_of_float32() -> None:
    network, x = specimen(Normed).network, jnp.asarray(images(64))

    def loss(parameters: Any, run: Any) -> Any:
        outputs, updated = run(replace(network, parameters=parameters), x)
        return jnp.square(outputs - 1).mean(), (outputs, updated.statistics)

    graded = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)
    (exact, (y, kept)), (found, (outputs, statistics)) = (
        graded(network.parameters, run) for run in (train, in_bfloat16(train))
    )
    assert dtypes((found, outputs, statistics)) == {"float32"}
    assert (outputs == outputs.astype(jnp.bfloat16).astype(jnp.float32)).all()
    np.testing.assert_allclose(outputs, y, atol=0.05 * np.abs(y).max())
    assert not np.allclose(outputs, y, rtol=1e-5)
    for name, array in kept.items():
        np.testing.assert_allclose(statistics[name], array, rtol=2e-2, atol=2e-3)
        assert (statistics[name] != statistics[name].astype(jnp.bfloat16).astype(jnp.float32)).any(), "not rounded"
    one, other = (np.concatenate([np.ravel(tree[name]) for name in exact]) for tree in (exact, found))
    assert one @ other / np.linalg.norm(one) / np.linalg.norm(other) > 0.99


def test_what_is_averaged_of_single_activations_is_kept_in_float32() -> None:
    def average(kept: Array, w: Array, x: Array) -> tuple[Array, Array]:
        y = jnp.maximum(x @ w, 0)
        return y, 0.999 * kept + 0.001 * y

    x, w = (jnp.asarray(np.random.default_rng(0).normal(size=(8, 8)), jnp.float32) for _ in range(2))
    y, kept = in_bfloat16(average)(jnp.ones((8, 8)), w, x)
    np.testing.assert_allclose(kept, 0.999 + 0.001 * y, rtol=1e-5)


def test_loops_and_recomputed_parts_run_and_keep_their_derivatives() -> None:
    def scanned(w: Array, x: Array) -> Array:
        def body(x: Array, _: None) -> tuple[Array, None]:
            return jnp.tanh(x @ w), None

        return jax.checkpoint(lambda x: jax.nn.relu(x @ w))(jax.lax.scan(body, x, None, length=2)[0])

    random = np.random.default_rng(0)
    x, w = (jnp.asarray(random.normal(size=(8, 8)) / 3, jnp.float32) for _ in range(2))
    exact, found = (jax.grad(lambda w: jnp.square(run(w, x)).sum())(w) for run in (scanned, in_bfloat16(scanned)))  # noqa: B023
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, exact, atol=0.05 * np.abs(exact).max())


def test_a_network_learns_in_bfloat16_and_nothing_of_it_is_rounded_to_it(tiny: Specimen, digits: Problem) -> None:
    plan = TrainingPlan(epochs=3, batch_size=16, learning_rate=1e-2, precision="bfloat16")
    alive = random_masks(tiny, 0.8, 1)
    network = jax.tree.map(jnp.array, masks.apply(alive, tiny.network))
    state = start(network, plan, digits.train)
    for state in fit(keys.root(0), state, digits.task, digits.train, plan, masks=alive):  # noqa: B020
        assert dtypes(state.network) == {"float32"}
    assert dtypes(state.optimiser) == {"float32", "int32"}
    assert evaluate(state.network, digits.task, digits.test) > 0.65
    for name, mask in alive.items():
        array = np.asarray(state.network.parameters[name])
        assert (array[~mask] == 0).all()
        assert (array != np.asarray(jnp.asarray(array).astype(jnp.bfloat16).astype(jnp.float32))).mean() > 0.3
