"""Data sets of TensorFlow Datasets (TFDS), read from prepared array_record files without TensorFlow.

A data set on disk is used as it is. Another one is prepared first, which needs TensorFlow and a network. If either is
missing, DataError says so at once; TFDS alone would retry for minutes before it does.
"""

import contextlib
import importlib.util
import json
import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.data.images import Images, Streamed
from synevo.data.pictures import stretched
from synevo.data.sources import Source, Splits, check_labels, stamp
from synevo.errors import DataError, PlanError, did_you_mean, first_line

HOST = "storage.googleapis.com"
"""The host of most data sets of TFDS, looked up to find out if there is a network."""

PATIENCE = 2.0
"""The longest time for this look-up, in seconds."""

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[\w\-+.]+))?(:(?P<version>\d+\.\d+\.\d+))?")


_AT_ONCE = 1024  # records that are read for their labels

TRAIN, TEST, VALIDATION = "train", "test", "validation"
"""The names that TFDS gives to splits."""


def open_prepared(name: str, data_dir: Path, validation: str | None = None) -> Source:
    """Return the source of the data set `name`, `name/config` or `name:version` under `data_dir`; prepare it if needed.

    `validation` is the name of its split for validation; with None or `train` it gives none.

    Raises:
        PlanError: if there is no such split, or it is the one for the test.
        DataError: if the name is unknown, the data set is not prepared and cannot be, or it does not consist of
            labelled images of a fixed size with a training and a test (or validation) split.
    """
    builder, folder = open_builder(name, data_dir)
    with quiet() as tfds:
        image, label = _choose_features(tfds, name, builder.info)
        test = _choose_test(name, builder.info)
        held = choose_validation(name, builder.info, test, validation)
        classes = tuple(builder.info.features[label].names)
    splits = [split for split in (TRAIN, test, held) if split]
    files = sorted(item for item in folder.iterdir() if item.is_file())
    mark = stamp(f"tfds {held}" if held else "tfds", folder, files)
    spare = VALIDATION if VALIDATION in builder.info.splits and test != VALIDATION else None
    count = sum(builder.info.splits[split].num_examples for split in splits)
    fixed = _fixed_shape(name, builder.info.features[image])

    def at(side: int | None) -> Source:
        shape = fixed or _first_shape(name, builder, image)
        shape = (side, side, shape[2]) if side else shape
        records = Records(builder, image, label, shape, resized=side is not None)

        def gathered(read: Callable[[str], Images]) -> Splits:
            parts = {split: read(split) for split in splits}
            for split, images in parts.items():
                check_labels(images.labels, len(classes), where=f"{name}: the labels of {split}")
            return Splits(parts[TRAIN], parts[test], parts[held] if held else None)

        def seal() -> str:
            return f"{mark}\nresized to {side}" if side else mark

        resized = None if fixed else at
        read, stream = partial(gathered, records.read), partial(gathered, records.stream)
        return Source(name, shape, classes, count, read, stream, seal, resized, validation=spare)

    return at(None)


def open_builder(name: str, data_dir: Path) -> tuple[Any, Path]:
    """Return TFDS's builder of a data set, which is prepared first if needed, and its folder; errors as above."""
    folder = find_prepared(name, data_dir) or _prepare(name, data_dir)
    with quiet() as tfds:
        with readable(folder):
            builder = tfds.builder_from_directory(folder)
        _check_format(builder, folder)
    return builder, folder


def home(wanted: str | None) -> str:
    """Return the absolute path of the folder of prepared data sets: the one that is wanted, or the usual one."""
    return str(Path(wanted or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser().resolve())


def find_prepared(name: str, data_dir: Path) -> Path | None:
    """Return the folder of the given version, or of the newest one on disk; None if there is none."""
    parts = _NAME.fullmatch(name)
    if parts is None:
        return None
    home = data_dir / parts["name"]
    home /= parts["config"] or _default_config(home)
    versions = [home / parts["version"]] if parts["version"] else _versions(home)
    whole = [folder for folder in versions if (folder / "dataset_info.json").is_file()]
    return next((folder for folder in reversed(whole) if (folder / "features.json").is_file()), None)


@dataclass(frozen=True)
class Records:
    """The records of a prepared data set, each with an `image` and a `label`, the names of two features.

    Images have one `shape`, or are `resized` to it.
    """

    builder: Any
    image: str
    label: str
    shape: tuple[int, int, int]
    resized: bool = False

    def read(self, split: str) -> Images:
        """Return the images of a split, or of a slice such as `train[:100]`; it takes about 0.4 ms an image."""
        with quiet(), readable(self.builder.data_path):
            records = self.builder.as_data_source(split)
            pixels = np.empty((len(records), *self.shape), np.uint8)
            labels = np.empty(len(records), np.int32)
            for place, record in enumerate(records):
                pixels[place], labels[place] = self._fitted(record[self.image]), record[self.label]
        return Images(pixels, labels)

    def stream(self, split: str) -> Images:
        """Return the images of a split, of which only the labels are read; images stay as they are in their files."""
        with quiet() as tfds, readable(self.builder.data_path):
            raw = self.builder.as_data_source(split, decoders={self.image: tfds.decode.SkipDecoding()})
            parts = [range(len(raw))[first : first + _AT_ONCE] for first in range(0, len(raw), _AT_ONCE)]
            labels = [record[self.label] for part in parts for record in raw.__getitems__(list(part))]
            records = self.builder.as_data_source(split)

        def read(places: NDArray[np.intp]) -> NDArray[np.uint8]:
            with readable(self.builder.data_path):
                found = records.__getitems__([int(place) for place in places])
                pixels = [self._fitted(record[self.image]) for record in found]
                return np.stack(pixels) if pixels else np.empty((0, *self.shape), np.uint8)

        return Images(Streamed(read, np.arange(len(labels)), self.shape), np.array(labels, np.int32))

    def _fitted(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.resized:
            return stretched(pixels, *self.shape[:2])
        if pixels.shape != self.shape:
            raise DataError(
                f"The images in {self.builder.data_path} have several sizes, such as {self.shape} and {pixels.shape}.",
                remedy="Bring all to one size on reading: --set data.fit=resize --set data.image_size=N.",
            )
        return pixels


def _default_config(home: Path) -> str:
    """Return the default config of a data set, as TFDS noted it beside the configs; empty if there are no configs."""
    with contextlib.suppress(OSError, ValueError):
        return str(json.loads((home / ".config" / "metadata.json").read_text("utf-8")).get("default_config_name", ""))
    return ""


def _versions(home: Path) -> list[Path]:
    """Return the folders named x.y.z in `home`, the newest last."""
    folders = list(home.iterdir()) if home.is_dir() else []
    numbered = [folder for folder in folders if re.fullmatch(r"\d+\.\d+\.\d+", folder.name)]
    return sorted(numbered, key=lambda folder: [int(part) for part in folder.name.split(".")])


def _prepare(name: str, data_dir: Path) -> Path:
    """Download and prepare a data set, and return its folder; raise DataError if that is not possible."""
    with quiet() as tfds:
        _check_known(name, _known(tfds))
        _check_means(name, data_dir)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # TFDS names an extracted archive by its file name alone: in a shared folder, sets got each other's images.
        downloads = data_dir / "downloads" / re.sub(r"\W", "_", name)
        try:
            builder = tfds.builder(name, data_dir=str(data_dir))
            builder.download_and_prepare(download_dir=str(downloads), file_format="array_record")
        except Exception as error:  # noqa: BLE001 (each data set raises its own; none is a bug of synevo's)
            raise DataError(
                f"TFDS could not prepare {name} in {data_dir}: {first_line(error)}",
                remedy=f"Its page says what it needs: https://www.tensorflow.org/datasets/catalog/{name.partition('/')[0]}.",
            ) from None
        return Path(builder.data_path)


def is_known(name: str, data_dir: Path) -> bool:
    """Return whether a data set is prepared in `data_dir`, or one that TFDS has."""
    if find_prepared(name, data_dir) is not None:
        return True
    parts = _NAME.fullmatch(name)
    with quiet() as tfds:
        return parts is not None and parts["name"] in _known(tfds)


def _known(tfds: Any) -> list[str]:
    return list(tfds.list_builders(with_community_datasets=False))


def _beside(name: str) -> list[str]:
    """Return the folders and .npz files that are where a path leads to nothing, as a user writes them."""
    folder = Path(name).expanduser().parent
    try:
        there = [path for path in folder.iterdir() if path.is_dir() or path.suffix == ".npz"]
    except OSError:
        return []
    return [str(Path(name).parent / path.name) for path in there if not path.name.startswith(".")]


def _check_known(name: str, known: list[str]) -> None:
    parts = _NAME.fullmatch(name)
    if parts is not None and parts["name"] in known:
        return
    hint = did_you_mean(name.rstrip("/"), _beside(name)) or did_you_mean(
        parts["name"] if parts else name, ["digits", *known]
    )
    raise DataError(
        f"There is no data set {name!r}: no folder of this name is here, and TFDS has no such data set.{hint}",
        remedy="A data set is digits, an .npz file, a folder of class folders, or a TFDS name such as mnist.",
    )


def _check_means(name: str, data_dir: Path) -> None:
    """Raise DataError at once if TensorFlow or a network is missing."""
    if importlib.util.find_spec("tensorflow") is None:
        missing = "TensorFlow, which prepares it, is not installed"
    elif not _network():
        missing = f"it cannot be downloaded: {HOST} was not found"
    else:
        return
    held = sorted({str(info.parents[1].relative_to(data_dir)) for info in _descriptions(data_dir)})
    found = f"it holds {', '.join(held[:10])}" if held else "it holds none, or is missing"
    raise DataError(
        f"{name} is not prepared in {data_dir} ({found}), and {missing}.",
        remedy="Name the folder that holds it with --data-dir DIR or TFDS_DATA_DIR=DIR, or prepare it once, with a "
        "network: pip install '.[prepare]', then the same command again.",
    )


def _descriptions(data_dir: Path) -> list[Path]:
    """Return the description files of all prepared data sets, those with a config included."""
    return [*data_dir.glob("*/*/dataset_info.json"), *data_dir.glob("*/*/*/dataset_info.json")]


def _network() -> bool:
    """Return True if `HOST` resolves in time; a daemon thread looks it up, since nothing else limits the time."""
    resolved = threading.Event()

    def look_up() -> None:
        with contextlib.suppress(OSError):
            socket.getaddrinfo(HOST, 443)
            resolved.set()

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return resolved.is_set()


def _check_format(builder: Any, folder: Path) -> None:
    formats = sorted(item.value for item in builder.info.available_file_formats())
    if "array_record" not in formats:
        raise DataError(
            f"{folder} must be prepared as array_record; it is {', '.join(formats)}.",
            remedy="Name another folder with --data-dir DIR, in which it is prepared so; that needs a network, and "
            "pip install '.[prepare]'.",
        )


def _choose_features(tfds: Any, name: str, info: Any) -> tuple[str, str]:
    """Return the keys of the image and of its class: TFDS's own for supervision, or the only ones of their kind."""
    features = dict(info.features.items()) if isinstance(info.features, tfds.features.FeaturesDict) else {}
    images = [key for key, feature in features.items() if isinstance(feature, tfds.features.Image)]
    labels = [key for key, feature in features.items() if isinstance(feature, tfds.features.ClassLabel)]
    match info.supervised_keys:
        case (str(image), str(label)) if image in images and label in labels:
            return image, label
    if len(images) == len(labels) == 1:
        return images[0], labels[0]
    raise DataError(
        f"{name} is not an image classification set: an image and a class label are expected; "
        f"found {', '.join(features) or info.features}.",
        remedy="Choose a data set of https://www.tensorflow.org/datasets/catalog/overview#image_classification.",
    )


def _choose_test(name: str, info: Any) -> str:
    """Return the name of the split for the test: `test`, or else `validation`; raise DataError if there is none."""
    names = list(info.splits)
    test = next((split for split in (TEST, VALIDATION) if split in names), None)
    if test is None or TRAIN not in names:
        raise DataError(
            f"{name} must have a train split and a test or validation split; found {', '.join(names)}.",
            remedy="Choose another data set, or write its images to an .npz file (images, labels).",
        )
    return test


def choose_validation(name: str, info: Any, test: str, wanted: str | None) -> str | None:
    """Return the name of the split for validation, or None if a share of `train` is held out for it.

    Raises:
        PlanError: if the `wanted` split is not there, or is the one for the test.
    """
    if wanted in (None, TRAIN):
        return None
    others = [split for split in info.splits if split != test]
    if wanted in others:
        return wanted
    found = f"is the one that tests {name}" if wanted == test else f"is none of {name}"
    raise PlanError(
        f"data.validation_split = {wanted!r} {found}; there are {', '.join(info.splits)}."
        f"{'' if wanted == test else did_you_mean(wanted, others)}",
        remedy="Name another split, or hold out a share of the training images: --set data.validation_split=train.",
    )


def _fixed_shape(name: str, feature: Any) -> tuple[int, int, int] | None:
    """Return the common shape (height, width, channels) of a feature's images, or None if they may have any size.

    Raises:
        DataError: if they are not uint8 with 1 or 3 channels.
    """
    match tuple(feature.shape):
        case (int(height), int(width), (1 | 3) as channels) if feature.np_dtype == np.uint8:
            return height, width, channels
        case (None, None, 1 | 3) if feature.np_dtype == np.uint8:
            return None
    raise DataError(
        f"{name}: uint8 images with 1 or 3 channels are expected; found {feature.np_dtype} {tuple(feature.shape)}.",
        remedy="Choose another data set, or write its images in one size to a folder or an .npz file.",
    )


def _first_shape(name: str, builder: Any, image: str) -> tuple[int, int, int]:
    """Return the shape of the first training image."""
    with quiet(), readable(builder.data_path):
        records = builder.as_data_source(TRAIN)
        if len(records):
            height, width, channels = records[0][image].shape
            return height, width, channels
    raise DataError(f"{name} has no training images.", remedy="Choose another data set.")


@contextlib.contextmanager
def quiet() -> Iterator[Any]:
    """Import TFDS only when it is needed, silence its warnings, and send its prints to stderr."""
    import tensorflow_datasets as tfds  # noqa: PLC0415 (heavy, and no other source needs it)

    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield tfds
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Raise DataError in place of TFDS's many kinds of errors for missing or damaged files."""
    try:
        yield
    except DataError:
        raise
    except ModuleNotFoundError as error:
        raise DataError(
            f"The prepared data set in {folder} cannot be read without {error.name}.",
            remedy="Install what TFDS needs for its features: pip install '.[prepare]'.",
        ) from None
    except Exception as error:  # noqa: BLE001 (see above)
        raise DataError(
            f"The prepared data set in {folder} cannot be read: {first_line(error)}",
            remedy="Files may be missing or damaged: copy or prepare this folder again.",
        ) from None
