"""Classification of recordings: WAV files in class folders, or named `CLASS_*.wav` in one folder, or sounds of TFDS.

A recording of several channels is their mean. All must have one rate. Each is filled up with silence behind it, or cut,
to `data.seconds`; without that to the length of the longest one. The spectrogram is part of the task: see
`synevo.tasks.sounds`.
"""

import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from synevo.data.problems import prepared
from synevo.data.problems.described import Described, refuse, resident, weights_of
from synevo.data.problems.splits import Parts, named_for_test, split, validation_of
from synevo.data.sources import FEWEST
from synevo.errors import DataError, PlanError
from synevo.plan.fields import Plan
from synevo.tasks.regression import Standard
from synevo.tasks.sounds import LogMel, sounds
from synevo.tasks.task import Batch, Examples, Problem

SAMPLED = 1000
"""The most training recordings, evenly apart, that tell mean and deviation of each band."""

_SMALLEST_DEVIATION = 1e-3

_VALIDATION = ("val", "validation", "valid")


@dataclass(frozen=True)
class Sounds:
    """All recordings: `read` gives the samples int16 [n] of one, `labels` [count] the places of its `classes`."""

    read: Callable[[int], NDArray[np.int16]]
    labels: NDArray[np.int32]
    classes: tuple[str, ...]
    rate: int
    longest: int


@dataclass(frozen=True)
class Recordings:
    """The recordings at some `places`, brought to a length in `samples`; decoded when they are read."""

    sounds: Sounds
    places: NDArray[np.intp]
    samples: int

    def __len__(self) -> int:
        """Return the number of recordings."""
        return len(self.places)

    def __getitem__(self, places: NDArray[np.intp], /) -> Batch:
        """Return the batch of the recordings at `places` [n] of these; DataError if one cannot be read."""
        sound = np.zeros((len(places), self.samples), np.int16)
        for number, place in enumerate(self.places[places]):
            found = self.sounds.read(int(place))[: self.samples]
            sound[number, : len(found)] = found
        return {"sound": sound, "label": self.sounds.labels[self.places[places]]}


@dataclass(frozen=True)
class _Listed:
    """The files of a data set with the name of the class of each."""

    files: tuple[Path, ...]
    names: tuple[str, ...]


def has_recordings(path: Path) -> bool:
    """Return whether a folder holds WAV files: itself, in class folders, or in those of its train/."""
    return path.is_dir() and any(_wavs(root) or any(map(_wavs, _inner(root))) for root in (path, path / "train"))


def classes(plan: Plan, seed: int) -> Described:
    """Return the problem of classifying recordings.

    Raises:
        DataError: if a file cannot be used, their rates differ, or a class has too few of them.
        PlanError: if the spectrogram of the plan does not fit them.
    """
    refuse(plan, "ignore", "score")
    found, places = _of_tfds(plan, seed) if prepared.is_name(plan) else _of_files(plan, seed)
    named, labels, rate = found.classes, found.labels, found.rate
    samples = found.longest if plan.data.seconds is None else round(plan.data.seconds * rate)
    spectrogram = _spectrogram(plan, rate, samples)
    train, validation, test = (resident(Recordings(found, own, samples)) for own in places)
    counts = np.bincount(labels[places.train], minlength=len(named))
    standard = Standard() if plan.data.normalise == "none" else _standard(spectrogram, train)
    task = sounds(spectrogram, standard, weights=weights_of(plan, counts), smoothing=plan.task.label_smoothing)
    held = labels[places.validation]
    facts = {
        "classes": list(named),
        "rate": rate,
        "samples": samples,
        "window": spectrogram.window,
        "hop": spectrogram.hop,
        "bands": spectrogram.bands,
        "mean": list(standard.mean),
        "deviation": list(standard.deviation),
    }
    return Described(
        Problem(task, train, validation, test),
        (spectrogram.frames(samples), spectrogram.bands, 1),
        len(named),
        (len(named),),
        facts,
        float(np.bincount(held).max() / len(held)),
    )


def decode(file: Path) -> NDArray[np.int16]:
    """Return the samples [n] of a WAV file as int16, the mean of its channels; DataError if it cannot be read."""
    with _opened(file) as sound:
        width, channels = sound.getsampwidth(), sound.getnchannels()
        content = sound.readframes(sound.getnframes())
    count = len(content) // (width * channels)
    raw = np.frombuffer(content[: count * width * channels], np.uint8).reshape(count, channels, width)
    if width == 1:  # unsigned, as WAV has it for 8 bits alone
        levels = (raw[..., 0].astype(np.int32) - 128) << 8
    else:
        top = np.ascontiguousarray(raw[..., -2:])  # the upper 16 bits; what is below them is less than a level
        levels = top.view("<i2")[..., 0].astype(np.int32)
    return np.rint(levels.mean(axis=1)).astype(np.int16)


def _of_tfds(plan: Plan, seed: int) -> tuple[Sounds, Parts]:
    """Return the recordings of a data set of TFDS, and the places of each split."""
    data, named = plan.data, prepared.classes(plan)
    parts = prepared.sounds(plan)
    heard = [sound for sounds, _, _ in parts.values() for sound in sounds]
    labels = np.concatenate([own for _, own, _ in parts.values()]).astype(np.int32)
    if named is None or not len(labels) or min(map(len, heard)) == 0 or not (labels >= 0).all():
        raise DataError(
            f"{data.dataset} gives no class to each recording, or holds one without samples.",
            remedy="Name a feature that is a class: --set data.targets=NAME; or write WAV files in class folders.",
        )
    sounds = Sounds(
        lambda place: _levels(heard[place]), labels, named, next(iter(parts.values()))[2], max(map(len, heard))
    )
    each = dict(
        zip(
            parts,
            np.split(np.arange(len(labels)), np.cumsum([len(own) for _, own, _ in parts.values()])[:-1]),
            strict=True,
        )
    )
    if "test" not in each:
        return sounds, split(data, seed, len(labels), labels=labels)
    train = each["train"]
    if "val" in each:
        return sounds, Parts(train, each["val"], each["test"])
    held = validation_of(data, seed, train, labels)
    return sounds, Parts(train[~held], train[held], each["test"])


def _levels(sound: NDArray[Any]) -> NDArray[np.int16]:
    """Return samples as int16, the mean of their channels; floats are of -1 … 1."""
    found = sound.mean(axis=tuple(range(1, sound.ndim))) if sound.ndim > 1 else sound
    top = np.iinfo(np.int16).max
    scaled = found * top if sound.dtype.kind == "f" else found
    return np.rint(np.clip(scaled, -top - 1, top)).astype(np.int16)


def _of_files(plan: Plan, seed: int) -> tuple[Sounds, Parts]:
    """Return the recordings of a folder, and the places of each split."""
    listed, places = _split(plan, seed)
    named = tuple(sorted(set(listed.names)))
    labels = np.array([named.index(name) for name in listed.names], np.int32)
    return Sounds(lambda place: decode(listed.files[place]), labels, named, *_measure(listed.files)), places


def _opened(file: Path) -> wave.Wave_read:
    try:
        return wave.open(str(file), "rb")
    except (wave.Error, EOFError, OSError) as error:
        raise DataError(
            f"{file} cannot be read as a WAV file of whole numbers: {error or 'it is cut short'}.",
            remedy="Convert it (ffmpeg -i FILE -c:a pcm_s16le NEW.wav), replace it or remove it.",
        ) from None


def _measure(files: Sequence[Path]) -> tuple[int, int]:
    """Return the rate of all files and the samples of the longest one; DataError if rates differ or one is empty."""
    rates: dict[int, Path] = {}
    longest = 0
    for file in files:
        with _opened(file) as sound:
            rate, count = sound.getframerate(), sound.getnframes()
        if not count:
            raise DataError(f"{file} holds no samples.", remedy="Replace it or remove it.")
        rates.setdefault(rate, file)
        longest = max(longest, count)
    if len(rates) > 1:
        said = ", ".join(f"{rate} Hz ({file.name})" for rate, file in sorted(rates.items()))
        raise DataError(
            f"Recordings must have one rate; found {said}.",
            remedy=f"Bring all to one, for example: ffmpeg -i FILE -ar {min(rates)} NEW.wav.",
        )
    return next(iter(rates)), longest


def _spectrogram(plan: Plan, rate: int, samples: int) -> LogMel:
    """Return the plan's spectrogram for a rate; PlanError if it has no window, or bands between no frequencies."""
    data = plan.data
    found = LogMel(rate, round(data.window_ms * rate / 1000), round(data.hop_ms * rate / 1000), data.bands)
    if not 2 <= found.window <= samples or found.hop < 1:  # noqa: PLR2004 (one sample has no frequency)
        raise PlanError(
            f"data.window_ms = {data.window_ms:g} and data.hop_ms = {data.hop_ms:g} are {found.window} and {found.hop} "
            f"samples at {rate} Hz, and recordings have {samples}.",
            remedy="A window is shorter than a recording, and not less than 2 samples: --set data.window_ms=32 "
            "--set data.hop_ms=16 suit speech.",
        )
    silent = np.flatnonzero(found.triangles().sum(axis=0) == 0)
    if len(silent):
        raise PlanError(
            f"{len(silent)} of data.bands = {data.bands} lie between two frequencies of a window of {found.window} "
            f"samples, and would always be silent: the first is {silent[0]}.",
            remedy="Take fewer bands, or a longer window: --set data.bands=N --set data.window_ms=MS.",
        )
    return found


def _standard(spectrogram: LogMel, train: Examples) -> Standard:
    """Return mean and deviation of each band over a sample of the training recordings."""
    places = np.linspace(0, len(train) - 1, min(len(train), SAMPLED)).astype(np.intp)
    sums = np.zeros((2, spectrogram.bands))
    count = 0
    for part in np.array_split(places, max(1, len(places) // 100)):
        found = np.asarray(spectrogram.of(jnp.asarray(train[part]["sound"])), np.float64)
        sums += np.stack([found.sum(axis=(0, 1)), np.square(found).sum(axis=(0, 1))])
        count += found.shape[0] * found.shape[1]
    mean = sums[0] / count
    deviation = np.sqrt(np.maximum(sums[1] / count - mean**2, _SMALLEST_DEVIATION**2))
    return Standard(tuple(map(float, mean)), tuple(map(float, deviation)))


def _split(plan: Plan, seed: int) -> tuple[_Listed, Parts]:
    """Return all files with their classes, and the places of each split, which all have every class."""
    root, data = Path(plan.data.dataset), plan.data
    if not ((root / "train").is_dir() and (root / "test").is_dir()):
        listed = _listed(root)
        labels = _numbered(root, listed)
        return listed, split(data, seed, len(labels), labels=labels, tested=named_for_test(data, listed.files))
    held = next((root / name for name in _VALIDATION if (root / name).is_dir()), None)
    parts = [_listed(one) for one in (root / "train", root / "test", *([held] if held else []))]
    odd = sorted({name for part in parts for name in {*part.names} ^ {*parts[0].names}})
    if odd:
        raise DataError(
            f"{root}: train and test must have the same classes; only one of them has {', '.join(odd)}.",
            remedy="Add recordings of these classes, or remove them everywhere.",
        )
    listed = _Listed(sum((part.files for part in parts), ()), sum((part.names for part in parts), ()))
    ends = np.cumsum([len(part.files) for part in parts])[:-1]
    first, test, *own = np.split(np.arange(len(listed.files)), ends)
    if own:
        return listed, Parts(first, own[0], test)
    chosen = validation_of(data, seed, first, _numbered(root, listed))
    return listed, Parts(first[~chosen], first[chosen], test)


def _numbered(root: Path, listed: _Listed) -> NDArray[np.intp]:
    """Return the number of the class of each file; DataError if there is one class alone."""
    names, labels = np.unique(listed.names, return_inverse=True)
    if len(names) < FEWEST:
        raise DataError(
            f"{root} holds recordings of one class, {names[0]!r}; at least two are expected.",
            remedy="Put each class into a folder of its own, or begin the names of files with it: CLASS_*.wav.",
        )
    return labels


def _listed(root: Path) -> _Listed:
    """Return the WAV files of a folder with the names of their classes, in the order of their names."""
    flat = _wavs(root)
    inner = [(folder, _wavs(folder)) for folder in _inner(root)]
    if flat and any(files for _, files in inner):
        raise DataError(
            f"{root} holds {len(flat)} WAV files beside class folders of them.",
            remedy="Put all into class folders, or all into one folder as CLASS_*.wav.",
        )
    if not flat:
        pairs = [(file, folder.name) for folder, files in inner for file in files]
        return _Listed(tuple(file for file, _ in pairs), tuple(name for _, name in pairs))
    odd = next((file for file in flat if "_" not in file.stem), None)
    if odd is not None:
        raise DataError(
            f"{odd} does not begin with its class, as CLASS_*.wav.",
            remedy="Rename it, or put the recordings of each class into a folder of its own.",
        )
    return _Listed(tuple(flat), tuple(file.stem.partition("_")[0] for file in flat))


def _wavs(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == ".wav" and not file.name.startswith("."))


def _inner(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(item for item in folder.iterdir() if item.is_dir() and not item.name.startswith("."))
