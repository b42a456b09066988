"""A terminal of a size: what a program writes to a pty, as it is."""

import contextlib
import fcntl
import os
import struct
import subprocess
import termios
from collections.abc import Sequence
from pathlib import Path


def on_terminal(words: Sequence[str], *, width: int, height: int, folder: Path | None = None) -> str:
    """What a command writes on a pty of this size, the codes for colours and places included; it must succeed."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment |= {"TERM": "xterm-256color", "PYTHONUTF8": "1"}
    with subprocess.Popen(words, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        written = b""
        with contextlib.suppress(OSError):  # Linux says so once the other end is closed
            while part := os.read(ours, 65536):
                written += part
        os.close(ours)
    assert process.returncode == 0, written.decode()
    return written.decode()
