"""Stopping: Ctrl-C, SIGTERM (of a scheduler) and SIGHUP (of a terminal that was closed) all end a command alike.

Each is raised as KeyboardInterrupt where the program is. Python swallows an exception that arises in a callback of the
garbage collector, or while an object is deleted; then the signal is sent again a moment later.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]

_LATER = 0.05
"""Seconds after which a signal that was swallowed is sent again."""

_received: list[int] = []


def listen() -> None:
    """Turn the signals into KeyboardInterrupt, but those that the process was started to ignore, as by `nohup`."""
    for number in _SIGNALS:
        if signal.getsignal(number) not in (signal.SIG_IGN, None):
            signal.signal(number, _interrupt)
    sys.unraisablehook = _not_swallowed


def by() -> str:
    """Return " by SIGTERM" or " by SIGHUP" after such a signal; nothing after Ctrl-C."""
    return f" by {signal.Signals(_received[-1]).name}" if _received and _received[-1] != signal.SIGINT else ""


def exit_code() -> int:
    """Return the exit code of a process that a signal ended: 128 and its number."""
    return 128 + (_received[-1] if _received else signal.SIGINT)


def end() -> None:
    """End the process, if a signal did: its threads and its exit handlers first, and then at once.

    Python would free XLA next, and XLA that was interrupted while it compiled crashes then.
    """
    if not _received:
        return
    threading._shutdown()  # type: ignore[attr-defined]  # noqa: SLF001 (what Python itself begins with)
    atexit._run_exitfuncs()  # noqa: SLF001
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(exit_code())


def _interrupt(number: int, _: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt


def _not_swallowed(unraisable: Any) -> None:
    """Send the signal again whose KeyboardInterrupt was swallowed; report any other exception as usual."""
    if not (_received and issubclass(unraisable.exc_type, KeyboardInterrupt)):
        sys.__unraisablehook__(unraisable)
        return
    again = threading.Timer(_LATER, os.kill, (os.getpid(), _received[-1]))
    again.daemon = True
    again.start()
