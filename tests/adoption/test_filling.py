"""Filling a network: by names and known layouts alone, exactly; and everything that is wrong is told at once."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from jax import Array
from numpy.typing import NDArray
from received import made

from synevo.adoption.filling import Filled, fill
from synevo.adoption.rules import parse_rules
from synevo.adoption.weights import Source, Weights
from synevo.errors import AdoptionError
from synevo.model.network import Inputs, Network

Arrays = dict[str, NDArray[Any]]

IMAGES: Inputs = (jax.ShapeDtypeStruct((2, 4, 6, 3), jnp.float32),)
ROWS: Inputs = (jax.ShapeDtypeStruct((2, 5), jnp.float32),)
TOKENS: Inputs = (jax.ShapeDtypeStruct((2, 7, 8), jnp.float32),)


class Conv(nnx.Module):
    """A convolution, a norm, and a matrix behind the flattened map of 4 × 6 × 2."""

    def __init__(self, rngs: nnx.Rngs, *, first: bool = False) -> None:
        self.conv, self.bn = nnx.Conv(3, 2, (3, 3), rngs=rngs), nnx.BatchNorm(2, rngs=rngs)
        self.drop, self.fc = nnx.Dropout(0.5, rngs=rngs), nnx.Linear(48, 5, rngs=rngs)
        self.first = first

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.bn(self.conv(x)))
        x = x.transpose(0, 3, 1, 2) if self.first else x
        return self.fc(self.drop(x.reshape(len(x), -1)))


class Square(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.one, self.two = nnx.Linear(5, 5, rngs=rngs), nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.two(nnx.relu(self.one(x)))


class Older(linen.Module):
    @linen.compact
    def __call__(self, x: Array, *, train: bool = False) -> Array:
        return linen.Dense(3)(linen.BatchNorm(use_running_average=not train)(linen.Conv(2, (3, 3))(x)).mean((1, 2)))


def drawn(shapes: dict[str, Any], seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def own(network: Network) -> Arrays:
    return drawn({name: array.shape for name, array in network.arrays.items()})


def weights(arrays: Arrays, kind: str = "safetensors") -> Weights:
    return Weights(arrays, Source(Path("w"), kind, ""))


def torch_of_conv() -> Arrays:
    norm = {f"bn.{name}": (2,) for name in ("weight", "bias", "running_mean", "running_var")}
    found = drawn({"conv.weight": (2, 3, 3, 3), "conv.bias": (2,), "fc.weight": (5, 48), "fc.bias": (5,), **norm})
    return found | {"bn.num_batches_tracked": np.array(9)}


def filled(
    make: Callable[[nnx.Rngs], Any], inputs: Inputs, arrays: Arrays, kind: str = "npz", names: str = ""
) -> Filled:
    return fill(made(make, inputs), weights(arrays, kind), inputs, rules=parse_rules(names))


def refused(*args: Any, **kwargs: Any) -> AdoptionError:
    with pytest.raises(AdoptionError) as caught:
        filled(*args, **kwargs)
    return caught.value


def exactly(network: Network, expected: Arrays) -> None:
    assert network.arrays.keys() == expected.keys()
    for name, array in expected.items():
        assert network.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(network.arrays[name], array, err_msg=name)


FLAX: dict[str, Callable[[str], str]] = {
    "to_pure_dict": lambda name: name,
    "nnx.state": lambda name: f"{name}/value",
    "under params": lambda name: f"params/{name}",
    "a state of a model": lambda name: f"state/model/{name}/raw_value",
    "dots": lambda name: name.replace("/", "."),
}


@pytest.mark.parametrize("way", FLAX)
def test_what_flax_writes_around_a_network_is_taken_off(way: str) -> None:
    network = made(Conv, IMAGES)
    arrays = {FLAX[way](name): array for name, array in own(network).items()}
    rest = {"opt_state/0/mu/conv/kernel": arrays[FLAX[way]("fc/bias")], "step": np.array(3)}
    rest |= {FLAX[way]("drop/rngs/count"): np.array(0, np.uint32)}
    found = fill(network, weights(arrays | rest, "orbax"), IMAGES)
    exactly(found.network, own(network))
    assert found.dropped == tuple(sorted(rest))
    assert found.origins["fc/kernel"] == FLAX[way]("fc/kernel")


def test_the_variables_of_a_linen_module_become_its_arrays() -> None:
    shapes = jax.eval_shape(Older().init, jax.random.key(0), jnp.zeros((2, 4, 6, 3)))
    arrays = drawn({"/".join(path): leaf.shape for path, leaf in flatten_dict(shapes).items()})
    found = filled(lambda rngs: Older(), IMAGES, arrays, "msgpack")  # noqa: ARG005
    exactly(found.network, {name.partition("/")[2]: array for name, array in arrays.items()})


def test_the_names_and_layouts_of_pytorch_are_known() -> None:
    """Each number is where PyTorch's documents have it: kernels [out, in, height, width], matrices [out, in]."""
    given = {f"module.{name}": array for name, array in torch_of_conv().items()}
    found = filled(partial(Conv, first=True), IMAGES, given, "torch")
    arrays, conv, fc = found.network.arrays, given["module.conv.weight"], given["module.fc.weight"]
    assert arrays["conv/kernel"][2, 0, 1, 0] == conv[0, 1, 2, 0]
    assert arrays["fc/kernel"][7, 3] == fc[3, 7]
    for ours, theirs in {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}.items():
        np.testing.assert_array_equal(arrays[f"bn/{ours}"], given[f"module.bn.{theirs}"])
    assert found.dropped == ("module.bn.num_batches_tracked",)


def test_a_sequential_is_named_without_its_list() -> None:
    def make(rngs: nnx.Rngs) -> nnx.Module:
        return nnx.Sequential(nnx.Linear(5, 4, rngs=rngs), nnx.relu, nnx.Linear(4, 3, rngs=rngs))

    shapes = {"0.weight": (4, 5), "0.bias": (4,), "2.weight": (3, 4), "2.bias": (3,)}
    arrays = filled(make, ROWS, drawn(shapes)).network.arrays
    np.testing.assert_array_equal(arrays["layers/2/kernel"], drawn(shapes)["2.weight"].T)


# What is flattened


def test_a_matrix_behind_a_flattened_map_is_never_assumed_but_proposed() -> None:
    error = refused(Conv, IMAGES, torch_of_conv())
    assert "1 array is ambiguous:\n  fc.weight → fc/kernel: its 48 inputs are a flattened map of [4, 6, 2]" in str(
        error
    )
    assert "to = 'fc/kernel', flatten = [2, 4, 6]" in error.proposal


def test_the_proposed_order_computes_what_pytorch_computes() -> None:
    """The map m[channel, row, column] meets fc[:, channel · 24 + row · 6 + column] there."""
    proposal = refused(Conv, IMAGES, torch_of_conv()).proposal
    kernel = filled(Conv, IMAGES, torch_of_conv(), names=proposal).network.arrays["fc/kernel"]
    rows = np.random.default_rng(1).normal(size=(2, 4, 6)).astype(np.float32)
    expected = torch_of_conv()["fc.weight"] @ rows.reshape(-1)
    np.testing.assert_allclose(rows.transpose(1, 2, 0).reshape(-1) @ kernel, expected, rtol=1e-5)


def test_a_network_that_flattens_as_pytorch_does_needs_no_rule() -> None:
    kernel = filled(partial(Conv, first=True), IMAGES, torch_of_conv()).network.arrays["fc/kernel"]
    np.testing.assert_array_equal(kernel, torch_of_conv()["fc.weight"].T)


def test_axes_say_that_the_order_is_the_network_s() -> None:
    names = "names = [{from = 'fc.weight', axes = [1, 0]}]"
    kernel = filled(Conv, IMAGES, torch_of_conv(), names=names).network.arrays["fc/kernel"]
    np.testing.assert_array_equal(kernel, torch_of_conv()["fc.weight"].T)


def test_a_map_that_has_other_sizes_is_refused() -> None:
    error = refused(Conv, IMAGES, torch_of_conv(), names="names = [{from = 'fc.weight', flatten = [2, 5, 5]}]")
    assert "flatten = [2, 5, 5] is not its 48 inputs" in str(error)


# Transposed convolutions and others


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_transposed_convolution_spreads_each_pixel_by_its_kernel(framework: str, turned: bool, strides: int) -> None:  # noqa: FBT001
    """One pixel of one channel gives the kernel itself, in both frameworks: y[s·i + k] = x[i] · w[k]."""
    shape = jax.ShapeDtypeStruct((1, 1, 1, 2), jnp.float32)
    make = partial(nnx.ConvTranspose, 2, 2, (3, 3), strides=strides, padding="VALID", transpose_kernel=turned)
    given = drawn({"weight": (2, 2, 3, 3), "bias": (2,)}) | {"bias": np.zeros(2, np.float32)}
    spread = given["weight"][1].transpose(1, 2, 0)
    if framework == "keras":
        given = {"kernel": given["weight"].transpose(2, 3, 1, 0), "bias": given["bias"]}
    network = filled(lambda rngs: make(rngs=rngs), (shape,), given, framework).network
    found = network(jnp.array([0.0, 1.0]).reshape(1, 1, 1, 2))
    np.testing.assert_allclose(found[0], spread, rtol=1e-6)


def test_a_depthwise_kernel_of_keras_becomes_a_grouped_one() -> None:
    make = partial(nnx.Conv, 3, 6, (3, 3), feature_group_count=3, use_bias=False)
    given = drawn({"dw/depthwise_kernel": (3, 3, 3, 2)})

    class Depthwise(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.dw = make(rngs=rngs)

        def __call__(self, x: Array) -> Array:
            return self.dw(x)

    kernel = filled(Depthwise, IMAGES, given, "keras").network.arrays["dw/kernel"]
    assert kernel[1, 2, 0, 2 * 2 + 1] == given["dw/depthwise_kernel"][1, 2, 2, 1]


def test_packed_projections_of_an_attention_are_taken_apart() -> None:
    """Row h·w + j of a projection is output j of head h; three projections lie below each other."""

    class Attentive(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.attn = nnx.MultiHeadAttention(2, 8, decode=False, rngs=rngs)

        def __call__(self, x: Array) -> Array:
            return self.attn(x)

    packed = {"attn.in_proj_weight": (24, 8), "attn.in_proj_bias": (24,)}
    given = drawn(packed | {"attn.out_proj.weight": (8, 8), "attn.out_proj.bias": (8,)})
    arrays = filled(Attentive, TOKENS, given).network.arrays
    packed_weight = given["attn.in_proj_weight"]
    assert arrays["attn/key/kernel"][5, 1, 2] == packed_weight[8 + 4 + 2, 5]
    assert arrays["attn/value/bias"][1, 3] == given["attn.in_proj_bias"][16 + 4 + 3]
    assert arrays["attn/out/kernel"][1, 2, 7] == given["attn.out_proj.weight"][7, 4 + 2]


def test_an_embedding_keeps_its_rows() -> None:
    tokens = (jax.ShapeDtypeStruct((2, 3), jnp.int32),)

    class Text(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.wte = nnx.Embed(4, 4, rngs=rngs)

        def __call__(self, x: Array) -> Array:
            return self.wte(x)

    given = drawn({"wte.weight": (4, 4)})
    exactly(filled(Text, tokens, given).network, {"wte/embedding": given["wte.weight"]})


# Square matrices


def test_a_square_matrix_of_pytorch_is_transposed_and_one_of_flax_is_not() -> None:
    given = drawn({"one": (5, 5), "two": (5, 3), "bias": (5,), "bias2": (3,)})
    rest = {"one/bias": given["bias"], "two/bias": given["bias2"]}
    flax = rest | {"one/kernel": given["one"], "two/kernel": given["two"]}
    torch = {name.replace("/", "."): array for name, array in rest.items()}
    torch |= {"one.weight": given["one"], "two.weight": given["two"].T}
    np.testing.assert_array_equal(filled(Square, ROWS, flax).network.arrays["one/kernel"], given["one"])
    np.testing.assert_array_equal(filled(Square, ROWS, torch).network.arrays["one/kernel"], given["one"].T)


def test_a_square_matrix_of_unknown_layout_is_ambiguous_until_a_rule_says_its_axes() -> None:
    given = drawn({"one/w": (5, 5), "one/bias": (5,), "two/w": (5, 3), "two/bias": (3,)})
    names = "names = [{from = '(.*)/w', to = '\\1/kernel'}]".replace("\\", "\\")
    error = refused(Square, ROWS, given, names=names)
    assert "1 array is ambiguous:\n  one/w → one/kernel: [5, 5] fits in two layouts" in str(error)
    assert "axes = [0, 1]" in error.proposal
    mended = error.proposal.replace("]\n", "  {from = '(.*)/w', to = '\\1/kernel'},\n]\n")
    np.testing.assert_array_equal(
        filled(Square, ROWS, given, names=mended).network.arrays["one/kernel"], given["one/w"]
    )


# Rules


@pytest.mark.parametrize(
    ("names", "word"),
    [
        ("names = [", "no TOML"),
        ("name = []", "Did you mean 'names'"),
        ("names = 3", "no list of rules"),
        ("names = [{to = 'x'}]", "no `from` in rule 1"),
        ("names = [{from = '(', to = 'x'}]", "no regular expression"),
        (r"names = [{from = 'x', to = '\1'}]", "cannot be filled in"),
        ("names = [{from = 'x', axis = [1, 0]}]", "Did you mean 'axes'"),
        ("names = [{from = 'x', axes = [1, 1]}]", "no permutation"),
        ("names = [{from = 'x', axes = ['a']}]", "whole numbers"),
        ("names = [{from = 'x', flatten = [3]}]", "channels, height, width"),
        ("names = [{from = 'x', to = 3}]", "to = 3"),
        ("drop = 'x'", "no list"),
        ("keep = ['*']", "no regular expression"),
    ],
)
def test_a_file_of_names_that_says_anything_else_is_refused(names: str, word: str) -> None:
    with pytest.raises(AdoptionError, match=word):
        parse_rules(names)


def test_rules_rename_drop_and_keep() -> None:
    network = fill(made(Square, ROWS), weights(own(made(Square, ROWS))), ROWS).network
    given = drawn({"body.weight": (5, 5), "body.bias": (5,), "ema.body.bias": (5,)}, seed=1)
    names = r"""
    names = [{from = 'body\.(weight|bias)', to = 'one/\1'}]
    drop = ['ema\..*']
    keep = ['two/.*']
    """
    error = refused(Square, ROWS, given, names=names)
    assert "body.weight: its rule names one/weight" in str(error)
    rules = parse_rules(names.replace("names = [", r"names = [{from = 'body\.weight', to = 'one/kernel'}, "))
    found = fill(network, weights(given), ROWS, rules=rules)
    np.testing.assert_array_equal(found.network.arrays["one/kernel"], given["body.weight"].T)
    np.testing.assert_array_equal(found.network.arrays["two/kernel"], network.arrays["two/kernel"])
    assert found.dropped == ("ema.body.bias",)


def test_layers_of_other_names_are_proposed_in_order_and_the_proposal_is_whole() -> None:
    given = drawn({"h.10.weight": (5, 5), "h.10.bias": (5,), "h.9.weight": (5, 5), "h.9.bias": (5,)})

    class Twice(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.z, self.a = nnx.Linear(5, 5, rngs=rngs), nnx.Linear(5, 5, rngs=rngs)

        def __call__(self, x: Array) -> Array:
            return self.a(self.z(x))

    error = refused(Twice, ROWS, given)
    assert "by order: 1 of 2" in error.proposal
    arrays = filled(Twice, ROWS, given, names=error.proposal).network.arrays
    np.testing.assert_array_equal(arrays["z/kernel"], given["h.9.weight"].T)
    np.testing.assert_array_equal(arrays["a/bias"], given["h.10.bias"])


# Everything that is wrong, at once


def test_everything_that_is_wrong_is_told_at_once_and_sorted() -> None:
    given = {name.replace("fc", "classifier"): array for name, array in torch_of_conv().items()}
    given |= {"conv.weight": np.zeros((2, 3, 5, 5), np.float32), "bn.bias": np.zeros(2, np.int64)}
    given |= {"model.bn.weight": given["bn.weight"]}
    del given["bn.running_mean"]
    text = str(refused(Conv, IMAGES, given))
    for line in (
        "1 array is claimed twice:\n  bn/scale: by bn.weight and model.bn.weight",
        "2 arrays are left over in the file:\n  classifier.bias [5].",
        "3 arrays are missing in the file:\n  bn/mean [2]",
        "2 arrays are of another shape or dtype:\n  bn.bias: int64 is not float32",
        "  conv.weight → conv/kernel: [2, 3, 5, 5] is not [3, 3, 3, 2], but [5, 5, 3, 2] in its layout",
    ):
        assert line in text


def test_the_planted_faults_of_real_files_are_told() -> None:
    flax = own(made(Conv, IMAGES))
    lacking = {name: array for name, array in flax.items() if name != "bn/mean"}
    assert "missing in the file:\n  bn/mean [2]" in str(refused(Conv, IMAGES, lacking))
    more = refused(Conv, IMAGES, flax | {"bn2/mean": flax["bn/mean"]})
    assert "left over in the file:\n  bn2/mean [2]" in str(more)
    assert "drop = " in more.remedy
    wide = flax | {"fc/bias": np.zeros(7, np.float32)}
    assert "fc/bias: [7] is not [5]" in str(refused(Conv, IMAGES, wide))
    turned = flax | {"fc/kernel": flax["fc/kernel"].T}
    assert "axes = [1, 0] would give that shape" in str(refused(Conv, IMAGES, turned))
    misspelled = lacking | {"bn/maen": flax["bn/mean"]}
    assert "bn/mean [2]. Did you mean 'bn/maen'?" in str(refused(Conv, IMAGES, misspelled))


def test_of_a_thousand_names_that_fit_nothing_the_first_are_told_and_the_others_counted() -> None:
    more = drawn({f"layer{n % 4}.{n // 8}.conv{n % 3}.{n}.bias": (1,) for n in range(1000)})
    text = str(refused(Square, ROWS, own(made(Square, ROWS)) | more))
    assert "1000 arrays are left over" in text
    assert "  … and 960 more" in text


# Dtypes


@pytest.mark.parametrize(("kind", "bits"), [("float64", 1.5), ("float16", 1.5), (ml_dtypes.bfloat16, 1.5)])
def test_floats_are_converted_where_nothing_is_lost_and_that_is_said(kind: Any, bits: float) -> None:
    flax = own(made(Square, ROWS)) | {"two/bias": np.full(3, bits, kind)}
    found = filled(Square, ROWS, flax)
    assert found.converted == (f"two/bias: {np.dtype(kind)} to float32",)
    exactly(found.network, flax | {"two/bias": np.full(3, bits, np.float32)})


@pytest.mark.parametrize("value", [np.full(3, 0.1), np.full(3, 1e300), np.arange(3), np.ones(3, bool)])
def test_what_would_be_rounded_or_is_no_float_is_refused(value: NDArray[Any]) -> None:
    error = refused(Square, ROWS, own(made(Square, ROWS)) | {"two/bias": value})
    assert f"two/bias: {value.dtype}" in str(error)


def test_a_network_of_bfloat16_keeps_it() -> None:
    make = partial(nnx.Linear, 5, 3, param_dtype=jnp.bfloat16)
    given = {"kernel": np.ones((5, 3), ml_dtypes.bfloat16), "bias": np.ones(3, np.float32)}
    found = filled(lambda rngs: make(rngs=rngs), ROWS, given)
    assert {array.dtype.name for array in found.network.arrays.values()} == {"bfloat16"}
