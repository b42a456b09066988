"""Flax Linen modules as nnx.Modules, which run with arrays of any size.

A Linen module has no arrays of its own. `Linen` holds it beside its variables, each under its path (`Conv_0/kernel`),
and hands them over at every call, so that whatever works on an nnx.Module works on it. Linen states sizes in code
(`nn.Dense(64)`) and insists on them. Under `Linen.fit`, an interceptor of Linen's methods, a parameter is what it was
given, and the few sizes that Linen's layers compute with (groups of a convolution, heads of an attention) follow from
the parameters. Where the user's own code states a size, the comparison with the prediction finds it, as in any model.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx
from flax.core import meta
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import Array

from synevo.errors import AncestorError

MODES = {"train": True, "training": True, "is_training": True, "deterministic": False, "use_running_average": False}
"""The names by which a Linen module is told its mode, and what each of them is in training."""

_KINDS = {"params": nnx.Param, "batch_stats": nnx.BatchStat}
_PASSING = {"intermediates", "perturbations"}

Path = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Origin:
    """What stays as a Linen module evolves; compared by identity, because Linen modules need not be hashable.

    `calls` are the module and the keywords of a call in evaluation and in training, `leaves` the collection and path of
    each variable, `group_sizes` the channels in a group of each normalisation that states how many groups it has.
    """

    calls: tuple[tuple[nn.Module, Mapping[str, bool]], ...]
    leaves: tuple[Path, ...]
    group_sizes: Mapping[Path, int]


class Linen(nnx.Module):
    """A Linen module and its variables: a callable of what the module takes."""

    def __init__(self, origin: Origin, variables: Mapping[Path, Array], rngs: nnx.Rngs) -> None:
        self.origin = origin
        self.deterministic = True
        self.rngs = nnx.Rngs(params=rngs(), dropout=rngs())
        kept = {path[1:]: _KINDS.get(path[0], nnx.Variable)(value) for path, value in variables.items()}
        for name, branch in unflatten_dict(kept).items():
            if hasattr(self, name) or len(kept) < len(variables):
                raise AttributeError(f"two things would have the name {name}")
            setattr(self, name, nnx.data(branch))

    def __call__(self, *inputs: Any) -> Any:
        """Run the module; in training mode it gets random keys, and its statistics are updated."""
        training = not self.deterministic
        module, keywords = self.origin.calls[training]
        statistics = sorted({path[0] for path in self.origin.leaves} - {"params"})
        keys = {name: stream() for name, stream in self.rngs.items()} if training else {}
        with nn.intercept_methods(self.fit):
            result, updates = module.apply(
                self.variables, *inputs, rngs=keys, mutable=statistics if training else [], **keywords
            )
        for path, value in flatten_dict(updates).items():
            self._variable(path).set_value(value)
        return result

    @property
    def variables(self) -> dict[str, Any]:
        """The variables as Linen takes them: `{"params": …, "batch_stats": …}`."""
        return unflatten_dict({path: self._variable(path).get_value() for path in self.origin.leaves})

    def fit(self, method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        """For `nn.intercept_methods`: under it, Linen's own `apply` runs with these `variables`."""
        module = context.module
        if module.scope is not None:
            object.__setattr__(module, "param", partial(_param, module))
            if context.method_name == "__call__":
                for name, size in self._sizes(module, *args, *kwargs.values()).items():
                    object.__setattr__(module, name, size)
        return method(*args, **kwargs)

    def _sizes(self, module: nn.Module, *inputs: Any) -> dict[str, Any]:
        """The attributes with which a Linen layer computes, as its parameters and inputs have them."""
        own = module.variables.get("params", {})
        match module:
            case nn.Conv(feature_group_count=groups) if groups > 1:
                return {"feature_group_count": inputs[0].shape[-1] // own["kernel"].shape[-2]}
            case nn.DenseGeneral(features=features):
                return {"features": own["kernel"].shape[-np.size(features) :]}
            case nn.Einsum():
                return {"shape": own["kernel"].shape}
            case nn.MultiHeadDotProductAttention():
                _, heads, width = own["query"]["kernel"].shape
                return {"num_heads": heads, "qkv_features": heads * width}
            case nn.GroupNorm() if module.path in self.origin.group_sizes:
                return {"num_groups": None, "group_size": self.origin.group_sizes[module.path]}
        return {}

    def _variable(self, path: Path) -> Any:
        found: Any = vars(self)
        for name in path[1:]:
            found = found[name]
        return found


def as_nnx(
    module: nn.Module,
    inputs: tuple[Any, ...],
    *,
    variables: Mapping[str, Any] | None = None,
    rngs: nnx.Rngs | None = None,
) -> Linen:
    """Return a Linen module as an nnx.Module that runs on `inputs`, with these variables or freshly initialised ones.

    `inputs` are the arguments of a call, arrays or their shapes and dtypes alone; the first axis counts examples.

    Raises:
        AncestorError: where it does not run on them alone, or the variables are not its own.
    """
    rngs = rngs or nnx.Rngs(0)
    zeros = jax.tree.map(lambda array: jnp.zeros(array.shape, array.dtype), inputs)
    try:
        calls = tuple(_call(module, training=training) for training in (False, True))
        silent, keywords = calls[False]
        if variables is None:
            init = jax.jit(partial(silent.init, **keywords))
            variables = init({"params": rngs(), "dropout": rngs()}, *zeros)
        leaves = _leaves(variables)
        group_sizes: dict[Path, int] = {}
        with nn.intercept_methods(partial(_measure, group_sizes)):
            jax.eval_shape(partial(silent.apply, **keywords), unflatten_dict(leaves), *zeros)
        model = Linen(Origin(calls, tuple(leaves), group_sizes), leaves, rngs)
        _try(model, zeros)
    except Exception as error:
        raise AncestorError(
            f"The Linen module {type(module).__name__} does not run on {_sizes_of(inputs)}: "
            f"{type(error).__name__}: {error}",
            remedy=f"It is called with its inputs alone, and told its mode where it takes {', '.join(MODES)}. "
            "It must give arrays [n, …], and draw random numbers and update statistics in training only.",
        ) from error
    return model


def _call(module: nn.Module, *, training: bool) -> tuple[nn.Module, dict[str, bool]]:
    """The module and the keywords of its call in a mode, of which it is told in its call or in its fields."""
    modes = {name: value == training for name, value in MODES.items()}
    taken, stated = inspect.signature(module.__call__).parameters, {field.name for field in fields(module)}
    own = {name for name in stated & modes.keys() if name not in taken or getattr(module, name) is not None}
    keywords = {name: mode for name, mode in modes.items() if name in taken and name not in own}
    return module.clone(**{name: modes[name] for name in own}), keywords


def _leaves(variables: Mapping[str, Any]) -> dict[Path, Array]:
    """The arrays among variables by collection and path, without what a call leaves behind only to be looked at."""
    leaves = flatten_dict(meta.unbox({name: tree for name, tree in variables.items() if name not in _PASSING}))
    return {path: value for path, value in leaves.items() if hasattr(value, "dtype")}


def _measure(group_sizes: dict[Path, int], method: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Intercepts Linen's methods to note the sizes of groups that are stated by their number."""
    module = context.module
    if isinstance(module, nn.GroupNorm) and module.num_groups and context.method_name == "__call__":
        group_sizes[module.path] = (*args, *kwargs.values())[0].shape[-1] // module.num_groups
    return method(*args, **kwargs)


def _param(module: nn.Module, name: str, initialise: Any, *args: Any, **kwargs: Any) -> Any:
    """`nn.Module.param` without its comparison with the shape that `initialise` would give."""
    if not module.has_variable("params", name):
        return nn.Module.param(module, name, initialise, *args, **kwargs)
    given = module.get_variable("params", name)
    return nn.Module.param(module, name, lambda _: given)


def _sizes_of(inputs: tuple[Any, ...]) -> str:
    """What is said of inputs: their shapes, without the axis of examples where there is only one array."""
    leaves = jax.tree.leaves(inputs)
    if len(leaves) == 1:
        return f"inputs of {tuple(leaves[0].shape[1:])}"
    return f"inputs of {', '.join(str(tuple(leaf.shape)) for leaf in leaves)}"


def _try(model: Linen, inputs: tuple[Any, ...]) -> None:
    """Trace a model in both modes; whatever the user's code raises, or TypeError where results count no examples."""
    examples = jax.tree.leaves(inputs)[0].shape[:1]
    for mode in ("train", "eval"):
        getattr(model, mode)()
        graph, state = nnx.split(model)
        result = jax.eval_shape(lambda state, x, graph=graph: nnx.merge(graph, state)(*x), state, inputs)
        if any(leaf.shape[:1] != examples for leaf in jax.tree.leaves(result)):
            raise TypeError(f"the result in mode {mode!r} is {jax.tree.map(jnp.shape, result)}")
