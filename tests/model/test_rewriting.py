"""Convolutions as products: equal outputs and gradients for whatever is rewritten, and all else as it is."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import compiled
from jax import Array, lax
from jax.extend.core import jaxprs_in_params
from specimens import Normed, specimen

from synevo.model import products
from synevo.model.rewriting import as_products, kinds

pytestmark = pytest.mark.slow


class Case(NamedTuple):
    """A convolution as a layer would call it."""

    signal: tuple[int, ...]
    kernel: tuple[int, ...]
    numbers: tuple[str, str, str] = ("NHWC", "HWIO", "NHWC")
    strides: tuple[int, ...] = (1, 1)
    padding: Any = "SAME"
    dilation: tuple[int, ...] | None = None
    spread: tuple[int, ...] | None = None
    groups: int = 1

    def __call__(self, signal: Any, kernel: Any) -> Array:
        numbers = {"dimension_numbers": self.numbers, "feature_group_count": self.groups}
        spread = {"lhs_dilation": self.spread, "rhs_dilation": self.dilation}
        return lax.conv_general_dilated(signal, kernel, self.strides, self.padding, **numbers, **spread)  # type: ignore[arg-type]

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(sum(self.signal))
        return tuple(rng.normal(size=shape).astype(np.float32) for shape in (self.signal, self.kernel))  # type: ignore[return-value]


POINTWISE = {
    "plain": Case((3, 5, 7, 4), (1, 1, 4, 6)),
    "strides": Case((1, 7, 6, 3), (1, 1, 3, 2), strides=(2, 3), padding="VALID"),
    "one channel": Case((2, 4, 3, 1), (1, 1, 1, 5)),
    "channels first": Case((2, 4, 5, 3), (6, 4, 1, 1), ("NCHW", "OIHW", "NCHW"), (1, 2)),
    "another layout out": Case((2, 5, 3, 4), (4, 1, 6, 1), ("NHWC", "IHOW", "CNHW")),
    "series": Case((3, 9, 4), (1, 4, 2), ("NWC", "WIO", "NWC"), (4,)),
    "volumes": Case((2, 3, 4, 5, 2), (1, 1, 1, 2, 3), ("NDHWC", "DHWIO", "NDHWC"), (1, 2, 1)),
}
DEPTHWISE = {
    "plain": Case((3, 5, 7, 4), (3, 3, 1, 4), groups=4),
    "strides": Case((2, 8, 7, 3), (3, 2, 1, 3), strides=(2, 3), groups=3),
    "valid": Case((1, 6, 9, 2), (1, 4, 1, 2), padding="VALID", strides=(1, 2), groups=2),
    "dilated": Case((2, 9, 8, 3), (2, 2, 1, 3), dilation=(3, 1), groups=3),
    "explicit padding": Case((2, 7, 5, 3), (2, 1, 1, 3), padding=((2, 0), (-1, 3)), groups=3),
    "two kernels a channel": Case((2, 5, 4, 3), (2, 2, 1, 6), groups=3),
    "channels first": Case((2, 4, 6, 5), (4, 1, 2, 3), ("NCHW", "OIHW", "NCHW"), (2, 1), groups=4),
    "another layout out": Case((2, 5, 6, 3), (2, 1, 1, 6), ("NHWC", "HWIO", "CWNH"), groups=3),
    "series": Case((3, 9, 4), (5, 1, 4), ("NWC", "WIO", "NWC"), (2,), groups=4),
    "volumes": Case((1, 4, 5, 3, 2), (1, 2, 2, 1, 2), ("NDHWC", "DHWIO", "NDHWC"), (1, 2, 1), groups=2),
}
NEITHER = {
    "dense": Case((2, 5, 7, 4), (3, 3, 4, 6)),
    "groups of channels": Case((2, 5, 7, 4), (3, 3, 2, 4), groups=2),
    "a 1×1 kernel of groups": Case((2, 5, 7, 4), (1, 1, 2, 4), groups=2),
    "a 1×1 kernel with padding": Case((2, 5, 7, 4), (1, 1, 4, 6), padding=((1, 1), (0, 0))),
    "transposed": Case((2, 5, 7, 4), (3, 3, 1, 4), spread=(2, 2), padding=((2, 2), (2, 2)), groups=4),
    "a large kernel a channel": Case((2, 9, 9, 2), (9, 9, 1, 2), groups=2),
    "no example": Case((0, 5, 7, 4), (1, 1, 4, 6)),
    "no place": Case((2, 2, 7, 4), (3, 3, 1, 4), padding="VALID", groups=4),
}


def steps(jaxpr: Any) -> Iterator[str]:
    """The names of all steps of a jaxpr, those of what it calls included."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for body in jaxprs_in_params(equation.params):
            yield from steps(getattr(body, "jaxpr", body))


def convolutions(function: Callable[..., Any], *arguments: Any) -> int:
    return list(steps(jax.make_jaxpr(function)(*arguments).jaxpr)).count("conv_general_dilated")


@pytest.mark.parametrize("cases", [POINTWISE, DEPTHWISE], ids=["pointwise", "depthwise"])
def test_outputs_and_gradients_are_those_of_the_convolution(cases: dict[str, Case]) -> None:
    pairs = [case.arrays() for case in cases.values()]

    def run(pairs: Any) -> list[Array]:
        return [case(*pair) for case, pair in zip(cases.values(), pairs, strict=True)]

    def with_gradients(function: Callable[..., Any]) -> Any:
        def weighed(pairs: Any) -> Any:
            outputs = function(pairs)
            return sum(jnp.sum(jnp.sin(output) * output) for output in outputs), outputs

        return jax.jit(jax.value_and_grad(weighed, has_aux=True))

    assert convolutions(as_products(run), pairs) == 0
    expected, found = (with_gradients(function)(pairs) for function in (run, as_products(run)))
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5 * np.abs(one).max())


def test_depthwise_products_have_derivatives_of_every_order_forward_and_backward_and_in_batches() -> None:
    def twice(case: Callable[..., Array]) -> Callable[..., Any]:
        """The slopes of the squared slopes of an output, along a direction, for each of two signals."""
        slopes = jax.grad(lambda arrays: jnp.sin(case(*arrays)).sum())
        steep = jax.grad(lambda arrays: sum(jnp.square(slope).sum() for slope in slopes(arrays)))

        def along(signal: Array, kernel: Array) -> Any:
            return jax.jvp(
                lambda *arrays: (case(*arrays), steep(arrays)), (signal, kernel), (kernel.sum() * signal, kernel)
            )

        return jax.vmap(along, in_axes=(0, None))

    def all_of(form: Callable[[Case], Callable[..., Array]]) -> Any:
        given = {name: DEPTHWISE[name].arrays() for name in ("strides", "explicit padding", "two kernels a channel")}
        return {
            name: twice(form(DEPTHWISE[name]))(np.stack([one, -one]), other) for name, (one, other) in given.items()
        }

    expected, found = (jax.jit(lambda form=form: all_of(form))() for form in (lambda case: case, as_products))
    for one, other in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5 * np.abs(one).max())


@pytest.mark.parametrize("name", NEITHER)
def test_other_convolutions_stay_as_they_are(name: str) -> None:
    case = NEITHER[name]
    assert str(jax.make_jaxpr(as_products(case))(*case.arrays())) == str(jax.make_jaxpr(case)(*case.arrays()))


def test_other_dtypes_and_other_devices_keep_their_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    case = POINTWISE["plain"]
    halves = [jnp.asarray(array, jnp.bfloat16) for array in case.arrays()]
    assert convolutions(as_products(case), *halves) == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert convolutions(as_products(case), *case.arrays()) == 1
    assert kinds(jax.make_jaxpr(case)(*case.arrays())) == set()


def test_what_is_called_looped_over_chosen_or_recomputed_is_rewritten() -> None:
    case = DEPTHWISE["plain"]
    signal, kernel = case.arrays()

    def deep(signal: Any, kernel: Any) -> Array:
        def body(carry: Any, _: None) -> tuple[Any, None]:
            again = jax.checkpoint(lambda carry: jax.nn.relu(case(carry, kernel)))
            return carry + again(carry), None

        looped, _ = lax.scan(body, jnp.asarray(signal), None, length=2)
        chosen = lax.cond(looped.sum() > 0, jax.jit(lambda x: case(x, kernel)), lambda x: x, looped)
        return lax.fori_loop(0, 2, lambda _, x: case(x, kernel), chosen)

    def slope(function: Callable[..., Any]) -> Any:
        return jax.jit(jax.jacfwd(lambda scale: jnp.square(function(signal * scale, kernel)).sum()))(1.0)

    assert convolutions(deep, signal, kernel) == 3
    assert convolutions(as_products(deep), signal, kernel) == 0
    np.testing.assert_allclose(slope(as_products(deep)), slope(deep), rtol=1e-4)


def test_what_has_a_derivative_of_its_own_stays_as_it_is() -> None:
    case = POINTWISE["plain"]
    signal, kernel = case.arrays()

    @jax.custom_vjp
    def own(signal: Any, kernel: Any) -> Array:
        return case(signal, kernel)

    own.defvjp(lambda *given: (own(*given), given), lambda given, _: (7.0 * given[0], 0.0 * given[1]))
    assert convolutions(as_products(own), signal, kernel) == 1
    found = jax.grad(lambda signal: as_products(own)(signal, kernel).sum())(signal)
    np.testing.assert_allclose(found, 7 * signal, rtol=1e-6)


def test_a_product_that_is_not_equal_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    right = products._depthwise

    def without_a_gradient(signal: Array, kernel: Array, **given: Any) -> Array:
        return right(signal, lax.stop_gradient(kernel), **given)

    both = DEPTHWISE["plain"], POINTWISE["plain"]
    pairs = [case.arrays() for case in both]
    products._equal.cache_clear()
    monkeypatch.setattr(products, "_depthwise", without_a_gradient)
    rewritten = as_products(lambda pairs: [case(*pair) for case, pair in zip(both, pairs, strict=True)])
    assert list(steps(jax.make_jaxpr(rewritten)(pairs).jaxpr)).count("conv_general_dilated") == 1
    products._equal.cache_clear()


def test_one_proof_serves_all_numbers_of_examples_and_channels() -> None:
    case = DEPTHWISE["dilated"]
    jax.make_jaxpr(as_products(case))(*case.arrays())
    wider = case._replace(signal=(5, *case.signal[1:3], 7), kernel=(2, 2, 1, 7), groups=7)
    with compiled() as programs:
        assert convolutions(as_products(wider), *wider.arrays()) == 0
    assert programs == []


def test_a_network_without_such_convolutions_is_the_same_program() -> None:
    network, x = specimen(Normed).network, jnp.zeros((2, 8, 8, 1))
    assert str(jax.make_jaxpr(as_products(network))(x)) == str(jax.make_jaxpr(network)(x))
