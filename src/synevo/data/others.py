"""Files that are no data set as they are, and the line that makes one of them."""

from pathlib import Path

from synevo.errors import DataError

_LABELS = "with one integer from 0 for each image as labels"

_ARRAYS = f"Write its images beside their labels: np.savez('set.npz', images=np.load(FILE), labels=labels), {_LABELS}."

_TABLE = (
    "Write its columns as arrays: np.savez('set.npz', images=images, labels=labels), with uint8 images [n, height, "
    "width]; a table of other data is described by a task: see synevo guide own-task."
)

_PACKED = "Unpack it (python -m {} -e FILE FOLDER), and name the folder of class folders, or the .npz file, in it."

_REMEDIES = {
    ".npy": _ARRAYS,
    **dict.fromkeys([".csv", ".tsv", ".parquet", ".xlsx", ".arff", ".json", ".jsonl", ".txt"], _TABLE),
    ".zip": _PACKED.format("zipfile"),
    **dict.fromkeys([".tar", ".tgz", ".gz", ".bz2", ".xz", ".tbz2", ".txz"], _PACKED.format("tarfile")),
}

_OTHERS = (
    "A data set is digits, an .npz file, a folder of class folders, or a TFDS name such as mnist: write its arrays "
    "with np.savez('set.npz', images=…, labels=…)."
)


def is_other_file(name: str) -> bool:
    """Return True if `name` is that of something on the disk; a name without an ending may be one of TFDS."""
    path = Path(name).expanduser()
    return (bool(path.suffix) or len(path.parts) > 1) and path.exists()


def other_file(path: Path) -> DataError:
    """Return the error for a file that was named as a data set."""
    kind = "".join(path.suffixes[-1:]).lower()
    if not path.is_file():
        return DataError(f"{path} is neither a file nor a folder.", remedy=_OTHERS)
    remedy = _REMEDIES.get(kind, _OTHERS).replace("FILE", repr(str(path)) if kind == ".npy" else f"'{path}'")
    return DataError(f"{path} is a file ({kind or 'without an ending'}), and no data set as it is.", remedy=remedy)
