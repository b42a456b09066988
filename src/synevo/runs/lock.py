"""The lock of a run: a file that names the writing process, in words for people; a killed process does not count."""

import os
import re
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

_FILE = ".holder.json"
_WORDS = re.compile(r"process (\d+) on (\S+) ")


def owner_file(folder: Path) -> Path:
    """Return the path of the file that names the writer of a run."""
    return folder / _FILE


def describe_owner() -> bytes:
    """Return a line about this process: its number, its host, the time, and its command."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return f"process {os.getpid()} on {socket.gethostname()} since {now} ({command})\n".encode()


def owner_of(folder: Path) -> str | None:
    """Return the line about the writer of a run; None if there is none, or it was killed on this machine."""
    try:
        text = owner_file(folder).read_text("utf-8", errors="replace").strip()
    except OSError:
        return None
    match = _WORDS.match(text)
    return None if match and match[2] == socket.gethostname() and not _is_alive(int(match[1])) else text


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is alive, and belongs to another user
    return True
