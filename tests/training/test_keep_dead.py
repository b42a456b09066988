"""Keeping the dead dead, behind any optimiser and in whatever tree parameters come."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from flax import nnx
from specimens import CLASSES, SHAPE, Deep, Normed, hatch, images

import synevo
from synevo.training.keep_dead import keep_dead

pytestmark = pytest.mark.slow

RESTLESS: dict[str, Any] = {
    "momentum": optax.sgd(0.1, momentum=0.9),
    "decay": optax.adamw(0.01, weight_decay=0.5),
    "nesterov and clipping": optax.chain(optax.clip_by_global_norm(1.0), optax.nadamw(0.01, weight_decay=0.1)),
    "noise": optax.chain(optax.add_noise(0.1, 0.5, 0), optax.sgd(0.1)),
}
"""Optimisers that move what has no gradient, or had one once."""


def halves(arrays: Any) -> dict[str, np.ndarray]:
    """Masks of which a random half of the synapses is alive, for every kernel among arrays by name."""
    random = np.random.default_rng(0)
    return {name: random.random(array.shape) < 0.5 for name, array in arrays.items() if name.endswith("kernel")}


def flat(tree: Any) -> dict[str, Any]:
    """Nested dictionaries by path, as `organism.living` names them."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(part.key for part in path): leaf for path, leaf in leaves}


ARRAYS = {
    "conv1/kernel": np.random.default_rng(1).normal(size=(3, 3, 1, 4)).astype(np.float32),
    "conv1/bias": np.ones(4, np.float32),
    "out/kernel": np.random.default_rng(2).normal(size=(4, 3)).astype(np.float32),
}


@pytest.mark.parametrize("name", RESTLESS)
def test_what_is_dead_and_zero_stays_exactly_zero_and_the_rest_is_moved_as_without(name: str) -> None:
    """Gradients are the same for both, so that they differ in nothing but the dead."""
    masks = halves(ARRAYS)
    start = {key: jnp.asarray(np.where(masks.get(key, True), array, 0)) for key, array in ARRAYS.items()}
    random = np.random.default_rng(3)
    gradients = [
        {key: jnp.asarray(random.normal(size=array.shape), jnp.float32) for key, array in ARRAYS.items()}
        for _ in range(5)
    ]

    def run(optimiser: Any) -> Any:
        parameters, state = start, optimiser.init(start)
        for gradient in gradients:
            updates, state = optimiser.update(gradient, state, parameters)
            parameters = optax.apply_updates(parameters, updates)
        return parameters

    kept, free = run(optax.chain(RESTLESS[name], keep_dead(masks))), run(RESTLESS[name])
    for key, mask in masks.items():
        assert (np.asarray(kept[key])[~mask] == 0).all()
        assert (np.asarray(free[key])[~mask] != 0).any()
        assert (np.asarray(kept[key])[mask] != np.asarray(start[key])[mask]).all()
    np.testing.assert_array_equal(kept["conv1/bias"], free["conv1/bias"])


def test_momentum_from_before_a_synapse_died_does_not_move_it() -> None:
    momentum = optax.sgd(0.1, momentum=0.9)
    start, gradient = {"w": jnp.ones(4)}, {"w": jnp.ones(4)}
    updates, state = momentum.update(gradient, momentum.init(start), start)
    mask = np.array([True, False, True, False])
    parameters = {"w": jnp.where(mask, optax.apply_updates(start, updates)["w"], 0)}
    optimiser = optax.chain(momentum, keep_dead({"w": mask}))
    state = (state, optax.EmptyState())
    for _ in range(3):
        updates, state = optimiser.update({"w": jnp.zeros(4)}, state, parameters)
        parameters = optax.apply_updates(parameters, updates)
    moved = 0.9 - 0.1 * (0.9 + 0.9**2 + 0.9**3)
    np.testing.assert_allclose(parameters["w"], [moved, 0, moved, 0], rtol=1e-6)


class TwoLayers(nn.Module):
    """A convolution and a matrix, in Linen."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.relu(nn.Conv(4, (3, 3), name="conv")(x))
        return nn.Dense(CLASSES, name="out")(x.mean((1, 2)))


def test_the_parameters_of_a_linen_module_are_masked_by_the_names_of_an_organism() -> None:
    module, x, labels = TwoLayers(), jnp.asarray(images(16)), jnp.arange(16) % CLASSES
    variables = module.init(jax.random.key(0), x)
    organism = synevo.Organism.of(module, SHAPE, variables=variables)
    masks = halves(organism.living)
    assert masks.keys() == {"conv/kernel", "out/kernel"}
    optimiser = optax.chain(optax.adamw(0.01, weight_decay=0.1), keep_dead(masks))
    parameters = jax.tree_util.tree_map_with_path(
        lambda path, array: jnp.where(masks.get("/".join(part.key for part in path), True), array, 0),
        variables["params"],
    )
    state, before = optimiser.init(parameters), flat(parameters)

    @jax.jit
    def step(parameters: Any, state: Any) -> Any:
        def loss(parameters: Any) -> Any:
            logits = module.apply({"params": parameters}, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        updates, state = optimiser.update(jax.grad(loss)(parameters), state, parameters)
        return optax.apply_updates(parameters, updates), state

    for _ in range(3):
        parameters, state = step(parameters, state)
    assert_kept(before, flat(parameters), masks)


@pytest.mark.parametrize("kind", [Normed, Deep])
def test_the_state_of_an_nnx_optimizer_is_masked_by_the_names_of_an_organism(kind: Any) -> None:
    x, labels = jnp.asarray(images(16)), jnp.arange(16) % CLASSES
    whole = synevo.Organism.of(hatch(kind), SHAPE)
    masks = halves(whole.living)
    assert masks.keys() == {name for name in whole.network.parameters if name.endswith("kernel")}
    organism = synevo.Organism.left(whole.species, whole.whole, masks, whole.units)
    model: Any = organism.model
    optimizer = nnx.Optimizer(
        model, optax.chain(optax.adamw(0.01, weight_decay=0.1), synevo.keep_dead(organism.living)), wrt=nnx.Param
    )

    @nnx.jit
    def step(model: Any, optimizer: Any) -> None:
        def loss(model: Any) -> Any:
            return optax.softmax_cross_entropy_with_integer_labels(model(x), labels).mean()

        optimizer.update(model, nnx.grad(loss)(model))

    for _ in range(3):
        step(model, optimizer)
    trained = organism.trained(model)
    assert_kept(organism.network.parameters, trained.network.parameters, masks)


def assert_kept(before: Any, after: Any, masks: Any) -> None:
    """The dead are exactly zero, and of the living and of what has no mask most has moved."""
    for name, array in after.items():
        mask = masks.get(name, np.ones(array.shape, bool))
        assert (np.asarray(array)[~mask] == 0).all(), name
        assert (np.asarray(array)[mask] != np.asarray(before[name])[mask]).mean() > 0.5, name


@pytest.mark.parametrize("tree", [ARRAYS, {"params": {"out": {"kernel": ARRAYS["out/kernel"]}}}])
def test_a_mask_that_names_no_parameter_is_refused(tree: Any) -> None:
    optimiser = optax.chain(optax.sgd(0.1), keep_dead({"output/kernel": np.ones((4, 3), bool)}))
    tree = jax.tree.map(jnp.asarray, tree)
    with pytest.raises(KeyError, match="output/kernel") as caught:
        optimiser.update(tree, optimiser.init(tree), tree)
    assert "out/kernel" in str(caught.value).partition("the parameters are")[2]
