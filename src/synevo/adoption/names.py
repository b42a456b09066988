"""Names of arrays, whatever wrote them: what wrappers add is taken off, and what is no weight is told.

A name such as `module.layer2.0.conv1.weight` has parts, the last of which is a role: in one framework `weight`, in
another `kernel`. `Names` finds the array of a network that is meant; two names that differ in more than wrappers and
roles are never taken for one another.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Parts = tuple[str, ...]

WRAPPERS = {
    *("params", "batch_stats", "variables", "state", "state_dict", "model_state_dict", "model_state", "weights"),
    *("module", "model", "model_weights", "net", "network", "_orig_mod", "default", "item"),
}
"""First parts that a file may have and the network has not."""

_VALUES = {"value", "raw_value"}
"""The last part of every name in an `nnx.State`."""

_NO_WEIGHTS = {
    *("opt_state", "optimizer", "optimizers", "optimizer_state", "optimizer_states", "optimizer_state_dict"),
    *("optimizer_weights", "optim", "lr_scheduler", "lr_schedulers", "scheduler"),
    *("rngs", "seed_generator"),
}
"""Parts whose whole branch is the state of an optimiser or of random numbers."""

_COUNTERS = {"num_batches_tracked", "step", "global_step", "epoch", "iteration", "count"}
"""Last parts of integers that count."""

ROLES: Mapping[str, tuple[str, ...]] = {
    "weight": ("kernel", "scale", "embedding"),
    "depthwise_kernel": ("kernel",),
    "gamma": ("scale",),
    "beta": ("bias",),
    "running_mean": ("mean",),
    "moving_mean": ("mean",),
    "running_var": ("var",),
    "moving_variance": ("var",),
    "embeddings": ("embedding",),
}
"""What the last part of a name in another framework may be called in Flax."""


def split(name: str) -> Parts:
    """Return the parts of a name, written with dots or slashes; the `:0` of TensorFlow is no part."""
    return tuple(part for part in re.split(r"[./]", re.sub(r":\d+$", "", name)) if part) or (name,)


def without_values(names: Iterable[str]) -> dict[str, Parts]:
    """Return the parts of names; where all weights end in `value`, as in an `nnx.State`, without it."""
    parts = {name: split(name) for name in names}
    weights = [one for one in parts.values() if not _NO_WEIGHTS & set(one) and one[-1] != "step"]
    if weights and all(len(one) > 1 and one[-1] in _VALUES for one in weights):
        return {name: one[:-1] if one[-1] in _VALUES and len(one) > 1 else one for name, one in parts.items()}
    return parts


def spellings(parts: Parts) -> Iterator[Parts]:
    """Yield a name as it is, and then with ever more taken off that wrappers and Keras have added."""
    while True:
        yield parts
        again = [place for place, part in enumerate(parts) if place and part == parts[0]]
        if again and len(parts) - again[-1] > 1:  # Keras repeats the layer: conv2d/model/conv2d/kernel
            yield parts[again[-1] :]
        if len(parts) < 2 or parts[0] not in WRAPPERS:  # noqa: PLR2004
            return
        parts = parts[1:]


def is_no_weight(parts: Parts, array: NDArray[Any], streams: Collection[Parts]) -> bool:
    """Return whether an array is the state of an optimiser, a counter, or random state, also of these `streams`."""
    if _NO_WEIGHTS & set(parts) or any(one in streams for one in spellings(parts)):
        return True
    return parts[-1] in _COUNTERS and array.size == 1 and bool(np.issubdtype(array.dtype, np.integer))


class Names:
    """The names of a network's arrays, which are found by those of other frameworks."""

    def __init__(self, names: Iterable[str], *, lists: Collection[Parts] = ()) -> None:
        """Take the names of the arrays, and the paths of the `lists` that other frameworks have no name for."""
        self.exact = {split(name): name for name in names}
        self.short = {_without(lists, parts): name for parts, name in self.exact.items()}

    def find(self, parts: Parts) -> list[str]:
        """Return the arrays that a name may mean: one, none, or several where roles leave it open."""
        for one in spellings(parts):
            if one in self.exact:
                return [self.exact[one]]
        for one in spellings(parts):
            *front, last = one
            found = [self.short.get((*front, role)) for role in (last, *ROLES.get(last, ()))]
            if any(found):
                return [name for name in found if name]
        return []


def _without(lists: Collection[Parts], parts: Parts) -> Parts:
    return tuple(part for place, part in enumerate(parts) if parts[: place + 1] not in lists)


def framework_of(kind: str, names: Iterable[str]) -> str:
    """Return whose layouts arrays have: `flax`, `keras`, `torch`, or `` where neither file nor names tell.

    `weight` with dots is PyTorch's name, and so are its running averages; `gamma`, `moving_mean` and the like are
    Keras'. Only Flax writes Orbax and MessagePack.
    """
    if kind in {"orbax", "msgpack"}:
        return "flax"
    if kind in {"torch", "keras"}:
        return kind
    known = list(names)
    roles = {parts[-1] for parts in map(split, known) if parts}
    if roles & {"num_batches_tracked", "running_mean"} or any(name.endswith(".weight") for name in known):
        return "torch"
    if roles & {"gamma", "moving_mean", "moving_variance", "embeddings", "depthwise_kernel"}:
        return "keras"
    return ""
