"""Images in memory."""

import numpy as np

from synevo.tasks.images import Dataset, Images


def test_the_first_images_are_the_first_and_no_more_than_there_are() -> None:
    pixels = np.arange(5 * 2 * 3, dtype=np.uint8).reshape(5, 2, 3, 1)
    images = Images(pixels, np.arange(5, dtype=np.int32))
    assert len(images) == 5
    assert images.first(2).labels.tolist() == [0, 1]
    np.testing.assert_array_equal(images.first(2).pixels, pixels[:2])
    assert len(images.first(100)) == 5


def test_a_dataset_has_the_shape_of_its_images() -> None:
    images = Images(np.zeros((1, 28, 32, 3), np.uint8), np.zeros(1, np.int32))
    assert Dataset("d", ("a", "b"), images, images, images, (0.0,) * 3, (1.0,) * 3).shape == (28, 32, 3)
