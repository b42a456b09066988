"""What is written comes back: every dtype that JAX has, in every shape; what is not a file of tensors is named."""

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save

from synevo.errors import RunError
from synevo.files.tensors import pack_living, pack_masks, pack_tensors, unpack_masks, unpack_tensors

FLOATS = ["float16", "float32", "float64", "bfloat16", "float4_e2m1fn", "float8_e3m4", "float8_e4m3", "float8_e5m2"]
FLOATS += ["float8_e4m3b11fnuz", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu"]
DTYPES = ["bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (2, 4, 8, 16, 32, 64)), *FLOATS]
DTYPES += ["complex64", "complex128"]  # all those of jax.numpy

SHAPES = [(), (1,), (0,), (7,), (0, 3), (2, 3), (3, 1, 2), (2, 0, 3), (2, 1, 3, 2)]

PATH = Path("weights.safetensors")


def of(dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    bits = np.random.default_rng(len(shape)).integers(0, 2, (*shape, 1))
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
    return np.asarray(bits[..., 0]).astype(kind)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_array_of_any_dtype_and_shape_comes_back_from_a_file(dtype: str, shape: tuple[int, ...]) -> None:
    array, beside = of(dtype, shape), np.arange(3, dtype=np.float32)
    found = unpack_tensors(PATH, pack_tensors({"one/kernel": array, "b": beside}))
    assert found["one/kernel"].dtype == array.dtype
    assert found["one/kernel"].shape == shape
    assert found["one/kernel"].tobytes() == array.tobytes()
    np.testing.assert_array_equal(found["b"], beside)


@pytest.mark.parametrize("shape", [*SHAPES, (9, 40)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3b11fnuz", "int32", "bool", "complex128"])
def test_an_array_comes_back_from_a_packed_file_to_the_bit(dtype: str, shape: tuple[int, ...]) -> None:
    sparse = of(dtype, shape)
    sparse.reshape(-1)[::2] = 0
    arrays = {"one/kernel": sparse, "dense": np.arange(1, 4, dtype=np.float32), "zero": np.array([0.0, -0.0] * 9)}
    found = unpack_tensors(PATH, pack_living(arrays))
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def test_a_packed_file_has_a_bit_an_element_and_the_living_ones() -> None:
    sparse = np.zeros((80, 100), np.float32)
    sparse.reshape(-1)[::40] = 1.5
    content = pack_living({"a": sparse})
    assert 8000 / 8 + 200 * 4 <= len(content) <= 8000 / 8 + 200 * 4 + 250
    assert len(pack_tensors({"a": sparse})) > 4 * 8000
    assert pack_living({"a": sparse, "b": sparse[:3]}) == pack_living({"a": sparse, "b": sparse[:3]})


def packed(shape: list[int], bits: np.ndarray, values: np.ndarray) -> bytes:
    said = json.dumps({"shapes": {"a": shape}, "dtypes": {}})
    return bytes(save({"a": values, "a:living": bits}, metadata={"packed": said}))


@pytest.mark.parametrize(
    "content",
    [
        packed([2**40, 2**20], np.ones(1, np.uint8), np.ones(1, np.float32)),
        packed([8], np.array([255], np.uint8), np.ones(7, np.float32)),
        packed([-8], np.array([255], np.uint8), np.ones(8, np.float32)),
        packed([8], np.array([-1], np.int8), np.ones(8, np.float32)),
        packed([8], np.array([255], np.uint8), np.ones((8, 1), np.float32)),
        save({"a": np.ones(8, np.float32)}, metadata={"packed": '{"shapes": {"a": [8]}, "dtypes": {}}'}),
        save({"a": np.ones(8, np.float32)}, metadata={"packed": '{"shapes": {}}'}),
        save({"a": np.ones(8, np.float32)}, metadata={"packed": "[1]"}),
    ],
    ids=["a bomb", "a value less", "below zero", "signed bits", "two axes", "no bits", "no dtypes", "a list"],
)
def test_a_packed_file_whose_parts_do_not_fit_is_damaged(content: bytes) -> None:
    with pytest.raises(RunError, match="is damaged"):
        unpack_tensors(PATH, content)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_mask_of_any_shape_comes_back_from_a_file(shape: tuple[int, ...]) -> None:
    mask = of("bool", shape)
    found = unpack_masks(PATH, pack_masks({"m": mask}))["m"]
    assert found.dtype == bool
    assert found.shape == shape
    np.testing.assert_array_equal(found, mask)


def test_arrays_that_are_not_in_one_piece_are_written_in_the_order_of_their_axes() -> None:
    array = np.arange(12.0).reshape(3, 4).T[::2]
    np.testing.assert_array_equal(unpack_tensors(PATH, pack_tensors({"a": array}))["a"], array)


def test_bfloat16_is_written_as_other_tools_read_it() -> None:
    content = pack_tensors({"a": of("bfloat16", (2, 2))})
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["a"]["dtype"] == "BF16"
    assert "__metadata__" not in header


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x02\0\0\0\0\0\0\0[]",
        save({"a": np.zeros(3, np.uint8)}, metadata={"dtypes": '{"a": "object"}'}),
        save({"a": np.zeros(3, np.uint8)}, metadata={"dtypes": '{"a": "complex128"}'}),
        save({"a": np.zeros(3, np.uint8)}, metadata={"dtypes": "[1]"}),
    ],
    ids=["empty", "a list", "objects", "too few bytes", "no names"],
)
def test_a_file_of_something_else_is_damaged(content: bytes) -> None:
    with pytest.raises(RunError, match="is damaged"):
        unpack_tensors(PATH, content)
