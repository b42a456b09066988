"""The inputs that a network was given, and the width that it wanted instead, in words."""

import re
from typing import Any

import jax

_WANTED = (
    re.compile(r"feature dimension size[^,]*, but (?P<given>\d+)(?: // \d+)? != (?P<wanted>\d+)"),
    re.compile(r"contracting dimensions to have the same shape, got \((?P<given>\d+),\) and \((?P<wanted>\d+),\)"),
    re.compile(
        r"generate shape \((?:\d+, )*(?P<given>\d+), \d+\), but the existing parameter it received has shape "
        r"\((?:\d+, )*(?P<wanted>\d+), \d+\)"
    ),
)
"""What JAX and Flax say of a layer whose input has another width: of a convolution, of a matrix, of any in Linen."""


def described(inputs: Any) -> str:
    """Return the dtype and the shape of each input, without the number of examples."""
    leaves = jax.tree.leaves(inputs)
    return ", ".join(f"{leaf.dtype} [{', '.join(['n', *map(str, leaf.shape[1:])])}]" for leaf in leaves)


def another_width(error: Exception, inputs: Any) -> str:
    """Return the remedy where a layer wants another width than it is given; empty where the error is another."""
    found = next((match for kind in _WANTED if (match := kind.search(str(error)))), None)
    if found is None:
        return ""
    channels = f"{found['given']} channel{'' if found['given'] == '1' else 's'}"
    return (
        f"The inputs were {described(inputs)}. A layer got {channels} there, and its arrays are for "
        f"{found['wanted']}: give inputs of the shape that the network was built for, or build it for these."
    )
