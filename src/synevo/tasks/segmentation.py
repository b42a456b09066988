"""Segmentation of images: one class for every pixel; the score is the mean intersection over union (mIoU).

A batch is `{"image": uint8 [n, height, width, channels], "mask": uint8 [n, height, width]}`. A network gives dense
logits [n, height, width, classes].
"""

from functools import cache, partial

import jax.numpy as jnp
from jax import Array

from synevo.tasks.classification import Numbers, normalise, weighed_cross_entropy
from synevo.tasks.task import Batch, Outputs, Task

SCORES = ("mIoU", "accuracy")
"""The scores to choose from: mIoU, or the share of pixels in the right class."""


@cache
def segmentation(
    mean: Numbers,
    deviation: Numbers,
    *,
    score: str = "mIoU",
    weights: Numbers | None = None,
    smoothing: float = 0.0,
    ignore: int | None = None,
) -> Task:
    """Return the task of segmenting images; `mean` and `deviation` normalise each channel.

    `weights` are those of the classes in the loss, `smoothing` is the share of a label that is spread over all classes.
    Pixels whose class is `ignore` count neither in the loss nor in the score.
    """
    return Task(
        inputs=lambda batch: (normalise(batch["image"], mean, deviation),),
        loss=partial(_loss, weights=weights, smoothing=smoothing, ignore=ignore),
        score=partial(intersections if score == "mIoU" else _right, ignore=ignore),
        overall=mean_over_union if score == "mIoU" else _share,
        name=score,
        better="higher",
    )


def intersections(logits: Outputs, batch: Batch, *, ignore: int | None) -> Array:
    """Return for each image and class the pixels in both prediction and mask, and in either: [n, classes, 2]."""
    mask, classes = batch["mask"].astype(jnp.int32), jnp.arange(logits.shape[-1], dtype=jnp.int32)
    counted = _counted(mask, ignore)[..., None]
    said = (logits.argmax(axis=-1)[..., None] == classes.reshape(1, 1, 1, -1)) & counted
    true = (mask[..., None] == classes.reshape(1, 1, 1, -1)) & counted
    return jnp.stack([(said & true).sum(axis=(1, 2)), (said | true).sum(axis=(1, 2))], axis=-1).astype(jnp.float32)


def mean_over_union(mean: Array) -> Array:
    """Return mIoU of mean counts [classes, 2]: the mean over classes that occur of intersection / union."""
    both, either = jnp.asarray(mean).T
    there = either > 0
    ratios = jnp.where(there, both, 0) / jnp.where(there, either, 1)
    return ratios.sum() / jnp.maximum(there.sum(), 1)


def _loss(logits: Outputs, batch: Batch, *, weights: Numbers | None, smoothing: float, ignore: int | None) -> Array:
    mask = batch["mask"].astype(jnp.int32)
    counted = _counted(mask, ignore)
    labels = jnp.where(counted, mask, 0)
    losses = jnp.where(counted, weighed_cross_entropy(logits, labels, weights=weights, smoothing=smoothing), 0)
    return losses.sum(axis=(1, 2)) / jnp.maximum(counted.sum(axis=(1, 2)), 1)


def _right(logits: Outputs, batch: Batch, *, ignore: int | None) -> Array:
    """Return the pixels of each image in the right class, and all that count: [n, 2]."""
    mask = batch["mask"].astype(jnp.int32)
    counted = _counted(mask, ignore)
    right = (logits.argmax(axis=-1) == mask) & counted
    return jnp.stack([right.sum(axis=(1, 2)), counted.sum(axis=(1, 2))], axis=-1).astype(jnp.float32)


def _share(mean: Array) -> Array:
    return jnp.asarray(mean[0] / jnp.maximum(mean[1], 1e-12))


def _counted(mask: Array, ignore: int | None) -> Array:
    return jnp.ones(mask.shape, bool) if ignore is None else mask != ignore
