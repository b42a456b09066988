"""Viability where outputs are no classes of an image: at every place of a map, and at every position of a text."""

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from named_networks import GPT, UNet

from synevo.genetics.viability import make_viable
from synevo.model.network import Network, build
from synevo.wiring import masks as masks_
from synevo.wiring.dissection import dissect
from synevo.wiring.masks import Masks
from synevo.wiring.units import Wiring


def masked(network: Network, masks: Masks, *, ones: bool = False) -> Network:
    """The network of its living synapses; with `ones`, each is 1 and all other numbers are 0: it counts paths."""
    parameters = {
        name: (jnp.ones_like(array) if ones else array) * masks[name] if name in masks else array * (not ones)
        for name, array in network.parameters.items()
    }
    return replace(network, parameters=parameters)


def viable(wiring: Wiring, network: Network, density: float, seed: int) -> tuple[Masks, int]:
    random = np.random.default_rng(seed)
    parent = masks_.full(wiring, network)
    sampled = {name: random.random(mask.shape) < density for name, mask in parent.items()}
    alive, _, restored = make_viable(wiring, network.parameters, parent, sampled)
    return alive, restored


def built(make: Callable[..., nnx.Module], shape: tuple[int, ...], outputs: int, inputs: jax.Array) -> Network:
    return build(lambda rngs: make(shape, outputs, rngs), (inputs,), jax.random.key(0))


def test_every_class_of_a_map_keeps_a_path_from_the_image() -> None:
    image = jnp.ones((2, 8, 8, 1))
    network = built(UNet, (8, 8, 1), 3, image)
    wiring = dissect(network, (image,)).wiring
    counting = jax.jit(lambda network: network(image))
    (head,) = [layer for layer in wiring.layers if layer.name == "head/kernel"]
    assert (len(wiring.layers), len(head.outputs)) == (5, 3)
    repaired = 0
    for density in (0.0, 0.003, 0.02, 0.2):
        for seed in range(2):
            masks, restored = viable(wiring, network, density, seed)
            paths = np.asarray(counting(masked(network, masks, ones=True)))
            assert (paths.max(axis=(0, 1, 2)) > 0).all()
            repaired += restored
            if density == 0.0:  # a path and no more: one synapse of each class, not one for each pixel
                assert masks["head/kernel"].sum() == 3
                assert sum(mask.sum() for mask in masks.values()) <= 3 * len(wiring.layers)
    assert repaired > 0


def test_every_token_keeps_a_path_from_the_text_at_every_position() -> None:
    tokens = jnp.arange(12).reshape(2, 6) % 5
    network = built(GPT, (6,), 5, tokens)
    wiring = dissect(network, (tokens,)).wiring
    others = (tokens + 1) % 5
    both = jax.jit(lambda network: network(tokens) - network(others))
    repaired = 0
    for density in (0.0, 0.01, 0.1):
        for seed in range(2):
            masks, restored = viable(wiring, network, density, seed)
            changed = np.abs(np.asarray(both(masked(network, masks))))
            assert (changed > 0).all(), f"{(changed == 0).sum()} logits do not depend on the text"
            repaired += restored
    assert repaired > 0
