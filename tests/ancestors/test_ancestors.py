"""Finding an ancestor, built in or the user's own."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from specimens import hatch, images

from synevo import ancestors
from synevo.ancestors import BUILT_IN
from synevo.ancestors.pooling import average_pool, max_pool
from synevo.errors import AncestorError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "alexnet"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_built_in_ancestor_classifies_images_of_its_native_size(name: str, channels: int) -> None:
    side = ancestors.native_size(name)
    assert side is not None
    model = hatch(ancestors.find(name), (side, side, channels), 10)
    assert model(jnp.asarray(images(2, (side, side, channels)))).shape == (2, 10)


@pytest.mark.parametrize(
    ("name", "side"), [("lenet5", 32), ("lenet5-caffe", 28), ("lenet-300-100", 28), ("alexnet", 32)]
)
def test_an_ancestor_knows_the_size_that_it_was_designed_for(name: str, side: int) -> None:
    assert ancestors.native_size(name) == side


def test_a_user_s_own_ancestor_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_models.py").write_text("def mine(shape, classes, rngs):\n    return 'made'\n\nnumber = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert ancestors.find("my_models:mine")((1, 1, 1), 2, None) == "made"
    assert ancestors.native_size("my_models:mine") is None
    for missing in ("my_models:yours", "my_models:number"):
        with pytest.raises(AncestorError, match=missing.partition(":")[2]):
            ancestors.find(missing)
    monkeypatch.delitem(sys.modules, "my_models")


@pytest.mark.parametrize(
    ("factory", "given"),
    [
        (lambda shape, classes, rngs: (shape, classes, rngs), ((4, 4, 1), 3, "keys")),
        (lambda *all_of_it: all_of_it, ((4, 4, 1), 3, "keys")),
        (lambda shape, classes, rngs, width=8: (shape, classes, rngs, width), ((4, 4, 1), 3, "keys", 8)),
        (lambda rngs: rngs, "keys"),
        (lambda rngs=None: rngs, "keys"),
        (lambda: "nothing", "nothing"),
        (lambda width=8: width, 8),
    ],
)
def test_a_factory_is_given_what_it_takes(factory: Callable[..., Any], given: object) -> None:
    assert ancestors.taking(factory, (4, 4, 1), 3)("keys") == given  # type: ignore[arg-type]


def test_a_factory_that_takes_something_else_fails_with_all_of_it() -> None:
    with pytest.raises(TypeError, match="positional"):
        ancestors.taking(lambda one, two: (one, two), (4, 4, 1), 3)(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["resnet50", "LeNet5", ""])
def test_an_unknown_ancestor_is_an_error_with_the_list(name: str) -> None:
    with pytest.raises(AncestorError, match="no ancestor") as error:
        ancestors.find(name)
    assert all(known in error.value.remedy for known in BUILT_IN)


@pytest.mark.parametrize(
    ("name", "meant"), [("lenet6", "lenet5"), ("LeNet5", "lenet5"), ("resnet-20", "resnet20"), ("VGG", "vgg16")]
)
def test_a_misspelled_ancestor_is_answered_with_the_one_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(AncestorError) as error:
        ancestors.find(name)
    assert f"Did you mean '{meant}'?" in error.value.problem


def test_an_ancestor_unlike_any_gets_no_suggestion() -> None:
    with pytest.raises(AncestorError) as error:
        ancestors.find("zzz")
    assert "Did you mean" not in error.value.problem


def test_a_misspelled_factory_is_answered_with_the_one_of_its_module() -> None:
    with pytest.raises(AncestorError, match=r"Did you mean 'LeNet5'\?"):
        ancestors.find("synevo.ancestors.lenet5:Lenet")
    with pytest.raises(AncestorError, match=r"'zzz'\.\n"):
        ancestors.find("synevo.ancestors.lenet5:zzz")


def test_a_module_that_is_not_there_is_an_error_that_says_where_to_put_it() -> None:
    with pytest.raises(AncestorError, match="no_such_module") as error:
        ancestors.find("no_such_module:factory")
    assert "PYTHONPATH" in error.value.remedy


def test_pooling_takes_the_largest_or_the_mean_of_each_window() -> None:
    """A row and a column that fill no window are left out."""
    x = jnp.asarray(np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1))
    np.testing.assert_array_equal(max_pool(x)[0, :, :, 0], [[6, 8], [16, 18]])
    np.testing.assert_array_equal(average_pool(x)[0, :, :, 0], [[3, 5], [13, 15]])
