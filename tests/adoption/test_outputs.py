"""Expected outputs: a network that computes something else is told, with where to look."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import Array
from received import made

from synevo.adoption.filling import fill
from synevo.adoption.outputs import Expected, compare_outputs, read_expected
from synevo.adoption.weights import Source, Weights
from synevo.errors import AdoptionError
from synevo.model.network import Network

ROWS = (jax.ShapeDtypeStruct((2, 3), jnp.float32),)
KERNEL = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 10]], np.float32)
X = np.array([[1, 0, 0], [0, 0, 1]], np.float32)
Y = X @ KERNEL


class Square(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.fc = nnx.Linear(3, 3, use_bias=False, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        return self.fc(x)


def square(kernel: Any = KERNEL) -> Network:
    return fill(made(Square, ROWS), Weights({"fc/kernel": kernel}, Source(Path("w"), "orbax", "")), ROWS).network


def written(path: Path, **arrays: Any) -> Path:
    np.savez(path / "expected.npz", **arrays)
    return path / "expected.npz"


def test_the_difference_is_relative_to_the_largest_output() -> None:
    assert compare_outputs(square(), Expected((X,), {"": Y})) == 0
    assert (
        compare_outputs(square(), Expected((X,), {"": Y + np.array([0, 0, 0.5], np.float32)}), tolerance=0.1)
        == 0.5 / 10.5
    )


def test_a_transposed_square_matrix_is_found_and_named() -> None:
    with pytest.raises(AdoptionError, match=r"other outputs: they differ by 0\.4") as caught:
        compare_outputs(square(KERNEL.T), Expected((X,), {"": Y}))
    assert "fits both ways (fc/kernel)" in caught.value.remedy


def test_outputs_that_are_no_numbers_never_agree() -> None:
    with pytest.raises(AdoptionError, match="differ by inf"):
        compare_outputs(square(), Expected((X,), {"": Y * np.float32(np.nan)}), tolerance=1e9)


def test_outputs_of_another_shape_or_path_are_refused() -> None:
    with pytest.raises(AdoptionError, match=r"are \[2, 3\]; expected are \[2, 2\]"):
        compare_outputs(square(), Expected((X,), {"": Y[:, :2]}))
    with pytest.raises(AdoptionError, match="gives one array; expected are a, b"):
        compare_outputs(square(), Expected((X,), {"a": Y, "b": Y}))


@pytest.mark.parametrize("names", [("inputs", "outputs"), ("inputs/0", "outputs"), ("inputs", "logits")])
def test_inputs_and_outputs_are_read_from_one_file(names: tuple[str, str], tmp_path: Path) -> None:
    expected = read_expected(written(tmp_path, **dict(zip(names, (X, Y), strict=True))))
    assert compare_outputs(square(), expected) == 0


def test_several_inputs_come_in_order_and_outputs_under_their_paths(tmp_path: Path) -> None:
    arrays = {f"inputs/{number}": np.full(2, number) for number in (10, 2, 0)}
    expected = read_expected(written(tmp_path, **arrays, **{"outputs/a/b": Y}))
    assert [int(array[0]) for array in expected.inputs] == [0, 2, 10]
    assert expected.outputs.keys() == {"a/b"}


def test_pixels_become_inputs_as_the_caller_says_and_probabilities_are_those_of_a_softmax(tmp_path: Path) -> None:
    softmax = np.exp(Y) / np.exp(Y).sum(-1, keepdims=True)
    path = written(tmp_path, pixels=(X * 255).astype(np.uint8), probabilities=softmax, labels=np.zeros(2))
    expected = read_expected(path, lambda pixels: pixels.astype(np.float32) / 255)
    assert compare_outputs(square(), expected) < 1e-6
    with pytest.raises(AdoptionError, match="pixels"):
        read_expected(path)


def test_a_file_without_inputs_or_outputs_is_refused(tmp_path: Path) -> None:
    for arrays in ({"inputs": X}, {"outputs": Y}, {"x": X, "y": Y}):
        with pytest.raises(AdoptionError, match="must hold inputs and outputs"):
            read_expected(written(tmp_path, **arrays))
    (tmp_path / "expected.npz").write_bytes(b"PK\x03\x04")
    with pytest.raises(AdoptionError, match="truncated"):
        read_expected(tmp_path / "expected.npz")
