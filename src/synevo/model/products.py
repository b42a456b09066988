"""Convolutions as products: the two kinds that a CPU computes faster in another form.

    pointwise    a 1×1 kernel: one matrix product for all places; with a stride, for the places that it leaves
    depthwise    a kernel for each channel: a sum over the places of the kernel (`synevo.model.depthwise`)

XLA:CPU computes both as general convolutions. As products, they are computed by the code for matrix products and for
sums, and so are their derivatives. `tests/bench_training.py` measures the difference.

A convolution is rewritten for its shapes alone, never for a time that was measured: so a training has the same bits
whenever it is repeated or resumed, however busy the machine is, and nothing about it needs to be kept.

Each one is proven before it is used: output and both gradients are those of the convolution, within float tolerance,
for random examples. That is enough, because both sides are linear in the signal and in the kernel; and as they treat
all examples and all channels alike, a few of these stand for all, so that one proof serves all generations. To compare
whole networks would prove less: where one normalises by its batch, the gradients of two correct programs may differ by
per cents.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from synevo.model.depthwise import Window, convolve

TOLERANCE = 1e-4
"""The largest difference that float32 may make, relative to the largest value."""

PLACES = 64
"""The most places of a depthwise kernel that become a sum."""

_FEW = 2, 3, 5
"""The examples, the channels read and the channels made that a proof looks at: all different, so that none is taken
for another."""

_FOR_ONE_RUN: dict[str, str | bool] = {"xla_backend_optimization_level": "0", "xla_llvm_disable_expensive_passes": True}

Product = Callable[[Array, Array], Array]
"""A convolution in its other form: a function of signal and kernel."""


@dataclass(frozen=True)
class Convolution:
    """A convolution: the shapes of its signal and its kernel, and JAX's parameters."""

    signal: tuple[int, ...]
    kernel: tuple[int, ...]
    stated: tuple[tuple[str, Any], ...]

    @staticmethod
    def of(equation: Any) -> "Convolution | None":
        """Return the convolution that a step of a jaxpr is.

        None for other steps, where nothing is made, and for others than of float32.
        """
        if equation.primitive is not lax.conv_general_dilated_p:
            return None
        if any(atom.aval.dtype != jnp.float32 for atom in (*equation.invars, *equation.outvars)):
            return None
        if 0 in equation.outvars[0].aval.shape:
            return None
        signal, kernel = (tuple(atom.aval.shape) for atom in equation.invars)
        return Convolution(signal, kernel, tuple(equation.params.items()))

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """JAX's parameters by name."""
        return dict(self.stated)

    @property
    def kind(self) -> str | None:
        """Whether it is `pointwise` or `depthwise`; None where it is neither, or cannot be rewritten."""
        given, numbers = self.parameters, self.parameters["dimension_numbers"]
        plain = given["batch_group_count"] == 1 and given.get("out_sharding") is None and 0 not in self.signal
        if not plain or any(step != 1 for step in given["lhs_dilation"]):
            return None
        channels, groups = self.signal[numbers.lhs_spec[1]], given["feature_group_count"]
        places = [self.kernel[axis] for axis in numbers.rhs_spec[2:]]
        if groups == 1 and set(places) <= {1} and not np.any(given["padding"]):
            return "pointwise"
        return "depthwise" if groups == channels > 1 and np.prod(places) <= PLACES else None

    @property
    def small(self) -> "Convolution":
        """The same convolution of a few examples and channels."""
        signal, kernel, given = list(self.signal), list(self.kernel), dict(self.parameters)
        (examples, channels, *_), (made, read, *_) = given["dimension_numbers"][:2]
        each = kernel[made] // signal[channels]
        signal[examples], signal[channels] = _FEW[0], min(_FEW[1], signal[channels])
        if self.kind == "depthwise":
            given["feature_group_count"], kernel[made] = signal[channels], each * signal[channels]
        else:
            kernel[read], kernel[made] = signal[channels], min(_FEW[2], kernel[made])
        return Convolution(tuple(signal), tuple(kernel), tuple(given.items()))

    def as_it_is(self, signal: Array, kernel: Array) -> Array:
        """Return what the convolution makes of a signal and a kernel."""
        made: Array = lax.conv_general_dilated_p.bind(signal, kernel, **self.parameters)
        return made

    def as_product(self, signal: Array, kernel: Array) -> Array:
        """Return the same, as the product of its kind."""
        form = _pointwise if self.kind == "pointwise" else _depthwise
        return form(signal, kernel, **self.parameters)


def _pointwise(
    signal: Array, kernel: Array, *, dimension_numbers: Any, window_strides: Any, precision: Any, **_: Any
) -> Array:
    """Return a convolution with a 1×1 kernel as a matrix product."""
    of_signal, of_kernel, of_output = dimension_numbers
    steps = [1] * signal.ndim
    for axis, step in zip(of_signal[2:], window_strides, strict=True):
        steps[axis] = step
    left = lax.slice(signal, [0] * signal.ndim, signal.shape, steps)
    rows = jnp.moveaxis(left, of_signal[1], -1)
    matrix = lax.squeeze(jnp.moveaxis(kernel, (of_kernel[1], of_kernel[0]), (-2, -1)), range(kernel.ndim - 2))
    product = lax.dot(rows.reshape(-1, rows.shape[-1]), matrix, precision=precision)
    made = product.reshape(*rows.shape[:-1], -1)  # the axes of the signal in their order, then the channels made
    order = [axis for axis in range(signal.ndim) if axis != of_signal[1]]
    places = [made.ndim - 1 if place == 1 else order.index(axis) for place, axis in enumerate(of_signal)]
    return _transposed(made, places, of_output)


def _depthwise(
    signal: Array,
    kernel: Array,
    *,
    dimension_numbers: Any,
    window_strides: Any,
    padding: Any,
    rhs_dilation: Any,
    **_: Any,
) -> Array:
    """Return a convolution of each channel alone as the sum over the kernel's places of shifted signals."""
    of_signal, of_kernel, of_output = dimension_numbers
    weights = lax.transpose(kernel, of_kernel)[:, 0]  # [channels made, places of the kernel]
    channels, each = of_signal[1], len(weights) // signal.shape[of_signal[1]]
    signal = jnp.repeat(signal, each, axis=channels) if each > 1 else signal
    low, high = zip(*padding, strict=True)
    ways = of_signal[2:], weights.shape[1:], tuple(window_strides), tuple(rhs_dilation), low, high
    return _transposed(convolve(signal, weights, Window(signal.shape, channels, *ways)), of_signal, of_output)


def _transposed(made: Array, places: Any, wanted: Any) -> Array:
    """Return an output whose axes (examples, channels, height, …) are at `places` with them where they are `wanted`."""
    order = [0] * made.ndim
    for place, axis in zip(places, wanted, strict=True):
        order[axis] = place
    return made if order == sorted(order) else lax.transpose(made, order)


def products(convolutions: Iterable[Convolution]) -> Mapping[Convolution, Product]:
    """Return the product for each of the convolutions that has one, and is proven equal to it."""
    small = {one: one.small for one in convolutions if one.kind is not None}
    equal = _equal(frozenset(small.values()))
    return {one: one.as_product for one, same in small.items() if same in equal}


@cache
def _equal(convolutions: frozenset[Convolution]) -> frozenset[Convolution]:
    """Return the convolutions whose products are equal to them: outputs and gradients, on random examples."""
    if not convolutions:
        return convolutions
    chosen, rng = sorted(convolutions, key=repr), np.random.default_rng(0)
    pairs = [tuple(rng.normal(size=shape).astype(np.float32) for shape in (one.signal, one.kernel)) for one in chosen]

    def differences(pairs: Any) -> Array:
        return jnp.stack([_difference(one, *pair) for one, pair in zip(chosen, pairs, strict=True)])

    run = jax.jit(differences).lower(pairs).compile(_FOR_ONE_RUN if jax.default_backend() == "cpu" else None)
    worst = np.asarray(run(pairs))  # it runs while a network is traced, and must be no part of that
    return frozenset(one for one, difference in zip(chosen, worst, strict=True) if difference <= TOLERANCE)


def _difference(one: Convolution, signal: Array, kernel: Array) -> Array:
    """Return the largest difference of a convolution and its product, relative to the largest value of each leaf."""
    outputs, pull = jax.vjp(one.as_it_is, signal, kernel)
    found, own = jax.vjp(one.as_product, signal, kernel)
    if found.shape != outputs.shape or found.dtype != outputs.dtype:
        return jnp.asarray(jnp.inf)
    slopes = jnp.cos(jnp.arange(outputs.size, dtype=outputs.dtype)).reshape(outputs.shape)
    pairs = zip((outputs, *pull(slopes)), (found, *own(slopes)), strict=True)
    return jnp.stack([jnp.abs(a - b).max() / jnp.maximum(jnp.abs(a).max(), 1e-30) for a, b in pairs]).max()
