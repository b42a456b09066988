"""Reading weights: exactly what was written, of whatever kind; and whatever is wrong with a file is said in words."""

import io
import json
import pickle
import shutil
import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from flax import linen, nnx, serialization
from flax.training.train_state import TrainState
from numpy.typing import NDArray
from safetensors.numpy import save_file

from synevo.adoption import keras, pytorch
from synevo.adoption.weights import read
from synevo.errors import AdoptionError

Arrays = dict[str, NDArray[Any]]

pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
"""Where one array of a checkpoint fails, Orbax closes its loop while TensorStore still answers for the others."""

needs_h5py = pytest.mark.skipif(find_spec("h5py") is None, reason="h5py is not installed")
needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(1, 2, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(2, rngs=rngs)
        self.heads = nnx.List([nnx.Linear(2, 3, rngs=rngs)])
        self.drop = nnx.Dropout(0.5, rngs=rngs)


class Old(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        return linen.BatchNorm(use_running_average=True)(linen.Dense(3)(x))


def a_tree(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    kernel = rng.normal(size=(2, 3)).astype(np.float32)
    return {"params": {"fc": {"kernel": kernel, "bias": rng.normal(size=3).astype(ml_dtypes.bfloat16)}}, "step": 7}


def same(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def standard(path: Path, tree: Any) -> Path:
    with ocp.StandardCheckpointer() as writer:
        writer.save(path, tree)
    return path


def by_path(tree: Any) -> Arrays:
    def word(key: Any) -> str:
        return str(next(getattr(key, name) for name in ("key", "name", "idx") if hasattr(key, name)))

    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {"/".join(map(word, path)): np.asarray(_data(leaf)) for path, leaf in leaves}


def _data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if hasattr(leaf, "dtype") and _is_key(leaf) else leaf


def _is_key(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))


WRITERS: dict[str, Callable[[Path, Any], Path]] = {
    "safetensors": lambda path, arrays: _written(path / "w.safetensors", lambda file: save_file(arrays, file)),
    "npz": lambda path, arrays: _written(path / "w.npz", lambda file: np.savez(file, **arrays)),
    "msgpack": lambda path, arrays: _bytes(path / "w.msgpack", serialization.msgpack_serialize(dict(arrays))),
}
"""Writers of the kinds of files that need no extra."""


def _written(path: Path, write: Callable[[Path], Any]) -> Path:
    write(path)
    return path


def _bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def some() -> Arrays:
    return {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "fc.bias": np.arange(2, dtype=np.float64)}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_is_read_back_exactly_and_told_by_its_content(kind: str, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path, some()).rename(tmp_path / "weights.without-ending")
    weights = read(path)
    same(weights.arrays, some())
    assert weights.source.kind == kind
    assert len(weights.source.sha256) == 64


def test_bfloat16_and_what_the_file_says_about_itself_are_read(tmp_path: Path) -> None:
    arrays = {"x": np.arange(4).astype(ml_dtypes.bfloat16)}
    save_file(arrays, tmp_path / "w.safetensors", metadata={"format": "pt"})
    weights = read(tmp_path / "w.safetensors")
    same(weights.arrays, arrays)
    assert weights.source.metadata == {"format": "pt"}


def shards(folder: Path, place: str = "b.safetensors") -> Path:
    first, second = ({name: array} for name, array in some().items())
    save_file(first, folder / "a.safetensors")
    save_file(second, folder / "b.safetensors")
    places = dict(zip(some(), ("a.safetensors", place), strict=True))
    return _bytes(folder / "w.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": places}).encode())


def test_shards_are_read_through_their_index_or_their_folder(tmp_path: Path) -> None:
    index = shards(tmp_path)
    for path in (index, tmp_path):
        same(read(path).arrays, some())


@pytest.mark.parametrize(
    ("place", "word"), [("../b.safetensors", "outside"), ("c.safetensors", "missing"), ("a.safetensors", "not hold")]
)
def test_an_index_that_names_what_is_not_there_is_refused(place: str, word: str, tmp_path: Path) -> None:
    with pytest.raises(AdoptionError, match=word):
        read(shards(tmp_path, place))


# Flax and Orbax


def drawn(tree: Any) -> Any:
    """The tree with numbers in place of shapes."""
    rng = np.random.default_rng(0)

    def one(leaf: Any) -> Any:
        return jax.random.key(1) if _is_key(leaf) else jnp.asarray(rng.normal(size=leaf.shape).astype(leaf.dtype))

    return jax.tree.map(one, tree)


def trees() -> dict[str, Any]:
    state = drawn(nnx.state(nnx.eval_shape(lambda: Net(nnx.Rngs(0)))))
    variables = drawn(jax.eval_shape(Old().init, jax.random.key(0), jnp.zeros((1, 2))))
    training = TrainState.create(apply_fn=Old().apply, params=variables["params"], tx=optax.adam(0.1))
    return {"state": state, "pure": nnx.to_pure_dict(state), "variables": variables, "TrainState": training}


@pytest.mark.parametrize("name", ["state", "pure", "variables", "TrainState"])
def test_both_ways_of_orbax_are_read_back_exactly(name: str, tmp_path: Path) -> None:
    tree = trees()[name]
    standard(tmp_path / "one", tree)
    ocp.PyTreeCheckpointer().save(tmp_path / "two", tree)
    expected = {path: leaf for path, leaf in by_path(tree).items() if path != "step"}
    for folder in ("one", "two"):
        weights = read(tmp_path / folder)
        assert weights.source.kind == "orbax"
        same({path: leaf for path, leaf in weights.arrays.items() if path != "step"}, expected)


def test_the_hash_of_a_checkpoint_is_that_of_its_files(tmp_path: Path) -> None:
    one, other = (standard(tmp_path / str(seed), a_tree(seed)) for seed in (1, 2))
    shutil.copytree(one, tmp_path / "copy")
    assert read(one).source.sha256 == read(tmp_path / "copy").source.sha256 != read(other).source.sha256


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("orbax") / "steps"
    with ocp.CheckpointManager(folder) as manager:
        for step in (2, 10):
            manager.save(step, args=ocp.args.StandardSave(a_tree(step)))
    return folder


def test_of_several_steps_the_latest_is_read_unless_one_is_named(steps: Path) -> None:
    for path, step, chosen in ((steps, None, 10), (steps, 2, 2), (steps / "2", None, 2)):
        weights = read(path, step=step)
        assert weights.source.step == chosen
        same(weights.arrays, by_path(a_tree(chosen)))


@pytest.mark.parametrize("below", ["", "2"])
def test_a_step_that_is_not_there_is_refused(below: str, steps: Path) -> None:
    with pytest.raises(AdoptionError, match="step 3"):
        read(steps / below, step=3)


def test_items_beside_each_other_are_read_and_what_is_no_tree_is_not(tmp_path: Path) -> None:
    tree = a_tree()["params"]
    with ocp.CheckpointManager(tmp_path) as manager:
        state, about = ocp.args.StandardSave(tree), ocp.args.JsonSave({"a": 1})
        manager.save(1, args=ocp.args.Composite(net=state, average=state, about=about))
    expected = by_path({"average": tree, "net": tree})
    same(read(tmp_path).arrays, expected)


def test_a_checkpoint_that_was_not_finished_is_none(steps: Path, tmp_path: Path) -> None:
    shutil.copytree(steps / "2", tmp_path / "3.orbax-checkpoint-tmp-1")
    with pytest.raises(AdoptionError, match="no checkpoint"):
        read(tmp_path)


def test_files_of_older_versions_of_flax_are_steps_too(tmp_path: Path) -> None:
    for step in (5, 12):
        (tmp_path / f"checkpoint_{step}").write_bytes(serialization.to_bytes(a_tree(step)))
    weights = read(tmp_path)
    assert (weights.source.step, weights.source.kind) == (12, "msgpack")
    same(weights.arrays, by_path(a_tree(12)))


@pytest.mark.parametrize("lost", ["manifest.ocdbt", "_METADATA", "d"])
def test_a_checkpoint_without_one_of_its_files_is_refused(lost: str, tmp_path: Path) -> None:
    path = standard(tmp_path / "ck", a_tree())
    shutil.rmtree(path / lost) if lost == "d" else (path / lost).unlink()
    with pytest.raises(AdoptionError) as caught:
        read(path)
    assert str(path) in caught.value.problem


# Keras


@needs_h5py
@pytest.mark.parametrize("inside", [False, True])
def test_the_numbered_arrays_of_keras_3_get_their_names(inside: bool, tmp_path: Path) -> None:  # noqa: FBT001
    import h5py

    arrays = [np.full(4, number, np.float32) for number in range(4)]
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        for layer, given, count in (
            ("conv2d_3", "stem", 1),
            ("batch_normalization", "norm", 4),
            ("own_layer", "own", 1),
        ):
            group = file.create_group(f"layers/{layer}/vars")
            group.attrs["name"] = given
            for number in range(count):
                group[str(number)] = arrays[number]
        file["optimizer/vars/0"] = arrays[0]
    path = tmp_path / "model.weights.h5"
    if inside:
        with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
            archive.writestr("config.json", "{}")
            archive.write(path, path.name)
        path = tmp_path / "model.keras"
    roles = dict(zip(("gamma", "beta", "moving_mean", "moving_variance"), arrays, strict=True))
    expected = {"stem/kernel": arrays[0], "own/vars/0": arrays[0], "optimizer/vars/0": arrays[0]}
    found = read(path)
    assert found.source.kind == "keras"
    same(found.arrays, expected | {f"norm/{role}": array for role, array in roles.items()})


@needs_h5py
def test_a_file_of_keras_that_refers_to_another_file_is_refused(tmp_path: Path) -> None:
    import h5py

    (tmp_path / "raw").write_bytes(bytes(16))
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("x", (4,), "f4", external=[(str(tmp_path / "raw"), 0, 16)])
    with pytest.raises(AdoptionError, match="no array in this file"):
        read(tmp_path / "w.h5")


# PyTorch


def planted() -> Any:
    class Planted:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (Path("planted"),))

    return Planted()


@needs_torch
@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_of_pytorch_are_read_exactly_wherever_they_lie(legacy: bool, tmp_path: Path) -> None:  # noqa: FBT001
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in some().items()} | {"b": torch.ones(2).bfloat16()}
    content = {"state_dict": tensors, "best": 0.5, "name": "net"}
    torch.save(content, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    expected = some() | {"b": np.ones(2, ml_dtypes.bfloat16)}
    found = read(tmp_path / "w.pt")
    assert found.source.kind == "torch"
    same(found.arrays, {f"state_dict.{name}": array for name, array in expected.items()})


@needs_torch
def test_a_file_of_pytorch_that_would_run_code_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.ones(2), "hook": planted()}, tmp_path / "w.pt")
    with pytest.raises(AdoptionError, match="could execute code"):
        read(tmp_path / "w.pt")
    assert not (tmp_path / "planted").exists()


def test_a_pickle_is_refused_before_it_could_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AdoptionError, match="could execute code") as caught:
        read(_bytes(tmp_path / "w.pkl", pickle.dumps(planted())))
    assert "np.savez" in caught.value.remedy
    assert not (tmp_path / "planted").exists()


def test_python_objects_in_an_npz_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "w.npz", x=np.array([planted()], object))
    with pytest.raises(AdoptionError, match="'x': loading it could execute code"):
        read(tmp_path / "w.npz")
    assert not (tmp_path / "planted").exists()


# Damaged files, and others


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9])
def test_a_truncated_file_is_refused(kind: str, share: float, tmp_path: Path) -> None:
    path = WRITERS[kind](tmp_path, some())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(AdoptionError) as caught:
        read(path)
    assert str(path) in caught.value.problem
    assert caught.value.remedy


def lying_npz() -> bytes:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40,)})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.npy", header.getvalue())
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ((1 << 40).to_bytes(8, "little") + b'{"x":', "damaged"),
        (b"\xff" * 8 + b"{", "no weights"),
        ((9).to_bytes(8, "little") + b"{" * 9, "damaged"),
        ((20000).to_bytes(8, "little") + b'{"x":' + b"[" * 19995, "cannot be read"),
        (lying_npz(), "declares"),
        (b"\x82\xa1x\xc9\xff\xff\xff\xff", "cannot be read"),
        (b"\x81\xa1x\xa1y", "holds no arrays"),
        (b"\x1c\0\0\0TFL3" + bytes(64), "TensorFlow Lite"),
        (b"\x08\x07\x12\x07pytorch", "ONNX"),
        (b"\x93NUMPY\x01\0", "single array"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS"),
        (b"<!doctype html>", "HTML"),
        (b"kernel,bias\n1,2\n", "no weights of a kind"),
        (b'{"weight_map": [', "cannot be read"),
    ],
)
def test_what_holds_no_weights_is_refused_in_words(content: bytes, word: str, tmp_path: Path) -> None:
    with pytest.raises(AdoptionError, match=word) as caught:
        read(_bytes(tmp_path / "w", content))
    assert caught.value.remedy


def test_a_path_without_weights_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    cases = {"modle.safetensors": "Did you mean 'model.safetensors'", "": "no checkpoint of Orbax; it holds model"}
    for name, words in cases.items():
        with pytest.raises(AdoptionError, match=words):
            read(tmp_path / name)
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(AdoptionError, match="SavedModel"):
        read(tmp_path)


def test_a_step_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdoptionError, match="no step 3"):
        read(WRITERS["npz"](tmp_path, some()), step=3)


@pytest.mark.parametrize(
    ("module", "content", "extra"),
    [(keras, b"\x89HDF\r\n\x1a\n", "keras"), (pytorch, b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "torch")],
)
def test_a_missing_extra_is_named(
    module: Any, content: bytes, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(AdoptionError) as caught:
        read(_bytes(tmp_path / "w", content))
    assert f".[{extra}]" in caught.value.remedy
