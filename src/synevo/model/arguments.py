"""The arguments of a network as a JSON value: how arrays stand in tuples, lists and dicts."""

from typing import Any

import jax

from synevo.model.network import Inputs

_KINDS: dict[str, Any] = {"tuple": tuple, "list": list}


def structure_of(inputs: Inputs) -> Any:
    """Return the structure of arguments, with the place of each array in it; None if it holds other containers."""
    leaves, tree = jax.tree.flatten(inputs)
    try:
        return _encode(jax.tree.unflatten(tree, range(len(leaves))))
    except TypeError:
        return None


def arranged(structure: Any, leaves: list[Any]) -> Any:
    """Return arrays in a structure from `structure_of`; raise TypeError, KeyError or IndexError if it is none."""
    if isinstance(structure, int):
        return leaves[structure]
    ((kind, parts),) = structure.items()
    if kind == "dict":
        return {name: arranged(part, leaves) for name, part in parts.items()}
    return _KINDS[kind](arranged(part, leaves) for part in parts)


def _encode(tree: Any) -> Any:
    if type(tree) is int:
        return tree
    if type(tree) is dict and all(isinstance(name, str) for name in tree):
        return {"dict": {name: _encode(part) for name, part in tree.items()}}
    if type(tree) in _KINDS.values():
        return {type(tree).__name__: [_encode(part) for part in tree]}
    raise TypeError
