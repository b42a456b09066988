"""Sources of images as they lie on a disk, small enough to be written anew for each test."""

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from synevo.data import datasets
from synevo.data.images import Images
from synevo.errors import DataError
from synevo.plan.examples import DataPlan

TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"


def empty_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where decoded images are kept from now on: in `folder`, and TFDS is looked for nowhere else than by default."""
    monkeypatch.setenv("SYNEVO_CACHE", str(folder / "cache"))
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    return folder / "cache" / "datasets"


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def write_npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def whole_npz(folder: Path, *shape: int, classes: int = 2) -> Path:
    return write_npz(folder / "own.npz", images=noise(*shape), labels=np.arange(shape[0]) % classes)


def write_image(path: Path, *, mode: str = "L", size: tuple[int, int] = (4, 4), level: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).convert(mode).save(path)
    return path


def write_folder(root: Path, *, classes: Sequence[str] = ("cat", "ant"), count: int = 5, mode: str = "L") -> Path:
    for place, name in enumerate(classes):
        for item in range(count):
            write_image(root / name / f"{item}.png", mode=mode, level=100 * place + item)
    return root


def plan_for(source: Path | str, **fields: Any) -> DataPlan:
    return DataPlan(dataset=str(source), **fields)


def load_error(source: Path | str, **fields: Any) -> DataError:
    with pytest.raises(DataError) as caught:
        datasets.load(plan_for(source, **fields), seed=0)
    assert caught.value.remedy
    return caught.value


def same(one: Images, other: Images) -> bool:
    return np.array_equal(one.pixels, other.pixels) and np.array_equal(one.labels, other.labels)


def assert_says(error: DataError, words: str) -> None:
    assert re.search(words, str(error)), str(error)


def damage(path: Path, *, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def features(**changed: Any) -> dict[str, Any]:
    """What TFDS notes in features.json about a set of 4x4 greyscale images of two classes."""
    kind = "tensorflow_datasets.core.features."
    image = {"shape": {"dimensions": ["4", "4", "1"]}, "dtype": "uint8", "encodingFormat": "png"}
    members: dict[str, Any] = {
        "image": {"pythonClassName": f"{kind}image_feature.Image", "image": image},
        "label": {"pythonClassName": f"{kind}class_label_feature.ClassLabel", "classLabel": {"numClasses": "2"}},
    }
    members |= changed
    kept = {key: member for key, member in members.items() if member}
    return {"pythonClassName": f"{kind}features_dict.FeaturesDict", "featuresDict": {"features": kept}}


def prepare(
    data_dir: Path,
    *,
    home: str = "tiny",
    version: str = "1.0.0",
    labels: Mapping[str, Sequence[int]] | None = None,
    noted: Mapping[str, Any] | None = None,
    file_format: str = "array_record",
    sizes: Sequence[int] = (4,),
) -> Path:
    """Lay out a tiny prepared data set as TFDS does, without TensorFlow: pixel k of image k is 10 k."""
    labels = {"train": [0, 1] * 4, "test": [1, 0]} if labels is None else labels
    folder = data_dir / home / version
    folder.mkdir(parents=True)
    (folder / "features.json").write_text(json.dumps(noted or features()))
    (folder / "label.labels.txt").write_text("off\non\n")
    splits = [
        {"name": split, "numBytes": "1", "shardLengths": [str(len(marks))], "filepathTemplate": TEMPLATE}
        for split, marks in labels.items()
    ]
    info = {"name": home.partition("/")[0], "version": version, "fileFormat": file_format, "splits": splits}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    for split, marks in labels.items():
        write_records(folder / f"{home.partition('/')[0]}-{split}.array_record-00000-of-00001", marks, sizes)
    return folder


def write_records(path: Path, labels: Sequence[int], sizes: Sequence[int] = (4,)) -> None:
    """Images of `sizes` in turn, each of one level."""
    sides = [sizes[place % len(sizes)] for place in range(len(labels))]
    write_examples(
        path,
        [
            {"image": png(np.full((side, side), min(10 * place, 255), np.uint8)), "label": [label]}
            for place, (side, label) in enumerate(zip(sides, labels, strict=True))
        ],
    )


def png(pixels: NDArray[np.uint8]) -> bytes:
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "png")
    return written.getvalue()


def write_examples(path: Path, examples: Sequence[Mapping[str, Any]]) -> None:
    """Records as TFDS writes them: bytes, lists of whole numbers, and lists of other numbers."""
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.proto import tf_example_generated_pb2 as example
    from tensorflow_datasets.proto import tf_feature_generated_pb2 as feature

    def member(value: Any) -> Any:
        if isinstance(value, bytes):
            return feature.Feature(bytes_list=feature.BytesList(value=[value]))
        if all(isinstance(one, int) for one in value):
            return feature.Feature(int64_list=feature.Int64List(value=value))
        return feature.Feature(float_list=feature.FloatList(value=value))

    writer = ArrayRecordWriter(str(path), "group_size:1")
    for one in examples:
        members = {name: member(value) for name, value in one.items()}
        writer.write(example.Example(features=feature.Features(feature=members)).SerializeToString())
    writer.close()
