"""Reading ahead: while a step runs, one background thread reads the batches for the steps after it.

A thread is enough, and safe with any examples: decoding images, reading files and most of NumPy leave the interpreter
free for the step. At most `AHEAD` batches wait. The order is that of the places, so what is read ahead changes nothing
but time. The thread ends with its batches, with the first error, and when whoever reads them stops.
"""

import contextlib
from collections.abc import Iterator, Sequence
from queue import SimpleQueue
from threading import Event, Semaphore, Thread

import numpy as np
from numpy.typing import NDArray

from synevo.errors import DataError, SynevoError
from synevo.model.named import line_of
from synevo.tasks.task import Batch, Examples, InMemory

AHEAD = 2
"""The number of batches that are read before they are asked for."""

PATIENCE = 5.0
"""The longest time, in seconds, that a reader which is stopped early is waited for."""

THREAD = "synevo-reader"
"""The name of the thread."""

Read = tuple[Batch, Exception | None]


@contextlib.contextmanager
def batches(examples: Examples, places: Sequence[NDArray[np.intp]]) -> Iterator[Iterator[Batch]]:
    """Give an iterator over the batches of examples at each of the `places`; those in memory need no thread.

    Raises:
        DataError: while it is read, if examples of the user's own raise something; a SynevoError stays what it is.
    """
    if isinstance(examples, InMemory):
        yield (examples[batch] for batch in places)
        return
    read: SimpleQueue[Read] = SimpleQueue()
    room, stopped = Semaphore(AHEAD), Event()
    thread = Thread(target=_read, args=(examples, places, read, room, stopped), name=THREAD, daemon=True)
    try:
        thread.start()
        yield _received(read, room, len(places))
    finally:
        stopped.set()
        room.release()
        thread.join(PATIENCE)


def _received(read: SimpleQueue[Read], room: Semaphore, count: int) -> Iterator[Batch]:
    """Yield the batches that the thread has read; raise the error that it met."""
    for _ in range(count):
        batch, error = read.get()
        if error is not None:
            raise error
        room.release()
        yield batch


def _read(
    examples: Examples, places: Sequence[NDArray[np.intp]], read: SimpleQueue[Read], room: Semaphore, stopped: Event
) -> None:
    """Read one batch after the other where there is room for it; the last thing that is handed over may be an error."""
    for batch in places:
        room.acquire()
        if stopped.is_set():
            return
        try:
            read.put((examples[batch], None))
        except Exception as error:  # noqa: BLE001 (it is raised where the batch is asked for)
            read.put((None, _explained(examples, batch, error)))
            return


def _explained(examples: Examples, places: NDArray[np.intp], error: Exception) -> Exception:
    """Return an error of the house for whatever examples of the user's own raise."""
    if isinstance(error, SynevoError):
        return error
    shown = ", ".join(map(str, places[:3])) + (", …" if len(places) > 3 else "")  # noqa: PLR2004
    kind = type(examples)
    explained = DataError(
        f"{kind.__name__} raised {type(error).__name__} for the examples at [{shown}]: {error} "
        f"({line_of(getattr(kind, '__getitem__', kind), error)}).",
        remedy="Mend its __getitem__, which is given an array of places and called from a thread of its own; then the "
        "same command goes on.",
    )
    explained.__cause__ = error
    return explained
