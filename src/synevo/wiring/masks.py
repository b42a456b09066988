"""Masks: which synapses of a network are alive.

A mask is one boolean array a layer, in the layer's current shape. Most code works on its view [inputs, outputs, places
in the window] (`by_unit`), in which a convolution and a matrix are alike.
"""

import math
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import NDArray

from synevo.model.network import Network
from synevo.wiring.units import Layer, Wiring

Mask = NDArray[np.bool_]

Masks = dict[str, Mask]


def full(wiring: Wiring, network: Network) -> Masks:
    """Return the masks of a network in which every synapse is alive."""
    return {layer.name: np.ones(network.parameters[layer.name].shape, bool) for layer in wiring.layers}


def complete(wiring: Wiring, masks: Masks) -> Masks:
    """Return the masks in which synapses that cannot die alone (`Layer.grain`) live if any of their filter does."""
    completed = dict(masks)
    for layer in wiring.layers:
        if layer.grain != "synapse":
            view = by_unit(layer, masks[layer.name])
            lives = view.any(axis=(0, 2), keepdims=True) | (layer.grain == "none")
            completed[layer.name] = from_units(layer, np.broadcast_to(lives, view.shape), masks[layer.name].shape)
    return completed


@jax.jit
def apply(masks: dict[str, Any], network: Network) -> Network:
    """Return the network with every dead synapse exactly zero."""
    parameters = {
        name: jnp.where(masks[name], array, 0) if name in masks else array for name, array in network.parameters.items()
    }
    return replace(network, parameters=parameters)


def by_unit(layer: Layer, array: Any) -> Any:
    """Return an array of a layer as [inputs, outputs, places in the window]."""
    inputs, outputs = axes_of(layer)
    moved = (jnp if isinstance(array, Array) else np).moveaxis(
        array, (*inputs, *outputs), tuple(range(len(inputs) + len(outputs)))
    )
    places = math.prod(moved.shape[len(inputs) + len(outputs) :])
    return moved.reshape(len(layer.inputs), len(layer.outputs), places)


def from_units(layer: Layer, view: Any, shape: tuple[int, ...]) -> Any:
    """Undo `by_unit`: return an array [inputs, outputs, places] in the layer's own shape."""
    inputs, outputs = axes_of(layer)
    order = (*inputs, *outputs, *(axis for axis in range(len(shape)) if axis not in (*inputs, *outputs)))
    backend = jnp if isinstance(view, Array) else np
    return backend.transpose(view.reshape([shape[axis] for axis in order]), np.argsort(order).tolist())


def axes_of(layer: Layer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the axes of a layer's array that are its inputs, and those that are its outputs."""
    first, second = ((axis,) if isinstance(axis, int) else axis for axis in (layer.input_axis, layer.output_axis))
    return first, second
