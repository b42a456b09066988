"""Text for a network that tells the next token: characters of .txt files, or whole numbers of a .npy file.

The first of the text is trained on. The last `data.validation` of it (a tenth) is held out: its first half validates,
its second half tests. A folder may hold `train`, `val` and `test` as files of their own instead; other files are read
one after the other in the order of their names. An example is a stretch of `data.context` tokens and the one behind it;
those of the training begin every `data.stride` tokens, others every `data.context`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synevo.data.memory import check_room
from synevo.data.problems import prepared
from synevo.data.problems.described import Described, chosen, refuse, resident
from synevo.errors import DataError
from synevo.plan.fields import Plan
from synevo.tasks import tokens
from synevo.tasks.task import Batch, Problem

MOST_CHARACTERS = 4096
"""The most different characters of a vocabulary; more are a text for tokens of another kind."""

_PARTS = ("train", "val", "test")

_REMEDY = "Name a text file in UTF-8 (.txt), a folder of them, or an .npy file of tokens: integers [n] from 0."


@dataclass(frozen=True)
class Stretches:
    """Stretches of `length` tokens of a long row of them, one beginning every `stride` tokens."""

    tokens: NDArray[Any]
    length: int
    stride: int

    def __len__(self) -> int:
        """Return the number of stretches."""
        return 1 + (len(self.tokens) - self.length) // self.stride

    def __getitem__(self, places: NDArray[np.intp], /) -> Batch:
        """Return the batch of the stretches at `places` [n]."""
        starts = self.stride * np.asarray(places)[:, None]
        return {"tokens": np.asarray(self.tokens[starts + np.arange(self.length)]).astype(np.int32)}


def text(plan: Plan, seed: int) -> Described:
    """Return the problem of telling the next token of a text.

    Raises:
        DataError: if there is no text, it cannot be read, or a part of it is shorter than the context.
        PlanError: if the plan sets what this task does not use.
    """
    del seed  # the parts of a text are where they are
    refuse(plan, "class_weights", "ignore")
    score, data = chosen(plan, tokens.SCORES), plan.data
    parts, vocabulary, count = _read(plan)
    context, strides = data.context, (data.stride or data.context, data.context, data.context)
    for name, part in zip(_PARTS, parts, strict=True):
        if len(part) <= context:
            raise DataError(
                f"The {name} part of {data.dataset} has {len(part)} tokens, and the context {context}: an example is "
                "one token longer.",
                remedy="Add text, hold out more of it (--set data.validation=0.2), or give a smaller --set "
                "data.context=N.",
            )
    splits = [resident(Stretches(part, context + 1, step)) for part, step in zip(parts, strides, strict=True)]
    task = tokens.next_token(score=score, smoothing=plan.task.label_smoothing)
    facts = {"vocabulary": vocabulary, "context": context}
    return Described(Problem(task, *splits), (context,), count, (context, count), facts)


def is_text(path: Path) -> bool:
    """Return whether a file or a folder is text, by the endings of its names."""
    return path.suffix.lower() in {".txt", ".npy"} if path.is_file() else path.is_dir() and bool(_files(path))


def encode(characters: str, vocabulary: Sequence[str]) -> NDArray[np.int32]:
    """Return the tokens [n] of a text: the places of its characters in the vocabulary.

    Raises:
        DataError: for a character that the vocabulary does not have.
    """
    places = np.full(0x110000, -1, np.int32)
    places[[ord(one) for one in vocabulary]] = np.arange(len(vocabulary))
    found = places[np.frombuffer(characters.encode("utf-32-le", "surrogatepass"), np.uint32)]
    if (found < 0).any():
        odd = characters[int(np.flatnonzero(found < 0)[0])]
        raise DataError(
            f"The vocabulary has no {odd!r}: it has the {len(vocabulary)} characters of the text that was trained on.",
            remedy="Leave it out, or replace it with one of those.",
        )
    return found


def _read(plan: Plan) -> tuple[list[NDArray[Any]], str | None, int]:
    """Return the tokens of training, validation and test, the vocabulary of characters, and the number of tokens."""
    path, held_out = Path(plan.data.dataset), plan.data.validation
    if prepared.is_name(plan):
        return _encoded(str(path), list(prepared.texts(plan).values()), held_out)
    if path.suffix.lower() == ".npy":
        whole = _numbers(path)
        return _cut(whole, held_out), None, int(whole.max()) + 1
    files = _files(path) if path.is_dir() else [path]
    named = {file.stem.lower(): file for file in files}
    if set(_PARTS) <= named.keys():
        written = [_characters(named[part]) for part in _PARTS]
    else:
        written = ["".join(_characters(file) for file in files)]
    return _encoded(str(path), written, held_out)


def _encoded(where: str, written: Sequence[str], held_out: float) -> tuple[list[NDArray[Any]], str, int]:
    """Return the tokens of the parts of a text, which are one, two (without validation) or all three."""
    vocabulary = "".join(sorted(set().union(*map(set, written))))
    if not 1 < len(vocabulary) <= MOST_CHARACTERS:
        raise DataError(
            f"{where} has {len(vocabulary)} different characters; 2 to {MOST_CHARACTERS} make a vocabulary.",
            remedy="Write tokens of your own as integers: np.save('tokens.npy', tokens).",
        )
    coded = [encode(one, vocabulary) for one in written]
    if len(coded) == 1:
        coded = _cut(coded[0], held_out)
    elif len(coded) == len(_PARTS) - 1:
        end = len(coded[0]) - round(held_out * len(coded[0]))
        coded = [*np.split(coded[0], [end]), coded[1]]
    return coded, vocabulary, len(vocabulary)


def _cut(whole: NDArray[Any], held_out: float) -> list[NDArray[Any]]:
    """Return the parts of a row of tokens: what is trained on, and two halves of the share at its end."""
    end = len(whole) - round(held_out * len(whole))
    return np.split(whole, [end, end + (len(whole) - end) // 2])


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.suffix.lower() == ".txt" and not file.name.startswith("."))


def _characters(file: Path) -> str:
    check_room(8 * file.stat().st_size, f"{file} as tokens takes", remedy="Write tokens to an .npy file instead.")
    try:
        return file.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{file} is not UTF-8: byte {error.start} is {error.object[error.start]:#04x}.",
            remedy="Write it in UTF-8, for example: iconv -f LATIN1 -t UTF-8 FILE > NEW.",
        ) from None
    except OSError as error:
        raise DataError(f"{file} cannot be read: {error}", remedy=_REMEDY) from None


def _numbers(path: Path) -> NDArray[Any]:
    """Return the tokens of an .npy file, which is mapped; DataError unless they are integers [n] from 0."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read: {error}", remedy=_REMEDY) from None
    if found.ndim != 1 or found.dtype.kind not in "iu" or not len(found) or found.min() < 0:
        raise DataError(
            f"{path} must be integers from 0 of shape [n]; found {found.dtype} {list(found.shape)}.", remedy=_REMEDY
        )
    return np.asarray(found) if found.dtype.itemsize == 1 else found
