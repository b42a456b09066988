"""The built-in tasks: each score and loss is what NumPy, scikit-learn or SciPy gives; worse outputs score worse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from numpy.typing import NDArray
from sklearn import metrics

from synevo.tasks.classification import classification, moved
from synevo.tasks.distillation import distilled, taught
from synevo.tasks.multilabel import multilabel
from synevo.tasks.regression import Standard, regression
from synevo.tasks.segmentation import segmentation
from synevo.tasks.sounds import LogMel, sounds
from synevo.tasks.task import InMemory, Task
from synevo.tasks.tokens import next_token

RANDOM = np.random.default_rng(0)


def overall(task: Task, outputs: NDArray[np.float32], batch: dict[str, NDArray[np.generic]]) -> float:
    """The score of outputs [n, …] in two batches of different sizes, as an evaluation adds them up."""
    total = 0.0
    for part in (slice(0, 3), slice(3, None)):
        own = {name: array[part] for name, array in batch.items()}
        total = total + np.asarray(task.score(jnp.asarray(outputs[part]), own), np.float64).sum(axis=0)
    return float(task.overall(total / len(outputs)))


def test_miou_is_the_mean_of_the_jaccard_scores_of_all_pixels_and_of_the_classes_that_occur() -> None:
    logits = RANDOM.normal(size=(7, 5, 6, 4)).astype(np.float32)
    logits[..., 3] = -9  # a class that is never said, and never there
    mask = RANDOM.integers(0, 3, (7, 5, 6)).astype(np.uint8)
    said = logits.argmax(-1)
    found = overall(segmentation((0.0,), (1.0,)), logits, {"mask": mask})
    expected = metrics.jaccard_score(mask.reshape(-1), said.reshape(-1), labels=[0, 1, 2], average="macro")
    assert found == pytest.approx(expected, rel=1e-5)
    assert overall(segmentation((0.0,), (1.0,), score="accuracy"), logits, {"mask": mask}) == pytest.approx(
        (mask == said).mean()
    )


def test_ignored_pixels_count_neither_in_loss_nor_in_score() -> None:
    logits = RANDOM.normal(size=(5, 4, 4, 3)).astype(np.float32)
    mask = RANDOM.integers(0, 3, (5, 4, 4)).astype(np.uint8)
    mask[:, 0] = 255
    task = segmentation((0.0,), (1.0,), ignore=255)
    rest = segmentation((0.0,), (1.0,))
    assert overall(task, logits, {"mask": mask}) == overall(rest, logits[:, 1:], {"mask": mask[:, 1:]})
    np.testing.assert_allclose(
        task.loss(jnp.asarray(logits), {"mask": mask}), rest.loss(jnp.asarray(logits[:, 1:]), {"mask": mask[:, 1:]}),
        rtol=1e-6,
    )  # fmt: skip


def test_a_mask_is_moved_as_its_image_is() -> None:
    image = RANDOM.integers(0, 255, (40, 6, 6, 1)).astype(np.uint8)
    task = moved(segmentation((0.0,), (1.0,)), shift=2, flip=True)
    after = task.augment(jax.random.key(0), {"image": jnp.asarray(image), "mask": jnp.asarray(image[..., 0])})
    np.testing.assert_array_equal(after["image"][..., 0], after["mask"])
    assert not np.array_equal(after["mask"], image[..., 0])


@pytest.mark.parametrize("shape", [(9,), (9, 1), (9, 3)])
def test_r2_and_the_mean_error_are_those_of_scikit_learn_in_the_units_of_the_targets(shape: tuple[int, ...]) -> None:
    targets = (1000 + 5 * RANDOM.normal(size=shape)).astype(np.float32)
    said = targets + RANDOM.normal(size=shape).astype(np.float32)
    columns = targets.reshape(9, -1)
    standard = Standard(tuple(map(float, columns.mean(0))), tuple(map(float, columns.std(0))))
    outputs = np.asarray((said - np.squeeze(columns.mean(0))) / np.squeeze(columns.std(0)), np.float32)
    if len(shape) == 1:
        outputs = outputs[:, None]  # as a last layer of one unit gives it
    batch = {"target": targets}
    assert overall(regression(targets=standard), outputs, batch) == pytest.approx(
        metrics.r2_score(targets, said), abs=1e-4
    )
    assert overall(regression(targets=standard, score="mean error"), outputs, batch) == pytest.approx(
        metrics.mean_absolute_error(targets, said), rel=1e-3
    )


def test_r2_of_a_map_takes_all_places_of_all_examples_together() -> None:
    targets, noise = RANDOM.normal(size=(2, 6, 4, 5, 2)).astype(np.float32)
    expected = metrics.r2_score(targets.reshape(-1, 2), (targets + noise / 2).reshape(-1, 2))
    assert overall(regression(), targets + noise / 2, {"target": targets}) == pytest.approx(expected, abs=1e-5)
    constant = np.ones((6, 2), np.float32)
    assert overall(regression(), constant, {"target": constant}) == 1.0
    assert overall(regression(), constant + 1, {"target": constant}) == 0.0


def test_f1_of_several_labels_is_that_of_all_labels_together() -> None:
    logits = RANDOM.normal(size=(8, 5)).astype(np.float32)
    target = RANDOM.integers(0, 2, (8, 5)).astype(np.uint8)
    expected = metrics.f1_score(target, logits > 0, average="micro")
    assert overall(multilabel(), logits, {"target": target}) == pytest.approx(expected, rel=1e-6)
    exact = metrics.accuracy_score(target, logits > 0)
    assert overall(multilabel(score="accuracy"), logits, {"target": target}) == pytest.approx(exact)
    assert overall(multilabel(), -np.ones((4, 2), np.float32), {"target": np.zeros((4, 2), np.uint8)}) == 1.0


def test_a_token_costs_its_negative_log_probability_in_nats_bits_and_perplexity() -> None:
    tokens = RANDOM.integers(0, 7, (5, 9)).astype(np.int32)
    logits = RANDOM.normal(size=(5, 8, 7)).astype(np.float32)
    nats = metrics.log_loss(
        tokens[:, 1:].reshape(-1), scipy.special.softmax(logits, -1).reshape(-1, 7), labels=range(7)
    )
    for score, expected in (("nats", nats), ("bits", nats / np.log(2)), ("perplexity", np.exp(nats))):
        task = next_token(score=score, smoothing=0.3)  # smoothing is in the loss alone
        assert overall(task, logits, {"tokens": tokens}) == pytest.approx(expected, rel=1e-5)
        assert task.better == "lower"
    (inputs,) = next_token().inputs({"tokens": tokens})
    np.testing.assert_array_equal(inputs, tokens[:, :-1])


def test_weights_and_smoothing_change_the_loss_of_classes_as_stated() -> None:
    logits = jnp.asarray(RANDOM.normal(size=(4, 3)), jnp.float32)
    label = np.array([0, 2, 1, 2])
    logs = np.asarray(jax.nn.log_softmax(logits))
    plain = -logs[np.arange(4), label]
    batch = {"label": label}
    np.testing.assert_allclose(classification((0.0,), (1.0,)).loss(logits, batch), plain, rtol=1e-6)
    weighed = classification((0.0,), (1.0,), weights=(1.0, 2.0, 0.5)).loss(logits, batch)
    np.testing.assert_allclose(weighed, plain * [1, 0.5, 2, 0.5], rtol=1e-6)
    smooth = classification((0.0,), (1.0,), smoothing=0.3).loss(logits, batch)
    np.testing.assert_allclose(smooth, 0.7 * plain - 0.3 * logs.mean(1), rtol=1e-5)


def test_a_spectrogram_is_that_of_scipy_through_the_triangles_of_mel() -> None:
    """The power is SciPy's; the triangles are drawn here anew, by their three corners."""
    rate, window, hop, bands = 8000, 256, 128, 20
    sound = RANDOM.integers(-20000, 20000, (2, 1000)).astype(np.int16)
    found = LogMel(rate, window, hop, bands).of(jnp.asarray(sound))
    transform = scipy.signal.ShortTimeFFT(scipy.signal.windows.hann(window, sym=False), hop, rate)
    mel = np.linspace(0, 2595 * np.log10(1 + 4000 / 700), bands + 2)
    corners = 700 * (10 ** (mel / 2595) - 1)
    for number in range(2):
        # SciPy's first whole window is centred on half a window
        power = np.abs(transform.stft(sound[number] / 32768, p0=1, p1=1 + found.shape[1])) ** 2
        for band in range(bands):
            weights = np.interp(transform.f, corners[band : band + 3], [0, 1, 0], left=0, right=0)
            np.testing.assert_allclose(found[number, :, band], np.log(1e-6 + weights @ power), rtol=1e-3, atol=1e-3)


def test_a_tone_is_loudest_in_its_band() -> None:
    spectrogram = LogMel(8000, 256, 128, 20)
    corners = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 22) / 2595) - 1)
    for band in (4, 9, 17):
        tone = 8000 * np.sin(2 * np.pi * corners[band + 1] * np.arange(2000) / 8000)
        loudest = spectrogram.of(jnp.asarray(tone[None].astype(np.int16))).argmax(-1)
        assert (loudest == band).all()
    silence = spectrogram.of(jnp.zeros((1, 300), jnp.int16))
    assert silence.shape == (1, 1, 20)
    np.testing.assert_allclose(silence, np.log(1e-6), rtol=1e-6)
    (inputs,) = sounds(spectrogram, Standard((1.0,) * 20, (2.0,) * 20)).inputs(
        {"sound": jnp.zeros((3, 300), jnp.int16), "label": jnp.zeros(3, jnp.int32)}
    )
    np.testing.assert_allclose(inputs, np.full((3, 1, 20, 1), (np.log(1e-6) - 1) / 2), rtol=1e-6)


@pytest.mark.parametrize(
    ("task", "target"),
    [(regression(), RANDOM.normal(size=(4, 3)).astype(np.float32)), (multilabel(), np.ones((4, 3), np.uint8))],
)
def test_a_student_of_numbers_or_labels_is_not_taught_as_if_they_were_classes(
    task: Task, target: NDArray[np.generic]
) -> None:
    """All logits moved by one number are the same classes, and neither the same numbers nor the same labels."""
    answers = RANDOM.normal(size=(4, 3)).astype(np.float32)
    lesson = distilled(task, share=1.0, temperature=2.0)
    batch = taught(InMemory({"input": answers, "target": target}), answers)[np.arange(4)]
    np.testing.assert_allclose(lesson.loss(jnp.asarray(answers), batch), 0, atol=1e-6)
    assert (np.asarray(lesson.loss(jnp.asarray(answers + 1), batch)) > 0.05).all()


def test_a_dictionary_of_outputs_is_taught_leaf_by_leaf_and_whole_numbers_are_refused() -> None:
    from synevo.errors import TaskError

    task = Task(inputs=lambda batch: (batch,), loss=lambda _, batch: batch[:, 0] * 0, score=lambda _, batch: batch)
    lesson = distilled(task, share=0.5, temperature=1.0)
    outputs = {"logits": jnp.ones((2, 3)), "auxiliary": jnp.ones((2, 4, 3))}
    other = {"logits": jnp.ones((2, 3)), "auxiliary": jnp.eye(3)[None, [0, 1, 2, 0]].repeat(2, 0)}
    examples = taught(InMemory(jnp.ones((2, 1))), other)[np.arange(2)]
    assert (np.asarray(lesson.loss(outputs, examples)) > 0).all()
    whole = taught(InMemory(jnp.ones((2, 1))), {"box": jnp.ones((2, 3), jnp.int32)})[np.arange(2)]
    with pytest.raises(TaskError, match=r"output\['box'\] is int32") as caught:
        lesson.loss({"box": jnp.ones((2, 3), jnp.int32)}, whole)
    assert "training.distillation=0" in caught.value.remedy
    boxes = Task(
        task.inputs, task.loss, task.score, distance=lambda one, other, _: jnp.abs(one["box"] - other["box"]).sum(1)
    )
    lesson = distilled(boxes, share=1.0, temperature=1.0)
    np.testing.assert_array_equal(lesson.loss({"box": jnp.full((2, 3), 3, jnp.int32)}, whole), [6, 6])
