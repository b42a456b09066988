"""The state of an optimiser, cut with its network: training goes on as if the dead units had never been there."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from flax.training.train_state import TrainState
from specimens import SHAPE, Tiny, hatch, images, specimen

import synevo
from synevo import keys
from synevo.errors import CompactionError
from synevo.training.keep_dead import keep_dead

pytestmark = pytest.mark.slow

X = jnp.asarray(images(16, SHAPE))
Y = jnp.arange(16) % 4


def loss(logits: Any) -> Any:
    return optax.softmax_cross_entropy_with_integer_labels(logits, Y).mean()


@nnx.jit
def step(model: Any, optimiser: Any) -> None:
    optimiser.update(model, nnx.grad(lambda model: loss(model(X)))(model))


def half_dead(model: Any) -> dict[str, Any]:
    """Masks that leave the last filters of both convolutions."""
    masks = {}
    for name in ("conv1", "conv2"):
        kernel = np.zeros(getattr(model, name).kernel.shape, bool)
        kernel[..., 2:] = True
        masks |= {f"{name}/kernel": kernel, f"{name}/bias": kernel[0, 0, 0]}
    return masks


def test_an_nnx_optimiser_goes_on_with_the_smaller_model_as_with_the_masked_one() -> None:
    model: Any = hatch(Tiny)
    masks = half_dead(model)
    for name in ("conv1", "conv2"):
        for array in ("kernel", "bias"):
            variable = getattr(getattr(model, name), array)
            variable.set_value(variable.get_value() * masks[f"{name}/{array}"])
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2), keep_dead(masks))
    optimiser = nnx.Optimizer(model, rule, wrt=nnx.Param)
    for _ in range(3):
        step(model, optimiser)
    done = synevo.compact(model, SHAPE, masks=masks)
    small: Any = done.model
    rule = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2), optax.identity())
    smaller = nnx.Optimizer(small, rule, wrt=nnx.Param)
    nnx.update(smaller, done.cut(nnx.state(optimiser)))
    moments = nnx.state(smaller)["opt_state"]
    shapes = {tuple(leaf.shape) for leaf in jax.tree.leaves(moments) if leaf.ndim == 4}
    assert shapes == {small.conv1.kernel.shape, small.conv2.kernel.shape}
    step(model, optimiser)
    small.train()
    step(small, smaller)
    np.testing.assert_allclose(
        small.conv1.kernel.get_value(), model.conv1.kernel.get_value()[..., 2:], rtol=0, atol=1e-6
    )
    np.testing.assert_allclose(small.conv2.bias.get_value(), model.conv2.bias.get_value()[2:], rtol=0, atol=1e-6)


def test_a_state_beside_the_model_is_cut_along_the_line_of_descent() -> None:
    parent = specimen(Tiny).organism
    _, parameters = nnx.split(parent.model, nnx.Param)
    state = optax.adam(1e-2).init(parameters)
    child = synevo.conceive(keys.root(0), [parent], keep_clusters=0.5, keep_synapses=0.4)
    grandchild = synevo.conceive(keys.root(1), [child], keep_clusters=0.5, keep_synapses=0.4)
    assert not grandchild.units.all()
    cut = grandchild.cut(child.cut(state, parent), child)
    _, left = nnx.split(grandchild.model, nnx.Param)
    assert jax.tree.map(jnp.shape, cut[0].mu) == jax.tree.map(jnp.shape, left)
    assert cut[0].count == 0
    with pytest.raises(CompactionError, match="not in this parent"):
        parent.cut(state, child)


class Net(nn.Module):
    """A Linen network with a normalisation."""

    @nn.compact
    def __call__(self, x: Any, *, train: bool) -> Any:
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(6, (3, 3))(x)))
        return nn.Dense(4)(x.mean(axis=(1, 2)))


def test_a_linen_train_state_is_cut_whole() -> None:
    net = Net()
    variables = net.init(jax.random.key(0), X, train=False)
    state = TrainState.create(apply_fn=net.apply, params=variables["params"], tx=optax.sgd(1e-2, momentum=0.9))
    kernel = np.zeros((3, 3, 1, 6), bool)
    kernel[..., [1, 4]] = True
    vectors = ("Conv_0/bias", "BatchNorm_0/scale", "BatchNorm_0/bias", "BatchNorm_0/mean")
    masks = {"Conv_0/kernel": kernel} | dict.fromkeys(vectors, kernel[0, 0, 0])
    done = synevo.compact(net, SHAPE, variables=variables, masks=masks)
    cut = done.cut(state)
    assert cut.params["Conv_0"]["kernel"].shape == (3, 3, 1, 2)
    np.testing.assert_array_equal(cut.params["Conv_0"]["kernel"], state.params["Conv_0"]["kernel"][..., [1, 4]])
    assert cut.opt_state[0].trace["Dense_0"]["kernel"].shape == (2, 4)
    assert cut.step == state.step


def test_what_does_not_mirror_an_array_is_named() -> None:
    parent = specimen(Tiny).organism
    _, parameters = nnx.split(parent.model, nnx.Param)
    state = optax.adafactor(1e-2, min_dim_size_to_factor=2).init(parameters)
    child = synevo.conceive(keys.root(0), [parent], keep_clusters=0.5, keep_synapses=0.4)
    with pytest.raises(CompactionError, match=r"v_row/.*kernel") as error:
        child.cut(state, parent)
    assert "anew" in error.value.remedy
