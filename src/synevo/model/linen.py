"""Flax Linen modules as nnx.Modules, which run with arrays of any size.

A Linen module has no arrays of its own. `Linen` holds it beside its variables, each under its path (`Conv_0/kernel`),
and passes them at every call, so it can be used like any nnx.Module. Linen states sizes in code (`nn.Dense(64)`) and
checks them. `Linen.fit` intercepts Linen's methods: then a parameter keeps the shape that it was given, and the few
sizes that Linen's layers compute with (groups of a convolution, heads of an attention) are read from the parameters.
Where the user's own code states a size, the comparison with the predicted program finds it, as in any model.
"""

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
from synevo.model.given import another_width
from synevo.model.modes import MODES, modes_of_call, modes_of_fields, under_axes

_KINDS = {"params": nnx.Param, "batch_stats": nnx.BatchStat}
_PASSING = {"intermediates", "perturbations"}

Path = tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Origin:
    """The parts of a Linen module that never change; compared by identity, because Linen modules need not be hashable.

    `calls` are the module and the keywords of a call, in evaluation and in training. `leaves` are the collection and
    path of each variable. `group_sizes` is the number of channels in a group, for each normalisation with a stated
    number of groups.
    """

    calls: tuple[tuple[nn.Module, Mapping[str, bool]], ...]
    leaves: tuple[Path, ...]
    group_sizes: Mapping[Path, int]


class Linen(nnx.Module):
    """A Linen module with its variables, called like the module itself."""

    def __init__(self, origin: Origin, variables: Mapping[Path, Array], rngs: nnx.Rngs) -> None:
        self.origin = origin
        self.deterministic = True
        self.rngs = nnx.Rngs(params=rngs(), dropout=rngs())
        kept = {path[1:]: _KINDS.get(path[0], nnx.Variable)(value) for path, value in variables.items()}
        for name, branch in unflatten_dict(kept).items():
            if hasattr(self, name) or len(kept) < len(variables):
                raise AttributeError(f"two things would have the name {name}")
            setattr(self, name, nnx.data(branch))

    def held(self) -> nn.Module:
        """Return the Linen module itself, whose call says which arguments it takes."""
        return self.origin.calls[0][0]

    def __call__(self, *inputs: Any, **given: Any) -> Any:
        """Run the module; in training mode, give it random keys and update its statistics.

        `given` are more arguments of its call.
        """
        training = not self.deterministic
        module, keywords = self.origin.calls[training]
        statistics = sorted({path[0] for path in self.origin.leaves} - {"params"})
        keys = {name: stream() for name, stream in self.rngs.items()} if training else {}
        with nn.intercept_methods(self.fit):
            mutable = statistics if training else []
            apply = partial(module.apply, self.variables, rngs=keys, mutable=mutable, **keywords, **given)
            result, updates = under_axes(apply, *inputs)
        for path, value in flatten_dict(updates).items():
            self._variable(path).set_value(value)
        return result

    @property
    def variables(self) -> dict[str, Any]:
        """The variables in Linen's form: `{"params": …, "batch_stats": …}`."""
        return unflatten_dict({path: self._variable(path).get_value() for path in self.origin.leaves})

    def fit(self, method: Any, args: Any, kwargs: Any, context: Any) -> Any:
        """Intercept Linen's methods (`nn.intercept_methods`), so that Linen's `apply` runs with these `variables`."""
        module = context.module
        if module.scope is not None:
            object.__setattr__(module, "param", partial(_param, module))
            if context.method_name == "__call__":
                for name, size in self._sizes(module, *args, *kwargs.values()).items():
                    object.__setattr__(module, name, size)
        return method(*args, **kwargs)

    def _sizes(self, module: nn.Module, *inputs: Any) -> dict[str, Any]:
        """Return the attributes that a Linen layer computes with, read from its parameters and inputs."""
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
    """Return a Linen module as an nnx.Module that runs on `inputs`, with the given or freshly initialised `variables`.

    `inputs` are the arguments of a call, as arrays or as their shapes and dtypes; the first axis counts examples.

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
            remedy=another_width(error, inputs)
            or f"It is called with its inputs alone, and told its mode where it takes {', '.join(MODES)}. "
            "It must give arrays [n, …], and draw random numbers and update statistics in training only.",
        ) from error
    return model


def _call(module: nn.Module, *, training: bool) -> tuple[nn.Module, dict[str, bool]]:
    """Return the module and the keywords of its call in a mode; the mode is set in the call or in the fields."""
    values = {field.name: getattr(module, field.name) for field in fields(module)}
    taken, stated = modes_of_call(module.__call__), modes_of_fields(values)
    own = {name for name in stated if name not in taken or values[name] is not None}
    keywords = {name: mode == training for name, mode in taken.items() if name not in own}
    return module.clone(**{name: stated[name] == training for name in own}), keywords


def _leaves(variables: Mapping[str, Any]) -> dict[Path, Array]:
    """Return the arrays among variables by collection and path, without those stored for inspection only."""
    leaves = flatten_dict(meta.unbox({name: tree for name, tree in variables.items() if name not in _PASSING}))
    return {path: value for path, value in leaves.items() if hasattr(value, "dtype")}


def _measure(group_sizes: dict[Path, int], method: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Intercept Linen's methods; note the group size of each normalisation with a stated number of groups."""
    module = context.module
    if isinstance(module, nn.GroupNorm) and module.num_groups and context.method_name == "__call__":
        group_sizes[module.path] = (*args, *kwargs.values())[0].shape[-1] // module.num_groups
    return method(*args, **kwargs)


def _param(module: nn.Module, name: str, initialise: Any, *args: Any, **kwargs: Any) -> Any:
    """Call `nn.Module.param` without its comparison with the shape that `initialise` would give."""
    if not module.has_variable("params", name):
        return nn.Module.param(module, name, initialise, *args, **kwargs)
    given = module.get_variable("params", name)
    return nn.Module.param(module, name, lambda _: given)


def _sizes_of(inputs: tuple[Any, ...]) -> str:
    """Describe the shapes of inputs, without the axis of examples where there is only one array."""
    leaves = jax.tree.leaves(inputs)
    if len(leaves) == 1:
        return f"inputs of {tuple(leaves[0].shape[1:])}"
    return f"inputs of {', '.join(str(tuple(leaf.shape)) for leaf in leaves)}"


def _try(model: Linen, inputs: tuple[Any, ...]) -> None:
    """Trace a model in both modes.

    Raises:
        TypeError: where the first axis of a result does not count examples; otherwise, whatever the user's code raises.
    """
    examples = jax.tree.leaves(inputs)[0].shape[:1]
    for mode in ("train", "eval"):
        getattr(model, mode)()
        graph, state = nnx.split(model)
        result = jax.eval_shape(lambda state, x, graph=graph: nnx.merge(graph, state)(*x), state, inputs)
        if any(leaf.shape[:1] != examples for leaf in jax.tree.leaves(result)):
            raise TypeError(f"the result in mode {mode!r} is {jax.tree.map(jnp.shape, result)}")
