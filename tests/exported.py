"""Networks of many kinds as they are exported: random weights, half of the synapses dead; and their C files, compiled.

Built-in ancestors take pixels, networks as users write them take the arrays of their arguments.
"""

import subprocess
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from architectures import ARCHITECTURES
from flax import linen, nnx
from jax import Array
from linen_architectures import Residual
from named_networks import MLP, Separable
from numpy.typing import NDArray
from published import SMALL
from published.halves import families
from specimens import hatch

from synevo import ancestors
from synevo.deploy.formats.c.checker import name_in, read_ports
from synevo.deploy.interface import answers
from synevo.deploy.reload import Reloaded
from synevo.model.arguments import structure_of
from synevo.model.linen import as_nnx
from synevo.model.network import Inputs, Network, take_apart
from synevo.wiring.cutting import cut
from synevo.wiring.dissection import dissect

STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Wpedantic", "-Werror")
CHECKED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")

SIDES = {"lenet-300-100": 16, "alexnet": 64, "vgg16": 32, "mobilenet": 32}
"""The side of a built-in ancestor's images, where it is not 16."""


MOST_NUMBERS = 4_000_000
"""Larger networks are narrowed: a compiler takes about 300 bytes of memory for each number."""


class Waveform(nnx.Module):
    """One-dimensional convolutions over sound, strided, dilated and depthwise, with a skip connection."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(1, 8, (9,), strides=4, rngs=rngs)
        self.dilated = nnx.Conv(8, 8, (3,), kernel_dilation=4, rngs=rngs)
        self.depth = nnx.Conv(8, 8, (5,), feature_group_count=8, rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.head = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        x = nnx.relu(self.first(x))
        x = x + nnx.relu(self.norm(self.depth(nnx.gelu(self.dilated(x)))))
        return nnx.log_softmax(self.head(nnx.max_pool(x, (2,), strides=(2,)).mean(axis=1)))


class Sensors(nnx.Module):
    """A dictionary and an array as arguments; a dictionary of outputs, one of which is made of integers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.dense = nnx.Linear(5, 16, rngs=rngs)
        self.embed = nnx.Embed(7, 8, rngs=rngs)
        self.conv = nnx.Conv(8, 16, (3,), rngs=rngs)
        self.head = nnx.Linear(32, 3, rngs=rngs)

    def __call__(self, batch: dict[str, Array], weight: Array) -> dict[str, Any]:
        x = nnx.gelu(self.dense(batch["x"]), approximate=False)
        y = nnx.tanh(self.conv(self.embed(batch["tokens"])))
        last = jnp.take_along_axis(y, batch["last"][:, None, None], axis=1)[:, 0]
        logits = self.head(jnp.concatenate([x, last], axis=-1)) * weight
        return {"logits": logits, "class": logits.argmax(axis=-1), "sure": (logits.max(axis=-1) > 1, x.cumsum(axis=1))}


class Tagger(nnx.Module):
    """A label for each token, by a recurrent layer in both directions."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(13, 6, rngs=rngs)
        self.there = nnx.GRUCell(6, 8, rngs=rngs)
        self.back = nnx.OptimizedLSTMCell(6, 8, rngs=rngs)
        self.head = nnx.Linear(16, 4, rngs=rngs)

    def __call__(self, tokens: Array) -> Array:
        x = self.embed(tokens)
        there = jnp.zeros((x.shape[0], 8))
        back = (jnp.zeros((x.shape[0], 8)),) * 2
        seen: list[list[Array]] = [[], []]
        for step in range(x.shape[1]):
            there, y = self.there(there, x[:, step])
            back, z = self.back(back, x[:, -1 - step])
            seen[0].append(y)
            seen[1].insert(0, z)
        return self.head(jnp.concatenate([jnp.stack(one, axis=1) for one in seen], axis=-1))


class Scanned(nnx.Module):
    """A label for each token, by Flax's own loops over recurrent cells."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(13, 6, rngs=rngs)
        self.there = nnx.RNN(nnx.GRUCell(6, 8, rngs=rngs))
        self.back = nnx.RNN(nnx.OptimizedLSTMCell(8, 8, rngs=rngs), reverse=True, keep_order=True)
        self.head = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, tokens: Array) -> Array:
        return self.head(self.back(self.there(self.embed(tokens))))


class Resized(nnx.Module):
    """A U-Net whose way up is resized, bilinearly and to the nearest."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(1, 6, (3, 3), rngs=rngs)
        self.down = nnx.Conv(6, 8, (3, 3), strides=2, rngs=rngs)
        self.out = nnx.Conv(22, 2, (1, 1), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        top = nnx.relu(self.first(x))
        low = nnx.relu(self.down(top))
        ups = [jax.image.resize(low, (*top.shape[:3], 8), how) for how in ("nearest", "bilinear")]
        return self.out(jnp.concatenate([top, *ups], axis=-1))


def _image(factory: Callable[..., nnx.Module], shape: tuple[int, ...] = (12, 12, 3)) -> tuple[Network, Inputs]:
    network = take_apart(hatch(factory, shape, 4))  # type: ignore[arg-type]
    return network, (_normal(2, *shape),)


def _own(kind: Callable[..., nnx.Module], *inputs: Any) -> tuple[Network, Inputs]:
    return take_apart(hatch(lambda *_: kind(rngs=nnx.Rngs(0)))), inputs


def _published(name: str) -> tuple[Network, Inputs]:
    model, variables = SMALL[name].alive()
    if variables is not None:
        model = as_nnx(model, SMALL[name].inputs, variables=variables)
    return take_apart(model), SMALL[name].examples(2)


def _in_linen(module: linen.Module, *inputs: Any) -> tuple[Network, Inputs]:
    variables = module.init(jax.random.key(0), *inputs)
    return take_apart(as_nnx(module, inputs, variables=variables)), inputs


def _normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


def _whole(below: int, *shape: int) -> NDArray[np.int32]:
    return np.random.default_rng(below).integers(0, below, shape).astype(np.int32)


SENSED = {"x": _normal(2, 5), "tokens": _whole(7, 2, 6), "last": _whole(6, 2)}

USERS: dict[str, Callable[[], tuple[Network, Inputs]]] = {
    **{name: partial(_image, ARCHITECTURES[name]) for name in ("DenseBlock", "Inception", "SqueezeExcite", "UNet")},
    **{name: partial(_image, ARCHITECTURES[name]) for name in ("ResNeXt", "Mixer", "GroupNormed", "GatedUnits")},
    "Residual, Linen": lambda: _in_linen(Residual(4, training=False), _normal(2, 12, 12, 3)),
    "Separable": partial(_image, Separable, (16, 10, 1)),
    "MLP of a vector": partial(_image, MLP, (30,)),
    "Waveform": partial(_own, Waveform, _normal(2, 80, 1)),
    "Sensors": partial(_own, Sensors, SENSED, _normal(2, 1)),
    "Tagger": partial(_own, Tagger, _whole(13, 2, 5)),
    "Scanned": partial(_own, Scanned, _whole(13, 2, 5)),
    "Resized": partial(_own, Resized, _normal(2, 8, 8, 1)),
    **{f"{name}, small": partial(_published, name) for name in SMALL},
}
"""Networks as users write them, with two examples of what they take."""


def half_dead(network: Network, seed: int = 0) -> Network:
    """A network in which every second synapse, at random, is zero."""
    random = np.random.default_rng(seed)
    return network.map(
        lambda part, array: array * (random.random(array.shape) < 0.5) if part.endswith("kernel") else array
    )


def narrowed(network: Network, shape: Any) -> Network:
    """A network with an eighth of the units of each family."""
    wiring = dissect(network, shape).wiring
    alive = np.zeros(wiring.units, bool)
    for family in families(wiring):
        alive[family[::8]] = True
    return cut(network, wiring, alive)


def of_images(name: str) -> tuple[Reloaded, list[NDArray[Any]]]:
    """A built-in ancestor for images of ten classes, half dead, a large one narrowed before, and two images."""
    side = SIDES.get(name, 16)
    about = {"shape": (side, side, 3), "mean": (0.4, 0.5, 0.3), "deviation": (0.2, 0.3, 0.25)}
    document = {"input": about, "classes": [str(one) for one in range(10)], "generation": 1, "ancestor": name}
    network = take_apart(hatch(ancestors.find(name), about["shape"], 10))  # type: ignore[arg-type]
    if sum(array.size for array in network.arrays.values()) > MOST_NUMBERS:
        network = narrowed(network, about["shape"])
    network = half_dead(network)
    pixels = np.random.default_rng(1).integers(0, 256, (2, *about["shape"]), np.uint8)
    return Reloaded(network, document), [pixels]


def of_arrays(name: str) -> tuple[Reloaded, list[NDArray[Any]]]:
    """A network of a user, half dead, and the arrays of two examples."""
    network, inputs = USERS[name]()
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(inputs)]
    arguments = [{"shape": list(leaf.shape[1:]), "dtype": str(leaf.dtype)} for leaf in leaves]
    document = {"arguments": arguments, "structure": structure_of(inputs), "generation": 1, "ancestor": name}
    return Reloaded(half_dead(network), {**document, "task": "own"}), leaves


def expected(reloaded: Reloaded, leaves: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """What JAX makes of examples, an array an output."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    run = jax.jit(lambda network, *leaves: answers(reloaded, network, *leaves), compiler_options=options)
    return [np.asarray(leaf) for leaf in jax.tree.leaves(run(reloaded.network, *map(jnp.asarray, leaves)))]


def difference(found: Sequence[NDArray[Any]], wanted: Sequence[NDArray[Any]]) -> float:
    """The largest difference of an output, as a share of its largest element."""
    shares = [0.0]
    for one, other in zip(found, wanted, strict=True):
        assert one.shape == other.shape, (one.shape, other.shape)
        largest = max(float(np.abs(other.astype(np.float64)).max(initial=0)), 1e-6)
        shares.append(float(np.abs(one.astype(np.float64) - other).max(initial=0)) / largest)
    return max(shares)


def as_program(
    path: Path, leaves: Sequence[NDArray[Any]], words: Sequence[str] = ("cc", "-std=c99", "-O1", *STRICT, *CHECKED)
) -> list[NDArray[Any]]:
    """What a C file gives for examples as a program of its own, which sanitizers end at the first fault."""
    text = path.read_text("utf-8")
    given, wanted = read_ports(text)
    program = path.with_suffix(".out")
    defined = f"-D{name_in(text).upper()}_MAIN"
    subprocess.run([*words, defined, str(path), "-lm", "-o", str(program)], check=True)
    typed = [leaf.astype(TYPED[port.kind]) for leaf, port in zip(leaves, given, strict=True)]
    examples = b"".join(leaf[place].tobytes() for place in range(len(leaves[0])) for leaf in typed)
    done = subprocess.run([str(program)], input=examples, capture_output=True, check=True)
    rows = np.array([line.split() for line in done.stdout.decode().splitlines()], np.float64)
    ends = np.cumsum([port.size for port in wanted])[:-1]
    return [
        part.reshape(len(rows), *port.shape) for part, port in zip(np.split(rows, ends, axis=1), wanted, strict=True)
    ]


TYPED = {"float": np.float32, "int32_t": np.int32, "uint8_t": np.uint8}
