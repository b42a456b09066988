"""Fitting: a blueprint for arrays of other sizes, so that the user's own model runs with them unchanged.

Most of Flax's layers take their sizes from their arrays. Some also state sizes in attributes. The model reads some of
these when it runs (groups of a convolution, heads of an attention); others are only informative (`in_features`).
`refit` sets them from the arrays. It does not change other layers; if the code of one needs a certain size, the
comparison with the predicted program finds it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from synevo.model.blueprint import Blueprint

Shape = tuple[int, ...]


def refit(blueprint: Blueprint, arrays: Mapping[str, Any], groups: Mapping[str, int]) -> Blueprint:
    """Return the blueprint for arrays of other sizes.

    `groups` is the number of groups of each kernel, by name, and the value of attributes of the user's modules, by
    `module.attribute`.
    """
    evaluation = training = _refit(blueprint.evaluation, blueprint, arrays, groups)
    if blueprint.training is not blueprint.evaluation:
        training = _refit(blueprint.training, blueprint, arrays, groups)
    return replace(blueprint, training=training, evaluation=evaluation)


def _refit(graph: Any, blueprint: Blueprint, arrays: Mapping[str, Any], groups: Mapping[str, int]) -> Any:
    leaves = {name: _hollow(jnp.shape(array), array.dtype) for name, array in arrays.items()}
    names, model = {id(leaf): name for name, leaf in leaves.items()}, _hollow_model(graph, blueprint, leaves)
    for path, module in nnx.iter_modules(model):
        for name in _stated(module):
            setattr(module, name, groups.get(_attribute(path, name), getattr(module, name)))
        changes = [change for kind, change in _CHANGES.items() if isinstance(module, kind)]
        own = _arrays_of(module) if changes else {}
        name = names.get(id(own.get("kernel")), "")
        for change in changes:
            change(module, {name: tuple(array.shape) for name, array in own.items()}, groups.get(name, 1))
    return nnx.split(model)[0]


def stated_sizes(blueprint: Blueprint, arrays: Mapping[str, Any]) -> dict[str, int]:
    """Return the integers above 1 in the attributes of the user's modules, by `module.attribute`."""
    leaves = {name: _hollow(jnp.shape(array), array.dtype) for name, array in arrays.items()}
    modules = nnx.iter_modules(_hollow_model(blueprint.evaluation, blueprint, leaves))
    found = {_attribute(path, name): size for path, module in modules for name, size in _stated(module).items()}
    return {name: size for name, size in found.items() if size > 1}


def _stated(module: Any) -> dict[str, int]:
    """Return the integers in the attributes of a module, of which a layer of Flax has none that is not known here."""
    if type(module).__module__.partition(".")[0] == "flax":
        return {}
    return {name: value for name, value in vars(module).items() if type(value) is int}


def _attribute(path: tuple[Any, ...], name: str) -> str:
    return f"{'/'.join(map(str, path))}.{name}"


def _hollow_model(graph: Any, blueprint: Blueprint, leaves: Mapping[str, Any]) -> Any:
    """Return the model of a graph with these arrays, and random-number state without numbers."""
    state: dict[Any, Any] = {blueprint.paths[name]: leaf for name, leaf in leaves.items()}
    state |= {one.path: _hollow(one.shape, np.uint32) for one in blueprint.streams}
    return nnx.merge(graph, nnx.from_flat_state(state | dict(blueprint.constants)))


def _hollow(shape: Shape, dtype: Any) -> Any:
    """Return an array of zeros that takes no memory; to Flax, shapes and dtypes alone are no arrays."""
    return np.broadcast_to(np.zeros((), dtype), shape)


def _arrays_of(module: Any) -> dict[str, Any]:
    """Return the arrays of a layer and of the layers in it by their names, also those that another layer shares."""
    found: dict[str, Any] = {}
    for name, value in vars(module).items():
        if isinstance(value, nnx.Module):
            found |= {f"{name}/{inner}": array for inner, array in _arrays_of(value).items()}
        elif isinstance(value, nnx.Variable) and not isinstance(value, nnx.RngState):
            found[name] = value.get_value()
    return found


def _set(module: Any, **attributes: Any) -> None:
    for name, value in attributes.items():
        if getattr(module, name, value) != value:
            setattr(module, name, value)


def _conv(module: Any, own: Mapping[str, Shape], groups: int) -> None:
    kernel = own["kernel"]
    _set(module, feature_group_count=groups, in_features=kernel[-2] * groups, out_features=kernel[-1])
    _set(module, kernel_shape=kernel)


def _conv_transpose(module: Any, own: Mapping[str, Shape], groups: int) -> None:
    del groups
    kernel = own["kernel"]
    inside, outside = (kernel[-1], kernel[-2]) if module.transpose_kernel else (kernel[-2], kernel[-1])
    _set(module, in_features=inside, out_features=outside, kernel_shape=kernel)


def _linear(module: Any, own: Mapping[str, Shape], groups: int) -> None:
    del groups
    _set(module, in_features=own["kernel"][0], out_features=own["kernel"][1])


def _linear_general(module: Any, own: Mapping[str, Shape], groups: int) -> None:
    del groups
    batch, inside = len(module.batch_axis), len(module.in_features)
    kernel = own["kernel"]
    _set(module, in_features=kernel[batch : batch + inside], out_features=kernel[batch + inside :])
    if batch:
        axes = dict(zip(module.batch_axis, kernel[:batch], strict=True))
        _set(module, batch_axis=type(module.batch_axis)(axes))


def _attention(module: Any, own: Mapping[str, Shape], groups: int) -> None:
    del groups
    features, heads, width = own["query/kernel"]
    _set(module, in_features=features, num_heads=heads, head_dim=width, qkv_features=heads * width)
    _set(module, in_kv_features=own["key/kernel"][0], num_kv_heads=own["key/kernel"][1])
    _set(module, out_features=own["out/kernel"][-1])


def _einsum(module: Any, own: Mapping[str, Shape], groups: int) -> None:
    del groups
    _set(module, kernel_shape=own["kernel"])
    if "bias" in own:
        _set(module, bias_shape=own["bias"])


def _normalisation(module: Any, own: Mapping[str, Shape], groups: int) -> None:
    del groups
    widths = [own[name][0] for name in ("scale", "bias", "mean") if name in own and len(own[name]) == 1]
    if widths:
        _set(module, num_features=widths[0])


def _group_norm(module: Any, own: Mapping[str, Shape], groups: int) -> None:
    del groups
    for name in ("scale", "bias"):
        if name in own:
            _set(module, num_groups=own[name][0] // module.group_size)


def _embedding(module: Any, own: Mapping[str, Shape], groups: int) -> None:
    del groups
    _set(module, num_embeddings=own["embedding"][0], features=own["embedding"][1])


def _cell(array: str, gates: int) -> Callable[[Any, Mapping[str, Shape], int], None]:
    def change(module: Any, own: Mapping[str, Shape], groups: int) -> None:
        del groups
        _set(module, hidden_features=own[array][-1] // gates)

    return change


_CHANGES: dict[type[Any], Callable[[Any, Mapping[str, Shape], int], None]] = {
    nnx.Conv: _conv,
    nnx.ConvTranspose: _conv_transpose,
    nnx.Linear: _linear,
    nnx.LinearGeneral: _linear_general,
    nnx.MultiHeadAttention: _attention,
    nnx.Einsum: _einsum,
    nnx.BatchNorm: _normalisation,
    nnx.LayerNorm: _normalisation,
    nnx.RMSNorm: _normalisation,
    nnx.GroupNorm: _group_norm,
    nnx.Embed: _embedding,
    nnx.LSTMCell: _cell("hi/kernel", 1),
    nnx.OptimizedLSTMCell: _cell("dense_h/kernel", 4),
    nnx.GRUCell: _cell("dense_h/kernel", 3),
    nnx.SimpleCell: _cell("dense_h/kernel", 1),
}
