"""The embedded digits, and how the images of any source are divided."""

import numpy as np
from sklearn.datasets import load_digits
from written import same

from synevo.data import datasets
from synevo.plan.examples import DataPlan


def test_all_images_are_there_in_the_full_range_of_grey() -> None:
    data = datasets.load(DataPlan(), seed=0)
    parts = (data.train, data.validation, data.test)
    assert data.shape == (8, 8, 1)
    assert data.classes == tuple("0123456789")
    assert all(part.pixels.dtype == np.uint8 and part.labels.dtype == np.int32 for part in parts)
    ours = sorted(image.tobytes() for part in parts for image in part.pixels)
    theirs = sorted(np.rint(image * 255 / 16).astype(np.uint8).tobytes() for image in load_digits().images)
    assert ours == theirs


def test_the_test_split_is_the_same_for_every_seed_and_the_validation_split_is_not() -> None:
    one, again, other = (datasets.load(DataPlan(), seed=seed) for seed in (0, 0, 1))
    assert same(one.test, other.test)
    assert same(one.validation, again.validation)
    assert same(one.train, again.train)
    assert not same(one.validation, other.validation)


def test_every_class_gives_a_fifth_to_test_and_its_share_to_validation() -> None:
    data = datasets.load(DataPlan(validation=0.25), seed=3)
    counts = np.bincount(load_digits().target)
    test, validation = np.bincount(data.test.labels), np.bincount(data.validation.labels)
    assert np.all(np.abs(test - 0.2 * counts) <= 0.5)
    assert np.all(np.abs(validation - 0.25 * (counts - test)) <= 0.5)


def test_the_splits_are_the_ones_that_published_figures_rest_on() -> None:
    data = datasets.load(DataPlan(), seed=0)
    assert data.test.labels[:12].tolist() == [1, 0, 2, 6, 6, 4, 8, 5, 7, 1, 7, 9]
    assert data.validation.labels[:12].tolist() == [1, 3, 7, 0, 0, 1, 0, 1, 4, 7, 4, 2]
