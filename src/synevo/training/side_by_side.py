"""Several trainings side by side, each on a device of its own: the offspring of a brood do not depend on each other.

A device gets the next training when it has ended one. What is trained is the same, to the bit, as one after the other
on a device of this kind.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Event, Semaphore, Thread
from typing import Any, Generic, TypeVar

import jax

Item = TypeVar("Item")
Happened = TypeVar("Happened")

THREAD = "synevo-device"
"""The name of the threads."""


def in_turn(items: Sequence[Item], work: Callable[[Item], Iterator[Happened]]) -> Iterator[Happened]:
    """Yield what happens in the work on each item, one item after the other."""
    for item in items:
        yield from work(item)


def on_devices(
    items: Sequence[Item], work: Callable[[Item], Iterator[Happened]], *, ends: Callable[[Happened], bool]
) -> Iterator[Happened]:
    """Yield what happens in the work on the items, which goes on side by side, each on a device of this machine.

    Work waits at all that happens until the reader goes on, as it does one after the other. What `ends` the work on an
    item is yielded when all have come so far, in the order of the items.
    """
    shared = _Shared[Happened]()
    for turn in enumerate(items):
        shared.turns.put(turn)
    ended: dict[int, Happened] = {}
    try:
        for device in jax.local_devices()[: len(items)]:
            Thread(target=_work, args=(device, work, shared), name=THREAD, daemon=True).start()
        while len(ended) < len(items):
            place, event, read = shared.happened.get()
            if isinstance(event, BaseException):
                raise event
            if ends(event):
                ended[place] = event
            else:
                yield event
            read.release()
        yield from (ended[place] for place in range(len(items)))
    finally:
        shared.stopped.set()


@dataclass
class _Shared(Generic[Happened]):
    """What the threads share: the items that wait, what happened in the work on which, and whether they are to stop."""

    turns: SimpleQueue[tuple[int, Any]] = field(default_factory=SimpleQueue)
    happened: SimpleQueue[tuple[int, Happened | BaseException, Semaphore]] = field(default_factory=SimpleQueue)
    stopped: Event = field(default_factory=Event)


def _work(device: Any, work: Callable[[Any], Iterator[Happened]], shared: _Shared[Happened]) -> None:
    """Work on one item after the other on a device; tell what happens, and wait until it is read."""
    read = Semaphore(0)
    with suppress(Empty), jax.default_device(device):
        while not shared.stopped.is_set():
            place, item = shared.turns.get_nowait()
            try:
                for event in work(item):
                    shared.happened.put((place, event, read))
                    read.acquire()
                    if shared.stopped.is_set():
                        return
            except BaseException as error:  # noqa: BLE001  (it is raised where what happens is read)
                shared.happened.put((place, error, read))
                return
