"""Classification: one class for every example; the score is the share of right answers.

A batch of images is `{"image": uint8 [n, height, width, channels], "label": int32 [n]}`. Pixels stay uint8 until the
step that uses them, so that a whole data set fits on the device. A batch of series is
`{"input": [n, …], "label": int32 [n]}`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from synevo.keys import derive
from synevo.tasks.task import Batch, Outputs, Task

Numbers = tuple[float, ...]

AS_THEY_ARE = 1 / 255
"""The deviation which, with a mean of 0, leaves pixels as they are: 0 … 255."""


@cache
def classification(
    mean: Numbers, deviation: Numbers, *, weights: Numbers | None = None, smoothing: float = 0.0
) -> Task:
    """Return the task of classifying images; `mean` and `deviation` normalise each channel (see `normalise`).

    `weights` and `smoothing` are those of `of_classes`.
    """
    inputs = partial(_inputs, mean=mean, deviation=deviation)
    return of_classes(inputs, weights=weights, smoothing=smoothing)


def of_classes(
    inputs: Callable[[Batch], tuple[Any, ...]], *, weights: Numbers | None = None, smoothing: float = 0.0
) -> Task:
    """Return the task of giving logits [n, classes] for the `inputs` of a batch with labels [n].

    The loss is the cross-entropy, each example's times the weight of its class. A share `smoothing` of every label is
    spread over all classes.
    """
    return Task(
        inputs=inputs,
        loss=partial(_cross_entropy, weights=weights, smoothing=smoothing) if weights or smoothing else _cross_entropy,
        score=_right,
        name="accuracy",
        better="higher",
        invariant=True,
    )


def weighed_cross_entropy(logits: Array, labels: Array, *, weights: Sequence[float] | None, smoothing: float) -> Array:
    """Return the cross-entropy […] of logits […, k] and labels […], each times the weight of its class."""
    count = logits.shape[-1]
    if smoothing:
        wanted = optax.smooth_labels(jnp.eye(count, dtype=logits.dtype)[labels], smoothing)
        losses = optax.softmax_cross_entropy(logits, wanted)
    else:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return losses if weights is None else losses * jnp.asarray(weights, losses.dtype)[labels]


def normalise(pixels: Array, mean: Numbers, deviation: Numbers) -> Array:
    """Normalise images for a network: return float32 (pixel / 255 - mean) / deviation.

    `pixels` are uint8 [n, height, width, channels]; `mean` and `deviation` have one entry a channel, in units of the
    full range. With a mean of 0 and a deviation of `AS_THEY_ARE` in every channel, that is the pixel, to the bit.
    """
    if set(mean) == {0.0} and set(deviation) == {AS_THEY_ARE}:
        return pixels.astype(jnp.float32)
    shift, scale = (np.asarray(values, np.float32).reshape(1, 1, 1, -1) for values in (mean, deviation))
    return (pixels.astype(jnp.float32) / 255 - shift) / scale


@cache
def moved(task: Task, *, shift: int, flip: bool) -> Task:
    """Return a task with training images moved by up to `shift` pixels and, with `flip`, mirrored at random.

    Its batches hold the images under `image` [n, height, width, channels]; a `mask` [n, height, width] moves alike.
    """
    if not shift and not flip:
        return task
    return replace(task, augment=partial(_move, task, shift, flip))


def augment(key: Array, pixels: Array, *, shift: int, flip: bool, mode: str = "constant") -> Array:
    """Move each image [n, height, width, channels] by up to `shift` pixels; if `flip`, mirror it with probability ½.

    What comes in from outside is 0, or with the `mode` "reflect" the image in a mirror at its edge.
    """
    if shift:
        padded = jnp.pad(pixels, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode)
        corners = jax.random.randint(derive(key, "shift"), (len(pixels), 2), 0, 2 * shift + 1)

        def crop(image: Array, corner: Array) -> Array:
            return jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), pixels.shape[1:])

        pixels = jax.vmap(crop)(padded, corners)
    if flip:
        mirrored = jax.random.bernoulli(derive(key, "flip"), shape=(len(pixels), 1, 1, 1))
        pixels = jnp.where(mirrored, pixels[:, :, ::-1], pixels)
    return pixels


def _inputs(batch: Batch, *, mean: Numbers, deviation: Numbers) -> tuple[Array]:
    return (normalise(batch["image"], mean, deviation),)


def _cross_entropy(logits: Outputs, batch: Batch, *, weights: Numbers | None = None, smoothing: float = 0.0) -> Array:
    return weighed_cross_entropy(logits, batch["label"], weights=weights, smoothing=smoothing)


def _right(logits: Outputs, batch: Batch) -> Array:
    return logits.argmax(axis=-1) == batch["label"]


def _move(task: Task, shift: int, flip: bool, key: Array, batch: Batch) -> Batch:  # noqa: FBT001
    batch = task.augment(key, batch)
    if "mask" not in batch or batch["mask"].shape != batch["image"].shape[:3]:
        return {**batch, "image": augment(key, batch["image"], shift=shift, flip=flip)}
    both = batch["image"], batch["mask"][..., None]  # one key: both are moved alike
    image, mask = (augment(jax.random.clone(key), one, shift=shift, flip=flip, mode="reflect") for one in both)
    return {**batch, "image": image, "mask": mask[..., 0]}
