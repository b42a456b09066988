"""The ancestors: plain `nnx.Module`s, one architecture a file, written as a user would write them.

An ancestor is a callable. It takes the input shape `(height, width, channels)`, the number of classes and an
`nnx.Rngs`, and returns a module. The module maps images `[n, height, width, channels]` to logits `[n, classes]`. A
user's own ancestor is named `package.module:factory`; it may take the Rngs alone, or nothing, and may return a
`flax.linen.Module` as well.
"""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from inspect import signature
from typing import Any

from flax import linen, nnx

from synevo.ancestors.alexnet import AlexNet
from synevo.ancestors.lenet5 import LeNet5
from synevo.ancestors.lenet5_caffe import LeNet5Caffe
from synevo.ancestors.lenet_300_100 import LeNet300100
from synevo.ancestors.mobilenet import MobileNet
from synevo.ancestors.resnet import ResNet20, ResNet56
from synevo.ancestors.resnet8 import ResNet8
from synevo.ancestors.resnet_zeros import ResNet20Zeros, ResNet56Zeros
from synevo.ancestors.vgg16 import VGG16
from synevo.errors import AncestorError, did_you_mean
from synevo.model.named import find_named

Factory = Callable[[tuple[int, int, int], int, nnx.Rngs], nnx.Module | linen.Module]

BUILT_IN: dict[str, Any] = {
    "lenet5": LeNet5,
    "lenet5-caffe": LeNet5Caffe,
    "lenet-300-100": LeNet300100,
    "alexnet": AlexNet,
    "vgg16": VGG16,
    "resnet20": ResNet20,
    "resnet56": ResNet56,
    "resnet20-zeros": ResNet20Zeros,
    "resnet56-zeros": ResNet56Zeros,
    "resnet8": ResNet8,
    "mobilenet": MobileNet,
}


def find(name: str) -> Factory:
    """Return the factory of a built-in ancestor, or of a name `package.module:factory`.

    Raises:
        AncestorError: where there is no such ancestor.
    """
    if name in BUILT_IN:
        factory: Factory = BUILT_IN[name]
        return factory
    if ":" not in name:
        raise AncestorError(
            f"There is no ancestor {name!r}.{did_you_mean(name, BUILT_IN)}",
            remedy=f"Built in are {', '.join(BUILT_IN)}; name your own as package.module:factory.",
        )
    return find_named(name, what="the ancestor", error=AncestorError)


def taking(factory: Callable[..., Any], *facts: object) -> Callable[[nnx.Rngs], Any]:
    """Return a factory of an `nnx.Rngs` alone, which hands on what `factory` takes.

    This is the `facts` and the Rngs, the Rngs alone, or nothing: a Linen module needs no Rngs, and a trained model
    neither.
    """
    try:
        takes = signature(factory)
    except (TypeError, ValueError):  # of a callable that tells nothing
        return partial(factory, *facts)
    first = next(iter(takes.parameters.values()), None)
    wanted = first is not None and (first.default is first.empty or first.name == "rngs")
    for given in (facts, ()):
        with suppress(TypeError):
            takes.bind(*given, None)
            return partial(factory, *given) if given or wanted else lambda _: factory()
    with suppress(TypeError):
        takes.bind()
        return lambda _: factory()
    return partial(factory, *facts)


def moved(error: AncestorError) -> AncestorError:
    """Return an error of `find` for an ancestor that a file names: its code may have moved since."""
    return AncestorError(
        error.problem, remedy=f"{error.remedy} Where it has moved, name it: --ancestor package.module:factory."
    )


def native_size(name: str) -> int | None:
    """Return the side in pixels of the images that an ancestor was designed for; None where any size works.

    Raises:
        AncestorError: as in `find`.
    """
    return getattr(find(name), "native_size", None)
