"""Published networks as a practitioner writes them, each in its published size and in one that runs in a moment.

They are written after their papers and know nothing of synevo: nothing in them was chosen so that it can be followed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx

from published.convnext import ConvNeXt
from published.densenet import DenseNet121
from published.dino import Dino
from published.gpt import GPT
from published.linen_unet import LinenUNet
from published.mnist_cnn import CNN
from published.residual import ResNet50
from published.unet import UNet
from published.vgg import POOL, VGG19
from published.vit import ViT
from synevo.model.network import Inputs


@dataclass(frozen=True)
class Published:
    """A factory in one size, called with nothing (Linen) or with `rngs`, and its inputs for two examples."""

    factory: partial[Any]
    inputs: Inputs

    def make(self, rngs: nnx.Rngs) -> Any:
        """The module as it is after its initialisation."""
        return self.factory() if self.linen else self.factory(rngs=rngs)

    @property
    def linen(self) -> bool:
        return isinstance(self.factory.func, type) and issubclass(self.factory.func, linen.Module)

    def alive(self) -> tuple[Any, Mapping[str, Any] | None]:
        """The module with random arrays, and the variables of a Linen module; nothing in them is zero or at rest."""
        if self.linen:
            module = self.factory()
            return module, fill(jax.eval_shape(partial(module.init, train=False), jax.random.key(0), *self.inputs))
        graph, state = nnx.split(nnx.eval_shape(lambda: self.factory(rngs=nnx.Rngs(0))))
        return nnx.merge(graph, fill(state)), None

    def examples(self, count: int) -> Inputs:
        """Random inputs: normal pixels, tokens of the whole vocabulary."""
        random = np.random.default_rng(1)

        def draw(like: jax.ShapeDtypeStruct) -> Any:
            shape = (count, *like.shape[1:])
            if jnp.issubdtype(like.dtype, jnp.integer):
                return random.integers(self.factory.keywords["vocabulary"], size=shape).astype(np.int32)
            return random.standard_normal(shape, np.float32)

        found: Inputs = jax.tree.map(draw, self.inputs)
        return found


def fill(tree: Any) -> Any:
    """Random arrays in the place of shapes and dtypes."""
    random = np.random.default_rng(0)

    def filled(path: Any, like: Any) -> Any:
        if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        if jnp.issubdtype(like.dtype, jnp.integer):
            return jnp.zeros(like.shape, like.dtype)
        name = jax.tree_util.keystr(path)
        if "scale" in name or "var" in name:
            return jnp.asarray(random.uniform(0.5, 1.5, like.shape), like.dtype)
        values = random.standard_normal(like.shape, np.float32)
        values *= np.sqrt(2 / np.prod(like.shape[:-1])) if len(like.shape) > 1 else 0.2
        return jnp.asarray(values, like.dtype)

    return jax.tree_util.tree_map_with_path(filled, tree)


def images(side: int, channels: int = 3) -> Inputs:
    return (jax.ShapeDtypeStruct((2, side, side, channels), jnp.float32),)


def tokens(count: int) -> Inputs:
    return (jax.ShapeDtypeStruct((2, count), jnp.int32),)


PUBLISHED = {
    "ResNet-50": Published(partial(ResNet50), images(224)),
    "VGG-19": Published(partial(VGG19), images(224)),
    "DenseNet-121": Published(partial(DenseNet121), images(224)),
    "U-Net": Published(partial(UNet), images(572, 1)),
    "ViT-S/16": Published(partial(ViT), images(224)),
    "ConvNeXt-T": Published(partial(ConvNeXt), images(224)),
    "DINO": Published(partial(Dino), images(224)),
    "GPT": Published(partial(GPT, vocabulary=50257), tokens(1024)),
    "U-Net, Linen": Published(partial(LinenUNet), images(256)),
    "MNIST CNN": Published(partial(CNN), images(28, 1)),
}
"""The networks in the sizes of their papers."""

SMALL = {
    "ResNet-50": Published(partial(ResNet50, classes=5, width=4, stages=(2, 1)), images(16)),
    "VGG-19": Published(
        partial(VGG19, classes=5, image_size=8, configuration=(4, 4, POOL, 6, 6, POOL), hidden=12), images(8)
    ),
    "DenseNet-121": Published(partial(DenseNet121, classes=5, growth=4, blocks=(2, 1)), images(16)),
    "U-Net": Published(partial(UNet, width=4, depth=1), images(20, 1)),
    "ViT-S/16": Published(
        partial(ViT, classes=5, image_size=16, patch=8, width=12, depth=1, heads=3, hidden=20), images(16)
    ),
    "ConvNeXt-T": Published(partial(ConvNeXt, classes=5, depths=(1, 1), widths=(4, 6)), images(16)),
    "DINO": Published(partial(Dino, image_size=8, patch=4, width=12, depth=1, heads=3, registers=2), images(8)),
    "GPT": Published(partial(GPT, vocabulary=17, context=9, width=12, depth=1, heads=3), tokens(9)),
    "U-Net, Linen": Published(partial(LinenUNet, widths=(4, 6)), images(8)),
    "MNIST CNN": Published(partial(CNN, width=4, hidden=16, classes=5, side=8), images(8, 1)),
}
"""The same structure with few channels, layers and places."""
